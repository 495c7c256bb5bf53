"""The test cluster is what other tests take it for: real users, real jobs, real faults."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm.cluster import SlurmCluster, inner
from tests.waiting import wait_for

IMPORTS = """
import sys
import labkit, labkit_spawners, labkit_widgets, torch, jupyterhub
from jupyter_core.paths import jupyter_path
print(sys.version.replace(chr(10), " "))
print(labkit.__file__)
print(*jupyter_path())
"""


@pytest.fixture(autouse=True)
def _no_jobs(cluster: SlurmCluster) -> Iterator[None]:
    yield
    cluster.cancel_all()


def submit(cluster: SlurmCluster, script: str, *flags: str, user: str = "alice") -> str:
    """Submit a batch script as a user does from a clean environment; returns the job's id."""
    command = ["sbatch", "--parsable", "--export=NIL", *flags, f"--wrap={script}"]
    return cluster.output(command, user=user)


def job_state(cluster: SlurmCluster, job: str, user: str = "hub") -> str:
    """As the accounting database has it."""
    query = ["sacct", "--noheader", "--allocations", f"--jobs={job}", "--format=State"]
    return cluster.output(query, user=user)


def wait_for_state(cluster: SlurmCluster, job: str, state: str) -> None:
    wait_for(
        lambda: job_state(cluster, job).startswith(state),
        f"job {job} to be {state}",
        seen=lambda: job_state(cluster, job),
    )


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_a_job_runs_on_a_node_as_its_user(cluster: SlurmCluster):
    job = submit(cluster, "env; id -un; hostname", "--gres=gpu:h100:1", "--output=job.out")
    wait_for_state(cluster, job, "COMPLETED")
    said = (cluster.home("alice") / "job.out").read_text()
    *_, user, host = said.splitlines()
    assert user == "alice"
    assert host in ("n1", "n2")
    assert variables(said)["CUDA_VISIBLE_DEVICES"] == "0"
    assert variables(said)["SLURM_JOB_ACCOUNT"] == "lab"


@pytest.mark.parametrize(
    ("gpus", "node", "visible"),
    [("gpu:h100:4", "n1", "0,1,2,3"), ("shard:1", "n3", "0"), ("gpu:1g.10gb:2", "n4", "0,1")],
)
def test_each_kind_of_gpu_is_given_to_jobs(
    cluster: SlurmCluster, gpus: str, node: str, visible: str
):
    job = submit(cluster, "env; hostname", f"--gres={gpus}", "--output=gpu.out")
    wait_for_state(cluster, job, "COMPLETED")
    said = (cluster.home("alice") / "gpu.out").read_text()
    assert said.splitlines()[-1] == node
    assert variables(said)["CUDA_VISIBLE_DEVICES"] == visible


def test_a_job_may_span_nodes(cluster: SlurmCluster):
    # A path: by the job's own SLURM_EXPORT_ENV=NIL, srun gives its tasks no PATH.
    flags = ("--nodes=2", "--gres=gpu:h100:1", "--output=nodes.out")
    job = submit(cluster, "srun /bin/hostname", *flags)
    wait_for_state(cluster, job, "COMPLETED")
    assert sorted((cluster.home("alice") / "nodes.out").read_text().split()) == ["n1", "n2"]


@pytest.mark.parametrize("node", [None, "n1"])
def test_users_can_run_the_project(cluster: SlurmCluster, node: str | None):
    done = cluster.run([cluster.python, "-c", IMPORTS], user="alice", node=node)
    assert done.returncode == 0, done.stderr
    version, code, pages = done.stdout.splitlines()
    assert version == sys.version.replace("\n", " ")
    assert code == str(cluster.folder / "checkout/labkit/__init__.py")
    assert str(cluster.folder / "venv/share/jupyter") in pages
    done = cluster.run([cluster.python.parent / "labkit", "--version"], user="alice", node=node)
    assert done.returncode == 0, done.stderr


def test_users_cannot_write_what_others_run(cluster: SlurmCluster):
    for path in ("venv/bin/labkit", "venv/bin", "checkout", "python/bin", "etc/labkit", "etc"):
        file = cluster.folder / path
        assert cluster.run(["test", "-w", file], user="alice").returncode == 1, path
        assert cluster.output(["stat", "--format=%U", file]) == "root", path


def test_homes_are_private(cluster: SlurmCluster):
    (cluster.home("alice") / "secret").write_text("mine")
    done = cluster.run(["cat", cluster.home("alice") / "secret"], user="bob")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


