"""Ports for what is to listen a moment later."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import ports


@pytest.fixture
def linux_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """From the first to the last port."""
    file = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(ports, "GIVEN_BY_LINUX", file)

    def give(first: int, last: int) -> None:
        file.write_text(f"{first}\t{last}\n")

    return give


@pytest.mark.parametrize(
    ("first", "last", "others"),
    [
        (32_768, 60_999, set(range(61_000, 65_536))),
        (49_152, 65_535, set(range(32_768, 49_152))),
        (1_024, 65_535, set(range(1_024, 65_536))),
    ],
)
def test_a_port_is_none_that_linux_may_give_to_another_meanwhile(
    first: int, last: int, others: set[int], linux_gives: Callable[[int, int], None]
):
    linux_gives(first, last)
    assert {ports.free_port() for _ in range(50)} <= others


def test_where_linux_does_not_say_it_is_taken_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ports, "GIVEN_BY_LINUX", tmp_path / "hidden")
    assert min(ports.free_port() for _ in range(50)) > 60_999


def test_a_port_is_none_that_somebody_has(linux_gives: Callable[[int, int], None]):
    linux_gives(10_000, 65_533)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 65_535))
        assert {ports.free_port() for _ in range(20)} == {65_534}


def test_an_address_that_is_not_this_machines_is_an_error():
    with pytest.raises(OSError, match="assign requested address"):
        ports.free_port("192.0.2.77")
