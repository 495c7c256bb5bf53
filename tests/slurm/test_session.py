"""Sessions of two Unix users on a real Slurm, through a real hub that is neither of them."""

from collections.abc import Iterator

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    with SlurmLab(cluster).running() as lab:
        yield lab


def ask(browser: Browser, name: str, profile: str) -> None:
    browser.ask("/hub/spawn")
    answer = browser.ask("/hub/spawn", form={"profile": profile})
    assert answer.status == 200, answer.text


def start(browser: Browser, name: str, profile: str) -> None:
    ask(browser, name, profile)
    wait_for(lambda: browser.session(name).get("ready"), "the session")
    page = browser.ask(f"/user/{name}/lab")
    assert page.status == 200 and "jupyter-config-data" in page.text, page.url


def test_alice_has_a_session_on_a_node_with_a_gpu(lab: SlurmLab):
    def left() -> dict[str, str]:
        return lab.cluster.left_by("alice")

    alice = lab.browser("alice")
    start(alice, "alice", "gpu")
    ((job_id, user, node, gres),) = lab.queue("JobId", "UserName", "NodeList", "tres-per-node")
    assert (user, gres) == ("alice", "gres:gpu:h100:1")
    assert lab.record("alice")["host"] == node
    # Only she gets in.
    assert lab.browser("bob").ask("/user/alice/lab").status == 403
    # What began with the job's secrets is gone, and its log is hers alone.
    folder = lab.cluster.home("alice") / ".labkit" / "sessions"
    assert {file.suffix for file in folder.iterdir()} == {".log"}
    assert (folder / "_.log").stat().st_mode & 0o77 == 0
    assert (lab.cluster.home("alice") / "Start here.ipynb").stat().st_uid == folder.stat().st_uid

    alice.stop_session("alice")
    wait_for(lambda: lab.queue("JobId") == [], "the job's end")
    # Nor does what JupyterLab runs by itself leave anything on the node.
    wait_for(lambda: not left(), "the node to be clean", 30, seen=left)


def test_bob_waits_behind_alice_outlives_the_hub_and_then_starts(lab: SlurmLab):
    alice, bob = lab.browser("alice"), lab.browser("bob")
    start(alice, "alice", "whole")
    ask(bob, "bob", "whole")
    wait_for(lambda: lab.record("bob").get("job_id"), "the job")
    before = lab.record("bob")

    lab.kill_hub()
    assert alice.ask("/user/alice/lab").status == 200
    wait_for(lambda: bob.session("bob").get("pending") == "spawn", "the start to be taken up")
    alice.stop_session("alice")
    wait_for(lambda: bob.session("bob").get("ready"), "the session")
    now = lab.record("bob")
    assert [now[key] for key in ("job_id", "api_token")] == [
        before[key] for key in ("job_id", "api_token")
    ]
    assert bob.ask("/user/bob/lab").status == 200
    bob.stop_session("bob")


def test_two_sessions_of_one_person_have_each_its_profile(lab: SlurmLab):
    alice = lab.browser("alice")
    start(alice, "alice", "share")
    alice.ask("/hub/spawn/alice/second")
    assert alice.ask("/hub/spawn/alice/second", form={"profile": "gpu"}).status == 200

    def both_ready() -> bool:
        return [each["ready"] for each in alice.sessions("alice").values()] == [True, True]

    wait_for(both_ready, "both sessions")
    gres = {"gres:shard:2", "gres:gpu:h100:1"}
    assert {each for (each,) in lab.queue("tres-per-node")} == gres
    lab.kill_hub()
    assert both_ready()
    alice.ask("/hub/api/users/alice/servers/second", method="DELETE", body={})
    wait_for(lambda: lab.queue("tres-per-node") == [["gres:shard:2"]], "the end of the second")
    assert alice.ask("/user/alice/lab").status == 200
    alice.stop_session("alice")
