"""The recipe's own decisions: settings it chooses, weights, the estimate, the parts."""

from pathlib import Path
from typing import Any

import pytest

from labkit.data.labelled import LabelledParts
from labkit.errors import DataError, UsageError
from labkit.models.catalogue import BaseEntry
from labkit.recipes.base import Machine, Prepared, Task
from labkit.recipes.text_classification import RECIPE, Config, choose, class_weights

BASE = BaseEntry(name="b", path=Path("/b"), family="bert", num_parameters=22_000_000,
                 hidden_size=384, num_layers=6, max_tokens=512)  # fmt: skip
MACHINE = Machine(torch_device="cpu", number_bytes=4, num_cpus=2, flops=5e10)
SUMMARY = {"rows": {"train": 400, "validation": 50, "held_out": 80}, "mean_bytes": 60.0}


def task(data: Path = Path("a.csv"), test: Path | None = None, **settings: Any) -> Task:
    return Task(config=Config(**settings), base=BASE, data=data, test=test, seed=0)


def prepare(data: Path, test: Path | None = None, **settings: Any) -> Prepared:
    return RECIPE.prepare(task(data, test, **settings))


@pytest.mark.parametrize(
    ("num_rows", "epochs", "batch_size"),
    [(50, 4, 16), (999, 4, 16), (1000, 4, 32), (4999, 4, 32), (5000, 3, 64)],
)
def test_small_tables_are_seen_more_often_in_smaller_steps(num_rows, epochs, batch_size):
    chosen = choose(Config(), num_rows)
    assert (chosen.epochs, chosen.batch_size) == (epochs, batch_size)


def test_a_part_of_the_encoder_is_trained_longer_than_the_whole():
    assert choose(Config(method="head"), 50).epochs > choose(Config(), 50).epochs


def test_what_a_person_chose_is_kept():
    chosen = choose(Config(epochs=5, batch_size=7, learning_rate=0.5), 50)
    assert (chosen.epochs, chosen.batch_size, chosen.learning_rate) == (5, 7, 0.5)


def test_fewer_trained_weights_take_larger_steps():
    rates = [choose(Config(method=m), 50).learning_rate for m in ("full", "lora", "head")]
    assert rates == sorted(rates) and len(set(rates)) == 3


def test_rare_labels_count_more_where_labels_are_uneven():
    counts = {"rare": 4, "often": 36}
    weights = class_weights(Config(), counts)
    assert weights is not None
    often, rare = weights  # in order of name
    assert rare / often == pytest.approx(3)  # the square root of 36 / 4
    assert (4 * rare + 36 * often) / 40 == pytest.approx(1)


@pytest.mark.parametrize(
    ("setting", "counts", "weighted"),
    [
        ("auto", {"a": 10, "b": 50}, False),
        ("auto", {"a": 10, "b": 51}, True),
        ("off", {"a": 1, "b": 99}, False),
        ("on", {"a": 10, "b": 10}, True),
    ],
)
def test_weights_are_used_where_they_are_asked_for_or_needed(setting, counts, weighted):
    assert (class_weights(Config(class_weights=setting), counts) is not None) == weighted


def grown(**changes: Any) -> Any:
    return RECIPE.estimate(task(epochs=3, batch_size=16), {**SUMMARY, **changes}, MACHINE)


def test_more_rows_and_longer_texts_take_longer():
    least = grown()
    more_rows = grown(rows={"train": 4000, "validation": 50, "held_out": 80})
    longer = grown(mean_bytes=240.0)
    assert more_rows.duration_s > least.duration_s
    assert longer.duration_s > least.duration_s
    assert longer.memory_bytes > least.memory_bytes


def test_texts_beyond_the_cut_cost_no_more():
    assert grown(mean_bytes=10_000.0) == grown(mean_bytes=100_000.0)


@pytest.mark.parametrize(
    ("batch_size", "max_tokens", "measured_gb"),
    [(16, 32, 0.81), (16, 128, 1.39), (16, 256, 2.52), (64, 128, 3.39)],
)
def test_long_texts_take_what_was_measured_and_not_much_more(batch_size, max_tokens, measured_gb):
    """The largest that a process held in steps of all of that model, on two cores."""
    long = {**SUMMARY, "mean_bytes": 10_000.0}
    asked = task(batch_size=batch_size, max_tokens=max_tokens)
    memory_gb = RECIPE.estimate(asked, long, MACHINE).memory_bytes / 2**30
    assert measured_gb < memory_gb < measured_gb + 0.9


