"""Runs over several nodes of a real Slurm, each with a private Ray cluster of its person's own."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labkit.demo import demo_weights
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab


class Terminal:
    """A person's shell on the machine that they sign in to."""

    def __init__(self, cluster: SlurmCluster, user: str) -> None:
        self.cluster, self.user = cluster, user

    def labkit(self, *given: str, fails: bool = False) -> str:
        argv = [self.cluster.python.parent / "labkit", *given]
        done = self.cluster.run(argv, user=self.user, timeout_s=240)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def json(self, *given: str) -> Any:
        return json.loads(self.labkit(*given, "--json"))


@pytest.fixture(scope="module")
def alice(cluster: SlurmCluster) -> Iterator[Terminal]:
    SlurmLab(cluster)  # its settings
    terminal = Terminal(cluster, "alice")
    terminal.labkit("models", "add", str(demo_weights()), "--name", "minilm")
    yield terminal
    cluster.cancel_all()


def start(alice: Terminal, *given: str, name: str) -> Sequence[str]:
    data = alice.cluster.folder / "checkout" / "labkit" / "demo" / "hotline.csv"
    fixed = ["--recipe=text-classification", "--base=minilm", f"--data={data}"]
    return [
        *("run", "start", *fixed, "--label=category", f"--name={name}"),
        *("--cpus-per-node=1", "--memory=3GB", *given),
    ]


def hosts_of(alice: Terminal, run: Any) -> int:
    asked = ["--noheader", "--allocations", f"--name={run['run']}", "--format=NNodes"]
    return int(alice.cluster.output(["sacct", *asked]))


def test_a_run_over_two_nodes_learns_what_one_node_does(alice: Terminal):
    one = alice.json(*start(alice, "--nodes=1", name="one"), "--wait")
    two = alice.json(*start(alice, "--nodes=2", name="two"), "--wait")
    assert (one["state"], two["state"]) == ("done", "done")
    # Better than nothing learnt by far more than the difference that dropout makes.
    assert (
        two["accuracy"] > one["evaluation"]["baselines"]["the instant answer"]["accuracy"]["value"]
    )
    assert abs(one["accuracy"] - two["accuracy"]) < 0.08
    assert hosts_of(alice, two) == 2
    card = Path(two["folder"]) / "attempts" / "1" / "card.md"
    assert "2 × " in card.read_text()
