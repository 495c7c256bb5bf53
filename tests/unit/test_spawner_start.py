"""A session starts: the queue, the port, two clocks, and what is said when it fails."""

import asyncio
import getpass
from types import SimpleNamespace

import pytest
from jupyterhub.auth import NullAuthenticator

from labkit.errors import UsageError
from labkit.schedulers.base import JobState, Outcome
from labkit_spawners import spawner as spawner_module
from labkit_spawners.asked import SessionFailed
from labkit_spawners.watch import SUBMIT_AT_ONCE
from tests.unit.fake_lab import GB, FakeScheduler, SpawnerOfTest, fake_lab, spawner_of, until


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def lab(site, scheduler):
    return fake_lab(site, scheduler)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The spawner's clock; the scheduler's answers are fresh at each question."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(spawner_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def nonce_of(spawner: SpawnerOfTest) -> str:
    record = spawner.lab.records.get(spawner.user.name, "")
    assert record is not None
    return record.nonce


def step_by_step(scheduler: FakeScheduler, *steps) -> None:
    """At each question one of `steps` happens; after the last, nothing."""
    left = list(steps)
    scheduler.when_asked = lambda: left.pop(0)() if left else None


def runs(scheduler: FakeScheduler, job_id: str = "job-1"):
    return lambda: scheduler.set(job_id, JobState.RUNNING)


def says_port(spawner: SpawnerOfTest, port: int = 4711):
    return lambda: spawner.port_reported(port, nonce_of(spawner))


async def test_a_session_starts_when_it_has_said_its_port(lab, scheduler, clock):
    spawner = spawner_of(lab)
    step_by_step(scheduler, lambda: None, runs(scheduler), says_port(spawner))
    assert await spawner.start() == ("127.0.0.1", 4711)
    record = lab.records.get("ana", "")
    assert record is not None and record.started
    assert (record.job_id, record.api_token) == ("job-1", "token-of-ana")
    assert await spawner.poll() is None


async def test_the_time_in_the_queue_is_not_time_to_start(lab, scheduler, clock):
    def an_hour_passes():
        clock.now += 3600

    spawner = spawner_of(lab, starting_timeout_s=60)
    step_by_step(scheduler, *[an_hour_passes] * 5, runs(scheduler), says_port(spawner))
    assert await spawner.start() == ("127.0.0.1", 4711)


async def test_a_session_that_runs_and_says_nothing_is_ended(lab, scheduler, clock):
    def a_minute_passes():
        clock.now += 61

    spawner = spawner_of(lab, starting_timeout_s=60)
    step_by_step(scheduler, runs(scheduler), a_minute_passes)
    with pytest.raises(SessionFailed, match="did not answer within 60 seconds.*Try again"):
        await spawner.start()
    assert scheduler.cancelled == ["job-1"]
    assert lab.records.all() == []


async def test_a_site_may_limit_the_time_in_the_queue(lab, scheduler, clock):
    def a_minute_passes():
        clock.now += 61

    spawner = spawner_of(lab, queue_timeout_s=60)
    step_by_step(scheduler, a_minute_passes)
    with pytest.raises(SessionFailed, match="waited 60 seconds in the queue.*smaller profile"):
        await spawner.start()
    assert scheduler.cancelled == ["job-1"]


ENDS = [
    (Outcome.COMPLETED, 0, 0, "Try again"),
    (Outcome.FAILED, 3, 3, "Try again"),
    (Outcome.CANCELLED, 143, 143, "was stopped while it was starting"),
    (Outcome.TIMEOUT, None, 1, "Start it again"),
    (Outcome.OUT_OF_MEMORY, 137, 137, "Choose a profile with more"),
    (Outcome.LOST, None, 1, "Start it again"),
]


@pytest.mark.parametrize(("outcome", "exit_code", "code", "what_to_do"), ENDS)
async def test_a_job_that_has_ended_is_told_with_what_to_do(
    lab, scheduler, clock, outcome, exit_code, code, what_to_do
):
    spawner = spawner_of(lab)
    step_by_step(scheduler, lambda: scheduler.end("job-1", outcome, exit_code))
    with pytest.raises(SessionFailed, match=what_to_do) as caught:
        await spawner.start()
    assert caught.value.jupyterhub_message == str(caught.value)
    assert lab.records.all() == []
    assert await spawner.poll() == code


def test_each_outcome_is_tried_above():
    assert {outcome for outcome, *_ in ENDS} == set(Outcome)


async def test_what_can_never_fit_is_a_sentence_and_leaves_nothing(site):
    scheduler = FakeScheduler(memory_bytes=2 * GB)
    lab = fake_lab(site, scheduler)
    with pytest.raises(SessionFailed, match="more memory than there is. Ask for less"):
        await spawner_of(lab).start()
    assert lab.records.all() == [] and scheduler.cancelled == []


async def test_a_scheduler_that_does_not_answer_has_ended_nothing(lab, scheduler, clock):
    spawner = spawner_of(lab)
    no_answer = TimeoutError("squeue took too long")

    def falls_silent():
        scheduler.fault = no_answer

    def answers_again():
        scheduler.fault = None

    step_by_step(
        scheduler, falls_silent, lambda: None, answers_again, runs(scheduler), says_port(spawner)
    )
    assert await spawner.start() == ("127.0.0.1", 4711)
    scheduler.fault = no_answer
    assert await spawner.poll() is None
    scheduler.fault = None
    # Not to be found is not to have ended either.
    scheduler.waiting.clear()
    assert await spawner.poll() is None
    scheduler.end("job-1", Outcome.LOST)
    assert await spawner.poll() == 1


