"""What a killed hub left is found and mended; nothing else is touched."""

import json
from collections.abc import Iterator

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.faulty_commands import FaultyCommands
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

OF_5 = "ff1860e38070"
"""The revision of JupyterHub 5's database: 6 has one column more."""


@pytest.fixture(scope="module")
def commands(cluster: SlurmCluster) -> FaultyCommands:
    return FaultyCommands(cluster)


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster, commands: FaultyCommands) -> Iterator[SlurmLab]:
    lab = SlurmLab(cluster, cluster_settings=commands.setting, hub_settings="mend_every = 3")
    with lab.running():
        yield lab


@pytest.fixture
def alice(lab: SlurmLab) -> Iterator[Browser]:
    """With a session, which is stopped after the test where it still is."""
    browser = lab.browser("alice")
    browser.ask_for_session()
    wait_for(lambda: browser.session("alice").get("ready"), "the session", seen=lab.hub_log)
    yield browser
    if browser.session("alice"):
        browser.stop_session("alice")
    wait_for(lambda: lab.queue("JobId") == [], "the job's end")


def no_jobs_of(lab: SlurmLab, user: str) -> bool:
    return user not in [name for (name,) in lab.queue("UserName")]


def test_a_job_that_a_killed_hub_did_not_live_to_note_is_taken_up(
    lab: SlurmLab, commands: FaultyCommands, soak_round: int
):
    alice = lab.browser("alice")
    with commands.wrong("sbatch", "answers-late"):
        alice.ask_for_session()
        wait_for(lambda: lab.queue("JobId"), "the job in the queue")
        ((job_id,),) = lab.queue("JobId")
        before = lab.record("alice")
        assert before["job_id"] == ""
        lab.kill_hub()
    wait_for(lambda: alice.session("alice").get("ready"), "the session", seen=lab.hub_log)
    now = lab.record("alice")
    assert (now["job_id"], now["nonce"]) == (job_id, before["nonce"])
    assert alice.ask("/user/alice/lab").status == 200
    assert len(lab.queue("JobId")) == 1
    # Neither a person nor a session may ask for it, only the hub's own service.
    for token in (None, now["api_token"]):
        answer = alice.ask("/hub/api/labkit/mend", method="POST", body={}, token=token)
        assert answer.status == 403, answer.text
    assert Browser(lab.base).ask("/hub/metrics").status == 403
    assert alice.ask("/hub/metrics").status == 403
    alice.stop_session("alice")
    wait_for(lambda: lab.queue("JobId") == [], "the job's end")


def test_a_job_without_a_record_is_ended_and_one_of_another_hub_is_not(
    lab: SlurmLab, alice: Browser
):
    """Nor one that a person made to look like a session's: what counts is the hub's seal."""
    foreign = ["sbatch", "--parsable", "--job-name=labkit-session", "--wrap=sleep 600"]
    lab.cluster.output([*foreign, f"--comment=labkit:session:{'0' * 32}"], user="bob")
    (lab.state / "sessions" / "alice" / "_.json").unlink()
    wait_for(lambda: no_jobs_of(lab, "alice"), "the job's end", seen=lab.hub_log)
    assert "of alice is of no session any more: ended" in lab.hub_log()
    wait_for(lambda: not alice.session("alice"), "the session's end")
    assert [user for (user,) in lab.queue("UserName")] == ["bob"]
    lab.cluster.cancel_all()


def test_what_squeue_fails_to_say_ends_nothing(
    lab: SlurmLab, alice: Browser, commands: FaultyCommands, soak_round: int
):
    record = lab.record("alice")
    for fault in ("fails", "is-cut", "is-slow"):
        with commands.wrong("squeue", fault):
            before = commands.calls("squeue")
            wait_for(lambda n=before: commands.calls("squeue") >= n + 2, f"another: it {fault}")
            assert alice.session("alice")["ready"], fault
    with commands.wrong("squeue", "prints-nothing"), commands.wrong("sacct", "fails"):
        before = commands.calls("sacct")
        wait_for(lambda: commands.calls("sacct") >= before + 2, "two questions for the end")
        assert alice.session("alice")["ready"]
    assert lab.record("alice") == record
    assert alice.ask("/user/alice/lab").status == 200


def test_a_job_that_ended_while_no_hub_looked_is_let_go_and_its_person_told(lab: SlurmLab):
    alice, bob = lab.browser("alice"), lab.browser("bob")
    for browser, name in ((bob, "bob"), (alice, "alice")):
        browser.ask("/hub/spawn")
        browser.ask("/hub/spawn", form={"profile": "whole"})
        wait_for(lambda who=name: lab.record(who).get("job_id"), f"the job of {name}")
    with lab.without_hub():
        lab.cluster.output(["scancel", lab.record("alice")["job_id"]])
    wait_for(lambda: lab.record("alice") == {}, "the record to be let go", seen=lab.hub_log)
    assert "Your last session was ended." in alice.ask("/hub/spawn").text
    wait_for(lambda: bob.session("bob").get("ready"), "the other's session", seen=lab.hub_log)
    bob.stop_session("bob")
    wait_for(lambda: lab.queue("JobId") == [], "the job's end")


def test_a_session_outlives_an_upgrade_of_the_hub(lab: SlurmLab, alice: Browser):
    """Its record is as the first labkit with Slurm wrote it, and JupyterHub's database as 5 did."""
    first = ("user", "server", "profile", "cluster", "nonce", "api_token", "job_id", "host",
             "port", "started")  # fmt: skip
    record = lab.record("alice")
    file = lab.state / "sessions" / "alice" / "_.json"
    database = lab.state / "hub"
    with lab.without_hub():
        file.write_text(json.dumps({key: record[key] for key in first}))
        alembic = f"{lab.cluster.python} -m jupyterhub.dbutil alembic"
        back = f"cd {database} && {alembic} downgrade {OF_5}"
        path = {"PATH": f"{lab.cluster.python.parent}:/usr/bin:/bin"}
        done = lab.cluster.run(["sh", "-c", back], user="hub", environment=path)
        assert done.returncode == 0, done.stderr
    assert list(database.glob("jupyterhub.sqlite.2*")), "a copy of what was before"
    assert alice.session("alice")["ready"]
    assert alice.ask("/user/alice/lab").status == 200
    assert lab.record("alice")["job_id"] == record["job_id"]


def test_a_session_that_slurm_starts_again_is_ended_and_told(lab: SlurmLab, alice: Browser):
    """Its environment is gone since its first start. Ours ask Slurm not to; an operator may."""
    job = lab.record("alice")["job_id"]
    lab.cluster.output(["scontrol", "update", f"JobId={job}", "Requeue=1"])
    lab.cluster.output(["scontrol", "requeue", job])
    wait_for(lambda: not alice.session("alice"), "the session's end", seen=lab.hub_log)
    assert "Your last session" in alice.ask("/hub/spawn").text
    assert lab.record("alice") == {}
