from pathlib import Path
from typing import Any

import pytest

from labkit.models.catalogue import BaseEntry
from labkit.runs.card import card
from labkit.runs.spec import spec_from_flat

SCORES = {"accuracy": {"value": 0.81, "low": 0.7, "high": 0.9},
          "macro_f1": {"value": 0.6, "low": 0.5, "high": 0.7}}  # fmt: skip
EVALUATION = {
    "num_rows": 86,
    "verdict": "Better than the instant answer on the held-out rows.",
    "tuned": SCORES,
    "baselines": {"the instant answer": SCORES},
}
DATA = {"file": "pets.csv", "sha256": "ab12", "labels": {"c": 30, "d": 30},
        "rows": {"train": 44, "validation": 7, "held_out": 9}}  # fmt: skip


def make_card(**changes: Any) -> str:
    flat = {"recipe": "text-classification", "base": "thin", "data": "/d/pets.csv", "epochs": 3}
    given: dict[str, Any] = {
        "name": "pets",
        "spec": spec_from_flat(flat | changes.pop("spec", {}), source="test"),
        "base": BaseEntry(name="thin", path=Path("/w"), family="bert", num_parameters=22_700_000,
                          hidden_size=8, num_layers=2, max_tokens=512, licence="Apache-2.0",
                          weights_sha256="cd34"),
        "data": DATA,
        "evaluation": EVALUATION,
        "versions": {"labkit": "0.1.0"},
        "device": "AMD EPYC, 2 threads",
        "finished": "2026-01-01",
    }  # fmt: skip
    return card(**given | changes)


@pytest.mark.parametrize(
    "fact",
    [
        "# pets",
        "**Better than the instant answer on the held-out rows.**",
        "| **tuned** | 81.0% (70.0% to 90.0%) | 60.0% (50.0% to 70.0%) |",
        "86 rows",
        "22.7 million parameters, licence Apache-2.0",
        "SHA-256 `cd34`",
        "Data: pets.csv, SHA-256 `ab12`",
        "44 to learn from, 7 to choose settings, 9 held out; 2 labels",
        "epochs = 3",
        "labkit 0.1.0",
    ],
)
def test_a_card_says_what_the_model_is_made_of_and_how_good_it_is(fact):
    assert fact in make_card()


def test_a_test_file_is_named_where_there_is_one():
    assert "Test data" not in make_card()
    with_test = {**DATA, "test_file": "t.csv", "test_sha256": "ef56"}
    assert "Test data: t.csv, SHA-256 `ef56`" in make_card(data=with_test)


def test_names_of_a_persons_are_shown_as_they_are():
    hostile = "a`*b*`<script>[x](y)"
    made = make_card(name=hostile, data={**DATA, "file": "a\n## Fake <b>"})
    assert r"# a\`\*b\*\`\<script\>\[x\]\(y\)" in made
    assert "\n## Fake" not in made and "<b>" not in made.replace("\\<b\\>", "")


def test_no_setting_ends_the_block_of_settings():
    made = make_card(spec={"text": "```\n# Fake"})
    assert made.count("````") == 2
