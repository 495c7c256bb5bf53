"""`labkit node` with a real Ray: private, side by side with others, and gone when it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from labkit.processes import all_processes, environment_value
from labkit.raycluster.ray_start import head_arguments, ray_environment
from labkit.raycluster.scratch import sweep
from tests.waiting import wait_for

ASK = """
import json, os, ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
print(json.dumps({"cpus": ray.cluster_resources()["CPU"], "address": os.environ["RAY_ADDRESS"],
                  "answer": ray.get(ray.remote(lambda: 42).remote())}), flush=True)
"""
HOLD = ASK + "\nimport sys\nsys.stdin.read() if False else __import__('signal').pause()\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ln", dir="/tmp") as name:
        yield Path(name)


def start_node(
    folder: Path, code: str, name: str = "a", more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """`labkit node` with a Python program as its command; its processes carry a mark."""
    amounts = ["--num-cpus=2", "--num-gpus=0", f"--memory-bytes={2**30}"]
    places = [f"--rendezvous={folder / name}", f"--scratch={folder}"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "labkit",
            "node",
            *amounts,
            *places,
            *more,
            "--",
            sys.executable,
            "-c",
            code,
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LABKIT_TEST_NODE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_of(folder: Path) -> list[int]:
    return [p for p in all_processes() if environment_value(p, "LABKIT_TEST_NODE") == str(folder)]


def test_the_command_finds_its_cluster_and_nothing_stays(folder: Path) -> None:
    node = start_node(folder, ASK)
    out, err = node.communicate(timeout=90)
    assert node.returncode == 0, err
    assert json.loads(out)["answer"] == 42
    assert json.loads(out)["cpus"] == 2
    wait_for(lambda: not left_of(folder), "every process of the node to end", 10)
    assert [path.name for path in folder.iterdir() if path.name.startswith("lk")] == []


def test_the_exit_code_is_the_commands(folder: Path) -> None:
    node = start_node(folder, "raise SystemExit(7)")
    node.communicate(timeout=90)
    assert node.returncode == 7


def test_two_clusters_share_a_machine_and_keep_each_other_out(folder: Path) -> None:
    one, two = start_node(folder, HOLD, "a"), start_node(folder, HOLD, "b")
    try:
        assert one.stdout and two.stdout
        said = [json.loads(node.stdout.readline()) for node in (one, two) if node.stdout]
        assert said[0]["address"] != said[1]["address"]
        refused = ask_as_stranger(folder, said[0]["address"], token=folder / "b" / "token")
        assert refused.returncode != 0
        assert "42" not in refused.stdout
        without = ask_as_stranger(folder, said[0]["address"], token=None)
        assert without.returncode != 0
        assert "42" not in without.stdout
        welcome = ask_as_stranger(folder, said[0]["address"], token=folder / "a" / "token")
        assert "42" in welcome.stdout, welcome.stderr
        assert_private(folder)
    finally:
        for node in (one, two):
            node.terminate()
            node.communicate(timeout=30)
    wait_for(lambda: not left_of(folder), "every process of both nodes to end", 10)
    assert [path.name for path in folder.iterdir() if path.name.startswith("lk")] == []


def ask_as_stranger(
    folder: Path, address: str, token: Path | None
) -> subprocess.CompletedProcess[str]:
    """Join the cluster at that address with some token, or none."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "RAY_ADDRESS": address}
    if token:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    code = ASK.replace("ray.init(", "ray.init(_temp_dir=None, ")
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def assert_private(folder: Path) -> None:
    """What another user would have to read is theirs to read nowhere."""
    for name in ("a", "b"):
        assert (folder / name).stat().st_mode & 0o777 == 0o700
        assert (folder / name / "token").stat().st_mode & 0o777 == 0o600
    for temp in folder.glob("lk*"):
        assert temp.stat().st_mode & 0o777 == 0o700
    token = (folder / "a" / "token").read_text()
    for pid in left_of(folder):
        assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    logs = [path for path in folder.glob("lk*/**/*") if path.is_file()]
    assert logs
    assert not [path for path in logs if token.encode() in path.read_bytes()]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can play another user")
