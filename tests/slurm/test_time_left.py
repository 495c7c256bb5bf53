"""Time left as Slurm has it, more of it up to what the site allows, and runs from a session."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from labkit.models.catalogue import add_model, inspect_folder
from tests.hub.real_lab import Answer, Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab, own
from tests.unit.tiny_encoder import LABELS, made_up_rows, save_tiny_encoder
from tests.waiting import wait_for

CLASS = """
[profiles.class]
title = "Class"
partition = "debug"
cores = 1
memory = "2 GB"
time = "20m"
extend = "6m"
longest = "4h"
"""
START = """
import os, subprocess, sys
from pathlib import Path
done = subprocess.run(
    [sys.executable, "-m", "labkit", "run", "start", "--json", "--recipe=text-classification",
     "--base=tiny", "--label=label", "--epochs=1", "--data=" + str(Path.home() / "table.csv")],
    capture_output=True, text=True)
assert "JUPYTERHUB_API_TOKEN" in os.environ and "SLURM_JOB_ID" in os.environ
(Path.home() / "said.part").write_text(done.stdout + done.stderr)
(Path.home() / "said.part").rename(Path.home() / "said")
"""


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    with SlurmLab(cluster, CLASS).running() as lab:
        yield lab


@pytest.fixture
def alice(lab: SlurmLab) -> Iterator[Browser]:
    browser = lab.browser("alice")
    browser.ask("/hub/spawn")
    assert browser.ask("/hub/spawn", form={"profile": "class"}).status == 200
    wait_for(lambda: browser.session("alice").get("ready"), "the session")
    yield browser
    if browser.session("alice"):
        browser.stop_session("alice")


def of_page(browser: Browser, path: str = "", method: str = "GET") -> Answer:
    """What the session's page asks of its own server."""
    token = browser.ask("/hub/api/users/alice/tokens", method="POST", body={}).json()["token"]
    return browser.ask(f"/user/alice/labkit/session{path}", method=method, token=token)


def slurm(lab: SlurmLab) -> tuple[int, int]:
    """The session's limit and what is left of it, in seconds, as Slurm has them."""
    job = lab.record("alice")["job_id"]
    query = ["squeue", "--noheader", f"--jobs={job}", "-O", "TimeLimit:20,TimeLeft:20"]
    limit, left = (
        sum(int(part) * 60**n for n, part in enumerate(reversed(text.split(":"))))
        for text in lab.cluster.output(query).split()
    )
    return limit, left


def test_time_left_is_slurms_and_grows_as_far_as_the_partition_allows(
    lab: SlurmLab, alice: Browser
):
    said: dict[str, Any] = of_page(alice).json()
    limit, left = slurm(lab)
    assert limit == 20 * 60 and abs(said["seconds_left"] - left) < 5
    assert (said["profile"], said["holds"], said["nodes"]) == ("Class", ["1 core", "2 GB"], ["n1"])
    for minutes in (26, 30):  # not 32: the partition's MaxTime is half an hour
        answer = of_page(alice, "/extend", "POST")
        limit, left = slurm(lab)
        assert limit == minutes * 60 and abs(answer.json()["seconds_left"] - left) < 5
    answer = of_page(alice, "/extend", "POST")
    assert answer.status == 409 and "It may last 30 minutes in all" in answer.text
    assert slurm(lab)[0] == 30 * 60
    # Its own next question has the new end, too.
    assert abs(of_page(alice).json()["seconds_left"] - slurm(lab)[1]) < 5
    assert of_page(alice, "/give-back", "POST").status == 202
    wait_for(lambda: lab.record("alice") == {}, "the session's end")


def test_a_run_from_a_session_is_a_job_of_its_own_and_outlives_it(lab: SlurmLab, alice: Browser):
    home = lab.cluster.home("alice")
    weights = save_tiny_encoder(home / "tiny")
    add_model(home / "labkit" / "models", inspect_folder(weights, name="tiny"))
    rows = made_up_rows(60)
    table = [
        f"{text},{LABELS[label]}" for text, label in zip(rows.texts, rows.labels_N, strict=True)
    ]
    (home / "table.csv").write_text("\n".join(["text,label", *table]) + "\n")
    for path in (weights, home / "labkit", home / "table.csv"):
        own(path, home)

    session = lab.record("alice")["job_id"]
    alice.run_in_kernel("alice", START)
    said = home / "said"
    wait_for(said.exists, "the run to be submitted")
    run = json.loads(said.read_text())["run"]
    (job,) = [row for row in lab.queue("JobId", "UserName", "Name") if row[0] != session]
    assert job[1:] == ["alice", run]
    alice.stop_session("alice")

    node = wait_for(lambda: (q := lab.queue("NodeList")) and q[0] and q[0][0], "the run's node")
    find = ["pgrep", "-u", "alice", "-f", "labkit run execute"]
    pids = wait_for(lambda: lab.cluster.run(find, node=node).stdout.split(), "the run's process")
    environment = lab.cluster.run(["cat", f"/proc/{pids[0]}/environ"], node=node).stdout
    assert f"SLURM_JOB_ID={job[0]}\0" in environment and "JUPYTERHUB" not in environment

    status = home / "labkit" / "runs" / run / "attempts" / "1" / "status.json"
    ended = ("done", "failed", "stopped")
    wait_for(
        lambda: status.exists() and json.loads(status.read_text())["state"] in ended,
        "the run's end",
        180,
        seen=lambda: (status.parent / "log.txt").read_text()[-2000:],
    )
    assert json.loads(status.read_text())["state"] == "done", status.read_text()
    user = ["sacct", "--noheader", "--allocations", f"--jobs={job[0]}", "--format=User%20"]
    assert lab.cluster.output(user) == "alice"
