"""A session says its port to the hub until the hub has heard it."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from labkit.ports import free_port
from labkit_spawners import launcher
from labkit_spawners.launcher import REFUSED_FOR_S, announce, report
from tests.unit.fake_hub import FakeHub, fake_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        monkeypatch.setenv("JUPYTERHUB_API_URL", hub.api_url)
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t0ken")
        yield hub


class Ended(Exception):
    """In place of the process's end."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time passes only where the launcher waits; its process cannot end."""
    clock = SimpleNamespace(now=0.0, waits=[])

    def sleep(seconds: float) -> None:
        clock.now += seconds
        clock.waits.append(seconds)

    def end(code: int) -> None:
        raise Ended(code)

    fake = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
    monkeypatch.setattr(launcher, "time", fake)
    monkeypatch.setattr(launcher.os, "_exit", end)
    return clock


def test_the_hub_is_told_port_and_nonce_with_the_sessions_token(hub):
    assert report(4711, "n0nce") == 204
    said = {"port": 4711, "nonce": "n0nce"}
    assert hub.heard == [("/hub/api/labkit/port", "token t0ken", said)]


def test_a_hub_that_is_down_has_no_status(hub, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}/hub/api")
    assert report(4711, "n") is None


def test_it_is_said_again_until_the_hub_has_heard(hub, clock):
    hub.answers = [503, 403, 409, 500]
    announce("127.0.0.1", hub.server_port, "n")
    assert len(hub.heard) == 5
    assert clock.waits == sorted(clock.waits) and len(clock.waits) == 4


def test_a_session_that_no_hub_wants_ends(hub, clock, capsys):
    hub.answers = [403] * 10_000
    with pytest.raises(Ended, match="3"):
        announce("127.0.0.1", hub.server_port, "n")
    assert REFUSED_FOR_S < clock.now < REFUSED_FOR_S + 10
    assert "the hub does not know this session" in capsys.readouterr().err


def test_a_hub_that_is_down_for_a_day_loses_nothing(hub, clock, monkeypatch):
    answers = iter([*[403] * 50, *[None] * 20_000, *[403] * 50, 204])
    monkeypatch.setattr(launcher, "report", lambda port, nonce: next(answers))
    announce("127.0.0.1", hub.server_port, "n")
    assert clock.now > 86_400
    assert next(answers, "all") == "all"


def test_the_server_listens_before_the_hub_is_told(hub, clock, monkeypatch):
    tries = []

    def connect(address, timeout):
        tries.append(address)
        assert not hub.heard
        if len(tries) < 3:
            raise ConnectionRefusedError
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(launcher, "report", lambda port, nonce: 204)
    monkeypatch.setattr(launcher.socket, "create_connection", connect)
    announce("127.0.0.1", 4711, "n")
    assert tries == [("127.0.0.1", 4711)] * 3


def test_kernels_do_not_find_the_nonce_and_jupyter_finds_its_port(monkeypatch):
    told, served = [], []
    monkeypatch.setenv("LABKIT_SESSION_NONCE", "n0nce")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:0/user/ana/")
    monkeypatch.setattr(launcher, "announce", lambda *said: told.append(said))
    monkeypatch.setattr(launcher, "serve", lambda: served.append(dict(launcher.os.environ)))
    launcher.main()
    (environment,) = served
    assert "n0nce" not in environment.values()
    (told_host, told_port, told_nonce) = told[0]
    assert (told_host, told_nonce) == ("127.0.0.1", "n0nce")
    expected = f"http://127.0.0.1:{told_port}/user/ana/"
    assert environment["JUPYTERHUB_SERVICE_URL"] == expected and told_port > 0
