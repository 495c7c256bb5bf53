"""A session asks the hub about itself with its own token, and about nothing else."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.apihandlers import default_handlers
from tornado.web import HTTPError

from labkit.errors import LabkitError
from labkit.schedulers.base import JobState
from labkit.settings import Profile
from labkit_spawners import session_api
from labkit_spawners.session_api import Extend, GiveBack, SessionNow
from tests.unit.fake_lab import GB, FakeScheduler, SpawnerOfTest, fake_lab, spawner_of

HOUR = 3600
PROFILES = {
    "gpu": Profile(title="One GPU", cores=2, memory=4 * GB, time=4 * HOUR, extend=2 * HOUR,
                   longest=7 * HOUR),
    "fixed": Profile(title="Fixed", time=4 * HOUR),
}  # fmt: skip


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def lab(site, scheduler):
    return fake_lab(site, scheduler, PROFILES)


def a_session(lab, scheduler: FakeScheduler, profile: str = "gpu") -> SpawnerOfTest:
    """One that runs since an hour, of a person with that one."""
    spawner = spawner_of(lab)
    spawner.user_options = {"profile": profile}
    record = spawner._new_record()
    asyncio.run(spawner._submit(record))
    scheduler.set("job-1", JobState.RUNNING)
    started = datetime.now(UTC) - timedelta(hours=1)
    scheduler.waiting["job-1"] = replace(
        scheduler.waiting["job-1"], started=started, deadline=started + timedelta(hours=4)
    )
    return spawner


class Request:
    """A handler's request, without a hub around it."""

    def __init__(self, kind: Any, spawner: Any, *, token: str | None = None, body: bytes = b"{}"):
        self.handler = kind.__new__(kind)
        self.handler.request = SimpleNamespace(body=body)
        self.handler.application = SimpleNamespace(settings={})
        spawners = {"other": SimpleNamespace(api_token="not a session"), "": spawner}
        token = spawner.api_token if token is None else token
        user = SimpleNamespace(spawners=spawners)
        self.handler.get_auth_token = lambda: token
        self.handler.get_current_user_token = lambda: user
        self.handler.finish = lambda text: setattr(self, "said", json.loads(text))
        self.handler.set_status = lambda status: setattr(self, "status", status)
        self.status = 200
        self.said: dict[str, Any] = {}

    async def ask(self) -> int:
        try:
            await self._ask()
        except HTTPError as error:
            self.said = {"message": error.log_message}
            return error.status_code
        return self.status

    async def _ask(self) -> None:
        is_read = isinstance(self.handler, SessionNow)
        await (self.handler.get() if is_read else self.handler.post())


def test_there_is_each_route_once():
    session_api.mount()
    session_api.mount()
    ours = [path for path, *_ in default_handlers if path.startswith("/api/labkit/session")]
    assert ours == [session_api.SESSION, session_api.EXTEND, session_api.GIVE_BACK]


def test_a_session_is_told_what_it_holds_and_how_long_still(lab, scheduler):
    request = Request(SessionNow, a_session(lab, scheduler))
    assert asyncio.run(request.ask()) == 200
    left = request.said.pop("seconds_left")
    assert 3 * HOUR - 60 < left <= 3 * HOUR
    assert request.said == {
        "profile": "One GPU",
        "holds": ["2 cores", "4 GB"],
        "memory": "4 GB",
        "nodes": ["node7"],
        "extend_s": 2 * HOUR,
        "why_not_extend": "",
    }


@pytest.mark.parametrize("kind", [SessionNow, Extend, GiveBack])
@pytest.mark.parametrize("token", ["", "not a session", "a person's own token"])
def test_no_other_token_will_do(lab, scheduler, kind, token):
    spawner = a_session(lab, scheduler)
    assert asyncio.run(Request(kind, spawner, token=token).ask()) == 403
    assert scheduler.extended == [] and scheduler.cancelled == []


WRONG = [b"[]", b'"x"', b"7", b"true", b'{"job_id": "job-2"}', b'{"user": "ben"}', b"{", b"\xff"]


