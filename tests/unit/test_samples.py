"""What a model answers while it learns, as the terminal and the page show it."""

import json

from labkit.runs.folder import Run, RunState, Status
from labkit.runs.samples import Sample, samples
from labkit.settings import Site

from .fake_page import Person
from .made_runs import new_run

ROW = {"row": 7, "question": "Open?\x1b[2J", "wanted": "Till five."}
LINES = [
    {"step": 1, "loss": 2.0},
    {"samples": [{**ROW, "answer": "the the"}]},
    {"step": 9, "validation_loss": 1.5},
    {"samples": [{**ROW, "answer": "Till \x07six."}]},
]


def learning(site: Site) -> Run:
    run = new_run(site, "qa", Status(state=RunState.TRAINING), recipe="instruct")
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    (run.last.folder / "metrics.jsonl").write_text(text)
    return run


def test_the_first_answer_and_the_newest():
    (one,) = samples(LINES)
    assert one == Sample(**ROW, first="the the", now="Till \x07six.")
    assert samples(LINES[:1]) == []


def test_on_the_terminal(labkit, site: Site):
    learning(site)
    said = labkit("run", "show", "last").out
    assert "row 7" in said and "at first  the the" in said and "Till five." in said
    assert "\x1b" not in said and "\x07" not in said


def test_on_the_page(person: Person, site: Site):
    run = learning(site)
    (one,) = person.does("open_run", run=run.run_id)["run"]["samples"]
    assert (one["first"], one["now"]) == ("the the", "Till \x07six.")
