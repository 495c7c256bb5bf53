"""Private Ray clusters on a real Slurm: how soon they stand, and what TLS and nodes cost.

The peer is what Ray's own page on Slurm says: one `srun ray symmetric-run`, without secrets. All
take turns on the same four nodes, from Slurm's start of the job to a script that sees all nodes.
"""

import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.bench.table import Table, skipped
from tests.slurm.cluster import SlurmCluster, why_not
from tests.slurm.slurm_lab import SlurmLab, own
from tests.slurm.terminal import Terminal, terminal_with_model
from tests.waiting import wait_for

NODES = 4
GOAL_RATIO = 1.15
BARE, NO_TLS = "ray symmetric-run", "ray_tls = false"
TITLE = f"From the job's start to a script that sees all {NODES} nodes"
SIZE = (f"--nodes={NODES}", "--cpus-per-node=1", "--memory=2GB", "--time=10m")
SCRIPT = f"""
import json, os, time
began = time.time()
import numpy, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < {NODES}:
    time.sleep(0.02)
ready = time.time()

@ray.remote
def nothing():
    return None

@ray.remote
class Holder:
    def make(self, size):
        self.data = ray.put(numpy.random.default_rng(0).random(size))
        return [self.data]
    def take(self, reference):
        started = time.time()
        taken = ray.get(reference[0])
        return taken.nbytes / (time.time() - started)

ray.get([nothing.remote() for _ in range(50)])
started = time.time()
ray.get([nothing.remote() for _ in range(400)])
tasks = 400 / (time.time() - started)
on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes()[:2]]
one, two = [Holder.options(scheduling_strategy=each).remote() for each in on]
rates = [ray.get(two.take.remote(ray.get(one.make.remote(2**22)))) for _ in range(5)]
print("SAID", json.dumps([began, ready, tasks, sorted(rates)[2] / 2**20]), flush=True)
if os.environ.get("HOLD"):
    time.sleep(600)
"""
BATCH = """\
#!/bin/bash
export PATH={python.parent}:$PATH  # it calls `ray` by its name
head=$(hostname --ip-address)
srun --export=ALL --nodes={nodes} --ntasks={nodes} {python} -m ray.scripts.scripts symmetric-run \
  --address $head:6379 --min-nodes {nodes} --num-cpus=1 -- {python} {script}
"""
_LAUNCHED = r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\] Launching batch job (\d+) "


@dataclass(frozen=True)
class Start:
    """One job of the bench; moments are in seconds since the epoch."""

    moments: Mapping[str, float]
    tasks_per_second: float
    mib_per_second: float
    """Of an object of 32 MiB, fetched by one node from another."""

    @property
    def seconds(self) -> float:
        times = list(self.moments.values())
        return times[-1] - times[0]


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    if reason := why_not():
        yield skipped(TITLE, reason)
        return
    with SlurmCluster().running() as cluster, terminal_with_model(cluster, "alice") as alice:
        script = alice.home / "sees.py"
        script.write_text(SCRIPT)
        own(script, like=alice.home)
        starts: dict[str, list[Start]] = {"labkit": [], f"labkit, {NO_TLS}": [], BARE: []}
        for _ in range(2 if quick else 5):
            for name, each in starts.items():
                SlurmLab(cluster, site_settings=NO_TLS if NO_TLS in name else "")
                each.append(bare(alice, script) if name == BARE else ours(alice, script))
        yield beside(starts)
        yield stages(starts["labkit"])
        SlurmLab(cluster)
        yield memory(alice, script)
        yield workers(alice, rounds=1 if quick else 3)


def ours(alice: Terminal, script: Path) -> Start:
    command = ["--", alice.cluster.python, script]
    job = alice.json("ray", "launch", *SIZE, *command)
    job_id = alice.json("ray", "status", job["ray_job"])["job_id"]
    meeting = Path(job["folder"]) / "cluster"
    seen: dict[str, float] = {}

    def ended() -> bool:
        for file in meeting.glob("*") if meeting.exists() else ():
            seen.setdefault(file.name, file.stat().st_mtime)
        return alice.cluster.output(["squeue", "--noheader", f"--jobs={job_id}"]) == ""

    wait_for(ended, "the job's end")
    joined = [when for name, when in seen.items() if name.startswith("node-")]
    steps = {
        "labkit begins on the first node": seen["token"],
        "Ray's head listens": seen["address.json"],
        "the others have come": max(joined),
    }
    return start_of(alice, job_id, (Path(job["folder"]) / "log.txt").read_text(), steps)


