"""`labkit node`: what every node of a job runs to bring up its private Ray cluster.

It makes the secret, starts Ray on free ports under a folder of its own, publishes the
address, runs the job's command on the head, watches Ray from outside and ends everything.
Nothing stays behind: what a killed predecessor left is swept at the next start.

Ray's own helpers are not used here: `ray start --block` does not return when its processes
end with 0 or 15, and `ray stop` ends every Ray of the user on the machine.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from labkit.errors import LabkitError
from labkit.paths import private_folder, read_json, write_json
from labkit.processes import (
    ProcessIdentity,
    adopt_orphans,
    all_processes,
    descendants,
    end_processes,
    identify,
    identities,
    is_alive,
)
from labkit.raycluster.secrets import secret_environment, write_token

PREFIX = "lk"
MAX_TEMP_PATH = 40
"""Ray's socket names grow from its temp folder; above 40 characters parts of it die silently."""
START_TIMEOUT_S = 60
HEAD_CHECK_S = 1.0
HEAD_MISSES = 5
RAY_END_S = 8
_OWNER = "owner.json"


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node of a job."""

    rendezvous: Path
    """A 0700 folder of this attempt that all nodes see; token and address lie in it."""
    num_cpus: int
    num_gpus: int
    memory_bytes: int
    scratch: Path = Path("/tmp")
    """A local disk with a short path."""
    address: str = "127.0.0.1"
    """This node's address, as the others reach it."""
    command: Sequence[str] = field(default_factory=tuple)
    """What the head runs with the cluster at hand; the job ends with it."""


def run_node(spec: NodeSpec) -> int:
    """Run the command on a private Ray cluster; returns the command's exit code.

    SIGTERM is passed on to the command, which may save its work; then Ray ends.
    Raises LabkitError where Ray does not start.
    """
    os.umask(0o077)
    # Also while Ray starts: the default action would leave its processes and folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    adopt_orphans()  # when Ray's parent is killed, its processes are still ours to end
    sweep(spec.scratch)
    private_folder(spec.rendezvous)
    with _private_temp(spec.scratch) as temp:
        token = spec.rendezvous / "token"
        token.unlink(missing_ok=True)
        write_token(spec.rendezvous)
        environment = {**os.environ, **ray_environment(temp, token, spec.num_cpus)}
        environment.pop("RAY_ADDRESS", None)
        with _ray(head_arguments(spec, temp), environment, temp) as ray:
            address = _wait_for_address(ray, temp)
            write_json(spec.rendezvous / "address.json", {"address": address})
            return _run_command(spec.command, {**environment, "RAY_ADDRESS": address}, ray, address)


def ray_environment(temp: Path, token: Path, num_cpus: int) -> dict[str, str]:
    """What Ray's processes, the command and its workers find beside the job's environment."""
    return {
        **secret_environment(token),
        "RAY_TMPDIR": str(temp),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "5",
        "RAY_worker_num_grpc_internal_threads": "1",
        "DASHBOARD_METRIC_PORT": "0",
        "AUTOSCALER_METRIC_PORT": "0",
        "OMP_NUM_THREADS": str(num_cpus),
    }


def head_arguments(spec: NodeSpec, temp: Path) -> list[str]:
    """`ray start` for a head that listens on free ports and has no dashboard.

    Cores and memory are the job's, since Ray counts the machine's.
    """
    object_store_bytes = max(80 * 2**20, min(spec.memory_bytes // 10, 2 * 2**30))
    return [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        "--head",
        "--disable-usage-stats",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",
        "--port=0",
        *_client_server(),
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        f"--node-ip-address={spec.address}",
        f"--temp-dir={temp / 'r'}",
        f"--num-cpus={spec.num_cpus}",
        f"--num-gpus={spec.num_gpus}",
        f"--memory={spec.memory_bytes}",
        f"--object-store-memory={object_store_bytes}",
    ]


def _client_server() -> list[str]:
    """Where Ray's client server could start, it would take one well-known port: give it a free one.

    It can only where grpcio is installed, and the flag is refused where it is not.
    """
    return [f"--ray-client-server-port={_free_port()}"] if find_spec("grpc") else []


def sweep(scratch: Path) -> list[Path]:
    """Remove the temp folders of ours whose node is no longer alive; returns them."""
    gone = []
    for folder in scratch.glob(f"{PREFIX}*"):
        try:
            ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            owner = read_json(folder / _OWNER) if ours else None
        except (OSError, ValueError):
            continue  # It went while we looked, or is not ours to read.
        if owner and not is_alive(ProcessIdentity(**owner)):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


@contextmanager
def _private_temp(scratch: Path) -> Iterator[Path]:
    """A 0700 folder for this node's sockets, logs and spilled objects, removed at the end.

    Ray makes its own folders 0777 whatever the umask; the one above keeps others out.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    if len(str(folder / "r")) > MAX_TEMP_PATH:
        folder.rmdir()
        raise LabkitError(
            f"The scratch folder {scratch} has too long a path for Ray's sockets: it may have "
            f"{MAX_TEMP_PATH - len(PREFIX) - 11} characters. Set the key 'scratch' in labkit.toml."
        )
    owner = identify(os.getpid())
    assert owner is not None, "this process lives"
    write_json(folder / _OWNER, vars(owner))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ray(
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
        _end_ray(ray)


def _end_ray(ray: subprocess.Popen[bytes]) -> None:
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


def _wait_for_address(ray: subprocess.Popen[bytes], temp: Path) -> str:
    """The address that Ray's head wrote once it listens."""
    written = temp / "r" / "ray_current_cluster"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and ray.poll() is None:
        if written.exists() and (address := written.read_text().strip()):
            return address
        time.sleep(0.02)
    said = (temp / "start.log").read_text(errors="replace").strip()
    print(said, file=sys.stderr)
    raise LabkitError(f"Ray did not start within {START_TIMEOUT_S} s; the log has what it said.")


def _run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    ray: subprocess.Popen[bytes],
    address: str,
) -> int:
    child = subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL)
    previous = {
        number: signal.signal(number, lambda *_: child.terminate())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return _watch(child, ray, address)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()


def _watch(child: subprocess.Popen[bytes], ray: subprocess.Popen[bytes], address: str) -> int:
    """Until the command ends, or Ray's head has not answered a few times running."""
    misses = 0
    while True:
        try:
            return child.wait(HEAD_CHECK_S)
        except subprocess.TimeoutExpired:
            misses = 0 if ray.poll() is None and _answers(address) else misses + 1
        if misses >= HEAD_MISSES:
            print("The head of the Ray cluster died; the run ends.", file=sys.stderr)
            return 1


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
