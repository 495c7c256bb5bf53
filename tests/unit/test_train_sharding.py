"""A model that is shared out among its workers learns what a whole one does, in half the memory."""

import gc
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch._C._distributed_c10d import FileStore
from torch.distributed.fsdp import FSDPModule
from torch.profiler import ProfilerActivity, profile

from labkit.errors import OutOfMemory
from labkit.train.checkpoint import Checkpoints
from labkit.train.decoder import Method, add_adapters
from labkit.train.instruct import measure_tuned, tune
from labkit.train.language_loss import LanguageLoss, LossSettings, measure
from labkit.train.plan import Needs, Plan
from labkit.train.sharding import gathered, own_part, shard
from labkit.train.workers import ALONE, Workers, join, leave
from tests.unit.test_train_instruct import few, made, stop_before
from tests.unit.test_train_language_loss import assert_alike, examples
from tests.unit.test_train_plan import Full, example, small_llama
from tests.unit.tiny_decoder import save_tiny_decoder, tiny_decoder
from tests.unit.toy_tuning import by, make_tuning, saved
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME, at_once, steady_adam

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]

METHODS: tuple[Method, ...] = ("full", "lora")
ROWS = LossSettings(batch_size=5, row_tokens=40)
"""The first worker has three rows of the whole batch, the second two."""
CASES = {
    f"{family} {method}{' in 16 bits' * sixteen}": (family, method, sixteen)
    for family in ("llama", "qwen3", "mistral", "gemma")
    for method in METHODS
    for sixteen in ((False, True) if family == "llama" else (False,))
}


def make(case: str) -> tuple[Any, LossSettings]:
    family, method, sixteen = CASES[case]
    dtype = torch.bfloat16 if sixteen else torch.float32
    model = tiny_decoder(family)
    if method == "lora":
        add_adapters(model.to(dtype), 4, "all-linear")
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # which begins with zeros, so that nothing would reach lora_A
                torch.nn.init.normal_(parameter, std=0.1)
    return model, replace(ROWS, dtype=dtype)


def learn(model: Any, settings: LossSettings, workers: Workers = ALONE) -> dict[str, Any]:
    """What two batches tell: the second has nothing for a second worker; and what is measured."""
    seen, told = examples(), {}
    objective = LanguageLoss(
        model, seen, settings, workers, plans=[Plan(row_tokens=40, recompute_every=2)]
    )
    model.train()
    for name, batch in (("five", np.arange(5)), ("one", np.array([1]))):
        told[f"loss of {name}"] = objective.backward(batch)
        told[f"gradients of {name}"] = {
            n: gathered(p.grad) for n, p in model.named_parameters() if p.grad is not None
        }
        model.zero_grad()

    def figures(mine: np.ndarray) -> np.ndarray:
        return measure(model, [seen[n] for n in mine], settings, workers)

    return {**told, "measured": torch.from_numpy(workers.gather(len(seen), figures))}


def num_bytes(model: Any) -> int:
    return sum(own_part(p).nbytes for p in model.parameters())


