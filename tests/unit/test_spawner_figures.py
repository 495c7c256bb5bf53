"""What operators read of sessions at `/hub/metrics`."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import REGISTRY

from labkit.schedulers.base import JobKind, JobResources, JobState
from labkit.settings import Site
from labkit_spawners.figures import measured, timed
from labkit_spawners.figures_now import SessionFigures
from labkit_spawners.watch import JobWatch

from .fake_lab import GB, NOW, FakeScheduler, fake_lab, job_info, pool, spawner_of, until

DOCS = Path(__file__).parents[2] / "docs" / "slurm.md"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def now(lab) -> str:
    registry = CollectorRegistry()
    registry.register(SessionFigures(lambda: lab))
    return generate_latest(registry).decode()


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


async def test_calls_are_counted_with_their_outcome(scheduler: FakeScheduler):
    noted = measured(scheduler, "here")
    count = "labkit_scheduler_call_seconds_count"
    before = value(count, cluster="here", call="jobs", outcome="answered")
    await noted.jobs()
    assert value(count, cluster="here", call="jobs", outcome="answered") == before + 1
    scheduler.fault = RuntimeError("away")
    failed = value(count, cluster="here", call="jobs", outcome="failed")
    with pytest.raises(RuntimeError, match="away"):
        await noted.jobs()
    assert value(count, cluster="here", call="jobs", outcome="failed") == failed + 1
    assert noted.look_every_s == scheduler.look_every_s


def test_a_call_that_fails_is_no_answer():
    def failed() -> float:
        count = "labkit_scheduler_call_seconds_count"
        return value(count, cluster="c", call="x", outcome="failed")

    before = failed()
    with pytest.raises(KeyError), timed("c", "x"):
        raise KeyError
    assert failed() == before + 1


async def test_sessions_are_counted_by_state_and_profile(site: Site, scheduler: FakeScheduler):
    lab = fake_lab(site, scheduler)
    (cluster,) = lab.site.clusters
    watch = lab.watches[cluster]
    for name, changes in {
        "new": {},
        "waits": {"job_id": "1"},
        "starts": {"job_id": "2"},
        "runs": {"job_id": "3", "started": True},
    }.items():
        record = lab.records.create(
            user=name, server="", profile="notebook", cluster=cluster, api_token="t", nonce="n"
        )
        lab.records.update(record, **changes)
    scheduler.waiting = {
        "1": job_info("1", state=JobState.PENDING),
        "2": job_info("2"),
    }
    await watch.jobs()
    text = now(lab)
    for state in ("submitting", "queued", "starting", "running"):
        assert f'labkit_sessions{{profile="notebook",state="{state}"}} 1.0' in text, text


async def test_gpus_are_counted_once_though_in_two_partitions(site: Site, scheduler: FakeScheduler):
    lab = fake_lab(site, scheduler)
    (cluster,) = lab.site.clusters
    watch = lab.watches[cluster]
    gpus = pool(num_gpus=4, free_gpus=1, device_name="h100", partition="gpu")
    scheduler.pools = [gpus, replace(gpus, partition="debug")]
    holds = JobResources(num_cpus=1, memory_bytes=GB, num_gpus=2)
    scheduler.waiting = {
        "1": job_info("1", resources=holds, nodes=("n1",)),
        "2": job_info("2", resources=holds, kind=JobKind.RUN, nodes=("n1", "n2")),
        "3": job_info("3", resources=holds, state=JobState.PENDING),
    }
    assert "labkit_gpus_total{" not in now(lab)  # a scrape asks nothing
    await watch.jobs()
    await watch.pools()
    text = now(lab)
    assert f'labkit_gpus_total{{cluster="{cluster}",device="h100"}} 4.0' in text
    assert f'labkit_gpus_allocated{{cluster="{cluster}",device="h100"}} 3.0' in text
    assert f'labkit_gpus_held{{cluster="{cluster}",kind="session"}} 2.0' in text
    assert f'labkit_gpus_held{{cluster="{cluster}",kind="run"}} 4.0' in text


async def test_queue_and_start_are_two_times_noted_once(site: Site, scheduler: FakeScheduler):
    lab = fake_lab(site, scheduler)
    spawner = spawner_of(lab)
    waited = value("labkit_session_queue_seconds_sum", profile="notebook")
    count = value("labkit_session_start_seconds_count", profile="notebook")
    start = asyncio.create_task(spawner.start())
    await until(lambda: scheduler.waiting and spawner.job_id)
    scheduler.set(spawner.job_id, JobState.RUNNING)
    kept = scheduler.waiting[spawner.job_id]
    scheduler.waiting[spawner.job_id] = replace(kept, started=NOW + timedelta(seconds=40))
    record = lab.records.get("ana", "")
    assert record is not None
    assert spawner.port_reported(12345, record.nonce)
    await start
    for _ in range(2):
        assert await spawner.poll() is None
    assert value("labkit_session_queue_seconds_sum", profile="notebook") == waited + 40
    assert value("labkit_session_start_seconds_count", profile="notebook") == count + 1


def test_the_guide_names_every_figure():
    named = {family.name for family in REGISTRY.collect() if family.name.startswith("labkit_")}
    rows = set(re.findall(r"^\| `(labkit_[a-z_]+)` \|", DOCS.read_text(), re.MULTILINE))
    # A counter is called without what its samples end in.
    assert {name.removesuffix("_total") for name in rows} == {
        name.removesuffix("_total") for name in named
    }
    assert len(rows) == 8


def test_a_watch_keeps_what_was_said_last(scheduler: FakeScheduler):
    watch = JobWatch(scheduler)
    assert watch.known_jobs == {} and watch.known_pools == ()
