"""A class: twenty people of one lab, who start at once. For the test, and for the bench."""

import re
from pathlib import Path

from tests.hub.real_lab import Browser, RealLab
from tests.waiting import wait_for

PEOPLE = [f"learner{number}" for number in range(20)]
SMALL = """
[profiles.small]
title = "Small"
cores = 1
memory = "700 MB"
"""


def class_room(folder: Path) -> RealLab:
    """Their lab, which is not started yet."""
    names = ", ".join(f'"{name}"' for name in PEOPLE)
    lab = RealLab(folder, SMALL)
    text = re.sub(r"users = \[.*\]", f"users = [{names}]", lab.settings.read_text())
    lab.settings.write_text(text)
    return lab


def start_all(browsers: dict[str, Browser]) -> list[str]:
    """All press the button, none waits for another; who of them does not get in, and why."""
    answers = {
        name: browser.ask(f"/hub/api/users/{name}/server", method="POST", body={"profile": "small"})
        for name, browser in browsers.items()
    }
    failed = [f"{name}: {answer}" for name, answer in answers.items() if answer.status > 202]
    for name, browser in browsers.items():
        wait_for(lambda b=browser, n=name: not b.session(n).get("pending"), f"{name}'s start", 180)
        page = browser.ask(f"/user/{name}/lab")
        if page.status != 200 or "jupyter-config-data" not in page.text:
            failed.append(f"{name}: {page.status} at {page.url}")
    return failed
