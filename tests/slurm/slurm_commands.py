"""Slurm's commands as a person runs them: the real ones, or those of a folder."""

from pathlib import Path

from labkit.schedulers._slurm_view import QueuedJob, parse_ends, parse_queue, queue_format
from labkit.schedulers.base import JobEnd
from tests.slurm.cluster import SlurmCluster

ASKED = (
    "--parsable --job-name=labkit-session --comment=labkit:session:abc123 --cpus-per-task=2 "
    "--mem=2048M --time=60 --gres=gpu:h100:1"
).split()
SCRIPT = "#!/bin/sh\nexec sleep 600\n"
SHOW = ("scontrol", "--oneliner", "show")
ASSOCIATIONS = (
    "sacctmgr --noheader --parsable2 show associations format=User,Account,Partition,QOS".split()
)


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

    def show(self, what: str) -> str:
        return self.run(*(ASSOCIATIONS if what == "associations" else (*SHOW, what)))

    def submit(self) -> str:
        return self.run("sbatch", *ASKED, text=SCRIPT).strip()

    def job(self, job_id: str) -> QueuedJob | None:
        text = self.run("squeue", "--noheader", "-o", queue_format("@"))
        return next((job for job in parse_queue(text, "@") if job.info.job_id == job_id), None)

    def end(self, job_id: str) -> JobEnd | None:
        query = f"--jobs={job_id} --format=JobIDRaw,State,ExitCode,End"
        text = self.run("sacct", "--noheader", "--parsable2", "--allocations", *query.split())
        return next(parse_ends(text), None)
