"""How a step is fitted into the memory there is, and what happens where there is too little."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.errors import LabkitError
from labkit.train.chat import Seen
from labkit.train.decoder import add_adapters
from labkit.train.language_loss import LanguageLoss, LossSettings
from labkit.train.peak import Allocated
from labkit.train.plan import Needs, Plan, first_that_fits, ladder, why_shard
from labkit.train.workers import join, leave
from labkit.units import format_memory
from tests.unit.tiny_decoder import tiny_decoder
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME, at_once

pytestmark = [pytest.mark.usefixtures("one_thread"), PEFT_ASKS_BY_AN_OLDER_NAME]


def small_llama(num_words: int = 1000) -> Any:
    """Large enough that what a row keeps outweighs all else."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=num_words,
        )
    )  # fmt: skip


def example(tokens: int, seed: int = 0) -> Seen:
    ids_T = np.random.default_rng(seed).integers(256, size=tokens).astype(np.int32)
    return Seen(
        row=1, text="", learnt_spans=[], ids_T=ids_T, learnt_T=np.ones(tokens, dtype=np.bool_),
        cut_at=0, max_tokens=tokens,
    )  # fmt: skip


def test_the_ladder_goes_from_whole_rows_down_to_one_example_with_all_computed_twice():
    plans = ladder(8192, longest=700)
    assert plans[0] == Plan(row_tokens=8192) and plans[-1] == Plan(
        row_tokens=700, recompute_every=1
    )
    assert [plan.row_tokens for plan in plans] == sorted(
        (plan.row_tokens for plan in plans), reverse=True
    )
    busy = [plan.row_tokens for plan in plans if plan.recompute_every == 0]
    assert busy == [8192, 4096, 2048], "a device is kept busy before a block is computed twice"
    assert [plan.recompute_every for plan in plans if plan.row_tokens == 2048] == [0, 4, 2, 1]
    assert [str(plan) for plan in plans[2:5]] == [
        "2,048 tokens at a time",
        "2,048 tokens at a time, every fourth block computed twice",
        "2,048 tokens at a time, every second block computed twice",
    ]


@pytest.mark.parametrize(
    ("method", "num_words", "every"),
    [("full", 16_000, 0), ("full", 1000, 2), ("lora", 1000, 0), ("lora", 16_000, 1)],
)
def test_what_a_plan_needs_is_told_to_within_a_tenth(method: str, num_words: int, every: int):
    model = small_llama(num_words)
    if method == "lora":
        add_adapters(model, 8, "all-linear")
    plan = Plan(row_tokens=768, recompute_every=every)
    told = Needs(model, longest=768, dtype=torch.float32).of(plan)
    trained = [p for p in model.parameters() if p.requires_grad]
    settings = LossSettings(batch_size=2, row_tokens=768)
    objective = LanguageLoss(model, [example(768), example(768)], settings, plans=[plan])
    optimizer = torch.optim.AdamW(trained, fused=True)
    with Allocated() as counted:
        for _ in range(2):  # the second step finds the moments, too
            objective.backward(np.arange(2))
            optimizer.step()
            optimizer.zero_grad()
    assert told == pytest.approx(counted.peak, rel=0.1)


def test_bytes_are_counted_while_tensors_live_and_views_are_none():
    given = torch.zeros(1000)
    with Allocated() as counted:
        made = torch.ones(1000)
        made.add_(1).view(10, 100).t()
        given.mul_(2)
        del made
        torch.ones(500)
    assert counted.peak == 4000 and counted.now == 0


