"""The whole way of a domain expert, in a real browser: from sign-in to a prediction."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.processes import environment_value
from tests.browser.conftest import need_chromium
from tests.hub.person import Person, chromium, person_at
from tests.hub.real_lab import RealLab


@pytest.fixture
def people(lab: RealLab, tmp_path: Path) -> Iterator[dict[str, Person]]:
    need_chromium()
    shots = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        yield {name: person_at(browser, lab, shots, name) for name in ("ana", "ben")}


def runs_of(lab: RealLab, name: str) -> list[Path]:
    return sorted((lab.folder / "runs" / name).glob("2*"))


def test_from_sign_in_to_a_prediction_though_the_hub_is_killed(
    lab: RealLab, people: dict[str, Person]
):
    ana, ben = people["ana"], people["ben"]
    ana.sign_in()
    ana.start_session()
    ana.run_the_cell()
    ana.shoot("4-studio")
    ana.button("Try with sample data").click()
    ana.button("Start").click()
    ana.see("rows a second", 120)
    ana.shoot("5-training")

    (run,) = runs_of(lab, "ana")
    assert run.stat().st_mode & 0o777 == 0o700
    of_run = lab.processes_of(run)
    assert {environment_value(pid, "JUPYTERHUB_API_TOKEN") for pid in of_run} == {None}

    lab.kill("hub")
    ana.see("Measured once", 240)
    assert lab.status(run)["state"] == "done"
    ana.shoot("6-result")
    ana.studio.get_by_label("Write a sentence").fill("The street lamp is dark at night")
    ana.button("Ask").click()
    ana.see("confident", 90)
    ana.shoot("7-answer")
    either_of_two_tabs_stops_a_run(lab, ana)
    ana.page.goto(f"{lab.base}/hub/home")
    ana.inspect("10-home")

    ben.sign_in()
    ben.page.goto(f"{lab.base}/user/ana/lab")
    assert ben.page.get_by_role("heading", name="This is not yours to open").is_visible()
    ben.page.goto(f"{lab.base}/hub/spawn")
    ben.start_session()
    ben.run_the_cell()
    ben.button("My runs").click()
    ben.see("No runs yet")
    ben.shoot("8-no-runs")
    ben.button("New run").last.click()
    for step in ("What should the model do?", "Which model should learn it?"):
        ben.see(step)  # a press before the page is drawn anew would be one on the same step
        ben.button("Next").click()
    ben.see("Which examples should it learn from?")
    ben.see("Upload a table")
    upload_more_than_a_message_holds(lab, ben)


def either_of_two_tabs_stops_a_run(lab: RealLab, ana: Person) -> None:
    """Started in one, stopped in the other; then its folder is deleted while both show it."""
    before = runs_of(lab, ana.name)
    other = ana.another_tab()
    other.button("Try with sample data").click()
    other.button("Start").click()
    other.see("Stop")
    ana.button("‹ New run").click()
    ana.button("Show it").click()
    assert other.button("Stop").is_enabled()
    ana.button("Stop").click()
    for tab in (ana, other):
        tab.button("Resume").wait_for()
        tab.see(re.compile("stopped", re.IGNORECASE))
    (run,) = set(runs_of(lab, ana.name)) - set(before)
    shutil.rmtree(run)
    for tab in (ana, other):
        tab.button("Resume").click()
        tab.see("This run is gone")
    other.page.close()


EVIL = "<img src=x onerror=document.title='owned'>"


def upload_more_than_a_message_holds(lab: RealLab, person: Person) -> None:
    """A websocket message of more than 10 MiB ends the connection: tables go another way."""
    num_rows = 250_000
    rows = [f"{EVIL} {n} about {'light' if n % 2 else 'water'} {'x' * 400},{n % 2} {EVIL}"
            for n in range(num_rows)]  # fmt: skip
    table = lab.folder / '市民 "熱線".csv'
    table.write_text("<b>text</b>,<i>label</i>\n" + "\n".join(rows))
    assert table.stat().st_size >= 98 * 2**20
    person.studio.locator("input[type=file]").set_input_files(table)
    person.see("to learn from", 300)
    person.shoot("9-uploaded")
    uploaded = lab.folder / "homes" / person.name / "labkit" / "uploads" / table.name
    assert uploaded.read_bytes() == table.read_bytes() and uploaded.stat().st_mode & 0o777 == 0o600
    person.see(EVIL)
    person.studio.locator(".lk-preview th", has_text="<b>text</b>").wait_for()
    assert person.studio.locator("img, script").count() == 0
    assert "owned" not in person.page.title()
