"""In JupyterLab: the time that is left, warnings, more time, and the session given back."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.accessibility import audit
from tests.browser.conftest import need_chromium
from tests.hub.person import Person, chromium, person_at
from tests.hub.real_lab import RealLab, real_lab
from tests.waiting import wait_for

SHORT = """
[profiles.short]
title = "Short"
cores = 1
memory = "2 GB"
time = "5m30s"
extend = "1h"
longest = "80m"
"""
TIME = re.compile(r"Short · .* left")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    with real_lab(RealLab(tmp_path_factory.mktemp("short"), SHORT)) as lab:
        yield lab


@pytest.fixture
def ana(lab: RealLab, tmp_path: Path) -> Iterator[Person]:
    """Signed in, with a session that has some minutes."""
    need_chromium()
    shots = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        ana = person_at(browser, lab, shots, "ana")
        ana.page.goto(f"{lab.base}/hub/login")
        ana.page.locator("#username_input").fill("ana")
        ana.page.locator("#password_input").fill(lab.password)
        ana.page.keyboard.press("Enter")
        ana.page.locator("input[value=short]").check()
        ana.page.keyboard.press("Enter")
        ana.page.wait_for_url("**/user/**", timeout=60_000)
        ana.page.get_by_text("| Idle").wait_for(timeout=60_000)
        yield ana


def seen(page: Any) -> Any:
    return page.get_by_role("button", name=TIME)


def warning(page: Any, minutes: str) -> Any:
    """What a screen reader says at once, as people see it."""
    return page.get_by_role("alert").filter(has_text=f"In {minutes} this session ends")


def notebook(lab: RealLab) -> str:
    """As the file is, which Jupyter may be writing just now."""
    return (lab.folder / "homes" / "ana" / "Start here.ipynb").read_text()


def write(page: Any, words: str) -> None:
    """At the end of the last cell."""
    page.locator(".jp-CodeCell .cm-content").last.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(f"\n# {words}")


def test_a_person_sees_the_time_is_warned_extends_and_gives_back(lab: RealLab, ana: Person):
    page, dialog = ana.page, ana.page.get_by_role("dialog")
    seen(page).wait_for()
    assert re.search(r"Short · 5 min left", seen(page).inner_text())
    warning(page, "5 min").wait_for()
    write(page, "saved by itself")

    # The second warning, 5 minutes before the end; and what was typed saves itself meanwhile.
    warning(page, "4 min").wait_for(timeout=40_000)
    ana.shoot("time-1-warning")
    wait_for(lambda: "saved by itself" in notebook(lab), "the notebook to save itself", 40)

    it_counts_on_while_the_hub_is_silent(lab, page)
    for theme in ("Dark", "Light"):
        show_theme(page, theme)
        # Its colours are JupyterLab's own, which axe leaves unjudged at the window's edge.
        audit(page, ".labkit-session", judged="button-name")
        seen(page).click()
        for words in ("1 core, 2 GB", "Time left", "Stop and give back"):
            dialog.get_by_text(words).wait_for()
        ana.shoot(f"time-2-details-{theme.lower()}")
        audit(page, ".labkit-details")
        dialog.get_by_role("button", name="Close").click()

    seen(page).click()
    dialog.get_by_role("button", name="Extend by 1 h").click()
    page.get_by_role("alert").filter(has_text="This session now has 1 h").wait_for()
    assert warning(page, "4 min").count() == 0 and warning(page, "5 min").count() == 0
    assert re.search(r"Short · 1 h \d min left", seen(page).inner_text())

    seen(page).focus()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Extend by 14 min").click()  # up to the longest
    page.get_by_role("alert").filter(has_text="This session now has 1 h 1").wait_for()
    seen(page).click()
    dialog.get_by_text("It may last 1 h 20 min in all, and has as much already.").wait_for()
    ana.shoot("time-3-longest")
    dialog.get_by_role("button", name="Close").click()
    it_warns_a_quarter_of_an_hour_before_and_not_earlier(page)

    write(page, "saved at the end")
    seen(page).click()
    dialog.get_by_role("button", name="Stop and give back").click()
    page.get_by_role("button", name="Save, stop and give back").wait_for()
    ana.shoot("time-4-give-back")
    page.get_by_role("button", name="Save, stop and give back").click()
    page.get_by_role("status").get_by_text("Your session was given back.").wait_for()
    ana.inspect("time-5-given-back")
    assert "saved at the end" in notebook(lab)
    wait_for(lambda: lab.record("ana") == {}, "the session's end")


def it_counts_on_while_the_hub_is_silent(lab: RealLab, page: Any) -> None:
    hub = lab.child("hub").pid
    os.kill(hub, signal.SIGSTOP)
    try:
        status = page.evaluate(
            """async () => {
                const headers = {"X-XSRFToken": document.cookie.match("_xsrf=([^;]*)")[1]};
                const path = location.pathname.replace(/lab.*/, "labkit/session");
                return (await fetch(path, {headers})).status;
            }"""
        )
        assert status == 503
        assert re.search(r"Short · [45] min left", seen(page).inner_text())
    finally:
        os.kill(hub, signal.SIGCONT)


def it_warns_a_quarter_of_an_hour_before_and_not_earlier(page: Any) -> None:
    """Told by the server's own answer with less time in it, and taken back by the next."""

    def with_less_time(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "seconds_left": 15 * 60 + 6})

    url = re.compile(r"/labkit/session(\?|$)")
    page.route(url, with_less_time)
    ask_now(page)
    warning(page, "14 min").wait_for(timeout=20_000)  # were it earlier, it would say 15
    page.unroute(url)
    ask_now(page)
    warning(page, "14 min").wait_for(state="hidden")


def ask_now(page: Any) -> None:
    """As when the tab was hidden, and is seen again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def show_theme(page: Any, name: str) -> None:
    by_palette(page, f"JupyterLab {name}")
    light = str(name == "Light").lower()
    page.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")


def by_palette(page: Any, command: str) -> None:
    page.keyboard.press("Control+Shift+c")
    page.locator(".lm-CommandPalette-input:focus").wait_for()
    page.keyboard.type(command)
    page.locator(".lm-CommandPalette-item.lm-mod-active", has_text=command).wait_for()
    page.keyboard.press("Enter")
