"""A blind vote: which of two answers is better, told by a person who does not know whose they are.

`votes/ROW.json` in the attempt's folder names the model whose answer won on that row of the
person's table.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from labkit.data.findings import count
from labkit.errors import UsageError
from labkit.parsing import read_as
from labkit.paths import list_folder, private_folder, write_json
from labkit.runs.folder import Attempt, Run

TUNED, EVEN = "tuned", "even"
Side = Literal["first", "second", "even"]


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """One held-out question with two answers, in an order that does not tell whose they are."""

    row: int
    question: str
    wanted: str
    """The answer in the person's own table."""
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Votes:
    """How the vote stands."""

    rival: str
    """The model that the tuned one is compared with."""
    tuned: int
    """How often the tuned model's answer was called better."""
    rivals: int
    even: int
    alike: int
    """Questions that both answer with the same words; nobody is asked about them."""
    ballots: Sequence[Ballot]
    """Those that are open."""

    @property
    def num_cast(self) -> int:
        return self.tuned + self.rivals + self.even

    def to_dict(self) -> dict[str, Any]:
        return {
            "tuned": self.tuned,
            self.rival: self.rivals,
            "even": self.even,
            "alike": self.alike,
            "open": len(self.ballots),
        }

    def __str__(self) -> str:
        """How it stands, in a sentence; empty where nobody has voted."""
        if not self.num_cast:
            return ""
        alike = f" {self.alike} more had the same answer from both." if self.alike else ""
        return (
            f"By blind vote on {count(self.num_cast, 'question')}, the tuned model's answer was "
            f"better on {self.tuned}, that of {self.rival} on {self.rivals}, and {self.even} were "
            f"even; with so few it can be chance.{alike}"
        )


@dataclass(frozen=True, kw_only=True)
class _Vote:
    better: str


def votes_of(run: Run, evaluation: Mapping[str, Any] | None) -> Votes | None:
    """How the vote on a run stands; None where its models' answers were not compared.

    `evaluation` is the run's own.
    """
    compared = evaluation.get("compared") if evaluation else None
    if not compared:
        return None
    rival, _ = _of_rival(compared[0])
    differ, cast = _differ(compared), _cast(run.last)
    won = Counter(cast[one["row"]] for one in differ if one["row"] in cast)
    return Votes(
        rival=rival,
        tuned=won[TUNED],
        rivals=won[rival],
        even=won[EVEN],
        alike=len(compared) - len(differ),
        ballots=[_ballot(run, one) for one in differ if one["row"] not in cast],
    )


def vote(run: Run, row: int, better: Side) -> None:
    """Keep which answer to the question of that row is better; what was said first stays.

    Raises UsageError where nobody is asked about it, and LabkitError where it cannot be written.
    """
    differ = {one["row"]: one for one in _differ((run.evaluation() or {}).get("compared", ()))}
    if row not in differ:
        raise UsageError(f"No vote is held on row {row} of {run.name}.")
    if row in _cast(run.last):
        return
    rival, _ = _of_rival(differ[row])
    sides = [TUNED, rival] if _tuned_is_first(run, row) else [rival, TUNED]
    won = {"first": sides[0], "second": sides[1], "even": EVEN}[better]
    write_json(private_folder(_folder(run.last)) / f"{row}.json", {"better": won})


def _of_rival(one: Mapping[str, Any]) -> tuple[str, str]:
    """The model that the tuned one is compared with, of several the first, and its answer."""
    return next(iter(one["others"].items()))


def _differ(compared: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The questions whose two answers are not the same."""
    return [one for one in compared if one["tuned"].strip() != _of_rival(one)[1].strip()]


def _ballot(run: Run, one: Mapping[str, Any]) -> Ballot:
    answers = [one["tuned"], _of_rival(one)[1]]
    first, second = answers if _tuned_is_first(run, one["row"]) else reversed(answers)
    return Ballot(
        row=one["row"],
        question=one["question"],
        wanted=one["wanted"],
        first=first,
        second=second,
    )


def _tuned_is_first(run: Run, row: int) -> bool:
    """As good as by lot, and the same whenever the question is shown."""
    return sha256(f"{run.run_id} {row}".encode()).digest()[0] % 2 == 0


def _cast(attempt: Attempt) -> dict[int, str]:
    found = {}
    for file in list_folder(_folder(attempt)):
        if file.stem.isdecimal() and (vote := read_as(_Vote, file)):
            found[int(file.stem)] = vote.better
    return found


def _folder(attempt: Attempt) -> Path:
    return attempt.folder / "votes"
