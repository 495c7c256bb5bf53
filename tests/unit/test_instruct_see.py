"""What the model would see of a row, before anything is tuned: from Python and the terminal."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from labkit.models.catalogue import BaseEntry, add_model, inspect_folder
from labkit.recipes.base import Task
from labkit.recipes.instruct import RECIPE, Config
from labkit.settings import Site

from .as_terminal import Labkit
from .tiny_decoder import TEMPLATE, save_tiny_decoder


@pytest.fixture
def toy(site: Site, tmp_path: Path) -> BaseEntry:
    entry = inspect_folder(save_tiny_decoder(tmp_path / "toy"), name="toy")
    add_model(site.catalogue, entry)
    return entry


@pytest.fixture
def questions(write_csv) -> Path:
    rows = [("Open?", "Till five."), ("", "nothing"), ("Where?", "Here. " * 9)]
    return write_csv("qa.csv", rows, "question,answer")


def test_a_row_is_shown_with_what_is_learnt_and_what_is_cut(toy: BaseEntry, questions: Path):
    config = Config(max_tokens=20, system="Hi.")
    task = Task(config=config, base=toy, data=questions, test=None, seed=0)
    (seen,) = RECIPE.see(task, [4])
    (look,) = seen.looks
    assert seen.note.startswith("The answers of row 4 do not end within 20 tokens")
    assert look.text.startswith("<|system|>Hi.<|user|>Where?<|assistant|>Here. Here.")
    assert [look.text[start:end] for start, end in look.learnt] == [("Here. " * 9)[:-1] + "<|end|>"]
    assert look.text[: look.cut_at] == "<|system|>Hi.<|user|>Where?<|assistant|>Here. He"
    assert (look.num_tokens, look.num_learnt, look.num_cut) == (12 + 53 + 1, 8, 46)


@pytest.fixture
def odd(toy: BaseEntry, write_csv) -> Path:
    """A template that takes short questions alone, and rows that cannot be learnt from."""
    (toy.path / "chat_template.jinja").write_text(
        "{% if messages[0].content | length > 9 %}{{ raise_exception('Too long.') }}{% endif %}"
        + TEMPLATE
    )
    rows = [("Open?", "Till five."), ("", "nothing"), ("<|user|>?", "a"), ("Far too long", "b")]
    return write_csv("qa.csv", rows, "question,answer")


def test_a_row_that_cannot_be_learnt_says_why(toy: BaseEntry, odd: Path):
    task = Task(config=Config(), base=toy, data=odd, test=None, seed=0)
    found = {one.row: one for one in RECIPE.see(task, [2, 3, 4, 5, 99])}
    assert [one.row for one in found.values() if one.looks] == [2, 4]
    assert found[2].note == ""
    assert found[3].note == "qa.csv has no usable row 3. 1 row left out: no question."
    assert "row 4 has a token in it with which the template tells who speaks" in found[4].note
    assert (found[4].looks[0].learnt, found[4].looks[0].num_learnt) == ([], 0)
    assert found[5].note == "Row 5: the chat template refuses it: Too long."
    assert found[99].note == "qa.csv has no usable row 99."


def test_the_terminal_says_why_as_well(labkit: Labkit, toy: BaseEntry, odd: Path):
    flags = ["--recipe", "instruct", "--base", "toy", "--data", odd]
    said = labkit("run", "see", *flags, "--row", "3")
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("labkit: qa.csv has no usable row 3. 1 row left out: no question.\n")
    said = labkit("run", "see", *flags, "--row", "2", "--rows", "3")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if line.startswith(("Row", "! "))] == [
        "Row 2", "Row 3", "! qa.csv has no usable row 3. 1 row left out: no question.", "Row 4",
        "! The text of row 4 has a token in it with which the template tells who speaks; it was "
        "not learnt. Take it out of the text.",
    ]  # fmt: skip
    for rows in ("0", "1001"):
        said = labkit("run", "see", *flags, "--row", "2", "--rows", rows)
        assert said.code == 2 and "allowed is a number from 1 to 1000" in said.err


def test_the_terminal_marks_what_is_learnt(labkit: Labkit, toy: BaseEntry, questions: Path):
    flags = ["--recipe", "instruct", "--base", "toy", "--data", questions]
    said = labkit("run", "see", *flags, "--row", "2")
    assert said.out == "<|user|>Open?<|assistant|>⟦Till five.<|end|>⟧\n18 tokens, 11 learnt\n"
    cut = labkit("run", "see", *flags, "--row", "2", "--max-tokens", "16")
    assert cut.out.splitlines() == [
        "<|user|>Open?<|assistant|>⟦Till five⟧ ✂ .<|end|>",
        "18 tokens, 9 learnt, 2 tokens cut off",
        "! The answers of row 2 do not end within 16 tokens; what comes later was not learnt. "
        "Raise --max-tokens, or shorten them.",
    ]
    (row,) = labkit("run", "see", *flags, "--row", "2", "--json").json()
    assert (row["row"], row["note"]) == (2, "")
    (told,) = row["looks"]
    assert (told["num_learnt"], told["cut_at"]) == (11, len(told["text"]))


def test_a_recipe_of_whole_rows_says_so(labkit: Labkit, questions: Path):
    flags = ["--recipe", "text-classification", "--base", "toy", "--data", questions]
    said = labkit("run", "see", *flags, "--row", "2")
    assert said.code == 2 and "learns the whole of each row" in said.err
