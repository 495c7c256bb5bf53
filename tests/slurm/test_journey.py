"""People at real browsers on the real cluster.

Two at once, one waiting behind the other; and one from sign-in to the result of a run.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.models.catalogue import add_model, inspect_folder
from tests.browser.conftest import need_chromium
from tests.hub.person import Person, chromium, person_at
from tests.minilm import THIN
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import PEOPLE, SlurmLab, own
from tests.slurm.terminal import minilm_at_home
from tests.waiting import wait_for

ONLY_ONE = "A node with a GPU for each finger"
"""There is one such node."""

TIMED = """
[profiles.timed]
title = "Half an hour"
cores = 1
memory = "2 GB"
time = "30m"
extend = "30m"
longest = "90m"
"""
PEEK = """
import getpass, os, socket
print("I am", getpass.getuser(), "on", socket.gethostname())
for home in {homes!r}:
    try:
        print(home, "has", "Start here.ipynb" in os.listdir(home))
    except PermissionError:
        print(home, "is closed to me")
"""
WRITE_NOTEBOOK = """async ([name, code]) => {
    const config = document.getElementById("jupyter-config-data").textContent;
    const url = JSON.parse(config).baseUrl + "api/contents/" + name;
    const headers = {"X-XSRFToken": document.cookie.match("_xsrf=([^;]*)")[1]};
    const kernelspec = {name: "python3", display_name: "Python 3", language: "python"};
    const cell = {cell_type: "code", id: "a", metadata: {}, execution_count: null, outputs: [],
                  source: code};
    const content = {cells: [cell], metadata: {kernelspec}, nbformat: 4, nbformat_minor: 5};
    const body = JSON.stringify({type: "notebook", content});
    return (await fetch(url, {method: "PUT", headers, body})).status;
}"""


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    need_chromium()
    with SlurmLab(cluster, TIMED).running() as lab:
        yield lab


@pytest.fixture
def people(lab: SlurmLab, tmp_path: Path) -> Iterator[dict[str, Person]]:
    shots = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        yield {name: person_at(browser, lab, shots, name) for name in PEOPLE}


def test_one_waits_behind_the_other_and_neither_gets_at_what_is_the_others(
    lab: SlurmLab, people: dict[str, Person]
):
    alice, bob = people["alice"], people["bob"]
    alice.sign_in()
    press_start(alice)
    alice.inspect("3-starting")
    alice.be_in_the_session()
    alice.shoot("4-session")

    bob.sign_in()
    what_does_not_fit_is_said(bob)
    press_start(bob)
    thinks_better_of_it(lab, bob)
    # He is told when such a node would be free, then his place, and why he waits.
    only_one = bob.page.locator(".labkit-profile", has_text=ONLY_ONE)
    only_one.get_by_text("Expected start:").wait_for(timeout=60_000)
    press_start(bob)
    bob.page.get_by_text(re.compile(r"\bplace 1\b|\bnext\b", re.IGNORECASE)).first.wait_for()
    bob.page.get_by_text(re.compile("waits|waiting", re.IGNORECASE)).first.wait_for()
    bob.page.get_by_text("Expected start:").wait_for(timeout=60_000)
    bob.inspect("3-waiting")
    assert sorted(lab.queue("UserName", "State", "NodeList")) == [
        ["alice", "RUNNING", "n4"],
        ["bob", "PENDING"],
    ]
    is_refused(lab, bob, "/user/alice/lab")
    sees_own_home_alone(lab, alice)

    give_back(lab, alice)
    bob.be_in_the_session()
    bob.shoot("4-session")
    assert lab.queue("UserName", "State", "NodeList") == [["bob", "RUNNING", "n4"]]
    is_refused(lab, alice, "/user/bob/lab")
    sees_own_home_alone(lab, bob)
    give_back(lab, bob)


def what_does_not_fit_is_said(person: Person) -> None:
    """By the fold, before anything is sent, with what would fit."""
    page = person.page
    page.get_by_role("radio", name="One GPU").check()
    page.get_by_text("Other amounts").click()
    page.get_by_label("How many").fill("8")
    verdict = page.locator("#labkit-verdict")
    verdict.get_by_text("no node has more than 4").wait_for()
    person.inspect("2-too-many")
    page.get_by_label("How many").fill("")


def thinks_better_of_it(lab: SlurmLab, person: Person) -> None:
    """While the job waits in the queue."""
    wait_for(lambda: lab.record(person.name).get("job_id"), "the job")
    person.page.get_by_role("button", name="Do not start it").click()
    person.page.wait_for_url("**/hub/home")
    wait_for(lambda: [person.name] not in lab.queue("UserName"), "the job to leave the queue")
    person.page.goto(f"{lab.base}/hub/spawn")


def press_start(person: Person) -> None:
    person.inspect("2-spawn")
    person.page.get_by_role("radio", name=ONLY_ONE).check()
    person.page.get_by_role("button", name="Start", exact=True).click()
    person.see_it_start()


def is_refused(lab: SlurmLab, person: Person, path: str) -> None:
    """In a tab of its own, so that what the person is at goes on."""
    tab = person.page.context.new_page()
    answer = tab.goto(lab.base + path)
    assert answer.status == 403
    assert tab.get_by_role("heading", name="This is not yours to open").is_visible()
    tab.close()


def sees_own_home_alone(lab: SlurmLab, person: Person) -> None:
    """By a notebook's cell: what runs in the session is the person's own Unix user."""
    homes = [str(lab.cluster.home(name)) for name in PEOPLE]
    code = PEEK.format(homes=homes)
    assert person.page.evaluate(WRITE_NOTEBOOK, ["peek.ipynb", code]) == 201
    person.open("lab/workspaces/peek/tree/peek.ipynb?reset")
    person.run_all_cells()
    output = person.page.locator(".jp-OutputArea-output").first
    output.get_by_text(f"{lab.cluster.home(person.name)} has True").wait_for()
    said = output.inner_text()
    assert f"I am {person.name} on n4" in said
    for other in set(PEOPLE) - {person.name}:
        assert f"{lab.cluster.home(other)} is closed to me" in said
    person.shoot("5-own-home-alone")


def give_back(lab: SlurmLab, person: Person) -> None:
    person.page.goto(f"{lab.base}/hub/home")
    person.inspect("6-home")
    person.page.locator("#stop").click()
    person.page.locator("#stop").wait_for(state="hidden")
    person.page.goto(f"{lab.base}/hub/home")
    person.page.get_by_text("Start my session").wait_for()


def test_from_sign_in_to_the_result_of_a_run_that_is_a_job_of_ones_own(
    lab: SlurmLab, people: dict[str, Person]
):
    alice = people["alice"]
    give_minilm(lab, "alice", THIN)
    alice.sign_in()
    alice.page.get_by_role("radio", name="Half an hour").check()
    alice.page.get_by_role("button", name="Start", exact=True).click()
    alice.be_in_the_session()  # where "Start here" is open
    alice.shoot("10-start-here")
    alice.run_the_cell()
    alice.shoot("11-studio")
    alice.button("Try with sample data").click()
    wait_for(alice.button("Start").is_enabled, "the check to end")
    choose_two_nodes(alice)
    alice.see("2 nodes of slurm")
    wait_for(alice.button("Start").is_enabled, "the check to end")
    alice.shoot("12-ready")
    others = lab.cluster.output(
        ["sbatch", "--parsable", "--nodes=3", "--exclusive", "--wrap=sleep 600"], user="bob"
    )
    wait_for(lambda: ["bob", "RUNNING"] in lab.queue("UserName", "State"), "bob's job")
    alice.button("Start").click()
    alice.see(re.compile("Place 1 in the queue: waiting for free cores and memory"))
    alice.shoot("12-waiting")
    lab.cluster.output(["scancel", others.strip()])

    (run,) = wait_for(lambda: runs_of(lab, "alice"), "the run")
    wait_for(lambda: run.name in job_names(lab, "alice"), "the run's job")
    assert len(job_names(lab, "alice")) == 2  # her session's and her run's
    alice.see("rows a second", 120)
    alice.shoot("13-training")
    alice.see("Measured once", 240)
    alice.see("core-hours held")
    alice.shoot("14-result")
    assert json.loads((run / "attempts" / "1" / "status.json").read_text())["state"] == "done"
    assert "2 × " in (run / "attempts" / "1" / "card.md").read_text()
    has_more_time_and_gives_it_back(lab, alice)


def has_more_time_and_gives_it_back(lab: SlurmLab, person: Person) -> None:
    """In JupyterLab, by its status bar: Slurm's own word is that the job has more time."""
    page, dialog = person.page, person.page.get_by_role("dialog")
    left = page.get_by_role("button", name=re.compile("Half an hour · .* left"))
    assert ["alice", "30:00"] in lab.queue("UserName", "TimeLimit")
    left.click()
    dialog.get_by_role("button", name="Extend by 30 min").click()
    wait_for(lambda: ["alice", "1:00:00"] in lab.queue("UserName", "TimeLimit"), "more time")
    page.get_by_role("alert").filter(has_text="This session now has").wait_for()
    left.click()
    person.shoot("15-time-left")
    dialog.get_by_role("button", name="Stop and give back").click()
    page.get_by_role("button", name="Save, stop and give back").click()
    page.get_by_role("status").get_by_text("Your session was given back.").wait_for()
    wait_for(lambda: lab.queue("UserName") == [], "the job's end")


def choose_two_nodes(person: Person) -> None:
    person.studio.get_by_title("Change: Settings").click()
    person.studio.get_by_text("Where it runs: nodes, GPUs, cores, memory, time").click()
    for field, value in (("Nodes", "2"), ("CPUs per node", "1")):
        person.studio.get_by_label(field, exact=True).fill(value)
    person.see("Here: 1 to 4")
    person.shoot("12-nodes")
    person.button("Next").click()


def give_minilm(lab: SlurmLab, name: str, num_layers: int | None = None) -> None:
    """all-MiniLM-L6-v2, or its first layers, in that person's own catalogue."""
    home = lab.cluster.home(name)
    entry = inspect_folder(minilm_at_home(lab.cluster, name, num_layers), name="minilm")
    add_model(home / "labkit" / "models", entry.model_copy(update={"title": "all-MiniLM-L6-v2"}))
    own(home / "labkit", home)


def runs_of(lab: SlurmLab, name: str) -> list[Path]:
    return sorted((lab.cluster.home(name) / "labkit" / "runs").glob("2*"))


def job_names(lab: SlurmLab, name: str) -> list[str]:
    return [job for user, job in lab.queue("UserName", "Name") if user == name]
