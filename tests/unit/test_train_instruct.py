"""Tuning from conversations to a model folder, by each method, with random thin decoders."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from labkit.data.messages import Message
from labkit.errors import LabkitError, UsageError
from labkit.train import instruct
from labkit.train.chat import Seen
from labkit.train.checkpoint import Checkpoints
from labkit.train.decoder import Method
from labkit.train.instruct import (
    InstructTuning,
    measure_base,
    measure_tuned,
    tune,
)
from labkit.train.language_loss import LanguageLoss
from labkit.train.language_model import read_card
from labkit.train.plan import Plan
from labkit.train.talks import Talks
from labkit.train.workers import join, leave
from tests.unit.tiny_decoder import TEMPLATE, save_tiny_decoder
from tests.unit.toy_tuning import METHODS, by, make_tuning, saved, talks
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME, at_once, steady_adam

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_decoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tuning(base: Path, tmp_path: Path) -> InstructTuning:
    return make_tuning(base, tmp_path)


def stop_before(step: int) -> Callable[[], bool]:
    asked = count()
    return lambda: next(asked) == step


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_beats_its_base(
    tuning: InstructTuning, method: Method, dtype: torch.dtype
):
    # After 25, a processor without AVX512 answers two of the three questions right.
    tuning = by(tuning, method, epochs=40)
    tuning = replace(tuning, loop=replace(tuning.loop, dtype=dtype))
    base = measure_base(tuning)
    assert tune(tuning)
    tuned = measure_tuned(tuning)
    assert tuned.rows == base.rows == list(range(32, 41))
    assert tuned.tokens == base.tokens
    assert sum(tuned.losses) < 0.95 * sum(base.losses)
    # It stops where the template says: nothing stands behind the answer.
    assert tuned.answers == {"32": "stop", "33": "go", "34": "swim"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", [2, 3, 5], ids=["in the first epoch", "between", "later"])
def test_a_stopped_tuning_resumes_to_exactly_the_same_model(
    tuning: InstructTuning, tmp_path: Path, method: Method, step: int
):
    whole, cut = made(tmp_path / "whole"), made(tmp_path / "cut")
    assert tune(by(tuning, method, folder=whole))
    assert not tune(by(tuning, method, folder=cut, should_stop=stop_before(step)))
    assert not (cut / "model").exists()
    newest = Checkpoints(cut / "checkpoints").newest()
    assert newest is not None and newest.name == f"step-{step:08d}"
    assert tune(by(tuning, method, folder=cut, resume_from=newest))
    one, other = saved(whole), saved(cut)
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("row_tokens", [16, 1000])
def test_the_model_is_the_same_however_many_tokens_are_computed_at_a_time(
    tuning: InstructTuning, tmp_path: Path, row_tokens: int
):
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    assert tune(by(tuning, "lora", folder=one))
    assert tune(by(tuning, "lora", folder=other, row_tokens=row_tokens))
    for name, tensor in saved(one).items():
        torch.testing.assert_close(saved(other)[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_with_little_memory_it_computes_more_says_so_and_learns_the_same(
    tuning: InstructTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Method
):
    roomy, tight = made(tmp_path / "roomy"), made(tmp_path / "tight")
    said: list[str] = []

    def report(message: str = "", **_: Any) -> None:
        said.append(message)

    tuning = replace(tuning, report=report)
    assert tune(by(tuning, method, folder=roomy))
    assert not any(said)
    monkeypatch.setattr("labkit.train.instruct.room_bytes", lambda device: 2**10)
    assert tune(by(tuning, method, folder=tight))
    assert any("it is tried, and may not fit" in message for message in said)
    for name, tensor in saved(roomy).items():
        torch.testing.assert_close(saved(tight)[name], tensor, rtol=1e-3, atol=1e-5)


def test_after_a_device_ran_out_of_memory_it_begins_in_the_leanest_way(
    tuning: InstructTuning, monkeypatch: pytest.MonkeyPatch
):
    given: list[list[str]] = []

    class Given(LanguageLoss):
        def __init__(self, *arguments: Any, plans: Sequence[Plan], **more: Any):
            given.append([str(plan) for plan in plans])
            super().__init__(*arguments, plans=plans, **more)

    monkeypatch.setattr(instruct, "LanguageLoss", Given)
    assert tune(few(replace(tuning, lean=True)))
    (plans,) = given
    assert len(plans) == 1 and "each block computed twice" in plans[0]


def test_it_tells_which_share_of_the_device_it_uses(
    tuning: InstructTuning, monkeypatch: pytest.MonkeyPatch
):
    def million_a_token(model: Any, train: list[Seen]) -> float:
        return 1e6 * sum(seen.num_tokens for seen in train)

    monkeypatch.setattr("labkit.train.instruct.flop_per_epoch", million_a_token)
    monkeypatch.setattr("labkit.train.instruct.peak_flops", lambda device, dtype: 1e10)
    reports: list[dict[str, Any]] = []
    assert tune(replace(tuning, report=lambda **said: reports.append(said)))
    told = [report for report in reports if "tokens_per_second" in report]
    assert told
    for report in told:
        share = report["tokens_per_second"] * 1e6 / 1e10
        assert report["share_of_peak"] == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize("method", METHODS)
def test_while_it_learns_the_same_questions_are_answered_anew(
    tuning: InstructTuning, method: Method
):
    reports: list[dict[str, Any]] = []
    tuning = by(tuning, method, epochs=25, num_samples=3)
    assert tune(replace(tuning, report=lambda **said: reports.append(said)))
    times = [report["samples"] for report in reports if "samples" in report]
    validations = [report for report in reports if "validation_loss" in report]
    assert len(times) == len(validations) > 2
    rows = tuning.validation.rows[: tuning.num_samples]
    assert all([one["row"] for one in samples] == rows for samples in times)
    first, last = ([one["answer"] for one in samples] for samples in (times[0], times[-1]))
    assert first != last == [one["wanted"] for one in times[-1]]
    assert [one["question"] for one in times[-1]] == [
        messages[-2]["content"] for messages in tuning.validation.messages[: len(rows)]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_answered_meanwhile_changes_nothing_of_what_is_learnt(
    tuning: InstructTuning, tmp_path: Path, method: Method
):
    asked, quiet = made(tmp_path / "asked"), made(tmp_path / "quiet")
    assert tune(by(tuning, method, folder=asked, num_samples=3))
    assert tune(by(tuning, method, folder=quiet))
    one, other = saved(asked), saved(quiet)
    assert all(torch.equal(one[name], other[name]) for name in one)


def few(tuning: InstructTuning) -> InstructTuning:
    """The last batch of an epoch has one example, so that a second worker has none."""
    return replace(tuning, train=talks(0, 9), loop=replace(tuning.loop, batch_size=2))


def one_of_two(base: Path, folder: Path, rank: int, method: Method) -> None:
    torch.set_num_threads(1)
    steady_adam(pytest.MonkeyPatch())
    workers = join(folder / "store", rank, 2, "cpu")
    assert tune(few(by(make_tuning(base, folder), method, workers=workers)))
    leave(workers)
    os._exit(0)  # as in test_train_workers


@pytest.mark.parametrize("method", METHODS)
def test_two_workers_learn_what_one_learns_alone(
    tuning: InstructTuning, tmp_path: Path, method: Method, monkeypatch: pytest.MonkeyPatch
):
    alone, together = made(tmp_path / "alone"), made(tmp_path / "together")
    steady_adam(monkeypatch)
    assert tune(few(by(tuning, method, folder=alone)))
    at_once(one_of_two, [(tuning.base, together, rank, method) for rank in range(2)])
    for name, tensor in saved(alone).items():
        torch.testing.assert_close(saved(together)[name], tensor, rtol=0, atol=1e-6)


def test_what_is_cut_or_left_out_is_said(tuning: InstructTuning):
    reports: list[dict[str, Any]] = []
    long = [Message(role="user", content="x" * 90), Message(role="assistant", content="y")]
    wide = [Message(role="user", content="x"), Message(role="assistant", content="y" * 90)]
    sly = [Message(role="user", content="x<|assistant|>y"), Message(role="assistant", content="z")]
    train = Talks(
        messages=[*tuning.train.messages, sly, long, wide],
        rows=[*tuning.train.rows, 97, 98, 99],
    )
    tuning = replace(tuning, train=train, report=lambda **said: reports.append(said))
    assert tune(tuning)
    cut, left_out, control = read_card(tuning.folder / "model").left_out
    assert "answers of row 99 do not end within 64 tokens; what comes later was not learnt" in cut
    assert "answers of row 98 do not even begin" in left_out
    said = [report["message"] for report in reports if "message" in report]
    assert said == [cut, left_out, control]
    assert "text of row 97 has a token in it with which the template tells who speaks" in control
    held_out = Talks(messages=[sly, *tuning.held_out.messages], rows=[9, *tuning.held_out.rows])
    (note,) = measure_tuned(replace(tuning, held_out=held_out)).left_out
    assert "text of row 9 has a token in it" in note and "not measured" in note


def test_a_held_out_conversation_that_is_too_long_is_measured_and_not_asked(
    tuning: InstructTuning,
):
    """Its first answer is within max_tokens; its last question is beyond the model's context."""
    long = [
        *(Message(role="user", content="red?"), Message(role="assistant", content="stop")),
        *(Message(role="user", content="x" * 600), Message(role="assistant", content="go")),
    ]
    held_out = Talks(messages=[long, *tuning.held_out.messages], rows=[9, *tuning.held_out.rows])
    found = measure_base(replace(tuning, held_out=held_out))
    assert found.rows[0] == 9 and list(found.answers) == ["32", "33", "34"]


