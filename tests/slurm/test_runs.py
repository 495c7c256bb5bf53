"""Runs on a real Slurm: over several nodes, and what they outlive: a lost node, a job's time.

In one file, and so in one process of `pytest -n 2`: two at once are too much for two cores.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labkit.schedulers._slurm_nodes import values_of
from tests.minilm import THIN
from tests.slurm.cluster import SlurmCluster
from tests.slurm.neighbour import gets_nowhere
from tests.slurm.terminal import Terminal, terminal_with_model
from tests.waiting import wait_for

MANY = 12
"""Epochs that outlast several faults."""


@pytest.fixture(scope="module")
def alice(cluster: SlurmCluster) -> Iterator[Terminal]:
    """With her runs on a disk that may hang, or be full."""
    runs = f'runs = "{cluster.disk}/{{user}}/runs"'
    with terminal_with_model(cluster, "alice", site_settings=runs, num_layers=THIN) as terminal:
        yield terminal


@pytest.fixture(scope="module")
def epochs(pytestconfig: pytest.Config) -> int:
    """Of a run that something happens to once; in `make soak` it outlasts three minutes."""
    return 120 if pytestconfig.getoption("--soak") else 6


@pytest.fixture(scope="module")
def undisturbed(alice: Terminal, epochs: int) -> Callable[[], Any]:
    """Begins such a run, to which nothing happens; what came of it, once it is asked for."""
    folder = begin(alice, epochs=epochs, name="whole")

    def result() -> Any:
        run = alice.json("run", "show", "whole", "--wait")
        assert (run["state"], run["attempt"]) == ("done", 1)
        assert not list(folder.glob(".*.job"))
        return run

    return result


def start(alice: Terminal, *given: str, name: str, epochs: int = 1) -> Sequence[str]:
    data = alice.cluster.folder / "checkout" / "labkit" / "demo" / "hotline.csv"
    fixed = ["--recipe=text-classification", "--base=minilm", f"--data={data}", "--label=category"]
    learning = [f"--epochs={epochs}", f"--patience={epochs}", "--learning-rate=1e-3"]
    place = ["--cpus-per-node=1", "--memory=3GB"]
    return ["run", "start", f"--name={name}", *fixed, *learning, *place, *given]


def instant_answer(run: Any) -> float:
    """The accuracy of what it has to beat."""
    return run["evaluation"]["baselines"]["the instant answer"]["accuracy"]["value"]


OF_DROPOUT = 0.08
"""Of the accuracy: each worker draws its own random numbers, so two learn otherwise than one."""
OF_WORKERS = 0.12
"""Where their number changes on the way; ten of the 86 rows that are measured."""
HANGS_S = 30


def learns_as(run: Any, other: Any, within: float = 0.03, *, times: float = 1) -> None:
    """In as many steps, or so many times as many."""
    assert run["state"] == "done" and run["num_steps"] == times * other["num_steps"]
    assert abs(run["accuracy"] - other["accuracy"]) < within


def folder_of(alice: Terminal, run: Any) -> Path:
    """As this machine reads it."""
    return alice.cluster.here(run["folder"])


def accounted(alice: Terminal, run: Any) -> list[str]:
    fields = "--format=NNodes,Partition,Account"
    asked = ["--noheader", "--parsable2", "--allocations", f"--name={run['run']}", fields]
    return alice.cluster.output(["sacct", *asked]).strip().split("|")


def test_what_one_may_not_use_or_nobody_has_is_said_before_it_is_submitted(alice: Terminal):
    for asked, said in (
        ("--account=class", "account 'class' asked; on the cluster 'slurm' you may use 'lab'"),
        ("--partition=big", "on the cluster 'slurm' you may use 'gpu', 'debug'"),
        ("--gpus-per-node=8", "8 GPUs asked on each node; the cluster 'slurm' has 7."),
    ):
        assert said in alice.labkit(*start(alice, asked, name="never"), "--dry-run", fails=True)


def test_a_run_over_two_nodes_learns_what_one_node_does(
    alice: Terminal, undisturbed: Callable[[], Any], epochs: int
):
    place = ("--nodes=2", "--partition=gpu", "--account=lab")
    two = alice.json(*start(alice, *place, epochs=epochs, name="two"), "--wait")
    one = undisturbed()
    # What is alike has learnt, too.
    assert two["accuracy"] > instant_answer(one)
    learns_as(two, one, OF_DROPOUT)
    assert accounted(alice, two) == ["2", "gpu", "lab"]
    cost = alice.json("run", "cost", "two")
    assert 0 < cost["core_hours_busy"] and 0 < cost["core_hours_held"] < cost["core_hours_asked"]
    assert (cost["gpu_hours_held"], cost["gpu_hours_busy"]) == (0, 0)
    assert cost["kwh"] is None  # nothing here measures it
    (slurm,) = alice.json("run", "cost")["clusters"]
    assert slurm["core_hours_held"] > cost["core_hours_held"]
    card = folder_of(alice, two) / "attempts" / "1" / "card.md"
    assert "2 × " in card.read_text()
    alice.leaves_nothing()


def begin(alice: Terminal, *given: str, epochs: int, name: str) -> Path:
    """A run that has left its first checkpoint."""
    folder = folder_of(alice, alice.json(*start(alice, *given, epochs=epochs, name=name)))
    checkpoints = folder / "attempts" / "1" / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("step-*")), "a checkpoint")
    return folder


def nodes_of(alice: Terminal, folder: Path) -> list[str]:
    return alice.cluster.nodes_of(folder.name)


def restarts(alice: Terminal, folder: Path) -> int:
    """How often Slurm has started the run's job again."""
    job_id = json.loads((folder / "attempts" / "1" / "attempt.json").read_text())["job_id"]
    shown = alice.cluster.output(["scontrol", "--oneliner", "show", "job", job_id])
    return int(values_of(shown)["Restarts"])


