"""Whatever Slurm does meanwhile, no session is lost, and one that ended says why."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    with SlurmLab(cluster, TOO_LONG).running() as lab:
        yield lab


TOO_LONG = """
[profiles.too-long]
title = "Longer than its partition allows"
partition = "debug"
time = "8h"
memory = "1 GB"
cores = 1
"""


@pytest.fixture
def alice(lab: SlurmLab) -> Iterator[Browser]:
    """With a session, which is stopped after the test where it still is."""
    browser = lab.browser("alice")
    browser.ask_for_session()
    wait_for(lambda: browser.session("alice").get("ready"), "the session")
    yield browser
    if browser.session("alice"):
        browser.stop_session("alice")


def polls(lab: SlurmLab, sentence: str) -> int:
    return (lab.state / "hub" / "hub.log").read_text().count(sentence)


@pytest.fixture
def bob_waits(lab: SlurmLab) -> Iterator[Browser]:
    """With a session in the queue, behind a job of carol's."""
    others = ["sbatch", "--parsable", "--gres=gpu:1g.10gb:7", "--wrap=sleep 3600"]
    job_id = lab.cluster.output(others, user="carol")
    wait_for(lambda: [job_id, "RUNNING"] in lab.queue("JobId", "State"), "carol's job")
    browser = lab.browser("bob")
    browser.ask("/hub/spawn")
    assert browser.ask("/hub/spawn", form={"profile": "whole"}).status == 200
    wait_for(lambda: lab.record("bob").get("job_id"), "the job")
    yield browser
    lab.cluster.output(["scancel", job_id])
    browser.stop_session("bob")


def test_a_controller_that_is_down_ends_nothing(
    lab: SlurmLab, alice: Browser, bob_waits: Browser, request: pytest.FixtureRequest
):
    """Neither a session that runs nor one that waits; for ten minutes in `make soak`."""
    down_s = 600 if request.config.getoption("--soak") else 0
    waiting = lab.record("bob")
    with lab.cluster.controller_down():
        began = time.monotonic()
        silent = "The scheduler does not answer about"
        before = polls(lab, silent)
        wait_for(
            lambda: polls(lab, silent) >= before + 2 and time.monotonic() - began >= down_s,
            "the hub to have asked in vain, twice",
            down_s + 240,
        )
        assert alice.session("alice")["ready"]
        assert alice.ask("/user/alice/lab").status == 200
        silent = "The scheduler does not answer now; "
        wait_for(lambda: silent in alice.ask("/hub/spawn/alice/second").text, "the page to say so")
    assert alice.session("alice")["ready"]
    assert bob_waits.session("bob")["pending"] == "spawn" and lab.record("bob") == waiting
    assert ["bob", "PENDING"] in lab.queue("UserName", "State")


def test_a_hub_that_starts_while_the_controller_is_down_keeps_all(
    lab: SlurmLab, alice: Browser, soak_round: int
):
    with lab.cluster.controller_down():
        lab.kill_hub()
        assert alice.session("alice")["ready"]
        assert alice.ask("/user/alice/lab").status == 200
    assert alice.session("alice")["ready"]


def test_a_session_whose_node_is_cut_off_for_a_moment_goes_on(
    lab: SlurmLab, alice: Browser, soak_round: int
):
    record = lab.record("alice")
    lab.cluster.cut(record["host"])
    try:
        assert not answers(lab, record), "the cable is out"
    finally:
        lab.cluster.heal(record["host"])
    wait_for(lambda: answers(lab, record), "the node to be reached again")
    assert alice.session("alice")["ready"] and lab.record("alice") == record
    assert alice.ask("/user/alice/lab").status == 200


def answers(lab: SlurmLab, record: dict[str, Any]) -> bool:
    """Whether the hub's machine gets a connection to the session's port within two seconds."""
    to = f"/dev/tcp/{record['host']}/{record['port']}"
    return lab.cluster.run(["timeout", "2", "bash", "-c", f": < {to}"], user="hub").returncode == 0


def test_a_session_whose_node_crashes_says_so(lab: SlurmLab, alice: Browser):
    node = lab.record("alice")["host"]
    lab.cluster.crash(node)
    try:
        wait_for(lambda: not alice.session("alice"), "the session's end")
        page = alice.ask("/hub/spawn").text
        assert "Your last session&#39;s processes were killed" in page
    finally:
        lab.cluster.boot(node)


def test_a_session_that_an_operator_ended_says_so(lab: SlurmLab, alice: Browser):
    lab.cluster.output(["scancel", lab.record("alice")["job_id"]])
    wait_for(lambda: not alice.session("alice"), "the session's end")
    assert "Your last session was ended." in alice.ask("/hub/spawn").text


def test_ends_are_known_while_the_database_is_down(lab: SlurmLab, alice: Browser):
    database = lab.cluster.output(["pgrep", "slurmdbd"])
    lab.cluster.output(["kill", "-STOP", database])
    try:
        lab.cluster.output(["scancel", lab.record("alice")["job_id"]])
        wait_for(lambda: not alice.session("alice"), "the session's end")
        assert "Your last session was ended." in alice.ask("/hub/spawn").text
    finally:
        lab.cluster.output(["kill", "-CONT", database])


def test_a_profile_that_slurm_would_refuse_is_not_to_be_had(lab: SlurmLab):
    bob = lab.browser("bob")
    page = bob.ask("/hub/spawn").text
    said = "You asked for 8 hours; partition debug allows at most 30 minutes."
    assert f"Not in this lab: {said}" in page
    answer = bob.ask("/hub/api/users/bob/server", method="POST", body={"profile": "too-long"})
    assert answer.status == 400 and said in answer.json()["message"]
    assert lab.queue("JobId") == []