@pytest.mark.parametrize("kind", [SessionNow, Extend, GiveBack])
@pytest.mark.parametrize("body", WRONG)
def test_there_is_nothing_to_say_with_it(lab, scheduler, kind, body):
    request = Request(kind, a_session(lab, scheduler), body=body)
    assert asyncio.run(request.ask()) == 400
    assert request.said["message"] == "There is nothing to say: the body must be empty."
    assert scheduler.extended == [] and scheduler.cancelled == []


def test_a_session_is_extended_and_the_answer_has_the_new_end(lab, scheduler):
    request = Request(Extend, a_session(lab, scheduler))
    assert asyncio.run(request.ask()) == 200
    assert scheduler.extended == [("job-1", 6 * HOUR)]
    assert 5 * HOUR - 60 < request.said["seconds_left"] <= 5 * HOUR
    assert request.said["extend_s"] == HOUR


def test_however_often_it_asks_it_gets_no_more_than_the_site_allows(lab, scheduler):
    spawner = a_session(lab, scheduler)
    requests = [Request(Extend, spawner) for _ in range(5)]
    assert [asyncio.run(each.ask()) for each in requests] == [200, 200, 409, 409, 409]
    assert max(walltime_s for _, walltime_s in scheduler.extended) == 7 * HOUR
    assert "It may last 7 hours in all" in requests[-1].said["message"]


def test_a_profile_without_extension_is_refused_with_a_sentence(lab, scheduler):
    request = Request(Extend, a_session(lab, scheduler, "fixed"))
    assert asyncio.run(request.ask()) == 409
    assert "Sessions of this kind keep their end." in request.said["message"]
    assert scheduler.extended == []


def test_a_job_that_is_not_its_own_is_not_extended(lab, scheduler):
    """Its record names a job, but another has that id now: its own, with another nonce, too."""
    spawner = a_session(lab, scheduler)
    for change in ({"tag": "another"}, {"user": "ben"}):
        kept = scheduler.waiting["job-1"]
        scheduler.waiting["job-1"] = replace(kept, **change)
        assert asyncio.run(Request(Extend, spawner).ask()) == 503
        scheduler.waiting["job-1"] = kept
    assert scheduler.extended == []


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.ENDING, JobState.UNKNOWN])
def test_only_a_session_that_runs_is_extended(lab, scheduler, state):
    spawner = a_session(lab, scheduler)
    scheduler.set("job-1", state)
    assert asyncio.run(Request(Extend, spawner).ask()) == 503
    assert scheduler.extended == []


def test_a_scheduler_that_is_silent_says_nothing_of_the_time(lab, scheduler):
    spawner = a_session(lab, scheduler)
    scheduler.fault = LabkitError("down")
    for kind in (SessionNow, Extend):
        assert asyncio.run(Request(kind, spawner).ask()) == 503


def test_a_profile_that_the_site_took_away_is_still_a_session(lab, scheduler):
    spawner = a_session(lab, scheduler)
    spawner.lab = replace(lab, site=lab.site.model_copy(update={"profiles": {}}))
    request = Request(SessionNow, spawner)
    assert asyncio.run(request.ask()) == 200
    assert request.said["profile"] == "gpu" and request.said["extend_s"] == 0


@given(st.binary(min_size=1, max_size=100).filter(lambda body: body not in (b"{}", b"null")))
def test_a_request_names_nothing(body):
    """No job, no person, no amount: whatever is said is refused."""
    spawner = SimpleNamespace(api_token="t", port_reported=None)
    assert asyncio.run(Request(Extend, spawner, body=body).ask()) == 400


def test_a_session_gives_itself_back_once_it_has_its_answer(lab, scheduler, monkeypatch):
    spawner, stopped = a_session(lab, scheduler), []
    request = Request(GiveBack, spawner)

    async def stop(user, name):
        stopped.append((user, name))

    async def ask_and_finish() -> None:
        assert await request.ask() == 202
        assert stopped == []
        request.handler.on_finish()
        await request.handler._ending

    monkeypatch.setattr(session_api.SessionHandler, "on_finish", lambda handler: None)
    request.handler.stop_single_user = stop
    request.handler.get_status = lambda: request.status
    asyncio.run(ask_and_finish())
    assert stopped == [(spawner.user, "")]


def test_one_that_starts_or_ends_is_not_ended_twice(lab, scheduler):
    spawner = a_session(lab, scheduler)
    spawner._stop_pending = True
    assert asyncio.run(Request(GiveBack, spawner).ask()) == 403