async def test_a_port_is_taken_once_and_from_the_session_that_is_meant(lab, scheduler, clock):
    spawner = spawner_of(lab)
    assert not spawner.port_reported(4711, "any")
    step_by_step(scheduler, runs(scheduler), says_port(spawner))
    await spawner.start()
    nonce = nonce_of(spawner)
    assert not spawner.port_reported(4711, "wrong")
    assert not spawner.port_reported(22, nonce)
    record = lab.records.get("ana", "")
    assert record is not None and record.port == 4711
    # The hub's answer may have been lost: then the session says the same again.
    assert spawner.port_reported(4711, nonce)


async def test_on_another_node_the_host_is_the_schedulers_word(lab, scheduler, clock):
    clusters = {"here": lab.site.clusters["here"].model_copy(update={"scheduler": "slurm"})}
    there = fake_lab(lab.site.model_copy(update={"clusters": clusters}), scheduler)
    spawner = spawner_of(there, getpass.getuser())  # the hub's own user needs no helper
    early = []
    step_by_step(
        scheduler,
        lambda: early.append(spawner.port_reported(4711, nonce_of(spawner))),
        runs(scheduler),
        lambda: None,
        says_port(spawner),
    )
    assert await spawner.start() == ("node7", 4711)
    assert early == [False]


async def test_stop_ends_the_job_and_forgets_it(lab, scheduler, clock):
    spawner = spawner_of(lab)
    step_by_step(scheduler, runs(scheduler), says_port(spawner))
    await spawner.start()
    await spawner.stop()
    assert scheduler.cancelled == ["job-1"]
    assert lab.records.all() == []
    assert await spawner.poll() is not None


async def test_a_session_that_is_stopped_while_it_starts_says_so(lab, scheduler, clock):
    spawner = spawner_of(lab)
    starting = asyncio.ensure_future(spawner.start())
    await until(lambda: scheduler.submitted)
    await spawner.stop()
    with pytest.raises(SessionFailed, match="stopped while it was starting"):
        await starting
    assert scheduler.cancelled and lab.records.all() == []


async def test_a_session_that_is_stopped_while_it_is_submitted_leaves_no_job(lab, scheduler):
    spawner = spawner_of(lab)
    submit = scheduler.submit

    async def stopped_meanwhile(job):
        await spawner.stop()
        return await submit(job)

    scheduler.submit = stopped_meanwhile
    with pytest.raises(SessionFailed, match="stopped while it was starting"):
        await spawner.start()
    assert scheduler.cancelled == ["job-1"]


async def test_why_it_failed_is_told_though_the_job_cannot_be_cancelled(lab, scheduler, clock):
    def fails():
        scheduler.end("job-1", Outcome.OUT_OF_MEMORY)

    async def no_answer(job_id):
        raise TimeoutError("scancel took too long")

    scheduler.cancel = no_answer
    step_by_step(scheduler, fails)
    with pytest.raises(SessionFailed, match="Choose a profile with more"):
        await spawner_of(lab).start()


async def test_each_step_is_said_once(lab, scheduler, clock):
    spawner = spawner_of(lab)
    steps = spawner.progress()
    said = [(await anext(steps))["message"]]
    await spawner._submit(spawner._new_record())
    said.append((await anext(steps))["message"])
    await spawner.query_job_status()
    said.append((await anext(steps))["message"])
    scheduler.set("job-1", JobState.RUNNING)
    await spawner.query_job_status()
    said.append((await anext(steps))["message"])
    await steps.aclose()  # type: ignore[attr-defined]
    assert said == [
        "Handing the session to the scheduler.",
        "Asking the scheduler.",
        "It waits for its turn.",
        "The job runs; Jupyter is starting.",
    ]


async def test_strangers_are_refused_where_all_are_one_unix_user(lab, scheduler):
    """A spawner on somebody's own JupyterHub, whose users are not the demo's."""
    spawner = spawner_of(lab)
    spawner.authenticator = NullAuthenticator()
    with pytest.raises(SessionFailed, match="everybody could read everybody's files"):
        await spawner.start()
    assert not scheduler.submitted and lab.records.get("ana", "") is None


async def test_why_a_session_ended_by_itself_is_kept_until_the_next_starts(lab, scheduler, clock):
    spawner = spawner_of(lab)
    step_by_step(scheduler, runs(scheduler), says_port(spawner))
    await spawner.start()
    scheduler.end("job-1", Outcome.OUT_OF_MEMORY)
    assert await spawner.poll() is not None
    assert "took more memory than its profile gives" in await spawner.form()
    again = spawner_of(lab)
    step_by_step(scheduler, runs(scheduler, "job-2"), says_port(again))
    await again.start()
    assert "Your last session" not in await again.form()


async def test_of_many_that_start_at_once_few_are_being_submitted(lab, scheduler, monkeypatch):
    now, most, people = 0, 0, [f"person{number}" for number in range(12)]

    async def slow(*_given, **_named) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        raise UsageError("No.")

    monkeypatch.setattr(spawner_module, "submit_session", slow)
    starts = [spawner_of(lab, name).start() for name in people]
    ended = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(each) for each in ended] == [SessionFailed] * len(people)
    assert most == SUBMIT_AT_ONCE
