"""After a restart of the hub, what was starting is asked for again, and nothing else is."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from labkit.ports import free_port
from labkit_spawners import resume_service
from labkit_spawners.records import SessionRecord, SessionRecords
from labkit_spawners.resume_service import TRY_FOR_S
from tests.unit.fake_hub import FakeHub, fake_hub

MEND = "/hub/api/labkit/mend"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(202) as hub:
        monkeypatch.setenv("JUPYTERHUB_API_URL", hub.api_url)
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t0ken")
        yield hub


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    fake = SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
    monkeypatch.setattr(resume_service, "time", fake)
    clock.lives_until = 0.0
    # Another parent than at the start: the hub has ended.
    started = iter([100])
    monkeypatch.setattr(
        resume_service.os,
        "getppid",
        lambda: next(started, 100 if clock.now < clock.lives_until else 1),
    )
    return clock


def create(records: SessionRecords, user: str, server: str = "", **state) -> SessionRecord:
    record = records.create(
        user=user, server=server, profile="large", cluster="here", api_token="secret"
    )
    return records.update(record, **state)


def test_those_that_were_starting_are_asked_for_and_no_others(site, hub, clock):
    records = SessionRecords(site.state / "sessions")
    create(records, "ana", job_id="1")
    create(records, "ben", job_id="2", started=True)
    create(records, "eve")
    create(records, "中/文", "second", job_id="3")
    resume_service.main()
    large = {"profile": "large"}
    assert hub.heard.pop(0) == (MEND, "token t0ken", {})
    assert sorted(hub.heard) == [
        ("/hub/api/users/%E4%B8%AD%2F%E6%96%87/servers/second", "token t0ken", large),
        ("/hub/api/users/ana/server", "token t0ken", large),
    ]


@pytest.mark.parametrize("final", [201, 202, 400, 404])
def test_a_hub_that_is_busy_is_asked_again(site, hub, clock, capsys, final):
    record = create(SessionRecords(site.state / "sessions"), "ana", job_id="1")
    hub.answers = [503, 429, final]
    resume_service.resume(record)
    assert len(hub.heard) == 3
    assert f"ana/: the hub said {final}." in capsys.readouterr().err


def test_a_hub_that_is_down_is_given_up_in_time(site, hub, clock, monkeypatch):
    record = create(SessionRecords(site.state / "sessions"), "ana", job_id="1")
    monkeypatch.setenv("JUPYTERHUB_API_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}/hub/api")
    resume_service.resume(record)
    assert clock.now >= TRY_FOR_S


def test_every_few_minutes_what_the_hub_found_is_started(site, hub, clock):
    create(SessionRecords(site.state / "sessions"), "ana", job_id="1", started=True)
    hub.says[MEND] = {"taken_up": [["ana", ""], ["ben", "gone"]]}
    clock.lives_until = 2.5 * site.hub.mend_every
    resume_service.main()
    assert [path for path, *_ in hub.heard] == [
        *(MEND, MEND, "/hub/api/users/ana/server"),
        *(MEND, "/hub/api/users/ana/server"),
    ]