@pytest.mark.parametrize(
    ("less", "more"), [({"epochs": 2}, {"epochs": 9}), ({"method": "head"}, {"method": "full"}),
                       ({"max_tokens": 8}, {"max_tokens": 128})]
)  # fmt: skip
def test_settings_that_ask_for_more_take_longer(less, more):
    first, second = (RECIPE.estimate(task(**given), SUMMARY, MACHINE) for given in (less, more))
    assert first.duration_s < second.duration_s


def test_a_faster_machine_and_fewer_trained_weights_take_less():
    fast = Machine(torch_device="cuda", number_bytes=2, num_cpus=2, flops=5e13)
    full, head = (RECIPE.estimate(task(method=m), SUMMARY, MACHINE) for m in ("full", "head"))
    assert RECIPE.estimate(task(), SUMMARY, fast).duration_s < full.duration_s
    assert head.memory_bytes < full.memory_bytes and head.disk_bytes < full.disk_bytes


def parts_of(prepared: Prepared, folder: Path) -> LabelledParts:
    prepared.save(folder)
    return LabelledParts.load(folder)


def test_a_table_is_cut_into_three_parts(pets, tmp_path):
    prepared = prepare(pets)
    assert prepared.usable and not prepared.findings
    parts = parts_of(prepared, tmp_path)
    texts = [*parts.train.texts, *parts.validation.texts, *parts.held_out.texts]
    assert len(texts) == len(set(texts)) == 60
    assert prepared.summary["rows"] == {
        "train": len(parts.train), "validation": len(parts.validation),
        "held_out": len(parts.held_out),
    }  # fmt: skip
    assert prepared.summary["labels"] == {"c": 30, "d": 30}
    assert prepared.summary["file"] == "pets.csv" and len(prepared.summary["sha256"]) == 64


def test_a_test_file_is_all_that_is_measured_on(pets, write_csv, tmp_path):
    test = write_csv("test.csv", [(f"unseen {n}", "cd"[n % 2]) for n in range(10)])
    prepared = prepare(pets, test)
    parts = parts_of(prepared, tmp_path)
    assert list(parts.held_out.texts) == [f"unseen {n}" for n in range(10)]
    assert len(parts.train) + len(parts.validation) == 60
    assert prepared.summary["test_file"] == "test.csv"


def test_texts_in_both_files_are_found(pets, write_csv):
    test = write_csv("test.csv", [("text 1 about cats", "c"), ("unseen", "d")])
    assert "text-in-both-files" in [finding.code for finding in prepare(pets, test).findings]


def test_labels_that_differ_by_case_are_merged_where_it_is_asked(write_csv):
    rows = [(f"text {n}", ["cat", "dog", "Cat ", "DOG"][n % 4 if n < 40 else n % 2])
            for n in range(80)]  # fmt: skip
    data = write_csv("spelt.csv", rows)
    apart, merged = prepare(data), prepare(data, merge_labels=True)
    assert set(apart.summary["labels"]) == {"cat", "dog", "Cat", "DOG"}
    assert "label-spelling" in [finding.code for finding in apart.findings]
    assert merged.summary["labels"] == {"cat": 40, "dog": 40}
    assert "label-spelling" not in [finding.code for finding in merged.findings]


def test_a_column_that_is_not_there_says_which_settings_choose_it(pets):
    with pytest.raises(UsageError, match="no column 'txt'.*Did you mean 'text'.*settings text and"):
        prepare(pets, text="txt")


def test_one_label_forbids_the_run(write_csv):
    prepared = prepare(write_csv("one.csv", [(f"text {n}", "same") for n in range(40)]))
    assert not prepared.usable


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"text,label\n", "has a header and no rows"),
        (bytes(range(256)) * 9, "full of control characters"),
        (b'text,label\n"open,cat\nb,dog\n', "a quote opens in row 2 and is not closed"),
    ],
)
def test_a_file_that_is_no_table_says_so(tmp_path, content, sentence):
    data = tmp_path / "a.csv"
    data.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        prepare(data)