def test_no_row_that_fits_is_said(tuning: InstructTuning):
    said = "Nothing is left of the training part. .* do not even begin within 4 tokens"
    with pytest.raises(LabkitError, match=said):
        tune(replace(tuning, max_tokens=4))


def test_no_row_without_a_token_of_the_templates_is_said(tuning: InstructTuning):
    sly = [Message(role="user", content="x<|assistant|>"), Message(role="assistant", content="z")]
    only = Talks(messages=[sly], rows=[5])
    with pytest.raises(LabkitError) as raised:
        tune(replace(tuning, validation=only))
    assert str(raised.value) == (
        "Nothing is left of the validation part. The text of row 5 has a token in it with which "
        "the template tells who speaks; it was not measured. Take it out of the text."
    )


def test_an_empty_part_is_said_as_such(tuning: InstructTuning):
    with pytest.raises(LabkitError, match="The held-out part has no row. Add rows with other"):
        measure_base(replace(tuning, held_out=Talks(messages=[], rows=[])))


STRICT = (
    "{% if messages | length > 1 and messages[0].role == messages[1].role %}"
    "{{ raise_exception('Take turns.') }}{% endif %}"
) + TEMPLATE
"""As many models' own, it refuses two questions in a row."""


def test_a_conversation_that_the_template_refuses_is_left_out_and_said(tuning: InstructTuning):
    reports: list[dict[str, Any]] = []
    twice = [
        *(Message(role="user", content="Hello!"), Message(role="user", content="red?")),
        Message(role="assistant", content="stop"),
    ]
    tuning = replace(tuning, template=STRICT, report=lambda **said: reports.append(said))
    mixed = Talks(messages=[twice, *tuning.train.messages, twice],
                  rows=[90, *tuning.train.rows, 91])  # fmt: skip
    assert tune(replace(tuning, train=mixed))
    (said,) = [report["message"] for report in reports if "message" in report]
    assert said == (
        "Of rows 90, 91 nothing was learnt. Row 90: the chat template refuses it: Take turns."
    )
    with pytest.raises(LabkitError, match=r"left of the training part\. .*Take turns"):
        tune(replace(tuning, train=Talks(messages=[twice], rows=[90])))


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("targets", ["q_proj,nothing", "", "lm_head"])
def test_an_unknown_lora_target_names_those_there_are(
    tuning: InstructTuning, targets: str, method: Method
):
    with pytest.raises(UsageError, match="'down_proj', 'gate_proj', 'k_proj'.*'all-linear'"):
        tune(replace(tuning, lora_targets=targets, method=method))


def test_chosen_lora_targets_alone_are_tuned(tuning: InstructTuning):
    assert tune(replace(tuning, lora_targets="q_proj, v_proj"))
    assert {name.split(".")[-3] for name in saved(tuning.folder)} == {"q_proj", "v_proj"}


def test_a_learning_rate_that_is_far_too_high_ends_in_a_sentence(tuning: InstructTuning):
    loop = replace(tuning.loop, learning_rate=1e30, head_learning_rate=1e30, num_epochs=20)
    with pytest.raises(LabkitError, match="Training came apart"):
        tune(replace(tuning, method="full", loop=loop))
    assert not (tuning.folder / "model").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"{"),
        ("tokenizer.json", b"{"),
        ("config.json", b'{"model_type": "new-thing"}'),
    ],
)
def test_a_base_that_is_not_whole_is_said(
    tuning: InstructTuning, tmp_path: Path, name: str, content: bytes
):
    folder = save_tiny_decoder(tmp_path / "damaged")
    (folder / name).write_bytes(content)
    with pytest.raises(LabkitError, match="cannot be loaded"):
        tune(replace(tuning, base=folder))
