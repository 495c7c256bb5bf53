"""The Studio without a browser: runs as it shows them, hostile messages, and faults."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("anywidget")

from labkit.errors import LabkitError, UsageError
from labkit.models.catalogue import BaseEntry
from labkit.paths import write_json
from labkit.runs import submit
from labkit.runs.folder import RunState, Status
from labkit.settings import Site, load_site
from labkit_widgets.acts import read_act

from .fake_page import Person
from .made_runs import (
    EVALUATION,
    LANGUAGE_EVALUATION,
    done_instruct_run,
    done_run,
    new_run,
)

# Runs.


@pytest.fixture
def quiet_jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs are made, and no job is started for them."""

    async def nothing(*given: Any) -> None:
        return None

    monkeypatch.setattr(submit, "_start", nothing)
    yield


def test_start_shows_the_run(person: Person, mine: Path, quiet_jobs: None):
    person.does("choose_file", path=mine.name)
    person.does("set_value", key="name", value="mine")
    view = person.does("start")
    assert view["page"] == "run" and view["run"]["name"] == "mine"
    assert view["run"]["status"]["words"] == "Waiting in the queue"
    person.does("new_run")
    assert person.sees["newest"]["name"] == "mine"


def test_a_run_is_followed_and_its_curve_drawn(person: Person, site: Site):
    training = Status(state=RunState.TRAINING, phase="training", step=3, num_steps=10,
                      rows_per_second=41.5, seconds_left=70.0)  # fmt: skip
    run = new_run(site, "live", training)
    lines = [{"instant_accuracy": 0.6}, *({"step": n, "num_steps": 10, "loss": 1 / n}
             for n in (1, 2, 3)), {"step": 3, "validation_accuracy": 0.7}]  # fmt: skip
    text = "\n".join(map(json.dumps, lines)) + '\n{"step": 4, "lo'
    (run.last.folder / "metrics.jsonl").write_text(text)
    shown = person.does("open_run", run=run.run_id)["run"]
    assert shown["curve"]["loss"] == [[1, 1.0], [2, 0.5], [3, 1 / 3]]
    assert shown["curve"]["accuracy"] == [[3, 0.7]] and shown["curve"]["instant"] == 0.6
    assert {"title": "Step", "value": "3 of 10"} in shown["status"]["figures"]
    assert {"title": "Time left", "value": "about 1 min 10 s"} in shown["status"]["figures"]
    with (run.last.folder / "metrics.jsonl").open("a") as file:
        file.write('ss": 0.1}\n')
    person.core.shown.look()  # type: ignore[union-attr]
    assert person.sees["run"]["curve"]["loss"][-1] == [4, 0.1]


@pytest.mark.parametrize(
    ("recipe", "unit", "share_of"),
    [
        ("text-classification", "rows", "texts that get the right label"),
        ("instruct", "tokens", "tokens of the answers that it finds the likeliest"),
    ],
)
def test_speed_and_share_are_told_in_the_recipes_unit(
    person: Person, site: Site, recipe: str, unit: str, share_of: str
):
    speed: dict[str, Any] = {f"{unit}_per_second": 1234.5}
    status = Status(state=RunState.TRAINING, **speed)
    run = new_run(site, "live", status, recipe=recipe)
    shown = person.does("open_run", run=run.run_id)["run"]
    assert shown["status"]["figures"] == [{"title": "Speed", "value": f"1,234 {unit} a second"}]
    assert shown["curve"]["share_of"] == share_of


