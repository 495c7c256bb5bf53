"""`labkit node`: what every node of a job runs to bring up its private Ray cluster.

The head makes the secret, starts Ray on free ports under a folder of its own, publishes the
address and runs the job's command; the others wait for the address and join. Each watches Ray
from outside and ends everything of its node. Nothing stays behind: what a killed predecessor
left is swept at the next start.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from labkit.errors import LabkitError
from labkit.ports import free_port
from labkit.processes import adopt_orphans
from labkit.raycluster.network import address_towards, answers, own_address
from labkit.raycluster.ray_start import (
    has_dashboard,
    head_arguments,
    last_words,
    ray_environment,
    running_ray,
    wait_for_head,
    worker_arguments,
)
from labkit.raycluster.rendezvous import Head, Rendezvous
from labkit.raycluster.scratch import private_temp, sweep
from labkit.raycluster.secrets import fetch_certificate

JOIN_TIMEOUT_S = 180
"""How long nodes wait for the head, and the head for all nodes."""
LEAVE_TIMEOUT_S = 15
"""How long the head waits for the others to end their Ray; those that were lost never do."""
HEAD_CHECK_S = 1.0
HEAD_MISSES = 5
RAY_LOOKS_S = 3
"""Within it `ray start` sees that one of its processes ended, says which, and ends the others."""
KILLED = 128 + signal.SIGKILL
"""The exit code of a job whose command or whose Ray was killed; its scheduler may try it again."""


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node of a job; all its nodes are given the same, but for the command."""

    rendezvous: Path
    """A 0700 folder of this attempt that all nodes see; secret and address lie in it."""
    num_cpus: int
    num_gpus: int
    memory_bytes: int
    num_nodes: int = 1
    scratch: Path = Path("/tmp")
    """A local disk with a short path."""
    network: str = ""
    """The network interface by which the nodes reach each other; '' for the host name's."""
    tls: bool = True
    """Whether Ray's channels are encrypted; the head's word holds for all."""
    grace_s: float = 60
    """How long the command may take to save its work when it is asked to end."""
    dashboard: bool = False
    """Whether the head brings up Ray's dashboard, with its jobs, where it is installed."""
    workdir: Path | None = None
    """Where the command runs, on a file system that all nodes see; None for where we are."""
    command: Sequence[str] = field(default_factory=tuple)
    """What the head runs with the cluster at hand; the job ends with it."""

    @property
    def amounts(self) -> dict[str, int]:
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "memory_bytes": self.memory_bytes,
        }

    @property
    def has_dashboard(self) -> bool:
        return self.dashboard and has_dashboard()


def run_head(spec: NodeSpec) -> int:
    """Run the command on a private Ray cluster; returns the command's exit code.

    SIGTERM is passed on to the command, which may save its work within its grace; then Ray ends.
    Raises LabkitError where Ray does not start, or not all nodes join.
    """
    _begin(spec)
    if spec.workdir and not spec.workdir.is_dir():
        raise LabkitError(
            f"The folder {spec.workdir} is not on {socket.gethostname()}. Launch from a folder on "
            "a file system that all nodes see."
        )
    meeting = Rendezvous(spec.rendezvous)
    meeting.open(tls=spec.tls)
    dashboard = free_port() if spec.has_dashboard else None
    own = own_address(spec.network) if spec.num_nodes > 1 else "127.0.0.1"
    try:
        with private_temp(spec.scratch) as temp:
            fetch_certificate(meeting.folder, temp)
            environment = _environment(temp, meeting, own)
            arguments = head_arguments(temp, own, dashboard=dashboard, **spec.amounts)
            with running_ray(arguments, environment, temp) as ray:
                try:
                    address = wait_for_head(ray, temp)
                    head = Head(
                        address=address,
                        temp=str(temp),
                        dashboard=f"127.0.0.1:{dashboard}" if dashboard else "",
                    )
                    environment |= head.environment
                    meeting.publish(head)
                    if spec.num_nodes > 1:
                        _wait_for_nodes(spec, meeting, environment)
                    meeting.lock()
                    return _run_command(spec, environment, ray, address, temp)
                finally:
                    meeting.close()
                    meeting.wait_until_left(LEAVE_TIMEOUT_S)
    finally:
        meeting.close()


