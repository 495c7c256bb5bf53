"""The blind vote on the answers of a tuned language model and its base."""

import io
import json

import pytest

from labkit.errors import LabkitError, UsageError
from labkit.runs.folder import Run
from labkit.runs.votes import vote, votes_of
from labkit.settings import Site

from .fake_page import Person
from .made_runs import LANGUAGE_EVALUATION, done_instruct_run, done_run

ROWS = range(2, 42)


def compared(row: int, tuned: str, base: str) -> dict[str, object]:
    answers = {"wanted": "Till five.", "tuned": tuned, "others": {"the base model": base}}
    return {"row": row, "question": f"Open on day {row}?", **answers}


@pytest.fixture
def run(site: Site) -> Run:
    """Forty questions on which the models differ, and one on which they do not."""
    run = done_instruct_run(site)
    answers = [compared(row, "of the tuned", "of the base") for row in ROWS]
    found = {**LANGUAGE_EVALUATION, "compared": [*answers, compared(50, "Yes.", " Yes.\n")]}
    (run.last.folder / "evaluation.json").write_text(json.dumps(found))
    return run


def test_the_order_tells_nothing_and_stays(run: Run):
    votes = votes_of(run, run.evaluation())
    assert votes and [ballot.row for ballot in votes.ballots] == list(ROWS)
    first = [ballot.first for ballot in votes.ballots]
    assert 8 <= first.count("of the tuned") <= 32  # else one in 10,000 lots
    again = votes_of(run, run.evaluation())
    assert again and [ballot.first for ballot in again.ballots] == first
    assert all({b.first, b.second} == {"of the tuned", "of the base"} for b in votes.ballots)


def test_whose_answer_won_is_kept_and_counted(run: Run):
    votes = votes_of(run, run.evaluation())
    assert votes and str(votes) == ""
    for ballot in votes.ballots[:3]:
        vote(run, ballot.row, "first" if ballot.first == "of the tuned" else "second")
    fourth, fifth = votes.ballots[3:5]
    vote(run, fourth.row, "first" if fourth.first == "of the base" else "second")
    vote(run, fifth.row, "even")
    votes = votes_of(run, run.evaluation())
    assert votes and votes.to_dict() == {
        "tuned": 3, "the base model": 1, "even": 1, "alike": 1, "open": len(ROWS) - 5,
    }  # fmt: skip
    assert str(votes) == (
        "By blind vote on 5 questions, the tuned model's answer was better on 3, that of the base "
        "model on 1, and 1 were even; with so few it can be chance. 1 more had the same answer "
        "from both."
    )
    files = [*(run.last.folder / "votes").iterdir(), run.last.folder / "votes"]
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []


def test_what_was_said_first_stays(run: Run):
    vote(run, 2, "even")
    vote(run, 2, "first")
    votes = votes_of(run, run.evaluation())
    assert votes and (votes.even, votes.num_cast) == (1, 1)


@pytest.mark.parametrize("row", [1, 50, -1])
def test_nobody_is_asked_about_other_rows(run: Run, row: int):
    with pytest.raises(UsageError, match=f"No vote is held on row {row} of qa"):
        vote(run, row, "first")
    assert not (run.last.folder / "votes").exists()


def test_a_damaged_vote_is_named(run: Run):
    vote(run, 2, "even")
    (run.last.folder / "votes" / "2.json").write_text('{"better": 3}')
    with pytest.raises(LabkitError, match=r"2\.json is damaged: better is wrong"):
        votes_of(run, run.evaluation())


def test_labels_are_not_voted_on(site: Site):
    run = done_run(site)
    assert votes_of(run, run.evaluation()) is None


def answers(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_from_the_terminal(labkit, run: Run, monkeypatch: pytest.MonkeyPatch):
    answers(monkeypatch, "both", "=", "s", "A", "q")
    said = labkit("run", "vote", "last").out
    assert "tuned model" not in said[: said.index("By blind vote")]
    assert "1 of 40: Open on day 2?" in said and "3 of 40: Open on day 4?" in said
    assert "Found 'both'; allowed is a, b, =, s or q." in said
    assert (
        "By blind vote on 2 questions" in said and "Open: 38. Go on with: labkit run vote" in said
    )
    told = labkit("run", "show", "last", "--json").json()
    assert told["votes"]["even"] == 1 and told["votes"]["open"] == 38
    shown = labkit("run", "show", "last").out
    assert "By blind vote on 2 questions" in shown and "Vote blind: labkit run vote" in shown
    answers(monkeypatch)  # nobody there
    assert "By blind vote on 2 questions" in labkit("run", "vote", "last").out


def test_a_terminal_takes_no_orders_from_answers(labkit, site: Site, monkeypatch):
    done_instruct_run(site)
    answers(monkeypatch, "b")
    said = labkit("run", "vote", "last").out
    assert "[red]Till six." in said and "\x1b" not in said and "\x07" not in said


def test_a_run_of_labels_says_that_there_is_nothing_to_vote_on(labkit, site: Site):
    done_run(site)
    said = labkit("run", "vote", "last")
    assert said.code and "no answers of two models to compare" in said.err


def test_in_the_form(person: Person, run: Run):
    vote_of = person.does("open_run", run=run.run_id)["run"]["result"]["vote"]
    assert vote_of["open"] == 40 and vote_of["said"] == ""
    ballot = vote_of["ballot"]
    assert set(ballot) == {"row", "question", "wanted", "first", "second"}
    vote_of = person.does("vote", row=ballot["row"], better="first")["run"]["result"]["vote"]
    assert vote_of["open"] == 39 and vote_of["ballot"]["row"] == 3
    assert vote_of["said"].startswith("By blind vote on 1 question, ")
    person.does("vote", row=ballot["row"], better="second")  # the other half of a double click
    (file,) = (run.last.folder / "votes").iterdir()
    assert file.name == "2.json"
