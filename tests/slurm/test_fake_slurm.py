"""The Slurm of the bench prints what the real one prints."""

from dataclasses import replace
from datetime import UTC, datetime

from labkit.schedulers._slurm_view import QueuedJob
from tests.slurm.cluster import SlurmCluster
from tests.slurm.fake_slurm import NAMES, SHOWN, calls, make_fake_slurm
from tests.slurm.slurm_commands import ASSOCIATIONS, Slurm
from tests.waiting import wait_for

THEN = datetime.fromtimestamp(0, UTC)


def test_the_fake_prints_what_the_real_one_does(cluster: SlurmCluster):
    real = Slurm(cluster)
    shown = {what: real.show(what) for what in SHOWN}
    fake = Slurm(cluster, make_fake_slurm(cluster.folder / "fake", cluster.python, shown))
    ids = {slurm: slurm.submit() for slurm in (real, fake)}
    jobs = [
        wait_for(lambda s=slurm, i=job_id: (job := s.job(i)) and job.info.started and job, "a job")
        for slurm, job_id in ids.items()
    ]
    expected, printed = map(without_what_differs, jobs)
    assert printed == expected

    for slurm, job_id in ids.items():
        slurm.run("scancel", job_id)
    ends = [wait_for(lambda s=slurm, i=job_id: s.end(i), "an end") for slurm, job_id in ids.items()]
    expected, printed = (replace(end, job_id="", ended=THEN) for end in ends)
    assert printed == expected
    assert fake.job(ids[fake]) is None

    assert {what: fake.show(what) for what in shown} == shown
    mine = [*ASSOCIATIONS, "users=alice"]
    assert fake.run(*mine) == real.run(*mine) != ""
    assert {name for _, name in calls(cluster.folder / "fake")} == set(NAMES)


def without_what_differs(job: QueuedJob) -> QueuedJob:
    """Two jobs have two numbers, nodes and times; all of them are there."""
    info = job.info
    assert info.started and info.deadline and info.nodes
    asked_s = round((info.deadline - info.started).total_seconds())
    times = {"submitted": THEN, "started": THEN, "deadline": datetime.fromtimestamp(asked_s, UTC)}
    return replace(job, priority=0, info=replace(info, job_id="", nodes=(), **times))
