"""Ray's processes of one node: how they are started, and how they end with all of theirs.

Ray's own helpers are not used here: `ray start --block` does not return when its processes
end with 0 or 15, and `ray stop` ends every Ray of the user on the machine.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from labkit.errors import LabkitError
from labkit.ports import free_port
from labkit.processes import all_processes, descendants, end_processes, identities
from labkit.raycluster.network import interface_of
from labkit.raycluster.scratch import FOR_ALL
from labkit.raycluster.secrets import secret_environment

START_TIMEOUT_S = 120
RAY_END_S = 8


def ray_environment(temp: Path, token: Path, address: str) -> dict[str, str]:
    """What Ray's processes, the command and its workers find beside the job's environment."""
    network = interface_of(address)
    return {
        **secret_environment(token, temp),
        "RAY_TMPDIR": str(temp),
        "TMPDIR": str(temp / FOR_ALL),  # what others leave there goes with it
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray gives its own node 30 s, which a busy one may exceed.
        "RAY_raylet_start_wait_time_s": str(START_TIMEOUT_S),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "5",
        "RAY_worker_num_grpc_internal_threads": "1",
        "DASHBOARD_METRIC_PORT": "0",
        "AUTOSCALER_METRIC_PORT": "0",
        # Else each library looks for an interface of its own, and may take one without a way.
        **({"GLOO_SOCKET_IFNAME": network, "NCCL_SOCKET_IFNAME": network} if network else {}),
    }


def has_dashboard() -> bool:
    """Whether Ray is installed with its dashboard: ray[default]."""
    return all(find_spec(name) for name in ("aiohttp_cors", "grpc", "opencensus"))


def head_arguments(
    temp: Path,
    address: str,
    *,
    num_cpus: int,
    num_gpus: int,
    memory_bytes: int,
    dashboard: int | None = None,
) -> list[str]:
    """`ray start` for a head that listens on free ports; its dashboard, if any, on loopback."""
    beside = ["--include-dashboard=false", "--no-monitor"]  # what `ray status` says comes from it
    if dashboard:
        beside = [
            "--include-dashboard=true",
            f"--dashboard-port={dashboard}",
            "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={free_port()}",  # else a well-known one
        ]
    return [
        *_start(temp, address, num_cpus, num_gpus, memory_bytes, dashboard=dashboard is not None),
        "--head",
        "--port=0",
        *beside,
    ]


def worker_arguments(
    temp: Path,
    address: str,
    head: str,
    *,
    num_cpus: int,
    num_gpus: int,
    memory_bytes: int,
    dashboard: bool = False,
) -> list[str]:
    """`ray start` for a node that joins the head at `head`, which may have a dashboard."""
    return [
        *_start(temp, address, num_cpus, num_gpus, memory_bytes, dashboard=dashboard),
        f"--address={head}",
    ]


def _start(
    temp: Path, address: str, num_cpus: int, num_gpus: int, memory_bytes: int, *, dashboard: bool
) -> list[str]:
    """Cores and memory are the job's, since Ray counts the machine's."""
    object_store_bytes = max(80 * 2**20, min(memory_bytes // 10, 2 * 2**30))
    ray = "ray.scripts.scripts" if dashboard else "labkit.raycluster.lean_ray"
    return [
        *(sys.executable, "-P", "-m", ray, "start"),
        "--block",
        "--disable-usage-stats",
        "--log-color=false",
        "--include-log-monitor=false",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        f"--node-ip-address={address}",
        f"--temp-dir={temp / 'r'}",
        f"--num-cpus={num_cpus}",
        f"--num-gpus={num_gpus}",
        f"--memory={memory_bytes}",
        f"--object-store-memory={object_store_bytes}",
    ]


@contextmanager
def running_ray(
    arguments: Sequence[str], environment: Mapping[str, str], temp: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Ray's processes of this node, ended with all that they started."""
    with (temp / "start.log").open("wb") as log:
        ray = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield ray
    finally:
        _end(ray)


def _end(ray: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the parent alone, which ends the others in order; then whoever is left."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already; nothing may be left half done
    ray.terminate()
    try:
        ray.wait(RAY_END_S)
    except subprocess.TimeoutExpired:
        ray.kill()
        ray.wait()
    me = os.getpid()
    end_processes(
        lambda: identities(descendants(all_processes(), me, skip=lambda _: False)), grace_s=1
    )


def wait_for_head(ray: subprocess.Popen[bytes], temp: Path) -> str:
    """The address that Ray's head wrote once it listens."""
    written = temp / "r" / "ray_current_cluster"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and ray.poll() is None:
        if written.exists() and (address := written.read_text().strip()):
            return address
        time.sleep(0.02)
    print(last_words(temp), file=sys.stderr)
    raise LabkitError(f"Ray did not start within {START_TIMEOUT_S} s; the log has what it said.")


def last_words(temp: Path) -> str:
    """What `ray start` said: at its end which of its processes ended, and what their logs say."""
    return (temp / "start.log").read_text(errors="replace").strip()
