"""What a session holds and how long still, and how far it may be extended."""

from dataclasses import replace
from datetime import timedelta

import pytest

from labkit.schedulers.base import JobInfo, JobKind, JobResources, JobState
from labkit.settings import Profile
from labkit_spawners.time_left import extension, holds, longest_s, time_left
from tests.unit.fake_lab import GB, NOW, pool

HOUR = 3600


def job(hours: float | None = 4, *, num_cpus: int = 8, num_gpus: int = 0) -> JobInfo:
    """One that has started an hour ago and may last so many hours in all."""
    started = NOW - timedelta(hours=1)
    return JobInfo(
        job_id="1",
        name="labkit-session",
        kind=JobKind.SESSION,
        state=JobState.RUNNING,
        submitted=started,
        started=started,
        deadline=None if hours is None else started + timedelta(hours=hours),
        nodes=("n1",),
        resources=JobResources(num_cpus=num_cpus, memory_bytes=32 * GB, num_gpus=num_gpus),
    )


def profile(**more) -> Profile:
    return Profile(**{"title": "One", "time": "4h", "extend": "2h", "longest": "12h", **more})


def asked(profile: Profile, job: JobInfo, **limits):
    return extension(profile, job, longest_s(profile, [pool(**limits)], None))


def test_seconds_are_left_whatever_the_clock_of_the_page():
    session = job(4)
    said = time_left("One", "", session, asked(profile(), session), NOW + timedelta(minutes=30))
    assert said.seconds_left == 2.5 * HOUR
    assert (said.profile, said.nodes, said.extend_s) == ("One", ("n1",), 2 * HOUR)
    late = time_left("One", "", session, asked(profile(), session), NOW + timedelta(days=1))
    assert late.seconds_left == 0


def test_a_session_without_an_end_has_none():
    session = job(None)
    said = time_left("One", "", session, asked(profile(), session), NOW)
    assert said.seconds_left is None and said.extend_s == 0


@pytest.mark.parametrize(
    "gpus, device, words",
    [
        (0, "h100", ["8 cores", "32 GB"]),
        (1, "", ["1 GPU", "8 cores", "32 GB"]),
        (2, "h100", ["2 × h100", "8 cores", "32 GB"]),
        (1, "shard", ["1 share of a GPU", "8 cores", "32 GB"]),
        (2, "shard", ["2 shares of a GPU", "8 cores", "32 GB"]),
    ],
)
def test_what_it_holds_in_words(gpus, device, words):
    assert holds(job(num_gpus=gpus), device) == words


def test_one_core_is_one():
    assert holds(job(num_cpus=1), "") == ["1 core", "32 GB"]


def test_each_press_adds_as_much_up_to_the_longest():
    session, hours = job(4), []
    while (more := asked(profile(), session)).seconds:
        hours.append(more.walltime_s / HOUR)
        assert session.started
        session = replace(session, deadline=session.started + timedelta(seconds=more.walltime_s))
    assert hours == [6, 8, 10, 12]
    assert more.why_not == "It may last 12 hours in all, and has as much already."


def test_the_last_press_adds_what_is_left():
    assert asked(profile(longest="5h"), job(4)).seconds == HOUR


def test_less_than_a_minute_is_no_extension():
    assert asked(profile(longest="4:00:59"), job(4)).seconds == 0


def test_the_partition_has_the_last_word():
    assert asked(profile(), job(4), max_walltime_s=5 * HOUR).seconds == HOUR
    assert asked(profile(), job(5), max_walltime_s=5 * HOUR).seconds == 0
    # One that an operator has let run for longer is not made shorter.
    assert asked(profile(), job(9), max_walltime_s=5 * HOUR).seconds == 0


def test_only_its_own_partition_counts():
    here, there = pool(max_walltime_s=HOUR), pool(max_walltime_s=24 * HOUR, partition="long")
    assert longest_s(profile(), [here, replace(there, default=False)], None) == HOUR
    assert longest_s(profile(partition="long"), [here, there], None) == 12 * HOUR


def test_a_persons_own_limit_counts_too():
    assert longest_s(profile(), [pool(max_walltime_s=24 * HOUR)], 5 * HOUR) == 5 * HOUR


def test_a_profile_without_extension_keeps_its_end():
    said = asked(Profile(title="One"), job(4))
    assert (said.seconds, said.why_not) == (0, "Sessions of this kind keep their end.")
