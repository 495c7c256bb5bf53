"""`labkit run vote`: which of two answers is better, told without knowing whose they are."""

from labkit.cli.output import print_table, say
from labkit.cli.safe_text import on_one_line
from labkit.errors import LabkitError
from labkit.runs.folder import Run
from labkit.runs.votes import Ballot, Side, vote, votes_of

_SIDES: dict[str, Side] = {"a": "first", "b": "second", "=": "even"}
_LATER, _END = "s", "q"


def ask(run: Run) -> None:
    """Ask about each question that is open, until the person or the input ends it.

    Raises LabkitError where no answers were compared.
    """
    evaluation = run.evaluation()
    votes = votes_of(run, evaluation)
    if votes is None:
        raise LabkitError(
            f"{run.name} has no answers of two models to compare: a run of the recipe instruct "
            "has, once it is done."
        )
    for number, ballot in enumerate(votes.ballots, 1):
        said = _choice(ballot, f"{number} of {len(votes.ballots)}")
        if said == _END:
            break
        if said != _LATER:
            vote(run, ballot.row, _SIDES[said])
    votes = votes_of(run, evaluation)
    assert votes is not None, "it was before"
    say(str(votes) or "Nobody has voted yet.", style="bold")
    if votes.ballots:
        say(f"Open: {len(votes.ballots)}. Go on with: labkit run vote {run.run_id}")


def _choice(ballot: Ballot, which: str) -> str:
    rows = [("A", ballot.first), ("B", ballot.second), ("your table", ballot.wanted)]
    say(f"\n{which}: {on_one_line(ballot.question)}", style="bold")
    print_table(["", "answer"], [(who, on_one_line(text)) for who, text in rows], rest="answer")
    while True:
        say("Which is better? [a] [b] [=] even  [s] later  [q] end")
        try:
            said = input().strip().lower()
        except EOFError:
            return _END
        if said in (*_SIDES, _LATER, _END):
            return said
        say(f"Found {said!r}; allowed is a, b, =, s or q.", style="yellow")