def test_the_fastest_plan_that_has_room_is_taken_and_a_leaner_one_is_told_of():
    model = small_llama()
    needs = Needs(model, longest=512, dtype=torch.float32)
    plans = ladder(4096, longest=512)
    asked = [needs.of(plan) for plan in plans]
    assert asked == sorted(asked, reverse=True)
    assert first_that_fits(plans, needs, 2 * asked[0]) == (0, "")
    number, why = first_that_fits(plans, needs, asked[0])  # not all of it is given away
    assert number == 1 and str(plans[0]) in why and str(plans[1]) in why
    number, why = first_that_fits(plans, needs, asked[-1] // 2)
    assert plans[number] == plans[-1] and "may not fit" in why


def test_a_model_is_shared_out_where_it_leaves_too_little_room_for_rows():
    model = small_llama()
    taken = 16 * sum(p.numel() for p in model.parameters())  # weight, gradient and two moments
    assert why_shard("auto", model, 2, 2 * taken) == ""
    assert why_shard("auto", model, 1, taken // 2) == why_shard("always", model, 1, taken) == ""
    assert why_shard("never", model, 2, taken // 2) == ""
    why = why_shard("auto", model, 4, taken)
    assert f"take {format_memory(taken)}, and {format_memory(taken)} are free on a worker" in why
    assert f"the 4 workers share them out, {format_memory(taken // 4)} each" in why
    assert "as the settings say" in why_shard("always", model, 2, 2 * taken)
    add_adapters(model, 8, "all-linear")  # of a frozen weight there are neither
    assert why_shard("auto", model, 2, taken) == ""


class Full:
    """A device that runs out of memory with more than so many tokens at a time."""

    def __init__(self, model: Any, room_tokens: int):
        self.room_tokens = room_tokens
        self.asked: list[int] = []
        model.get_decoder().register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        tokens = kwargs["input_ids"].shape[1]
        self.asked.append(tokens)
        if tokens > self.room_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")


PLANS = [Plan(row_tokens=120), Plan(row_tokens=60), Plan(row_tokens=30, recompute_every=1)]
EXAMPLES = [example(30, seed) for seed in range(4)]
SETTINGS = LossSettings(batch_size=4, row_tokens=120)
BATCH = np.arange(4)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_device_that_runs_out_of_memory_gets_less_at_a_time_and_learns_the_same():
    model = tiny_decoder("llama")
    loss = LanguageLoss(model, EXAMPLES, SETTINGS).backward(BATCH)
    wanted = gradients(model)
    model.zero_grad()
    device, said = Full(model, room_tokens=30), list[str]()
    objective = LanguageLoss(model, EXAMPLES, SETTINGS, plans=PLANS, say=said.append)
    model.train()
    torch.testing.assert_close(objective.backward(BATCH), loss)
    torch.testing.assert_close(gradients(model), wanted)
    assert [sentence.count("ran out of memory") for sentence in said] == [1, 1]
    device.asked.clear()
    model.zero_grad()
    objective.backward(BATCH)
    assert set(device.asked) == {30}, "it remembers"


def test_a_device_that_is_too_small_for_the_leanest_plan_is_told_in_words():
    model = tiny_decoder("llama")
    Full(model, room_tokens=10)
    objective = LanguageLoss(model, EXAMPLES, SETTINGS, plans=PLANS)
    with pytest.raises(LabkitError, match="too little memory.*lower max_tokens"):
        objective.backward(BATCH)


def one_of_two(folder: Path, rank: int) -> None:
    workers = join(folder / "store", rank, 2, "cpu")
    model = tiny_decoder("llama")
    device = Full(model, room_tokens=30 if rank else 1000)
    LanguageLoss(model, EXAMPLES, SETTINGS, workers, plans=PLANS).backward(BATCH)
    torch.save((device.asked, gradients(model)), folder / f"of-{rank}.pt")
    leave(workers)


def test_where_one_worker_runs_out_of_memory_all_take_less_together(tmp_path: Path):
    model = tiny_decoder("llama")
    LanguageLoss(model, EXAMPLES, SETTINGS).backward(BATCH)
    at_once(one_of_two, [(tmp_path, 0), (tmp_path, 1)])
    for rank in (0, 1):
        asked, found = torch.load(tmp_path / f"of-{rank}.pt")
        assert asked == [60, 60, 30, 30], "each has two of the four examples"
        torch.testing.assert_close(found, gradients(model))
