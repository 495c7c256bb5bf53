"""`labkit node` with a real Ray: private, side by side with others, and gone when it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from labkit.raycluster.ray_start import head_arguments, ray_environment
from labkit.raycluster.scratch import sweep
from tests.ray.node import ASK, HOLD, left_of, start_node
from tests.waiting import wait_for


def test_the_command_finds_its_cluster_and_nothing_stays(folder: Path) -> None:
    node = start_node(folder, f"{ASK}\nraise SystemExit(7)")
    out, err = node.communicate(timeout=90)
    assert node.returncode == 7, err
    assert json.loads(out)["answer"] == 42
    assert json.loads(out)["cpus"] == 2
    wait_for(lambda: not left_of(folder), "every process of the node to end", 10)
    assert [path.name for path in folder.iterdir() if path.name.startswith("lk")] == []


def test_the_end_of_ray_ends_the_job(folder: Path, soak_round: int) -> None:
    node = start_node(folder, HOLD)
    assert node.stdout
    node.stdout.readline()
    commands = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in left_of(folder)}
    (gcs,) = [p for p, command in commands.items() if b"gcs_server" in command]
    assert not [command for command in commands.values() if b"ray.util.client.server" in command]
    os.kill(gcs, 9)
    _, err = node.communicate(timeout=60)
    assert node.returncode == 128 + signal.SIGKILL  # a run's job is started again for it
    assert "gcs_server" in err and "Ray cluster died" in err
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
