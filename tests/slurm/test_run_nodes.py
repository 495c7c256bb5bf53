"""Runs over several nodes of a real Slurm, each with a private Ray cluster of its person's own."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.terminal import Terminal, terminal_with_model
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def alice(cluster: SlurmCluster) -> Iterator[Terminal]:
    with terminal_with_model(cluster, "alice") as terminal:
        yield terminal


def start(alice: Terminal, *given: str, name: str) -> Sequence[str]:
    data = alice.cluster.folder / "checkout" / "labkit" / "demo" / "hotline.csv"
    fixed = ["--recipe=text-classification", "--base=minilm", f"--data={data}"]
    return [
        *("run", "start", *fixed, "--label=category", f"--name={name}"),
        *("--cpus-per-node=1", "--memory=3GB", *given),
    ]


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


def test_a_run_over_two_nodes_learns_what_one_node_does(alice: Terminal):
    one = alice.json(*start(alice, "--nodes=1", name="one"), "--wait")
    place = ("--nodes=2", "--partition=gpu", "--account=lab")
    two = alice.json(*start(alice, *place, name="two"), "--wait")
    assert (one["state"], two["state"]) == ("done", "done")
    # Better than nothing learnt by far more than the difference that dropout makes.
    assert (
        two["accuracy"] > one["evaluation"]["baselines"]["the instant answer"]["accuracy"]["value"]
    )
    assert abs(one["accuracy"] - two["accuracy"]) < 0.08
    assert accounted(alice, two) == ["2", "gpu", "lab"]
    cost = alice.json("run", "cost", "two")
    assert 0 < cost["core_hours_busy"] and 0 < cost["core_hours_held"] < cost["core_hours_asked"]
    assert (cost["gpu_hours_held"], cost["gpu_hours_busy"]) == (0, 0)
    assert cost["kwh"] is None  # nothing here measures it
    (slurm,) = alice.json("run", "cost")["clusters"]
    assert slurm["core_hours_held"] > cost["core_hours_held"]
    card = Path(two["folder"]) / "attempts" / "1" / "card.md"
    assert "2 × " in card.read_text()
    alice.leaves_nothing()


def begin(alice: Terminal, *given: str, name: str) -> Path:
    """A run that has left its first checkpoint."""
    folder = Path(alice.json(*start(alice, *given, name=name))["folder"])
    checkpoints = folder / "attempts" / "1" / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("step-*")), "a checkpoint")
    return folder


def nodes_of(alice: Terminal, folder: Path) -> list[str]:
    query = ["squeue", "--noheader", f"--name={folder.name}", "--format=%N"]
    names = alice.cluster.output(query)
    return alice.cluster.output(["scontrol", "show", "hostnames", names]).split() if names else []


def test_a_stop_saves_where_it_is_and_resume_goes_on_from_there(alice: Terminal):
    name = "stopped"
    folder = begin(alice, "--nodes=2", "--epochs=60", name=name)
    alice.labkit("run", "stop", name)
    wait_for(lambda: nodes_of(alice, folder) == [], "its end", 60)
    run = alice.json("run", "show", name)
    assert run["state"] == "stopped" and "on request" in run["message"]
    *_, newest = sorted((folder / "attempts" / "1" / "checkpoints").iterdir())
    state = json.loads((newest / "state.json").read_text())
    assert state["step"] >= run["step"] > 0
    # In the midst of an epoch: not the checkpoint that each epoch's end leaves.
    assert state["batch"] > 0
    alice.leaves_nothing()

    alice.labkit("run", "resume", name)
    attempt = json.loads((folder / "attempts" / "2" / "attempt.json").read_text())
    assert attempt["resume_from"] == str(newest.relative_to(folder))
    wait_for(lambda: alice.json("run", "show", name)["step"] > state["step"], "it to go on")
    alice.labkit("run", "stop", name)
    wait_for(lambda: nodes_of(alice, folder) == [], "its end", 60)


def test_a_run_that_loses_a_node_goes_on_with_those_left(alice: Terminal):
    folder = begin(alice, "--nodes=3", "--epochs=6", name="lost")
    _, _, lost = nodes_of(alice, folder)
    alice.cluster.crash(lost)
    try:
        run = alice.json("run", "show", "lost", "--wait")
    finally:
        alice.cluster.boot(lost)
    assert (run["state"], run["attempt"]) == ("done", 2)
    said = json.loads((folder / "attempts" / "2" / "attempt.json").read_text())
    assert said["reason"] == "A node was lost. Going on from the newest checkpoint with 2."
    assert said["resume_from"].startswith("attempts/1/checkpoints/step-")
    assert (
        run["accuracy"] > run["evaluation"]["baselines"]["the instant answer"]["accuracy"]["value"]
    )
    # What the node could not tidy up goes when a node of hers starts there again.
    sweep = (
        "from pathlib import Path; from labkit.raycluster.scratch import sweep; sweep(Path('/tmp'))"
    )
    alice.cluster.run([alice.cluster.python, "-c", sweep], user="alice", node=lost)
    alice.leaves_nothing()
