"""Ports that a Ray cluster of one's own is given."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.raycluster import network


@pytest.fixture
def linux_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """From the first to the last port."""
    file = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(network, "GIVEN_BY_LINUX", file)

    def give(first: int, last: int) -> None:
        file.write_text(f"{first}\t{last}\n")

    return give


@pytest.mark.parametrize(
    ("first", "last", "others"),
    [
        (32_768, 60_999, {*range(10_000, 32_768), *range(61_000, 65_536)}),
        (10_000, 65_000, set(range(65_001, 65_536))),
        (1_024, 65_535, set(range(1_024, 65_536))),
    ],
)
def test_a_port_is_none_that_linux_may_give_to_another_meanwhile(
    first: int, last: int, others: set[int], linux_gives: Callable[[int, int], None]
):
    linux_gives(first, last)
    assert {network.free_port() for _ in range(50)} <= others


def test_where_linux_does_not_say_it_is_taken_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(network, "GIVEN_BY_LINUX", tmp_path / "hidden")
    assert not {network.free_port() for _ in range(50)} & set(range(32_768, 61_000))


def test_a_port_is_none_that_somebody_has(linux_gives: Callable[[int, int], None]):
    linux_gives(10_000, 65_533)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 65_535))
        assert {network.free_port() for _ in range(20)} == {65_534}