def newest_state(folder: Path, attempt: int) -> tuple[Path, Any]:
    """The attempt's newest checkpoint, and where in the training it is."""
    *_, newest = sorted((folder / "attempts" / str(attempt) / "checkpoints").iterdir())
    return newest, json.loads((newest / "state.json").read_text())


def test_a_run_that_loses_a_node_goes_on_with_those_left_may_be_stopped_and_resumed(
    alice: Terminal,
):
    name = "lost"
    folder = begin(alice, "--nodes=3", epochs=MANY, name=name)
    *_, lost = nodes = nodes_of(alice, folder)
    for node in nodes:  # before it is lost, bob tries what is there
        gets_nowhere(alice.cluster, node, of="alice", by="bob")
    alice.cluster.crash(lost)
    try:
        second = folder / "attempts" / "2"
        wait_for(lambda: list(second.glob("checkpoints/step-*")), "it to go on", 240)
    finally:
        alice.cluster.boot(lost)
    said = json.loads((second / "attempt.json").read_text())
    assert said["reason"] == "A node was lost. Going on from the newest checkpoint with 2."
    assert said["resume_from"].startswith("attempts/1/checkpoints/step-")

    alice.labkit("run", "stop", name)
    wait_for(lambda: nodes_of(alice, folder) == [], "its end", 60, every_s=1)
    run = alice.json("run", "show", name)
    assert run["state"] == "stopped" and "on request" in run["message"]
    newest, state = newest_state(folder, 2)
    assert state["step"] >= run["step"] > 0
    # In the midst of an epoch, as a rule: not the checkpoint that the last one's end left.
    assert (state["epoch"], state["batch"]) == divmod(state["step"], run["num_steps"] // MANY)
    # Slurm starts nothing again that a person has stopped.
    assert restarts(alice, folder) == 0 and not list(folder.glob(".*.job"))
    assert alice.cluster.output(["squeue", "--noheader", f"--name={folder.name}"]) == ""
    # What the node could not tidy up goes with its next Epilog.
    assert "lk" in alice.cluster.left_by("alice")[lost]
    hang = "mkdir -m 700 /tmp/lkhang && mkfifo /tmp/lkhang/owner.json"  # who reads it waits
    assert alice.cluster.run(["sh", "-c", hang], user="bob", node=lost).returncode == 0
    epilog = ["env", "-i", "HOME=/", alice.cluster.python.parent / "labkit", "sweep"]
    swept = alice.cluster.run(epilog, node=lost)  # as root, as docs/slurm.md has it
    assert swept.returncode == 0 and "Removed /tmp/lk" in swept.stdout, swept.stderr
    assert "has there is left" in swept.stderr
    alice.cluster.run(["rm", "-r", "/tmp/lkhang"], node=lost)
    alice.leaves_nothing()

    alice.labkit("run", "resume", name)
    attempt = json.loads((folder / "attempts" / "3" / "attempt.json").read_text())
    assert attempt["resume_from"] == str(newest.relative_to(folder))
    run = alice.json("run", "show", name, "--wait")
    assert (run["state"], run["attempt"]) == ("done", 3)
    assert run["accuracy"] > instant_answer(run)
    alice.leaves_nothing()


def attempts(folder: Path) -> list[Any]:
    files = sorted(folder.glob("attempts/*/attempt.json"))
    return [json.loads(file.read_text()) for file in files]


def time_is_nearly_over(alice: Terminal, folder: Path) -> None:
    """As Slurm says it a minute before (`--signal=B:TERM@60`); `make soak` waits for that."""
    alice.cluster.output(["scancel", "--signal=TERM", "--batch", f"--name={folder.name}"])


def longest(alice: Terminal, minutes: str) -> None:
    alice.cluster.output(["scontrol", "update", "PartitionName=gpu", f"MaxTime={minutes}"])


def test_a_run_whose_time_is_longer_than_a_job_may_be_goes_on_in_pieces(
    alice: Terminal,
    undisturbed: Callable[[], Any],
    epochs: int,
    pytestconfig: pytest.Config,
):
    longest(alice, "3")
    try:
        printed = alice.labkit(*start(alice, "--time=30m", name="pieces"), "--dry-run")
        assert "in pieces of 3 min" in printed
        folder = begin(alice, "--time=30m", epochs=epochs, name="pieces")
        if not pytestconfig.getoption("--soak"):
            time_is_nearly_over(alice, folder)
        wait_for(
            lambda: nodes_of(alice, folder) == [] and restarts(alice, folder) > 0,
            "the end of its first job's time", 180, every_s=1,
        )  # fmt: skip
        waits = alice.json("run", "show", "pieces")
        assert waits["state"] == "queued"
        assert "to be started again" in waits["phase"]
        run = alice.json("run", "show", "pieces", "--wait")
    finally:
        longest(alice, "1-00:00:00")
    assert run["state"] == "done"
    assert restarts(alice, folder) >= 1
    _, *others = attempts(folder)
    for attempt in others:
        assert attempt["reason"].startswith("The time of its job was over. Going on from the new")
    learns_as(run, undisturbed())
    alice.leaves_nothing()
    assert not list(folder.glob(".*.job"))


def process_of(alice: Terminal, node: str, command: str) -> str:
    """Alice's one process there whose command line is so."""
    find = ["pgrep", "--uid=alice", "--full", command]
    (pid,) = wait_for(lambda: alice.cluster.run(find, node=node).stdout.split(), command)
    return pid


def strike(alice: Terminal, node: str, command: str) -> None:
    """kill -9."""
    pid = process_of(alice, node, command)
    assert alice.cluster.run(["kill", "-9", pid], node=node).returncode == 0


def goes_on(alice: Terminal, folder: Path, attempt: int) -> str:
    """Wait until that attempt has come further; why there is one, in words."""
    of_attempt = folder / "attempts" / str(attempt)
    wait_for(
        lambda: list(of_attempt.glob("checkpoints/step-*")), "it to go on", 180,
        seen=lambda: alice.labkit("run", "show", folder.name), every_s=1,
    )  # fmt: skip
    return json.loads((of_attempt / "attempt.json").read_text())["reason"]


def test_a_run_outlives_its_processes_the_controller_and_a_disk_that_hangs(
    alice: Terminal, undisturbed: Callable[[], Any], epochs: int
):
    alice.cluster.need_disk()
    many = max(MANY, epochs)
    folder = begin(alice, "--nodes=2", epochs=many, name="struck")
    head, other = nodes_of(alice, folder)
    worker = process_of(alice, other, "^ray::work")
    with alice.cluster.controller_down(), alice.cluster.starved(worker, other):
        assert goes_on(alice, folder, 2) == (
            "A training process died. Going on from the newest checkpoint."
        )
    alice.cluster.hang_disk(HANGS_S)
    strike(alice, other, "raylet/raylet")
    assert goes_on(alice, folder, 3) == (
        "A node was lost. Going on from the newest checkpoint with 1."
    )
    strike(alice, head, "^[^ ]+ -m labkit run execute")
    assert "its first process or Ray killed" in goes_on(alice, folder, 4)
    assert restarts(alice, folder) == 1
    run = alice.json("run", "show", "struck", "--wait")
    assert run["step"] == run["num_steps"] and run["accuracy"] > instant_answer(run)
    learns_as(run, undisturbed(), OF_WORKERS, times=many / epochs)
    alice.leaves_nothing()


def test_a_run_whose_disk_is_full_says_so_and_goes_on_once_there_is_room(
    alice: Terminal, undisturbed: Callable[[], Any], epochs: int
):
    alice.cluster.need_disk()
    folder = begin(alice, epochs=epochs, name="full")
    with alice.cluster.disk_full():
        said = alice.labkit("run", "show", "full", "--wait", fails=True)
        assert "The disk of its folder is full. Free some room." in said, said
        alice.leaves_nothing()
    alice.labkit("run", "resume", "full")
    assert attempts(folder)[-1]["resume_from"].startswith("attempts/1/checkpoints/step-")
    run = alice.json("run", "show", "full", "--wait")
    assert run["attempt"] == 2
    learns_as(run, undisturbed())


def test_a_run_whose_first_node_is_cut_off_goes_on_elsewhere(
    alice: Terminal, undisturbed: Callable[[], Any], epochs: int
):
    folder = begin(alice, "--nodes=2", epochs=epochs, name="headless")
    head, _ = nodes_of(alice, folder)
    alice.cluster.cut(head)  # what runs there runs on, and writes where it did
    try:
        run = alice.json("run", "show", "headless", "--wait")
    finally:
        alice.cluster.heal(head)
    last = attempts(folder)[-1]
    assert last["start"] == 1
    learns_as(run, undisturbed(), OF_WORKERS)
    assert last["resume_from"].startswith("attempts/")
    assert "Its first node was lost" in last["reason"]
    cut_off = json.loads((folder / "attempts" / "1" / "status.json").read_text())
    assert cut_off["state"] != "done"
    # sacct has its first start as RESIZING: Slurm took the node out of it before it began anew.
    wait_for(lambda: nodes_of(alice, folder) == [], "its end", 60, every_s=1)