def test_another_user_reads_and_joins_nothing(folder: Path) -> None:
    folder.chmod(0o755)
    node = start_node(folder, HOLD)
    try:
        assert node.stdout
        address = json.loads(node.stdout.readline())["address"]
        tries = f"""
import os, socket
found = []
for place in ({str(folder / "a")!r}, {str(folder / "a" / "token")!r},
              *[os.path.join({str(folder)!r}, n) for n in os.listdir({str(folder)!r})]):
    try:
        os.listdir(place) if os.path.isdir(place) else open(place).read()
        found.append(place)
    except OSError:
        pass
for pid in os.listdir("/proc"):
    if pid.isdigit():
        try:
            if b"LABKIT_TEST_NODE" in open(f"/proc/{{pid}}/environ", "rb").read():
                found.append(pid)
        except OSError:
            pass
print(found)
"""
        stranger = {"user": 65534, "group": 65534, "extra_groups": []}
        seen = subprocess.run(
            ["/usr/bin/python3", "-c", tries],
            capture_output=True,
            text=True,
            timeout=30,
            **stranger,
        )
        assert seen.stdout.strip() == "[]", seen.stdout + seen.stderr
        assert address
    finally:
        node.terminate()
        node.communicate(timeout=30)


def test_the_end_of_ray_ends_the_job(folder: Path, soak_round: int) -> None:
    node = start_node(folder, HOLD)
    assert node.stdout
    node.stdout.readline()
    (gcs,) = [
        p for p in left_of(folder) if b"gcs_server" in Path(f"/proc/{p}/cmdline").read_bytes()
    ]
    os.kill(gcs, 9)
    _, err = node.communicate(timeout=60)
    assert node.returncode == 1
    assert "Ray cluster died" in err
    wait_for(lambda: not left_of(folder), "every process of the node to end", 10)


def test_a_command_that_will_not_end_is_ended_after_its_grace(folder: Path) -> None:
    # After ray.init(), which puts a handler of its own there.
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    node = start_node(folder, f"{ASK}\n{deaf}\nwhile True: signal.pause()", more=["--grace-s=2"])
    assert node.stdout
    node.stdout.readline()
    node.stdout.readline()
    node.terminate()
    _, err = node.communicate(timeout=30)
    assert node.returncode == 128 + signal.SIGTERM
    assert "did not end in the time" in err
    wait_for(lambda: not left_of(folder), "every process of the node to end", 10)


def test_a_node_that_is_asked_to_end_while_ray_starts_leaves_nothing(folder: Path) -> None:
    node = start_node(folder, HOLD)
    wait_for(lambda: list(folder.glob("lk*/start.log")), "Ray to be starting", 30)
    node.terminate()
    node.communicate(timeout=30)
    assert node.returncode == 143
    wait_for(lambda: not left_of(folder), "every process of the node to end", 10)
    assert list(folder.glob("lk*")) == []


def test_what_a_killed_node_left_is_swept(folder: Path) -> None:
    left, alive, foreign = folder / "lkleft", folder / "lkalive", folder / "lkforeign"
    for path in (left, alive, foreign):
        path.mkdir()
    gone = {"boot_id": "another boot", "pid": os.getpid(), "start_ticks": 1}
    (left / "owner.json").write_text(json.dumps(gone))
    from labkit.processes import identify

    me = identify(os.getpid())
    assert me is not None
    (alive / "owner.json").write_text(json.dumps(vars(me)))
    assert sweep(folder) == [left]
    assert alive.exists() and foreign.exists() and not left.exists()


def test_a_long_scratch_path_is_refused_with_what_to_set(folder: Path) -> None:
    scratch = folder / ("x" * 40)
    scratch.mkdir()
    amounts = ["--num-cpus=1", "--num-gpus=0", f"--memory-bytes={2**30}"]
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "node", *amounts, f"--rendezvous={folder / 'a'}",
         f"--scratch={scratch}", "--", "true"],
        capture_output=True, text=True, timeout=30,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "too long a path" in done.stderr and "'scratch'" in done.stderr
    assert list(scratch.iterdir()) == []


def test_ray_is_told_the_jobs_amounts_and_not_the_machines() -> None:
    amounts = {"num_cpus": 3, "num_gpus": 1, "memory_bytes": 4 * 2**30}
    arguments = head_arguments(Path("/tmp/lkx"), "127.0.0.1", **amounts)
    assert "--num-cpus=3" in arguments and "--num-gpus=1" in arguments
    assert f"--memory={4 * 2**30}" in arguments
    assert "--include-dashboard=false" in arguments
    environment = ray_environment(Path("/tmp/lkx"), Path("/r/token"), "127.0.0.1")
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
