"""What the bench of language models reckons with, and that its sides are given the same."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from labkit.train.chat import Seen
from labkit.train.decoder import ALL_LINEAR, Method, add_adapters
from labkit.train.language_loss import LanguageLoss, LossSettings
from labkit.train.loop import LoopSettings
from tests.bench.llm import require_alike
from tests.bench.llm_contenders import PaddedLoss, padded
from tests.bench.llm_jobs import documented, random_rows
from tests.bench.llm_meter import Job, Meter, Outcome
from tests.unit.tiny_decoder import tiny_decoder
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]

VOCABULARY = 260
SETTINGS = LossSettings(batch_size=4, row_tokens=64)


def uneven() -> list[Seen]:
    """Of 9 to 40 tokens, the second half of each learnt."""
    rows = random_rows(4, 40, VOCABULARY, seed=0)
    lengths = (9, 40, 21, 33)
    short = [replace(seen, max_tokens=n) for seen, n in zip(rows, lengths, strict=True)]
    for seen in short:
        seen.learnt_T[: seen.max_tokens // 2] = False
    return short


@pytest.mark.parametrize("method", ["full", "lora"])
def test_padded_and_packed_learn_the_same(method: Method):
    losses, gradients = [], []
    for kind in (LanguageLoss, PaddedLoss):
        model = tiny_decoder()
        if method == "lora":
            torch.manual_seed(0)
            add_adapters(model, 4, ALL_LINEAR)
        losses.append(float(kind(model, uneven(), SETTINGS).backward(np.arange(4))))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_padding_is_on_the_right_and_is_not_learnt():
    short, long = uneven()[:2]
    given = padded([short, long])
    assert given["input_ids"].shape == (2, 40)
    assert given["attention_mask"].sum(dim=1).tolist() == [9, 40]
    assert (given["labels"][0, 9:] == -100).all()
    assert (given["labels"] != -100).sum() == short.num_learnt + long.num_learnt


def test_the_meter_counts_what_goes_through_the_decoder():
    model, examples = tiny_decoder(), uneven()
    loop = LoopSettings(num_epochs=1, batch_size=4, learning_rate=1e-3, head_learning_rate=1e-3)
    job = Job(
        build=tiny_decoder, method="full", examples=examples, held_out=examples, max_tokens=64,
        row_tokens=64, loop=loop, num_warm_up=1,
    )  # fmt: skip
    with Meter(job, model.get_decoder()) as meter:
        for size in (2, 3):
            model(**padded(examples[:size]))
    assert meter.passes == [80, 120] and meter.tokens == 120
    assert meter.padding == pytest.approx(200 / (9 + 40 + 21 + 33))
    assert meter.wall_s > 0 and meter.processor_s > 0


def outcome(loss: float, first_loss: float = 8.0) -> Outcome:
    return Outcome(
        tokens_per_second=1.0, tokens_per_core_second=1.0, padding=1.0, first_loss=first_loss,
        loss=loss, flop_per_token=1.0, peak_bytes=0, planned_bytes=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (outcome(8.0), "other has not learnt"),
        (outcome(7.0), "other has learnt too little"),
        (outcome(6.0, first_loss=7.0), "other weights"),
    ],
)
def test_who_is_fast_by_learning_less_is_found_out(other: Outcome, said: str):
    require_alike({"labkit": outcome(6.0), "other": outcome(6.1)})
    with pytest.raises(AssertionError, match=said):
        require_alike({"labkit": outcome(6.0), "other": other})


def test_a_function_is_asked_for_by_its_docstring():
    source = 'def a():\n    """What a is."""\n    return 1\n\n\ndef b():\n    return 2\n'
    assert [*documented(source)] == [("What a is.", source[: source.index("\n\n\ndef b")])]


def test_random_rows_have_frequent_and_rare_tokens():
    rows = random_rows(8, 500, 1000, seed=0)
    counts = np.bincount(np.concatenate([seen.ids_T for seen in rows]), minlength=1000)
    assert counts[0] > 5 * counts[20] > 0 and (counts[500:] > 0).any()
    assert all(seen.num_learnt == 499 for seen in rows)


def test_a_gpu_needs_nothing_but_torch_transformers_and_peft():
    heavy = "ray trl datasets polars pydantic sklearn pandas".split()
    check = f"import tests.bench.llm, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
