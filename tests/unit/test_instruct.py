"""The recipe's own decisions: the parts, the template, the estimate, and what is refused."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from labkit.data.conversations import ConversationParts
from labkit.errors import UsageError
from labkit.evaluation.language import compare_losses
from labkit.models.catalogue import BaseEntry
from labkit.models.chat_templates import TEMPLATES, own_template
from labkit.recipes._instruct_result import foretold
from labkit.recipes.base import Machine, Prepared, Task
from labkit.recipes.instruct import RECIPE, Config
from labkit.runs.card import card
from labkit.runs.spec import read_spec, spec_from_flat

MACHINE = Machine(torch_device="cpu", number_bytes=4, num_cpus=2, flops=5e10)
SUMMARY = {"rows": {"train": 400, "validation": 50, "held_out": 80}, "mean_bytes": 400.0}
Write = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path) -> BaseEntry:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return BaseEntry(name="small", path=folder, family="llama", num_parameters=10**9,
                     hidden_size=2048, num_layers=16, max_tokens=8192)  # fmt: skip


@pytest.fixture
def questions(write_csv: Write) -> Path:
    rows = [(f"What is {n}?", f"It is {n}.") for n in range(60)]
    return write_csv("qa.csv", rows, "question,answer")


def task(base: BaseEntry, data: Path, test: Path | None = None, **settings: Any) -> Task:
    return Task(config=Config(**settings), base=base, data=data, test=test, seed=0)


def prepare(base: BaseEntry, data: Path, test: Path | None = None, **settings: Any) -> Prepared:
    return RECIPE.prepare(task(base, data, test, **settings))


def saved(prepared: Prepared, folder: Path) -> ConversationParts:
    folder.mkdir()
    prepared.save(folder)
    return ConversationParts.load(folder)


def test_a_table_is_cut_into_three_parts(base: BaseEntry, questions: Path, tmp_path: Path):
    prepared = prepare(base, questions)
    assert prepared.usable and not prepared.findings
    parts = saved(prepared, tmp_path / "data")
    prompts = [*parts.train.prompts, *parts.validation.prompts, *parts.held_out.prompts]
    assert len(prompts) == len(set(prompts)) == 60
    assert prepared.summary["rows"] == {name: len(part) for name, part in vars(parts).items()}
    assert all(prepared.summary["rows"].values())


def test_equal_questions_are_in_one_part(base: BaseEntry, write_csv: Write, tmp_path: Path):
    rows = [(f"What is {n % 20}?", f"It is {n}.") for n in range(60)]
    parts = saved(prepare(base, write_csv("qa.csv", rows, "question,answer")), tmp_path / "data")
    train, held_out = set(parts.train.prompts), set(parts.held_out.prompts)
    assert train and held_out and not train & held_out


def test_a_row_stays_in_its_part_whatever_the_system_message_says(
    base: BaseEntry, questions: Path, tmp_path: Path
):
    def held_out(system: str) -> Sequence[int]:
        folder = tmp_path / f"said {system}"
        return saved(prepare(base, questions, system=system), folder).held_out.rows

    assert held_out("") == held_out("Answer in one sentence.") != []


def test_a_test_file_is_all_that_is_measured_on(
    base: BaseEntry, questions: Path, write_csv: Write, tmp_path: Path
):
    test = write_csv("test.csv", [("New?", "Yes."), ("Old?", "No.")], "question,answer")
    prepared = prepare(base, questions, test)
    parts = saved(prepared, tmp_path / "data")
    assert parts.held_out.prompts == ["New?", "Old?"]
    assert len(parts.train) + len(parts.validation) == 60
    assert prepared.summary["test_file"] == "test.csv"


def test_a_test_file_with_nothing_usable_forbids_the_run(
    base: BaseEntry, questions: Path, write_csv: Write
):
    test = write_csv("test.csv", [("New?", ""), ("", "No.")], "question,answer")
    assert not prepare(base, questions, test).usable


def test_the_models_own_template_is_kept_with_the_run(
    base: BaseEntry, questions: Path, tmp_path: Path
):
    prepare(base, questions).save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == "{{ messages }}"


def test_a_model_without_a_template_asks_for_one(base: BaseEntry, questions: Path, tmp_path: Path):
    (base.path / "chat_template.jinja").unlink()
    with pytest.raises(
        UsageError, match="'small' brings no chat template.*setting template.*plain"
    ):
        prepare(base, questions)
    prepare(base, questions, template="plain").save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == TEMPLATES["plain"]
    own = tmp_path / "mine.jinja"
    own.write_text("{{ 1 }}")
    prepare(base, questions, template=str(own)).save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == "{{ 1 }}"


def test_a_template_stands_beside_the_spec_that_names_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "project"
    place.mkdir()
    spec = place / "spec.toml"
    head = 'recipe = "instruct"\nbase = "b"\ndata = "d.csv"\n[settings]\ntemplate = '
    spec.write_text(head + '"mine.jinja"')
    (place / "mine.jinja").write_text("{{ messages }}")
    assert read_spec(spec).settings.template == str(place / "mine.jinja")  # type: ignore[attr-defined]
    (place / "plain").write_text("{{ messages }}")  # a name of ours is no file's
    spec.write_text(head + '"plain"')
    assert read_spec(spec).settings.template == "plain"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "no chat template '.*t.jinja'. Choose 'plain', or a file"),
     (b"\xff\xfe\xff", "not UTF-8"), (b"x" * (2**20 + 1), "too large")],
)  # fmt: skip
def test_a_template_that_cannot_be_read_is_said(
    base: BaseEntry, questions: Path, tmp_path: Path, content: bytes | None, sentence: str
):
    file = tmp_path / "t.jinja"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        prepare(base, questions, template=str(file))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"chat_template": "T"}, "T"),
        ({"chat_template": [{"name": "rag", "template": "R"},
                            {"name": "default", "template": "D"}]}, "D"),
        ({"chat_template": None}, None),
        ({}, None),
        ([], None),
        ("{", None),
    ],
)  # fmt: skip
def test_a_template_is_found_where_older_models_keep_it(tmp_path: Path, config: Any, found: Any):
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "tokenizer_config.json").write_text(text)
    assert own_template(tmp_path) == found


@pytest.mark.parametrize(
    ("header", "settings", "sentence"),
    [
        ("instruction,output", {},
         "no column 'question'.*looks like: question = 'instruction', answer = 'output'"),
        ("a,b", {}, "no column 'question'.*settings question and answer, or messages"),
        ("question,answer", {"answer": "question"}, "cannot both be column 'question'"),
        ("question,answer", {"messages": "talk"}, "no column 'talk' for the messages"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_said_with_those_that_look_like_it(
    base: BaseEntry, write_csv: Write, header: str, settings: dict[str, Any], sentence: str
):
    data = write_csv("qa.csv", [("x", "y")] * 30, header)
    with pytest.raises(UsageError, match=sentence):
        prepare(base, data, **settings)


def test_a_table_of_too_few_rows_forbids_the_run(base: BaseEntry, write_csv: Write):
    data = write_csv("qa.csv", [("What?", "That."), ("", "x")], "question,answer")
    prepared = prepare(base, data)
    assert not prepared.usable
    assert {finding.code for finding in prepared.findings} == {"blank-question", "too-few-rows"}


def test_few_different_questions_leave_a_part_empty_which_forbids_the_run(
    base: BaseEntry, write_csv: Write
):
    rows = [(f"What is {n % 2}?", f"It is {n}.") for n in range(60)]
    prepared = prepare(base, write_csv("qa.csv", rows, "question,answer"))
    assert not prepared.usable and not all(prepared.summary["rows"].values())
    (found,) = [finding for finding in prepared.findings if finding.code == "empty-part"]
    assert found.message.startswith("60 rows with 2 different questions: equal questions stay")
    assert found.fix is not None and found.fix.startswith("Add rows with other questions")


@pytest.mark.parametrize("rate", [0, 10, -1, "fast"])
def test_a_learning_rate_that_cannot_be_is_refused(rate: Any):
    given = {"recipe": "instruct", "base": "b", "data": "d.csv", "learning_rate": rate}
    with pytest.raises(UsageError, match="learning_rate: found .*; allowed is a number above 0"):
        spec_from_flat(given, source="test")


@pytest.mark.parametrize(
    ("less", "more"),
    [({"epochs": 2}, {"epochs": 9}), ({"method": "lora"}, {"method": "full"}),
     ({"max_tokens": 32}, {"max_tokens": 1024})],
)  # fmt: skip
def test_settings_that_ask_for_more_take_longer(
    base: BaseEntry, questions: Path, less: dict[str, Any], more: dict[str, Any]
):
    first, second = (
        RECIPE.estimate(task(base, questions, **given), SUMMARY, MACHINE) for given in (less, more)
    )
    assert first.duration_s < second.duration_s


def test_what_a_method_holds_in_memory_and_on_disk(base: BaseEntry, questions: Path):
    choices: list[dict[str, Any]] = [{"method": "lora"}, {"method": "full"}, {"merge": True}]
    lora, full, merged = (
        RECIPE.estimate(task(base, questions, **given), SUMMARY, MACHINE) for given in choices
    )
    # Weights, gradients, two moments and the best weights so far are each in float32.
    assert full.memory_bytes - lora.memory_bytes > 0.9 * 20 * base.num_parameters
    assert lora.disk_bytes < base.num_parameters < merged.disk_bytes < full.disk_bytes


def test_on_a_gpu_weights_that_are_not_trained_take_half(base: BaseEntry, questions: Path):
    gpu = Machine(torch_device="cuda", number_bytes=2, num_cpus=2, flops=5e13)
    asked = task(base, questions)
    here, there = (RECIPE.estimate(asked, SUMMARY, each) for each in (MACHINE, gpu))
    row = 34 * 1920 * base.hidden_size * base.num_layers  # of 16 talks of 100 tokens and 20
    assert here.memory_bytes - there.memory_bytes == 2 * (base.num_parameters + row)


@pytest.mark.parametrize(("num_parameters", "less"), [(10**9, 0.465e9), (10**10, 31.8e9)])
def test_what_is_held_in_4_bits_takes_little_more_than_that(
    base: BaseEntry, questions: Path, num_parameters: int, less: float
):
    """A quarter of a billion weights is of the vocabulary, which is kept whole."""
    config = {"vocab_size": 61_000, "tie_word_embeddings": False}
    (base.path / "config.json").write_text(json.dumps(config))
    base = base.model_copy(update={"num_parameters": num_parameters})
    choices: list[dict[str, Any]] = [
        {"method": "lora"}, {"method": "qlora"}, {"method": "qlora", "merge": True}
    ]  # fmt: skip
    lora, qlora, merged = (
        RECIPE.estimate(task(base, questions, **given), SUMMARY, MACHINE) for given in choices
    )
    assert lora.memory_bytes - qlora.memory_bytes == pytest.approx(less, rel=0.01)
    assert merged.memory_bytes - qlora.memory_bytes == 4 * num_parameters
    assert (lora.duration_s, lora.disk_bytes) == (qlora.duration_s, qlora.disk_bytes)


@pytest.mark.parametrize(
    ("lacking", "named"),
    [(["bitsandbytes"], "bitsandbytes must"), (["accelerate"], "accelerate must"),
     (["bitsandbytes", "accelerate"], "bitsandbytes and accelerate must")],
)  # fmt: skip
def test_4_bits_without_their_packages_are_refused_before_the_run(
    base: BaseEntry, questions: Path, lacking: list[str], named: str, monkeypatch: Any
):
    for package in lacking:
        monkeypatch.setitem(sys.modules, package, None)
    sentence = rf"'qlora' .* in 4 bits, for which {named} be installed .*labkit\[qlora\].*'lora'"
    with pytest.raises(UsageError, match=sentence):
        prepare(base, questions, method="qlora")
    assert prepare(base, questions, method="lora").usable


def test_4_bits_cannot_be_shared_out_which_is_said_before_the_run(base: BaseEntry, questions: Path):
    with pytest.raises(UsageError, match="in 4 bits, which is not shared out.*Leave sharding out"):
        prepare(base, questions, method="qlora", sharding="always")
    for method in ("lora", "full"):
        assert prepare(base, questions, method=method, sharding="always").usable


def test_a_row_of_several_examples_is_one_row_of_the_figures():
    """Templates that write earlier answers otherwise make an example of each answer."""
    pytest.importorskip("torch")
    from labkit.train.instruct import Measured

    measured = Measured(losses=[1.0, 2.0, 4.0], tokens=[1, 2, 3], rows=[9, 5, 9], answers={})
    found = foretold(measured)
    assert found.losses_N.tolist() == [2.0, 5.0] and found.tokens_N.tolist() == [2.0, 4.0]
    evaluation = compare_losses(found, {"the base model": found}, compared=[])
    assert (evaluation.num_rows, evaluation.num_tokens) == (2, 6)


def test_a_card_says_loss_and_perplexity_and_what_was_cut(base: BaseEntry):
    scores = {"loss": {"value": 1.25, "low": 1.0, "high": 1.5},
              "perplexity": {"value": 3.49, "low": 2.72, "high": 4.48}}  # fmt: skip
    made = card(
        name="qa",
        spec=spec_from_flat({"recipe": "instruct", "base": "b", "data": "/q.csv"}, source="test"),
        base=base,
        data={"file": "q.csv", "sha256": "ab", "rows": SUMMARY["rows"]},
        evaluation={"num_rows": 80, "verdict": "No better than the base model.", "tuned": scores,
                    "baselines": {"the base model": scores}, "notes": ["Row 3 is cut."]},
        versions={},
        device="CPU",
        finished="today",
    )  # fmt: skip
    assert "| model | loss | perplexity |\n|---|---|---|\n| **tuned** | 1.250 (1.000 to 1.5" in made
    assert "| the base model | 1.250 (1.000 to 1.500) | 3.49 (2.72 to 4.48) |" in made
    assert "Row 3 is cut." in made and "80 held out\n" in made