def join_head(spec: NodeSpec) -> int:
    """Lend this node to the Ray cluster of its job's head; 0 where the head ended in order.

    Raises LabkitError where the head does not come, or Ray does not start here.
    """
    _begin(spec)
    meeting = Rendezvous(spec.rendezvous)
    head = meeting.wait_for_address(JOIN_TIMEOUT_S)
    if head is None:
        return 0
    own = own_address(spec.network) if spec.network else address_towards(head)
    with meeting.signed(socket.gethostname(), own), private_temp(spec.scratch) as temp:
        fetch_certificate(meeting.folder, temp)
        environment = _environment(temp, meeting, own)
        arguments = worker_arguments(temp, own, head, dashboard=spec.has_dashboard, **spec.amounts)
        with running_ray(arguments, environment, temp) as ray:
            return _lend(ray, meeting, head, temp)


def _begin(spec: NodeSpec) -> None:
    os.umask(0o077)
    # Also while Ray starts: the default action would leave its processes and folder behind.
    signal.signal(signal.SIGTERM, _leave)
    adopt_orphans()  # when Ray's parent is killed, its processes are still ours to end
    sweep(spec.scratch)


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked twice, it still tidies up once
    sys.exit(128 + signal.SIGTERM)


def _environment(temp: Path, meeting: Rendezvous, own: str) -> dict[str, str]:
    environment = {**os.environ, **ray_environment(temp, meeting.token, own)}
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        environment.pop(name, None)  # of a cluster around us
    return environment


def _wait_for_nodes(spec: NodeSpec, meeting: Rendezvous, environment: Mapping[str, str]) -> None:
    asking = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "labkit.raycluster.joined"),
            *(str(spec.num_nodes), str(JOIN_TIMEOUT_S)),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if asking.returncode:
        said = asking.stderr.strip().splitlines()
        came = ", ".join(meeting.present()) or "none"
        raise LabkitError(
            f"{said[-1] if said else 'Ray did not answer.'} Besides the head came: {came}. "
            "What the others said is in this log, too."
        )


def _lend(ray: subprocess.Popen[bytes], meeting: Rendezvous, head: str, temp: Path) -> int:
    """Until the head ends, or is not there a few times running, or Ray ends here."""
    misses = 0
    while misses < HEAD_MISSES:
        if meeting.closed:
            return 0
        if ray.poll() is not None:
            print(last_words(temp), file=sys.stderr)
            raise LabkitError(f"Ray ended on {socket.gethostname()}; the log has what it said.")
        misses = 0 if answers(head) else misses + 1
        time.sleep(HEAD_CHECK_S)
    print(f"The head of the Ray cluster is gone; {socket.gethostname()} ends.", file=sys.stderr)
    return 1


def _run_command(
    spec: NodeSpec,
    environment: Mapping[str, str],
    ray: subprocess.Popen[bytes],
    address: str,
    temp: Path,
) -> int:
    child = subprocess.Popen(
        spec.command, cwd=spec.workdir, env=dict(environment), stdin=subprocess.DEVNULL
    )
    kill_at: list[float] = []

    def ask(*_: object) -> None:
        kill_at.append(time.monotonic() + spec.grace_s)
        child.terminate()

    previous = {n: signal.signal(n, ask) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = _watch(child, ray, address, kill_at)
        if code is None:
            with suppress(subprocess.TimeoutExpired):
                ray.wait(RAY_LOOKS_S)
            print(last_words(temp), file=sys.stderr)
            print("The head of the Ray cluster died; the job ends.", file=sys.stderr)
        return KILLED if code is None else code
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()


def _watch(
    child: subprocess.Popen[bytes],
    ray: subprocess.Popen[bytes],
    address: str,
    kill_at: Sequence[float],
) -> int | None:
    """The command's exit code, or that of a grace that is over; None where Ray's head is gone."""
    misses = 0
    while True:
        try:
            code = child.wait(HEAD_CHECK_S)
            if code > 0 and (ray.poll() is not None or not answers(address)):
                return None  # it failed since its Ray was gone
            return code if code >= 0 else 128 - code  # as a shell says that a signal ended it
        except subprocess.TimeoutExpired:
            misses = 0 if ray.poll() is None and answers(address) else misses + 1
        if kill_at and time.monotonic() > kill_at[0]:
            print("It did not end in the time that it had to save its work.", file=sys.stderr)
            return 128 + signal.SIGTERM
        if misses >= HEAD_MISSES:
            return None