def test_a_tuned_language_model_is_shown_beside_its_base(person: Person, site: Site):
    run = done_instruct_run(site)
    result = person.does("open_run", run=run.run_id)["run"]["result"]
    assert result["verdict"] == LANGUAGE_EVALUATION["verdict"] and result["tone"] == "even"
    assert result["rows"] == 9 and result["mistakes"] is None
    loss, perplexity = result["measures"]
    assert (loss["title"], perplexity["title"]) == ("Loss", "Perplexity")
    assert [bar["name"] for bar in loss["bars"]] == ["Your tuned model", "The base model"]
    ends = [bar[end] for bar in perplexity["bars"] for end in ("low", "value", "high")]
    assert max(ends) == 1 and min(ends) > 0
    (one,) = result["compared"]
    assert one["question"] and [answer["name"] for answer in one["answers"]] == [
        "Your tuned model", "The base model", "Your table",
    ]  # fmt: skip
    assert result["notes"] == LANGUAGE_EVALUATION["notes"]


@pytest.mark.parametrize(("card", "needs"), [({"adapter": True}, "thin"), ({"adapter": False}, ""),
                                             ({"labels": []}, ""), (None, "")])  # fmt: skip
def test_an_adapter_says_which_base_it_needs(
    person: Person, site: Site, card: dict[str, Any] | None, needs: str
):
    run = done_instruct_run(site)
    if card is not None:
        (run.last.folder / "model").mkdir()
        (run.last.folder / "model/labkit.json").write_text(json.dumps(card))
    assert person.does("open_run", run=run.run_id)["run"]["result"]["needs"] == needs


@pytest.mark.parametrize(
    ("data", "differ"),
    [({"sha256": "a", "template_sha256": "t"}, False),
     ({"sha256": "b", "template_sha256": "t"}, None),
     ({"sha256": "a", "template_sha256": "u"}, None),
     ({"sha256": "a", "template_sha256": "t", "test_sha256": "c"}, None)],
)  # fmt: skip
def test_losses_are_compared_where_base_template_and_data_are_the_same(
    site: Site, base: BaseEntry, data: dict[str, str], differ: bool | None
):
    runs = [done_instruct_run(site, "one"), done_instruct_run(site, "two")]
    for run, made_of in zip(runs, [{"sha256": "a", "template_sha256": "t"}, data], strict=True):
        write_json(run.folder / "run.json", {**run.record(), "data": made_of})
    compared = Person("runs").does("compare", runs=[run.run_id for run in runs])["compare"]
    assert [figure["title"] for figure in compared["figures"]] == ["Loss", "Perplexity"]
    assert [figure["differ"] for figure in compared["figures"]] == [differ, differ]
    labels = [done_run(site, "three"), done_run(site, "four")]
    compared = Person("runs").does("compare", runs=[run.run_id for run in labels])["compare"]
    assert [figure["differ"] for figure in compared["figures"]] == [False, False]


def test_losses_of_different_bases_are_not_compared(site: Site, base: BaseEntry):
    runs = [done_instruct_run(site, "one"), done_instruct_run(site, "two")]
    for run, path in zip(runs, ["/b/one", "/b/two"], strict=True):
        known = {"data": {"sha256": "a"}, "base": {"path": path}}
        write_json(run.folder / "run.json", {**run.record(), **known})
    compared = Person("runs").does("compare", runs=[run.run_id for run in runs])["compare"]
    assert {figure["differ"] for figure in compared["figures"]} == {None}


def test_a_loss_that_diverged_is_left_out_of_the_curve(person: Person, site: Site):
    run = new_run(site, "wild", Status(state=RunState.TRAINING))
    (run.last.folder / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": Infinity}\n'
    )
    shown = person.does("open_run", run=run.run_id)["run"]
    assert shown["curve"]["loss"] == [[1, 2.0]]


def test_a_result_is_shown_with_intervals(person: Person, site: Site):
    result = person.does("open_run", run=done_run(site).run_id)["run"]["result"]
    assert result["verdict"] == EVALUATION["verdict"] and result["tone"] == "better"
    bar = result["measures"][0]["bars"][0]
    assert (bar["name"], bar["words"], bar["range"]) == (
        "Your tuned model", "81.2%", "70.0% to 90.0%",
    )  # fmt: skip


