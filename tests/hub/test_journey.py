"""The whole way of a domain expert, in a real browser: from sign-in to a prediction."""

import os
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
    tokens = [
        command
        for pid, command in lab.processes().items()
        if environment_value(pid, "LABKIT_JOB_ID") and run.name in command
        and environment_value(pid, "JUPYTERHUB_API_TOKEN")
    ]  # fmt: skip
    assert tokens == []

    lab.kill("hub")
    ana.see("Measured once", 240)
    assert lab.status(run)["state"] == "done"
    ana.shoot("6-result")
    ana.studio.get_by_label("Write a sentence").fill("The street lamp is dark at night")
    ana.button("Ask").click()
    ana.see("confident", 90)
    ana.shoot("7-answer")

    ben.sign_in()
    ben.page.goto(f"{lab.base}/user/ana/lab")
    assert ben.page.get_by_text("403").first.is_visible()
    ben.page.goto(f"{lab.base}/hub/spawn")
    ben.start_session()
    ben.run_the_cell()
    ben.button("My runs").click()
    ben.see("No runs yet")
    ben.shoot("8-no-runs")
    ben.button("New run").last.click()
    upload_more_than_a_message_holds(lab, ben)


def upload_more_than_a_message_holds(lab: RealLab, person: Person) -> None:
    """A websocket message of more than 10 MiB ends the connection: tables go another way."""
    rows = [f"message {n} about {'light' if n % 2 else 'water'} {'x' * 400},{n % 2}"
            for n in range(30_000)]  # fmt: skip
    table = ("text,label\n" + "\n".join(rows)).encode()
    assert len(table) > 12 * 2**20
    for _ in range(2):
        person.button("Next").click()
    person.see("Which examples should it learn from?")
    files = [{"name": '市民 "熱線" 2026.csv', "mimeType": "text/csv", "buffer": table}]
    person.studio.locator("input[type=file]").set_input_files(files)
    person.see("to learn from", 120)
    person.shoot("9-uploaded")
    (uploaded,) = (lab.folder / "homes" / person.name / "labkit" / "uploads").iterdir()
    assert uploaded.read_bytes() == table and uploaded.stat().st_mode & 0o777 == 0o600
