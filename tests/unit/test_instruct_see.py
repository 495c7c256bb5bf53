"""What the model would see of a row, before anything is tuned: from Python and the terminal."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from labkit.errors import UsageError
from labkit.models.catalogue import BaseEntry, add_model, inspect_folder
from labkit.recipes.base import Task
from labkit.recipes.instruct import RECIPE, Config
from labkit.settings import Site

from .as_terminal import Labkit
from .tiny_decoder import save_tiny_decoder


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
    (look,) = RECIPE.see(task, 4)
    assert look.text.startswith("<|system|>Hi.<|user|>Where?<|assistant|>Here. Here.")
    assert [look.text[start:end] for start, end in look.learnt] == [("Here. " * 9)[:-1] + "<|end|>"]
    assert look.text[: look.cut_at] == "<|system|>Hi.<|user|>Where?<|assistant|>Here. He"
    assert (look.num_tokens, look.num_learnt, look.num_cut) == (12 + 53 + 1, 8, 46)


@pytest.mark.parametrize(("row", "why"), [(3, "1 row left out: no question"), (99, "row 99.$")])
def test_a_row_that_cannot_be_learnt_says_why(toy: BaseEntry, questions: Path, row: int, why: str):
    task = Task(config=Config(), base=toy, data=questions, test=None, seed=0)
    with pytest.raises(UsageError, match=why):
        RECIPE.see(task, row)


def test_the_terminal_marks_what_is_learnt(labkit: Labkit, toy: BaseEntry, questions: Path):
    flags = ["--recipe", "instruct", "--base", "toy", "--data", questions]
    said = labkit("run", "see", *flags, "--row", "2")
    assert said.out == "<|user|>Open?<|assistant|>⟦Till five.<|end|>⟧\n18 tokens, 11 learnt\n"
    cut = labkit("run", "see", *flags, "--row", "2", "--max-tokens", "16")
    assert cut.out.splitlines() == [
        "<|user|>Open?<|assistant|>⟦Till five⟧ ✂ .<|end|>",
        "18 tokens, 9 learnt, 2 tokens cut off",
    ]
    (told,) = labkit("run", "see", *flags, "--row", "2", "--json").json()
    assert (told["num_learnt"], told["cut_at"]) == (11, len(told["text"]))


def test_a_recipe_of_whole_rows_says_so(labkit: Labkit, questions: Path):
    flags = ["--recipe", "text-classification", "--base", "toy", "--data", questions]
    said = labkit("run", "see", *flags, "--row", "2")
    assert said.code == 2 and "learns the whole of each row" in said.err