def test_a_run_deleted_while_shown_is_said(person: Person, site: Site):
    run = done_run(site)
    person.does("open_run", run=run.run_id)
    run.delete()
    assert person.sees["run"]["gone"]
    person.core.shown.look()  # type: ignore[union-attr]
    assert person.sees["run"]["gone"]
    assert person.does("ask", text="x")["run"]["gone"]
    assert person.does("new_run")["page"] == "form"


def test_another_persons_run_is_in_no_table_and_opens_by_no_name(
    site: Site, base: BaseEntry, monkeypatch: pytest.MonkeyPatch
):
    file = Path(site.settings)
    file.write_text(file.read_text().replace('runs = "runs"', 'runs = "runs/{user}"'))
    monkeypatch.setenv("LOGNAME", "ana")
    hers = done_run(load_site(), "hers")
    monkeypatch.setenv("LOGNAME", "ben")
    ben = Person("runs")
    assert ben.sees["runs"]["rows"] == []
    for run in (hers.run_id, "hers", f"../ana/{hers.run_id}", str(hers.folder)):
        shown = ben.does("open_run", run=run)
        assert f"No run is called {run!r}" in shown["notice"]["text"]
        assert shown["run"] is None
    assert "No run is called" in ben.does("compare", runs=[hers.run_id, "hers"])["notice"]["text"]
    monkeypatch.setenv("LOGNAME", "ana")
    assert Person("runs").does("open_run", run="hers")["run"]["name"] == "hers"


def test_rename_and_delete(person: Person, site: Site):
    run, other = done_run(site, "one"), done_run(site, "two")
    person.does("open_run", run=run.run_id)
    assert "Another run" in person.does("rename", name="two")["notice"]["text"]
    assert person.does("rename", name="three")["run"]["name"] == "three"
    view = person.does("delete")
    assert view["page"] == "form" and "'three' was deleted" in view["notice"]["text"]
    assert not run.folder.exists() and other.folder.exists()


def test_a_stopped_run_says_so_without_words_of_the_terminal(person: Person, site: Site):
    said = "Stopped on request. Go on with: labkit run resume 20261123-x-1"
    run = new_run(site, "stopped", Status(state=RunState.STOPPED, message=said))
    status = person.does("open_run", run=run.run_id)["run"]["status"]
    assert status["message"] == "Stopped on request." and status["ended"]
    again = person.does("again")
    assert again["page"] == "form" and again["form"]["data"]["data"]["path"] == "/d/a.csv"


def test_all_runs_and_two_side_by_side(site: Site, base: BaseEntry):
    one, two = done_run(site, "one"), new_run(site, "two")
    person = Person("runs")
    rows = person.sees["runs"]["rows"]
    assert {row["name"] for row in rows} == {"one", "two"}
    assert {row["base"] for row in rows} == {"thin"}
    compared = person.does("compare", runs=[one.run_id, two.run_id])["compare"]
    assert compared["settings"] == []
    accuracy, macro_f1 = compared["figures"]
    assert (accuracy["title"], macro_f1["title"]) == ("Accuracy", "Macro-F1")
    assert accuracy["cells"] == [{"words": "81.2%", "range": "70.0% to 90.0%"}, None]
    assert accuracy["differ"] is None and compared["achieved"][1] is None
    assert person.does("open_run", run=one.run_id)["page"] == "run"
    assert person.does("new_run")["page"] == "runs"


def test_no_runs_is_an_empty_table(site: Site, base: BaseEntry):
    assert Person("runs").sees["runs"]["rows"] == []


# Hostile messages and faults.


@pytest.mark.parametrize(
    "message",
    [
        None, [], "start", {}, {"do": "__class__"}, {"do": ["start"]}, {"do": "start", "more": 1},
        {"do": "set_value", "key": "epochs", "value": {"a": 1}},
        {"do": "set_value", "key": "x" * 300, "value": "1"},
        {"do": "upload", "name": "a.csv", "size": -1, "page": "p"},
        {"do": "compare", "runs": ["a"]}, {"do": "go_to", "step": "../x"},
    ],
)  # fmt: skip
def test_a_message_that_is_no_act_is_answered_by_a_sentence(person: Person, message: object):
    person.core.act(message)
    assert "does not know" in person.sees["notice"]["text"]


