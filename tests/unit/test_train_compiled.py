"""Compiled blocks learn what others do, are compiled once for all lengths, and where it pays."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor.runtime.cache_dir_utils import cache_dir

from labkit.train import compiled
from labkit.train.attend_each import attend_each
from labkit.train.chat import Seen
from labkit.train.compiled import Blocks, When
from labkit.train.decoder import add_adapters
from labkit.train.instruct import tune
from labkit.train.language_loss import LanguageLoss, LossSettings
from labkit.train.packed_attention import packed_attention
from labkit.train.plan import Plan
from tests.bench.llm_jobs import random_rows
from tests.needs import need
from tests.unit.tiny_decoder import save_tiny_decoder, tiny_decoder
from tests.unit.toy_tuning import by, make_tuning, saved
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME

pytestmark = [
    PEFT_ASKS_BY_AN_OLDER_NAME,
    # Of torch's own code while it compiles.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning"),
    pytest.mark.usefixtures("one_thread"),
]

LENGTHS = (9, 40, 2, 23, 31, 17, 5, 28)
BATCHES = ([0, 1], [6], [3, 4, 5], [6, 7], [1], [0, 2, 3, 4, 6])
"""Of examples, by number; each comes to a length of its own."""


@pytest.fixture
def compiler() -> Iterator[None]:
    need(compiled.why_not())
    yield
    torch.compiler.reset()


def examples() -> list[Seen]:
    rows = random_rows(len(LENGTHS), max(LENGTHS), 256, seed=0)
    return [replace(seen, max_tokens=n) for seen, n in zip(rows, LENGTHS, strict=True)]


def learnt(
    family: str, when: When, said: list[str], lora: bool, plan: Plan
) -> list[tuple[float, dict[str, Tensor]]]:
    """Loss and gradients of each of the batches."""
    model = tiny_decoder(family)
    if lora:
        torch.manual_seed(0)
        add_adapters(model, 4, "q_proj, up_proj")
    blocks = Blocks(model, when, said.append)
    loss = LanguageLoss(
        model, examples(), LossSettings(batch_size=8, row_tokens=200), plans=[plan], blocks=blocks
    )
    model.train()
    found = []
    for batch in BATCHES:
        total = float(loss.backward(np.array(batch)))
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((total, {n: gradient.clone() for n, gradient in gradients.items()}))
        model.zero_grad()
    assert blocks.are_compiled == (when == "always" and not said)
    return found


def assert_alike(
    one: list[tuple[float, dict[str, Tensor]]], other: list[tuple[float, dict[str, Tensor]]]
) -> None:
    for (loss, gradients), (loss_, gradients_) in zip(one, other, strict=True):
        assert loss_ == pytest.approx(loss, rel=1e-5)
        assert gradients.keys() == gradients_.keys() and gradients
        for name, gradient in gradients.items():
            error = (gradient - gradients_[name]).norm() / (gradient.norm() + 1e-9)
            assert error < 1e-4, f"{name}: {error:.2e}"
        assert any(gradient.norm() > 1e-3 for gradient in gradients.values())


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks go through all of torch.compile but the generation of C++, which takes the longest."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    yield
    torch.compiler.reset()


def num_graphs(family: str, *, lora: bool = False, recompute_every: int = 0) -> int:
    """To how many graphs blocks are compiled that then learn what uncompiled ones do."""
    said: list[str] = []
    plan = Plan(row_tokens=200, recompute_every=recompute_every)
    expected = learnt(family, "never", said, lora, plan)
    counters.clear()
    found = learnt(family, "always", said, lora, plan)
    assert not said and not counters["graph_break"]
    assert_alike(expected, found)
    return counters["stats"]["unique_graphs"]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("family", "lora", "recompute_every", "num_kinds"),
    [
        ("llama", True, 1, 1),
        ("qwen3", False, 1, 1),
        ("gemma", True, 0, 2),  # what goes into the first block has no gradient
        ("gemma3_text", False, 0, 2),  # some blocks have a window
    ],
)
def test_compiled_blocks_learn_the_same_and_are_compiled_once_for_all_lengths(
    family: str, lora: bool, recompute_every: int, num_kinds: int
):
    assert num_graphs(family, lora=lora, recompute_every=recompute_every) == num_kinds


@pytest.mark.usefixtures("compiler")
def test_so_do_those_that_are_compiled_to_the_end():
    assert num_graphs("llama") == 1
    folder = Path(compiled.code_folder().name)
    assert Path(cache_dir()) == folder and any(folder.rglob("*.so"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sliding_window", [None, 1, 4, 100])
def test_the_operator_of_compiled_blocks_attends_as_uncompiled_ones_do(
    sliding_window: int | None, dtype: torch.dtype
):
    torch.manual_seed(0)
    query, key, value = parts = [
        torch.randn(1, n, 15, 8, dtype=dtype, requires_grad=True) for n in (4, 2, 2)
    ]
    bounds = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    expected, _ = packed_attention(
        nn.Identity(), query, key, value, None, bounds=bounds, max_length=9, scaling=0.3,
        sliding_window=sliding_window,
    )  # fmt: skip
    found, _ = attend_each(query, key, value, bounds, 0.3, sliding_window)
    over = torch.randn_like(expected)
    assert torch.equal(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, parts, over), torch.autograd.grad(expected, parts, over),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(one, other)


def test_a_machine_without_a_compiler_trains_and_says_so(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    plan = Plan(row_tokens=200)
    expected = learnt("llama", "never", said, False, plan)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert_alike(expected, learnt("llama", "always", said, False, plan))
    assert said == [
        "The model's blocks are not compiled, and it trains without: there is no C++ compiler "
        "'no-such-compiler' on this machine."
    ]


def test_what_python_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert compiled.why_not().endswith(f"no Python.h in {tmp_path}")
    (tmp_path / "Python.h").touch()
    assert compiled.why_not() == ""


def test_blocks_that_torch_cannot_compile_train_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a tuning from one end to the other."""

    def fails(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=fails))
    monkeypatch.setattr(compiled, "why_not", lambda: "")
    said: list[str] = []

    def report(message: str = "", **_: Any) -> None:
        said.extend([message] if message else [])

    base = save_tiny_decoder(tmp_path / "base")
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, when in ((one, "never"), (other, "always")):
        folder.mkdir()
        tuning = by(make_tuning(base, folder), "full", compile=when, report=report)
        assert tune(tuning)
    (sentence,) = said
    assert sentence.startswith("The model's blocks are not compiled, and it trains without: ")
    assert "No space left on device" in sentence and "\n" not in sentence
    assert all(torch.equal(saved(one)[name], tensor) for name, tensor in saved(other).items())


