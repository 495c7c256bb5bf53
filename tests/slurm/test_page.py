"""What the page offers a person, what it refuses, and what reaches Slurm of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.real_lab import Answer, Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

MORE = """
[limits.alice]
groups = ["alice"]
memory = "40 GB"

[profiles.four]
title = "Four H100"
gpus = 4
device = "h100"
cores = 1
memory = "1 GB"
time = "2h"
"""


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    with SlurmLab(cluster, MORE).running() as lab:
        yield lab


@pytest.fixture(autouse=True)
def _no_sessions(lab: SlurmLab) -> Iterator[None]:
    yield
    for name in ("alice", "bob", "carol"):
        browser = lab.browser(name)
        if browser.session(name):
            browser.stop_session(name)


def post(browser: Browser, name: str, **options: Any) -> Answer:
    return browser.ask(f"/hub/api/users/{name}/server", method="POST", body=options)


def offers(browser: Browser) -> dict[str, Any]:
    return browser.ask("/hub/api/labkit/offers").json()["profiles"]


def test_an_advanced_request_reaches_slurm_exactly(lab: SlurmLab):
    alice = lab.browser("alice")
    form = {"profile": "notebook", "gpus": "2", "device": "h100", "cores": "3", "memory": "5 GB",
            "time": "90m", "partition": "gpu", "account": "lab", "nodes": "",
            "reservation": ""}  # fmt: skip
    alice.ask("/hub/spawn")
    answer = alice.ask("/hub/spawn", form=form)
    assert answer.status == 200, answer.text
    wait_for(lambda: alice.session("alice").get("ready"), "the session")
    fields = "NumCPUs NumNodes MinMemory TimeLimit Partition Account tres-per-node UserName".split()
    assert lab.queue(*fields) == [
        ["3", "1", "5G", "1:30:00", "gpu", "lab", "gres:gpu:h100:2", "alice"]
    ]
