"""Runs that outlive their job's time and its first node, on a real Slurm."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.terminal import Terminal, terminal_with_model
from tests.slurm.test_run_nodes import begin, nodes_of, restarts, start
from tests.waiting import wait_for

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def alice(cluster: SlurmCluster) -> Iterator[Terminal]:
    with terminal_with_model(cluster, "alice") as terminal:
        yield terminal


def attempts(folder: Path) -> list[Any]:
    files = sorted(folder.glob("attempts/*/attempt.json"))
    return [json.loads(file.read_text()) for file in files]


def longest(alice: Terminal, minutes: str) -> None:
    alice.cluster.output(["scontrol", "update", "PartitionName=gpu", f"MaxTime={minutes}"])


def test_a_run_whose_time_is_longer_than_a_job_may_be_goes_on_in_pieces(alice: Terminal):
    asked = ["--epochs=14", "--patience=20"]
    whole = begin(alice, *asked, name="whole")  # runs when the limit becomes shorter
    longest(alice, "3")
    try:
        given = start(alice, *asked, "--time=30m", name="pieces")
        assert "in pieces of 3 min" in alice.labkit(*given, "--dry-run")
        folder = Path(alice.json(*given)["folder"])
        wait_for(
            lambda: nodes_of(alice, folder) == [] and restarts(alice, folder) > 0,
            "the end of its first job's time", 180,
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
    assert alice.json("run", "show", "whole", "--wait")["state"] == "done"
    undisturbed = alice.json("run", "show", "whole")
    assert run["num_steps"] == undisturbed["num_steps"]
    assert abs(run["accuracy"] - undisturbed["accuracy"]) < 0.03
    alice.leaves_nothing()
    assert not list(folder.glob(".*.job")) and not list(whole.glob(".*.job"))


def test_a_run_whose_first_node_is_cut_off_goes_on_elsewhere(alice: Terminal):
    folder = begin(alice, "--nodes=2", "--epochs=6", name="headless")
    head, _ = nodes_of(alice, folder)
    alice.cluster.cut(head)  # what runs there runs on, and writes where it did
    try:
        run = alice.json("run", "show", "headless", "--wait")
    finally:
        alice.cluster.heal(head)
    last = attempts(folder)[-1]
    assert (run["state"], last["start"]) == ("done", 1)
    assert last["resume_from"].startswith("attempts/")
    assert "Its first node was lost" in last["reason"]
    cut_off = json.loads((folder / "attempts" / "1" / "status.json").read_text())
    assert cut_off["state"] != "done"
    # sacct has its first start as RESIZING: Slurm took the node out of it before it began anew.
    wait_for(lambda: nodes_of(alice, folder) == [], "its end", 60)