@pytest.mark.parametrize(
    "act",
    [
        {"do": "set_value", "key": "data", "value": "/etc/passwd"},
        {"do": "set_value", "key": "nonsense", "value": "1"},
        {"do": "choose_task", "recipe": "os"},
        {"do": "choose_base", "base": "../x"},
        {"do": "open_run", "run": "../../etc"},
        {"do": "delete"},
        {"do": "ask", "text": "x"},
        {"do": "start"},
    ],
)
def test_an_act_that_is_not_possible_is_answered_by_a_sentence(person: Person, act: dict[str, Any]):
    person.core.act(act)
    assert person.sees["notice"]["kind"] == "error"
    assert "Traceback" not in person.sees["notice"]["text"]
    assert "Something went wrong" not in person.sees["notice"]["text"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(_JSON)
def test_whatever_comes_is_an_act_or_refused(message: object):
    try:
        read_act(message)
    except UsageError as error:
        assert "Reload the page" in str(error)


def test_a_fault_of_ours_becomes_a_sentence_with_a_file(
    person: Person, monkeypatch: pytest.MonkeyPatch, home: Path
):
    def broken(*given: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("labkit_widgets.core.find_run", broken)
    told = person.does("open_run", run="x")["notice"]["text"]
    assert told.startswith("Something went wrong in labkit; the details are in ")
    file = Path(told.partition(" are in ")[2].removesuffix("."))
    assert "ZeroDivisionError: secret detail" in file.read_text()
    assert "secret" not in told


def test_a_site_that_cannot_be_read_is_said(site: Site, home: Path, monkeypatch):
    monkeypatch.setenv("LABKIT_SITE", "/nowhere/labkit.toml")
    view = Person().sees
    assert "/nowhere/labkit.toml" in view["notice"]["text"]
    assert view["form"] is None


def test_threads_drop_what_was_superseded():
    from labkit_widgets.background import Threads

    lock, first, ended = threading.RLock(), threading.Event(), threading.Event()
    kept: list[str] = []
    failures: list[Exception] = []
    threads = Threads(lock, lambda: ended.set() if kept else None,
                      lambda kind, error: failures.append(error))  # fmt: skip
    threads.run("look", "one", lambda: first.wait(10), lambda _: kept.append("one"))
    threads.run("look", "two", lambda: "two", kept.append)
    assert ended.wait(10)
    first.set()
    assert kept == ["two"] and threads.doing() == {} and failures == []


def test_labkit_errors_are_one_line_in_a_notebook():
    error = LabkitError("That cannot be.")
    assert error._render_traceback_() == ["LabkitError: That cannot be."]


def test_importing_the_widgets_is_light():
    code = (
        "import sys, time; start = time.monotonic(); import labkit_widgets; "
        "heavy = {'torch', 'ray', 'transformers', 'polars'} & set(sys.modules); "
        "print(time.monotonic() - start, *heavy)"
    )
    took_s, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy == [] and float(took_s) < 3  # under 1 s on a quiet machine: see make bench


def test_a_page_finds_the_number_of_its_last_act_in_the_view(person: Person):
    for number in (1, 2):
        person.core.hear({"page": "a", "number": number, "act": {"do": "dismiss"}})
    person.core.hear({"page": "b", "number": 1, "act": {"do": "no such act"}})
    assert person.sees["answered"] == {"a": 2, "b": 1}
    assert "does not know" in person.sees["notice"]["text"]
    for number in range(50):
        person.core.hear({"page": f"c{number}", "number": 1, "act": {"do": "dismiss"}})
    assert "c49" in person.sees["answered"] and len(person.sees["answered"]) == 20
    person.core.hear({"page": "c49", "number": 2})
    assert "does not know" in person.sees["notice"]["text"]