def peak_bytes(run: Callable[[], object], folder: Path) -> int:
    """Of all that is allocated meanwhile, by torch's own record of it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = sorted(
        (event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"
    )
    return max(accumulate(change for _, change in changes))


def plan_and_learn(folder: Path, workers: Workers, method: str) -> tuple[int, int]:
    """What a plan is said to take, and what two steps take, each of two rows for each worker."""
    model, plan = small_llama(16_000), Plan(row_tokens=768)
    if method == "lora":
        add_adapters(model, 8, "all-linear")
    shard(model, workers, "cpu", torch.float32)
    told = Needs(model, 768, torch.float32, workers).of(plan)
    settings = LossSettings(batch_size=4, row_tokens=768)
    objective = LanguageLoss(model, [example(768)] * 4, settings, workers, plans=[plan])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)

    def learn() -> None:
        for _ in range(2):
            objective.backward(np.arange(4))
            optimizer.step()
            optimizer.zero_grad()

    mine = folder / str(workers.rank)
    mine.mkdir(exist_ok=True)
    return told, peak_bytes(learn, mine)


def run_out(folder: Path, workers: Workers) -> None:
    """The second has too little memory and says so, while the first waits until it is ended."""
    model, met = tiny_decoder("llama"), FileStore(str(folder / "met"), 2)
    shard(model, workers, "cpu", torch.float32)
    Full(model, room_tokens=1000 if workers.is_first else 30)
    plans = [Plan(row_tokens=ROWS.row_tokens), Plan(row_tokens=35)]
    objective = LanguageLoss(model, examples(), ROWS, workers, plans=plans)

    def be_ended() -> None:  # as Ray ends it
        met.wait(["ran out"])
        met.set("ended", "")
        os._exit(0)

    if workers.is_first:
        Thread(target=be_ended, daemon=True).start()
        objective.backward(np.arange(5))
        raise AssertionError("it went on without the second")
    with pytest.raises(OutOfMemory) as raised:
        objective.backward(np.arange(5))
    (folder / "said.txt").write_text(str(raised.value))
    met.set("ran out", "")
    met.wait(["ended"])


def one_of_two(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    workers = join(folder / "store", rank, 2, "cpu")
    for case in CASES:
        model, settings = make(case)
        shard(model, workers, "cpu", settings.dtype)
        told = {**learn(model, settings, workers), "bytes": num_bytes(model)}
        torch.save(told, folder / f"{case}-{rank}.pt")
    for method in METHODS:
        torch.save(plan_and_learn(folder, workers, method), folder / f"plan {method}-{rank}.pt")
    run_out(folder, workers)
    os._exit(0)  # as in test_train_workers


@dataclass(frozen=True)
class Together:
    """What two workers leave."""

    folder: Path

    def told(self, case: str) -> list[Any]:
        """Of a case, by each."""
        return [torch.load(self.folder / f"{case}-{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    folder = tmp_path_factory.mktemp("together")
    at_once(one_of_two, [(folder, 0), (folder, 1)])
    return Together(folder)


@pytest.mark.parametrize("case", CASES)
def test_loss_gradients_and_measures_are_those_of_one_worker_with_the_whole_model(
    case: str, together: Together
):
    model, settings = make(case)
    alone, (first, second) = learn(model, settings), together.told(case)
    rounding, within = (1e-5, 1e-4) if settings.dtype == torch.float32 else (1e-2, 2e-2)
    for batch in ("five", "one"):
        loss = alone[f"loss of {batch}"]
        torch.testing.assert_close(first[f"loss of {batch}"], loss, rtol=rounding, atol=0)
        assert torch.equal(first[f"loss of {batch}"], second[f"loss of {batch}"])
        assert_alike(alone[f"gradients of {batch}"], first[f"gradients of {batch}"], within)
    torch.testing.assert_close(first["measured"], alone["measured"], rtol=rounding, atol=1e-5)
    assert torch.equal(first["measured"], second["measured"])


@pytest.mark.parametrize("method", METHODS)
def test_what_a_plan_needs_is_told_to_within_a_tenth(method: Method, together: Together):
    (told, taken), (also_told, also_taken) = together.told(f"plan {method}")
    assert told == also_told == pytest.approx(max(taken, also_taken), rel=0.1)


def test_who_runs_out_of_memory_says_so(together: Together):
    said = (together.folder / "said.txt").read_text()
    assert said == "A device ran out of memory with 40 tokens at a time."


@pytest.mark.parametrize("case", CASES)
def test_each_worker_holds_half_of_the_weights(case: str, together: Together):
    whole = num_bytes(make(case)[0])
    held = [told["bytes"] for told in together.told(case)]
    assert sum(held) == whole and max(held) == pytest.approx(whole / 2, rel=0.02)


class Tunings:
    """Tunings of a toy by a worker, alone or with another, each in a folder of its own."""

    def __init__(self, base: Path, folder: Path, workers: Workers = ALONE):
        self.base, self.folder, self.workers = base, folder, workers

    def run(self, name: str, method: Method, after: str = "", **changes: Any) -> bool:
        """`after` names the tuning from whose newest checkpoint it goes on."""
        newest = Checkpoints(self.folder / after / "checkpoints").newest() if after else None
        tuning = make_tuning(self.base, made(self.folder / name))
        tuning = few(by(tuning, method, workers=self.workers, sharding="always", **changes))
        tuning = replace(tuning, num_samples=1, sample_tokens=3)
        return tune(replace(tuning, resume_from=newest))

    def stopped(self, name: str, method: Method) -> None:
        assert not self.run(name, method, should_stop=stop_before(7))  # in the second epoch
        self.workers.wait()  # until the first has written the checkpoint


def tune_with_another(base: Path, folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    steady_adam(pytest.MonkeyPatch())
    workers = join(folder / "store", rank, 2, "cpu")
    tunings = Tunings(base, folder, workers)
    for method in METHODS:
        assert tunings.run(f"{method} whole", method)
        tunings.stopped(f"{method} cut", method)
        assert tunings.run(f"{method} resumed", method, after=f"{method} cut")
        assert tunings.run(f"{method} begun alone", method, after=f"{method} cut alone")
    gc.collect()
    assert not any(issubclass(type(one), FSDPModule) for one in gc.get_objects()), "nothing stays"
    leave(workers)
    os._exit(0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tunings: by one worker, by two, and begun by the ones for the others."""
    folder = tmp_path_factory.mktemp("tuned")
    base = save_tiny_decoder(made(folder / "base"))
    alone = Tunings(base, folder)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        steady_adam(patch)
        for method in METHODS:
            assert alone.run(f"{method} alone", method)
            alone.stopped(f"{method} cut alone", method)
        at_once(tune_with_another, [(base, folder, 0), (base, folder, 1)])
        for method in METHODS:
            assert alone.run(f"{method} begun together", method, after=f"{method} cut")
    return folder


