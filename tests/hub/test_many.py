"""Twenty people who start at once, on a machine of two cores."""

import re
from collections.abc import Iterator

import pytest

from tests.hub.real_lab import RealLab, real_lab
from tests.waiting import wait_for

PEOPLE = [f"learner{number}" for number in range(20)]
SMALL = """
[profiles.small]
title = "Small"
cores = 1
memory = "700 MB"
"""


@pytest.fixture
def class_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    names = ", ".join(f'"{name}"' for name in PEOPLE)
    lab = RealLab(tmp_path_factory.mktemp("class"), SMALL)
    text = re.sub(r"users = \[.*\]", f"users = [{names}]", lab.settings.read_text())
    lab.settings.write_text(text)
    with real_lab(lab) as lab:
        yield lab


def test_twenty_start_at_once_and_all_get_in(class_room: RealLab):
    browsers = {name: class_room.browser(name) for name in PEOPLE}
    for name, browser in browsers.items():
        path = f"/hub/api/users/{name}/server"
        assert browser.ask(path, method="POST", body={"profile": "small"}).status in (201, 202)
    for name, browser in browsers.items():
        wait_for(lambda b=browser, n=name: b.session(n).get("ready"), f"{name}'s session", 180)
        assert browser.ask(f"/user/{name}/lab").status == 200