def bare(alice: Terminal, script: Path) -> Start:
    log = alice.home / "bare.log"
    log.unlink(missing_ok=True)
    amounts = [f"--nodes={NODES}", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=2048M"]
    text = BATCH.format(nodes=NODES, python=alice.cluster.python, script=script)
    done = alice.cluster.run(
        ["sbatch", "--parsable", "--export=NIL", f"--output={log}", "--time=10", *amounts],
        user="alice",
        input=text,
    )
    job_id = done.stdout.strip()
    assert job_id.isdigit(), done.stderr
    wait_for(
        lambda: alice.cluster.output(["squeue", "--noheader", f"--jobs={job_id}"]) == "",
        "the job's end",
    )
    return start_of(alice, job_id, log.read_text(), {})


def start_of(alice: Terminal, job_id: str, log: str, steps: Mapping[str, float]) -> Start:
    said = re.search(r"SAID (\[.*\])", log)
    assert said, log
    began, ready, tasks, rate = json.loads(said[1])
    moments = {
        "Slurm starts the job": launched(alice, job_id),
        **steps,
        "the script begins": began,
        "it sees all nodes": ready,
    }
    return Start(moments, tasks, rate)


def launched(alice: Terminal, job_id: str) -> float:
    """When the first node's daemon began with the job's batch script."""
    for log in (alice.cluster.folder / "log").glob("slurmd-*.log"):
        for when, job in re.findall(_LAUNCHED, log.read_text()):
            if job == job_id:
                return datetime.fromisoformat(when).timestamp()
    raise LookupError(f"no node began with job {job_id}")


def beside(starts: Mapping[str, Sequence[Start]]) -> Table:
    medians = {
        name: statistics.median(start.seconds for start in each) for name, each in starts.items()
    }
    rows = [
        [
            name,
            f"{medians[name]:.1f}",
            f"{medians[name] / medians[BARE]:.2f} ×",
            " ".join(f"{start.seconds:.1f}" for start in each),
            f"{statistics.median(start.tasks_per_second for start in each):.0f}",
            f"{statistics.median(start.mib_per_second for start in each):.0f}",
        ]
        for name, each in starts.items()
    ]
    columns = ["", "seconds, median", f"of {BARE}", "all", "tasks a second", "MiB a second"]
    notes = [f"Goal: at most {GOAL_RATIO:.2f} ×. {BARE}: no token, no TLS."]
    return Table(TITLE, columns, rows, notes)


def stages(starts: Sequence[Start]) -> Table:
    names = list(starts[0].moments)
    rows = []
    for earlier, later in zip(names, names[1:], strict=False):
        taken = [start.moments[later] - start.moments[earlier] for start in starts]
        rows.append([later, f"{statistics.median(taken):.2f}"])
    notes = ["Medians do not add."]
    return Table("Where the time of labkit goes", ["until", "seconds, median"], rows, notes)


def memory(alice: Terminal, script: Path) -> Table:
    """PSS of all of the job's processes, by node, while its script sleeps."""
    command = ["--", "/usr/bin/env", "HOLD=yes", alice.cluster.python, script]
    job = alice.json("ray", "launch", *SIZE, *command)
    log = Path(job["folder"]) / "log.txt"
    wait_for(lambda: log.exists() and "SAID" in log.read_text(), "the script")
    held: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real == alice.home.stat().st_uid:
                network = str(Path(f"/proc/{process.pid}/ns/net").readlink())
                held.setdefault(network, []).append(process.memory_full_info().pss)
        except (psutil.Error, OSError):
            continue  # It ended while we looked.
    alice.labkit("ray", "stop", job["ray_job"])
    alice.cluster.cancel_all()
    sizes = sorted((sum(each) for each in held.values()), reverse=True)
    rows = [
        ["first, with the script", f"{sizes[0] / 2**20:.0f}"],
        *(["another", f"{size / 2**20:.0f}"] for size in sizes[1:]),
    ]
    return Table("Memory of a Ray cluster that does nothing, by node (PSS)", ["node", "MiB"], rows)


def workers(alice: Terminal, rounds: int) -> Table:
    """One thread a worker, on one node and on two; the global batch is the same."""
    rates: dict[str, list[float]] = {"1 node": [], "2 nodes": [], f"2 nodes, {NO_TLS}": []}
    for _ in range(rounds):
        for name, each in rates.items():
            SlurmLab(alice.cluster, site_settings=NO_TLS if NO_TLS in name else "")
            each.append(rows_per_second(alice, int(name[0])))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    one = medians["1 node"]
    rows = [
        [name, f"{rate:.0f}", f"{rate / one:.2f} ×", f"{rate / one / int(name[0]):.0%}"]
        for name, rate in medians.items()
    ]
    columns = ["", "rows a second, median", "of one", "efficiency"]
    return Table("The same training on one node and on two, one thread each", columns, rows)


def rows_per_second(alice: Terminal, nodes: int) -> float:
    data = alice.cluster.folder / "checkout" / "labkit" / "demo" / "hotline.csv"
    flags = ("--recipe=text-classification", "--base=minilm", "--label=category", "--epochs=4")
    size = (f"--nodes={nodes}", "--cpus-per-node=1", "--memory=3GB")
    run: Any = alice.json("run", "start", *flags, f"--data={data}", *size, "--wait")
    assert run["state"] == "done", run
    lines = (Path(run["folder"]) / "attempts" / "1" / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line).get("rows_per_second") for line in lines]
    alice.labkit("run", "delete", run["run"], "--yes")
    return statistics.median(rate for rate in found if rate)