def test_a_command_starts_with_a_clean_environment(
    cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of the tests")
    done = cluster.run(["env"], user="alice", environment={"ASKED_FOR": "1"})
    found = variables(done.stdout)
    assert found["HOME"] == str(cluster.home("alice"))
    assert found["ASKED_FOR"] == "1"
    assert "JUPYTERHUB_API_TOKEN" not in found
    assert cluster.output(["pwd"], user="alice") == str(cluster.home("alice"))


def test_the_hub_is_an_operator(cluster: SlurmCluster):
    job = submit(cluster, "sleep infinity")
    queue = ["squeue", "--noheader", "--format=%A %u"]
    assert f"{job} alice" in cluster.output(queue, user="hub")
    refused = cluster.run(["scancel", "--verbose", job], user="bob")
    assert "Access/permission denied" in refused.stderr
    cluster.output(["scancel", job], user="hub")
    wait_for_state(cluster, job, "CANCELLED")


def test_a_lab_only_rule_of_sudo_is_read(cluster: SlurmCluster):
    rule = cluster.folder / "etc/sudoers.d/labkit"
    rule.write_text("hub ALL=(alice) NOPASSWD: /usr/bin/id -un\n")
    rule.chmod(0o440)
    try:
        assert cluster.output(["sudo", "-n", "-u", "alice", "id", "-un"], user="hub") == "alice"
        assert cluster.run(["sudo", "-n", "-u", "bob", "id", "-un"], user="hub").returncode == 1
    finally:
        rule.unlink()


def test_gpu_minutes_can_run_out(cluster: SlurmCluster):
    job = submit(cluster, "true", "--qos=tiny", "--gres=gpu:h100:1", "--time=10")
    why = ["squeue", "--noheader", f"--jobs={job}", "--format=%r"]
    wait_for(lambda: cluster.output(why) == "QOSGrpGRESMinutes", "the QOS to be said")
    assert cluster.output([*why[:-1], "--format=%T"]) == "PENDING"


def test_carol_may_choose_an_account(cluster: SlurmCluster):
    submit(cluster, "true", "--account=class", user="carol")
    command = ["sbatch", "--account=class", "--wrap=true"]
    assert "Invalid account" in cluster.run(command, user="bob").stderr


def test_a_node_that_is_cut_off_stops_answering(cluster: SlurmCluster):
    def state() -> str:
        return cluster.state("n2")

    wait_for(lambda: state() == "idle", "the end of jobs before", seen=state)
    cluster.cut("n2")
    try:
        wait_for(lambda: state() in ("idle*", "down*"), "n2 to be missed", seen=state)
    finally:
        cluster.heal("n2")
    assert state() == "idle"


def test_a_crash_ends_every_process_of_a_node(cluster: SlurmCluster):
    submit(cluster, "setsid sleep 12345", "--partition=debug")
    asleep = ["pgrep", "-f", "sleep 12345$"]
    wait_for(lambda: cluster.run(asleep, node="n1").returncode == 0, "the job to sleep")
    cluster.crash("n1")
    assert cluster.run(asleep).returncode == 1
    cluster.boot("n1")


def test_the_controller_can_be_away(cluster: SlurmCluster):
    with cluster.controller_down():
        assert "DOWN" in cluster.run(["scontrol", "ping"]).stdout
    assert cluster.output(["scontrol", "ping"]).endswith("UP")


def test_nodes_reach_the_hub_and_have_disks_of_their_own(cluster: SlurmCluster):
    serve = [cluster.python, "-m", "http.server", "--bind", cluster.hub_address, "18081"]
    fetch = f"exec 3<>/dev/tcp/{cluster.hub_address}/18081"
    with cluster.popen(serve, user="hub") as server:
        wait_for(
            lambda: cluster.run(["bash", "-c", fetch], node="n2", user="bob").returncode == 0,
            "the server to answer",
        )
        command = inner(server)
    assert not command.is_running()
    assert server.returncode is not None
    cluster.run(["touch", "/tmp/labkit-of-n1"], node="n1", user="bob")
    assert cluster.run(["test", "-e", "/tmp/labkit-of-n1"], node="n2").returncode == 1
    assert not Path("/tmp/labkit-of-n1").exists()
    cluster.run(["rm", "/tmp/labkit-of-n1"], node="n1")


def test_a_disk_may_hang_or_be_full(cluster: SlurmCluster):
    cluster.need_disk()
    file, took = cluster.disk / "alice" / "a", list[float]()

    def write(text: str) -> int:
        began = time.monotonic()
        script = ["sh", "-c", f"echo {text} >> {file} && sync {file}"]
        code = cluster.run(script, user="alice", node="n2").returncode
        took.append(time.monotonic() - began)
        return code

    with ThreadPoolExecutor() as pool:
        hangs = pool.submit(cluster.hang_disk, 2)
        while not hangs.done():
            assert write("late") == 0
        hangs.result()
    assert max(took) > 1
    with cluster.disk_full():
        assert write("x" * 5000) != 0
    assert write("room") == 0 and cluster.here(file).read_text().endswith("room\n")


def test_a_command_that_takes_too_long_is_ended(cluster: SlurmCluster):
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.run(["sleep", "54321"], user="alice", node="n3", timeout_s=1)
    asleep = ["pgrep", "-f", "sleep 54321$"]
    wait_for(lambda: cluster.run(asleep).returncode == 1, "the command to be ended")


def test_a_second_test_run_is_told_to_wait(cluster: SlurmCluster):
    with pytest.raises(RuntimeError, match="LABKIT_SLURM_NUMBER=1"):
        with SlurmCluster().running():
            pass
    assert cluster.state("n1") == "idle"


def test_the_machine_is_left_as_it_was(cluster: SlurmCluster):
    users = cluster.output(["cat", "/etc/passwd"])
    assert str(cluster.home("alice")) in users
    assert str(cluster.folder) not in Path("/etc/passwd").read_text()
    assert str(cluster.folder) not in Path("/proc/self/mountinfo").read_text()
