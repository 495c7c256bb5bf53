"""The hub's pages that nobody looks for, in a real browser: what happened, and what to do."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.processes import identify, send_signal
from tests.browser.conftest import need_chromium
from tests.hub.person import NARROW, WIDE, Person, chromium, person_at
from tests.hub.real_lab import RealLab
from tests.waiting import wait_for

BOTH = (WIDE, NARROW)
NO_TIMERS = "() => { for (let n = setTimeout(() => {}); n > 0; n -= 1) clearTimeout(n); }"
"""So that a page that looks anew by itself stays while it is looked at."""
HUNGRY = """import time

kept = []
while True:
    kept.append(b"x" * 20_000_000)
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def ana(lab: RealLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    need_chromium()
    pictures = os.environ.get("LABKIT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    with chromium() as browser:
        ana = person_at(browser, lab, Path(pictures), "ana")
        ana.page.set_default_timeout(90_000)  # some of these pages wait for a process of the lab's
        ana.page.goto(lab.base)
        wrong_password(ana)
        ana.page.locator("#password_input").fill(lab.password)
        ana.page.keyboard.press("Enter")
        see(ana, "Start a session")
        yield ana


def wrong_password(person: Person) -> None:
    assert person.page.get_by_text("ana and ben share one password").is_visible()
    person.page.locator("#username_input").fill(person.name)
    person.page.locator("#password_input").fill("wrong")
    person.page.keyboard.press("Enter")
    person.page.get_by_text("Invalid username or password").wait_for()
    person.inspect("wrong-password", BOTH)


def see(person: Person, heading: str) -> None:
    """Wait for a page of the hub's, by its heading."""
    person.page.locator("main").get_by_role("heading", name=heading, level=1).wait_for()


def open_page(person: Person, path: str, heading: str, picture: str) -> None:
    person.page.goto(person.lab.base + path)
    see(person, heading)
    person.inspect(picture, BOTH)


def test_addresses_that_lead_nowhere(ana: Person):
    open_page(ana, "/hub/no-such-page", "There is nothing here", "nothing-here")
    open_page(ana, "/user/ben/lab", "There is nothing here", "not-yours")
    open_page(ana, "/hub/error/403", "This is not yours to open", "forbidden")
    open_page(ana, "/hub/error/500", "Something went wrong", "wrong")
    ana.page.get_by_role("link", name="My sessions").click()
    see(ana, "Sessions")
    assert ana.page.url.endswith("/hub/home")


def test_a_link_fills_in_the_form_and_a_keyboard_walks_it(ana: Person):
    form = "/hub/spawn?opt-profile=small&opt-cores=1"
    open_page(ana, form, "Start a session", "spawn-by-link")
    assert ana.page.get_by_text("The link has chosen for you").is_visible()
    ana.keyboard.walk_to("Small")
    walked = ana.keyboard.walk_to("Start")  # past what this machine's GPUs add
    assert walked[0] == "Other amounts" and walked[-4:] == ["Cores", "Memory", "Time", "Start"]
    ana.keyboard.walk_to("Memory", key="Shift+Tab")
    ana.keyboard.type("900 TB")
    ana.page.locator("#labkit-verdict").get_by_text("900 TB").wait_for()
    ana.keyboard.walk_to("Other amounts", key="Shift+Tab")
    ana.keyboard.press("Enter")
    assert ana.keyboard.walk_to("Start") == ["Start"]  # what is folded is not walked through


def test_a_session_that_is_not_there_or_did_not_start(lab: RealLab, ana: Person):
    open_page(ana, "/user/ana/lab", "Your session is not running", "not-running")
    ana.page.goto(f"{lab.base}/hub/spawn")
    ana.page.get_by_role("button", name="Start").click()
    see(ana, "Your session is starting")
    os.kill(wait_for(lambda: launcher(lab), "the session's process"), signal.SIGKILL)
    see(ana, "Your session did not start")  # on the page that shows its steps
    ana.inspect("did-not-start-steps", BOTH)
    open_page(ana, "/hub/spawn-pending/ana", "Your session did not start", "did-not-start")
    assert "ended before it answered" in ana.page.locator("main").inner_text()
    ana.page.get_by_role("link", name="Choose again").click()
    see(ana, "Start a session")


def launcher(lab: RealLab) -> int | None:
    """The process of a session."""
    return next((p for p, c in lab.processes().items() if "labkit_spawners.launcher" in c), None)


def test_further_sessions_are_added_started_stopped_and_removed(lab: RealLab, ana: Person):
    page = ana.page
    page.goto(f"{ana.lab.base}/hub/home")
    page.get_by_label("Name of a new session").fill("Class <b>7</b>")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Start Class <b>7</b>").click()
    see(ana, "Start a session")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/ana/class*/lab/**", timeout=60_000)
    open_page(ana, "/hub/home", "Sessions", "home-further-session")
    row = page.get_by_role("row", name="Class <b>7</b>")
    assert "running" in row.inner_text()
    it_is_being_stopped(ana, lab, row)
    row.get_by_role("button", name="Remove").wait_for()
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Remove").click()
    row.wait_for(state="detached")


def it_is_being_stopped(ana: Person, lab: RealLab, row: Any) -> None:
    """By a session that takes its time."""
    page, session = ana.page, identify(launcher(lab) or 0)
    assert session
    name = row.get_by_role("link").get_attribute("href").rstrip("/").rpartition("/")[2]
    send_signal(session, signal.SIGSTOP)
    with page.expect_request(lambda request: request.method == "DELETE"):
        row.get_by_role("button", name="Stop").click()
    hers = lab.browser("ana")
    wait_for(lambda: hers.sessions("ana")[name]["pending"] == "stop", "the stop to begin")
    other = page.context.new_page()
    for tab in (other, page):
        tab.goto(f"{lab.base}/hub/spawn-pending/ana/{name}")
        tab.get_by_role("heading", name="The session is being stopped").wait_for()
    page.evaluate(NO_TIMERS)
    ana.inspect("being-stopped", BOTH)
    send_signal(session, signal.SIGCONT)
    other.get_by_role("heading", name="Sessions", exact=True).wait_for()  # by itself
    other.close()
    page.goto(f"{lab.base}/hub/home")


def test_a_session_that_takes_too_much_memory_says_so(lab: RealLab, ana: Person):
    """In JupyterLab first, by its own dialog; then on each page of the hub."""
    page = ana.page
    cell = {"cell_type": "code", "id": "c", "metadata": {}, "source": HUNGRY, "outputs": [],
            "execution_count": None}  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    home = lab.folder / "homes" / "ana"
    page.goto(f"{lab.base}/hub/spawn")
    page.get_by_role("radio", name="Small 1 core").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/ana/lab/**", timeout=60_000)
    (home / "hungry.ipynb").write_text(json.dumps(notebook))
    page.goto(f"{lab.base}/user/ana/lab/workspaces/own/tree/hungry.ipynb?reset")
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_text("Your server at /user/ana/ is not running").wait_for(timeout=90_000)
    ana.shoot("memory-lab")
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Restart", exact=True).click()
    # The latter where the hub has not seen the end yet: the page looks again by itself.
    said = re.compile("Start a session|Your session is not running")
    opened.value.get_by_role("heading", name=said).wait_for(timeout=60_000)
    opened.value.close()
    why = "Your last session took more memory than its profile gives."
    pages = {"user/ana/lab": "Your session is not running", "hub/home": "Sessions",
             "hub/spawn": "Start a session"}  # fmt: skip
    for path, heading in pages.items():
        open_page(ana, f"/{path}", heading, f"memory-{path.replace('/', '-')}")
        assert why in page.locator("main").inner_text()


def test_while_the_hub_is_away_a_page_waits_for_it(lab: RealLab, ana: Person):
    os.kill(lab.child("hub").pid, signal.SIGKILL)
    ana.page.goto(f"{lab.base}/hub/home")
    see(ana, "One moment")
    ana.shoot("hub-away")
    see(ana, "Sessions")  # by itself
    assert ana.page.url.endswith("/hub/home")


def test_signing_out_leads_to_signing_in(ana: Person):
    ana.page.get_by_role("button", name="Logout").click()
    ana.page.locator("#username_input").wait_for()
    ana.page.goto(f"{ana.lab.base}/hub/home")
    assert "/hub/login" in ana.page.url
