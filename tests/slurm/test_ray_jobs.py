"""Any Ray script as a job on the real Slurm, on two nodes, and who gets at its cluster."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.neighbour import gets_nowhere
from tests.slurm.slurm_lab import SlurmLab, own
from tests.slurm.terminal import Terminal
from tests.waiting import wait_for

SCRIPT = """
import json, os, sys, time
import ray

ray.init()  # no argument

@ray.remote(scheduling_strategy="SPREAD")
def where():
    time.sleep(0.5)
    return os.uname().nodename

hosts = sorted(set(ray.get([where.remote() for _ in range(8)])))
told = {"hosts": hosts, "cpus": ray.cluster_resources()["CPU"], "given": sys.argv[1:]}
print("TOLD " + json.dumps(told | {"here": os.getcwd()}), flush=True)
while "--until" in sys.argv and not os.path.exists(sys.argv[-1]):
    time.sleep(0.5)
"""
MORE = 'import ray; ray.init(); print("CPUS", ray.cluster_resources()["CPU"])'
SIZE = ("--nodes=2", "--cpus-per-node=2", "--memory=2GB", "--time=20m")


@pytest.fixture(scope="module")
def alice(cluster: SlurmCluster) -> Iterator[Terminal]:
    SlurmLab(cluster)  # its settings
    alice = Terminal(cluster, "alice")
    work = alice.home / "work"
    work.mkdir()
    (work / "train.py").write_text(SCRIPT)
    (work / "more.py").write_text(MORE)
    own(work, like=alice.home)
    yield alice
    cluster.cancel_all()


@pytest.fixture
def work(alice: Terminal) -> Path:
    return alice.home / "work"


def hears(person: Terminal, name: str) -> dict[str, Any]:
    """What the job's script tells, once it has."""

    def told() -> list[str]:
        log = person.labkit("ray", "logs", name)
        return [line for line in log.splitlines() if line.startswith("TOLD ")]

    (line,) = wait_for(told, "the script", every_s=1)
    return json.loads(line.removeprefix("TOLD "))


def test_a_script_runs_unchanged_on_two_nodes_and_attach_is_for_the_owner_alone(
    alice: Terminal, work: Path
):
    given = ["--lr", "1e-4", "--until", str(work / "done")]
    command = ["--", alice.cluster.python, "train.py", *given]
    job = alice.json("ray", "launch", *SIZE, "--name=held", *command, folder=work)
    said = hears(alice, "held")
    assert len(said["hosts"]) == 2 and said["cpus"] == 4
    assert said["given"] == given and said["here"] == str(work)
    view = alice.json("ray", "status", "held")
    assert view["state"] == "running" and len(view["nodes"]) == 2

    # From the machine that she signs in to; no port of the cluster is open there.
    python = alice.cluster.python
    assert "CPUS 4.0" in alice.labkit("ray", "attach", "held", "--", python, "more.py")
    submitted = ["ray", "job", "submit", "--", python, "more.py"]
    submitted[0] = str(python.parent / "ray")
    assert "CPUS 4.0" in alice.labkit("ray", "attach", "held", "--", *submitted)

    shell = alice.types("ray", "attach", "held", then=[f"{python} more.py", "tty", "exit"])
    assert "CPUS 4.0" in shell and "/dev/pts/" in shell, shell

    # Whoever knows all of it but the secret: neither her record, nor her job, nor a port of hers.
    bob = Terminal(alice.cluster, "bob")
    assert "No Ray job" in bob.labkit("ray", "attach", job["ray_job"], "--", "id", fails=True)
    head = json.loads((Path(job["folder"]) / "cluster" / "address.json").read_text())
    asked = bob.cluster.run(
        ["srun", f"--jobid={view['job_id']}", "--overlap", "id"], user="bob", timeout_s=60
    )
    assert asked.returncode != 0 and "uid=" not in asked.stdout
    reads = ["cat", f"{job['folder']}/cluster/token", f"{job['folder']}/log.txt", head["temp"]]
    for node in view["nodes"]:
        found = bob.cluster.run(reads, user="bob", node=node)
        assert found.returncode != 0 and found.stdout == ""
    (first, *_) = view["nodes"]

    def knock(door: str) -> str:
        # Ray asks again and again who does not speak to it; whoever may come in is in after 4 s.
        asked = ["timeout", "--signal=KILL", "20", python, "-c", door]
        tried = bob.cluster.run(asked, user="bob", node=first, timeout_s=60)
        return "OUT" if tried.returncode else tried.stdout

    doors = (
        f"import ray; ray.init('{head['address']}'); print('IN')",
        "from ray.job_submission import JobSubmissionClient as C; "
        f"C('http://{head['dashboard']}').submit_job(entrypoint='id'); print('IN')",
        "from ray._raylet import GcsClient; "
        f"GcsClient(address='{head['address']}').internal_kv_keys(b'', None); print('IN')",
    )
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(knock, doors)) == ["OUT"] * len(doors)
    for node in view["nodes"]:
        said = gets_nowhere(alice.cluster, node, of="alice", by="bob")
        # Raylet, its object manager and a worker, at the least; and an agent.
        assert list(said.values()).count("refused") >= 3 and "401" in said.values()
    assert alice.json("ray", "status", "held")["state"] == "running"

    (work / "done").touch()
    alice.labkit("ray", "logs", "-f", "held")
    assert alice.json("ray", "status", "held")["state"] == "done"
    folder = Path(job["folder"])
    assert folder.stat().st_mode & 0o77 == 0 and (folder / "log.txt").stat().st_mode & 0o77 == 0
    assert not (folder / "cluster" / "token").exists()
    alice.leaves_nothing()


def test_two_people_have_clusters_on_one_node_at_once_and_neither_meets_the_other(
    alice: Terminal, work: Path, soak_round: int
):
    people = [alice, Terminal(alice.cluster, "bob")]
    name = f"beside-{soak_round}"
    one_node = ("--nodes=1", "--cpus-per-node=1", "--memory=1GB", "--time=20m")
    command = ["--", alice.cluster.python, "-c", SCRIPT, "--until", "/never"]
    for person in people:
        person.json("ray", "launch", *one_node, f"--name={name}", *command)
    alices, bobs = (hears(person, name) for person in people)
    assert alices["hosts"] == bobs["hosts"], "the same node"
    assert alices["cpus"] == bobs["cpus"] == 1, "each sees a cluster of its own"
    (node,) = alices["hosts"]
    for of, by in (("alice", "bob"), ("bob", "alice")):
        gets_nowhere(alice.cluster, node, of=of, by=by)
    for person in people:
        assert person.json("ray", "status", name)["state"] == "running"
        person.labkit("ray", "stop", name)
    for person in people:
        person.leaves_nothing()
        assert person.json("ray", "status", name)["state"] == "stopped"


def test_what_cannot_run_is_said_before_it_is_submitted(alice: Terminal, work: Path):
    python = alice.cluster.python
    for given, said in (
        ((*SIZE, "--", "/usr/bin/python3", "train.py"), "cannot import ray"),
        (("--gpus-per-node=8", "--", python, "train.py"), "8 GPUs asked on each node"),
        (("--account=class", "--", python, "train.py"), "account 'class' asked"),
    ):
        assert said in alice.labkit("ray", "launch", *given, fails=True, folder=work)
    printed = alice.labkit(
        "ray", "launch", *SIZE, "--dry-run", "--", python, "train.py", folder=work
    )
    assert "sbatch" in printed and "#!/bin/bash" in printed and "srun --relative=1" in printed
    assert alice.cluster.output(["squeue", "--noheader", "--user=alice"]) == ""
