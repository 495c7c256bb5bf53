"""Bob on the node where alice's session runs: what he can read there, and what her ports say."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security import probe
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

SECRET = "what-alice-s-kernel-says"


@pytest.fixture(scope="module")
def node(lab: SlurmLab) -> Iterator[str]:
    """Where both have a session, and alice a kernel that says something all the time."""
    alice, bob = lab.browser("alice"), lab.browser("bob")
    for browser in (alice, bob):
        browser.ask("/hub/spawn")
        assert browser.ask("/hub/spawn", form={"profile": "share"}).status == 200
    for name, browser in (("alice", alice), ("bob", bob)):
        wait_for(lambda b=browser, n=name: b.session(n).get("ready"), f"{name}'s session")
        assert browser.ask(f"/user/{name}/lab").status == 200
    assert lab.record("alice")["host"] == lab.record("bob")["host"]
    alice.run_in_kernel(
        "alice", f"import time\nwhile True: print({SECRET!r}, flush=True); time.sleep(0.05)"
    )
    yield lab.record("alice")["host"]
    for name, browser in (("alice", alice), ("bob", bob)):
        browser.stop_session(name)


def probed(lab: SlurmLab, node: str, user: str | None, *arguments: str) -> dict[str, list[str]]:
    """What `probe.py` finds as that user on that node."""
    script = Path(probe.__file__).read_text()
    command = [lab.cluster.python, "-c", script, *arguments]
    done = lab.cluster.run(command, user=user, node=node, timeout_s=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_he_reads_none_of_her_files_and_processes(lab: SlurmLab, node: str):
    uid = str(lab.cluster.home("alice").stat().st_uid)
    # The node's spool has the script, /dev/shm and /tmp what programs leave.
    folders = [
        str(lab.cluster.home("alice")),
        str(lab.cluster.folder / "spool"),
        "/tmp",
        "/dev/shm",
    ]
    as_bob = probed(lab, node, "bob", "read", uid, *folders)
    as_root = probed(lab, node, None, "read", uid, *folders)
    assert as_bob == {"files": [], "processes": []}
    # There was something to be read.
    assert any("slurm_script" in file for file in as_root["files"])
    for part in ("environ", "fd/", "mem", "cwd"):
        assert any(part in file for file in as_root["processes"]), part


def test_slurm_tells_him_nothing_and_obeys_him_not(lab: SlurmLab, node: str):
    job = lab.record("alice")["job_id"]
    for command in (
        ["scontrol", "write", "batch_script", job, "-"],
        ["sacct", "-j", job, "--batch-script"],
        ["sacct", "-j", job, "--env-vars"],
        ["srun", f"--jobid={job}", "--overlap", "id"],
        ["scancel", job],
        ["scontrol", "update", f"JobId={job}", "TimeLimit=1"],
        ["scontrol", "requeue", job],
    ):
        done = lab.cluster.run(command, user="bob", node=node)
        assert "uid=2001" not in done.stdout and "labkit" not in done.stdout, (command, done)
    assert [job, "RUNNING"] in lab.queue("JobId", "State")


def test_she_may_call_the_lab_by_any_name(lab: SlurmLab, node: str):
    """The proxy checks the name of the node, not what a browser says."""
    alice = lab.browser("alice")
    for name in ("lab.example.org", "n1", "10.89.0.77", "[::1]:8000"):
        page = alice.ask("/user/alice/lab", headers={"Host": name})
        assert page.status == 200 and "jupyter-config-data" in page.text, (name, page.url)


def test_her_port_does_not_even_take_his_connection(lab: SlurmLab, node: str):
    for name in ("alice", "bob"):  # nor does his own port
        said = probed(lab, node, "bob", "knock", str(lab.record(name)["port"]))
        assert said.keys() == {"plain", "without a certificate", "with that of his session"}
        for (answer,) in said.values():
            assert answer == "" or answer.startswith(("SSL", "Connection")), said


def test_he_hears_nothing_of_her_kernel(lab: SlurmLab, node: str):
    (connection,) = probed(lab, node, None, "kernel", str(lab.cluster.home("alice")))["files"]
    hers = probed(lab, node, "alice", "listen", connection)
    assert any(SECRET in said for said in hers["with her keys"])
    ports = json.dumps({k: v for k, v in json.loads(connection).items() if k.endswith("_port")})
    heard = probed(lab, node, "bob", "listen", ports)
    assert heard == {"plain": [], "with keys of his own": []}


def test_no_secret_lies_anywhere_but_with_the_hub(lab: SlurmLab, node: str):
    """Not in a log, a script, a process list, Slurm's state or its database."""
    cluster, record = lab.cluster, lab.record("alice")
    uid = str(cluster.home("alice").stat().st_uid)
    (key,) = probed(lab, node, None, "key", uid)["files"]
    line = key.splitlines()[1]
    assert re.fullmatch(r"[A-Za-z0-9+/]{64}", line)
    with_the_hub = "./home/hub/.local/state/labkit/sessions/alice/_.json"
    # Jupyter writes its address and token for the person's own programs.
    runtime = "./home/alice/.local/share/jupyter/runtime"
    hers = [f"{runtime}/jpserver-PID-open.html", f"{runtime}/jpserver-PID.json"]
    for text, places in (
        (record["api_token"], [*hers, with_the_hub]),
        (record["nonce"], [with_the_hub]),
        (line, []),
    ):
        found = subprocess.run(
            ["grep", "-rlaFs", "--devices=skip", "-e", text, "."],
            cwd=cluster.folder,
            capture_output=True,
            text=True,
        )
        files = found.stdout.split()
        assert sorted(re.sub(r"-\d+", "-PID", file) for file in files) == places
        assert all((cluster.folder / file).stat().st_mode & 0o77 == 0 for file in files)
        for listing in (
            cluster.run(["ps", "-ef"], node=node).stdout,
            cluster.output(["ps", "-ef"]),
            cluster.output(["scontrol", "show", "job", "-dd", record["job_id"]]),
            wait_for(lambda: "labkit" in (dump := database(lab)) and dump, "Slurm's database"),
        ):
            assert "labkit" in listing and text not in listing


def database(lab: SlurmLab) -> str:
    """All that Slurm's accounting keeps."""
    return lab.cluster.output(["mariadb-dump", "--no-defaults", "slurm_acct_db"])
