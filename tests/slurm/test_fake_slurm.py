"""The Slurm of the bench prints what the real one prints."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from labkit.schedulers._slurm_view import QueuedJob, parse_ends, parse_queue, queue_format
from labkit.schedulers.base import JobEnd
from tests.slurm.cluster import SlurmCluster
from tests.slurm.fake_slurm import NAMES, calls, make_fake_slurm
from tests.waiting import wait_for

ASKED = (
    "--parsable --job-name=labkit-session --comment=labkit:session:abc123 --cpus-per-task=2 "
    "--mem=2048M --time=60 --gres=gpu:h100:1"
).split()
SCRIPT = "#!/bin/sh\nexec sleep 600\n"
SHOW = ("scontrol", "--oneliner", "show")
THEN = datetime.fromtimestamp(0, UTC)


class Slurm:
    """The real one, or the commands of a folder, as alice uses them."""

    def __init__(self, cluster: SlurmCluster, folder: Path | None = None):
        self.cluster, self.folder = cluster, folder

    def run(self, name: str, *given: str, text: str | None = None) -> str:
        command = [str(self.folder / name) if self.folder else name, *given]
        seconds = {"SLURM_TIME_FORMAT": "%s"}
        done = self.cluster.run(command, user="alice", input=text, environment=seconds)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self) -> str:
        return self.run("sbatch", *ASKED, text=SCRIPT).strip()

    def job(self, job_id: str) -> QueuedJob | None:
        text = self.run("squeue", "--noheader", "-o", queue_format("@"))
        return next((job for job in parse_queue(text, "@") if job.info.job_id == job_id), None)

    def end(self, job_id: str) -> JobEnd | None:
        query = f"--jobs={job_id} --format=JobIDRaw,State,ExitCode,End"
        text = self.run("sacct", "--noheader", "--parsable2", "--allocations", *query.split())
        return next(parse_ends(text), None)


def test_the_fake_prints_what_the_real_one_does(cluster: SlurmCluster):
    real = Slurm(cluster)
    shown = {what: real.run(*SHOW, what) for what in ("node", "partition")}
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

    assert {what: fake.run(*SHOW, what) for what in shown} == shown
    assert {name for _, name in calls(cluster.folder / "fake")} == set(NAMES)


def without_what_differs(job: QueuedJob) -> QueuedJob:
    """Two jobs have two numbers, nodes and times; all of them are there."""
    info = job.info
    assert info.started and info.deadline and info.nodes
    asked_s = round((info.deadline - info.started).total_seconds())
    times = {"submitted": THEN, "started": THEN, "deadline": datetime.fromtimestamp(asked_s, UTC)}
    return replace(job, priority=0, info=replace(info, job_id="", nodes=(), **times))