def test_compiled_code_is_loaded_from_a_folder_of_its_owner_alone():
    folder = Path(compiled.code_folder().name)
    assert folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == os.getuid()
    assert Path(cache_dir()) == folder


class Steps:
    """A training whose clock is ours: a step takes a second, or `compiled_s` with compiled blocks;
    `to_go` seconds are left after the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, compiled_s: float, to_go: float):
        self.now, self.compiled_s = 0.0, compiled_s
        self.said: list[str] = []
        self.blocks = Blocks(tiny_decoder(), "auto", self.said.append)
        self.report = self.blocks.hearing(lambda **_: None)
        self.to_go = to_go
        monkeypatch.setattr(compiled.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(compiled, "why_not", lambda: "")

    def go(self, number: int) -> list[bool]:
        """Whether blocks were compiled in each of so many steps."""
        return [self.blocks.step(self._compute, tokens=100) for _ in range(number)]

    def _compute(self) -> bool:
        at_work = all(block._compiled_call_impl for block in self.blocks._blocks)
        took = self.compiled_s if at_work else 1.0
        self.now += took
        self.to_go -= took
        self.report(seconds_left=self.to_go)
        return at_work


def test_blocks_are_compiled_once_their_pace_is_known_where_enough_is_left(
    monkeypatch: pytest.MonkeyPatch,
):
    steps = Steps(monkeypatch, compiled_s=0.8, to_go=1000)
    assert steps.go(30) == [False] * 13 + [True] * 17
    assert steps.said == ["The model's blocks are compiled: 125 tokens a second instead of 100."]
    assert all(steps.go(30)) and len(steps.said) == 1


def test_they_are_not_where_little_is_left(monkeypatch: pytest.MonkeyPatch):
    steps = Steps(monkeypatch, compiled_s=0.8, to_go=600)
    assert not any(steps.go(30)) and not steps.said


def test_compiled_blocks_that_are_slower_are_given_up(monkeypatch: pytest.MonkeyPatch):
    steps = Steps(monkeypatch, compiled_s=1.25, to_go=1000)
    assert steps.go(30) == [False] * 13 + [True] * 13 + [False] * 4
    assert steps.said == [
        "The model's blocks were compiled and are not any more: 80 tokens a second instead of 100."
    ]
    assert not any(steps.go(30)) and len(steps.said) == 1


def test_out_of_memory_is_no_fault_of_compiling(monkeypatch: pytest.MonkeyPatch):
    steps = Steps(monkeypatch, compiled_s=0.8, to_go=1000)
    steps.go(14)

    def fail() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        steps.blocks.step(fail, tokens=100)
    assert steps.blocks.are_compiled and not steps.said


def failing_when(at_work: Callable[[], bool]) -> Callable[[], str]:
    def compute() -> str:
        if at_work():
            raise RuntimeError("a guard failed\nand so on")
        return "trained"

    return compute


def test_a_step_that_fails_compiled_is_computed_without(monkeypatch: pytest.MonkeyPatch):
    steps = Steps(monkeypatch, compiled_s=0.8, to_go=1000)
    steps.go(14)
    block = steps.blocks._blocks[0]
    compute = failing_when(lambda: block._compiled_call_impl is not None)
    assert steps.blocks.step(compute, tokens=100) == "trained"
    assert steps.said == [
        "The model's blocks are not compiled, and it trains without: RuntimeError: a guard failed."
    ]