def difference(one: Path, other: Path) -> float:
    """Between the weights of two models: the largest."""
    expected, found = saved(one), saved(other)
    kinds = [{name: one.dtype for name, one in model.items()} for model in (expected, found)]
    assert kinds[0] == kinds[1]
    largest = [(found[name] - tensor).abs().max() for name, tensor in expected.items()]
    return float(torch.stack(largest).max())  # NaN where one is


@pytest.mark.parametrize("how", ["whole", "begun alone", "begun together"])
@pytest.mark.parametrize("method", METHODS)
def test_a_tuning_ends_with_the_model_of_one_worker(tuned: Path, method: Method, how: str):
    """Also one that went on with another number of workers than it began with."""
    assert difference(tuned / f"{method} alone", tuned / f"{method} {how}") <= 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_tuning_ends_as_an_unbroken_one(tuned: Path, method: Method):
    assert difference(tuned / f"{method} whole", tuned / f"{method} resumed") == 0


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_is_as_ever(tuned: Path, method: Method):
    alone, whole = tuned / f"{method} alone" / "model", tuned / f"{method} whole" / "model"
    assert {file.name for file in alone.iterdir()} == {file.name for file in whole.iterdir()}
    name = "config.json" if method == "full" else "adapter_config.json"
    one, other = (json.loads((folder / name).read_text()) for folder in (alone, whole))
    for config in (one, other):
        config.pop("target_modules", None)  # in any order
    assert one == other
    tuning = replace(make_tuning(tuned / "base", whole.parent), method=method)
    assert sum(measure_tuned(tuning).losses) == pytest.approx(
        sum(measure_tuned(replace(tuning, folder=alone.parent)).losses), rel=1e-3
    )
