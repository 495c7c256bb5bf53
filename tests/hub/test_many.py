"""Twenty people who start at once, on a machine of two cores."""

from pathlib import Path

from tests.hub.class_room import PEOPLE, class_room, start_all
from tests.hub.real_lab import real_lab


def test_twenty_start_at_once_and_all_get_in(tmp_path: Path):
    with real_lab(class_room(tmp_path)) as lab:
        assert start_all({name: lab.browser(name) for name in PEOPLE}) == []
