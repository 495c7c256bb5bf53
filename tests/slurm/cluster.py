"""The test cluster, for tests: a real Slurm in namespaces of this machine.

`cluster.sh` builds it and says what is in it; this adds a lock, so that two test runs do not end
each other's cluster, and words for what tests do with it. Nothing here knows labkit.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for

SCRIPT = Path(__file__).parent / "cluster.sh"
PACKAGES = (
    "slurm-wlm munge slurmdbd mariadb-server slurm-wlm-mysql-plugin environment-modules "
    "sudo iproute2 procps"
).split()
COMMANDS = "slurmctld slurmd slurmdbd munged mariadbd sudo ip pgrep nsenter setpriv".split()
NODES = ("n1", "n2", "n3", "n4")
UP_S, DOWN_S, END_S = 120, 30, 20
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
USABLE = ("idle", "mixed", "allocated")


def why_not() -> str | None:
    """Why this machine cannot run the test cluster; None where it can."""
    if os.geteuid() != 0:
        return "The test cluster needs root: run the tests as root, or in a container."
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [command for command in COMMANDS if not shutil.which(command, path=path)]
    if not any(Path("/usr/lib").glob("*/slurm*/accounting_storage_mysql.so")):
        missing.append("Slurm's plugin for MySQL")
    if not Path("/etc/profile.d/modules.sh").exists():
        missing.append("environment modules")
    if missing:
        return f"No {', '.join(missing)} here: apt-get install {' '.join(PACKAGES)}"
    namespaces = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "true"]
    if subprocess.run(namespaces, capture_output=True).returncode != 0:
        return "The test cluster needs namespaces: run the container with --privileged."
    return None


def number_of_process() -> str:
    """`LABKIT_SLURM_NUMBER`; of the second process of a test run (pytest -n 2) the next one."""
    given = os.environ.get("LABKIT_SLURM_NUMBER", "")
    beside = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return str(int(given or 0) + beside) if beside else given


class SlurmCluster:
    """Four nodes, the users alice, bob and carol, and `hub`, which runs no jobs of its own."""

    def __init__(self, number: int | None = None, cores: int = 16) -> None:
        """`number` is that of `LABKIT_SLURM_NUMBER`: a cluster beside others, if not None.

        Each node says that it has `cores`, as a node need not have what it says.
        """
        self._cores = cores
        self._number = number_of_process() if number is None else str(number)
        default = f"/tmp/labkit-slurm{self._number}"
        self.folder = Path(os.environ.get("LABKIT_SLURM_DIR", default))

    @property
    def python(self) -> Path:
        """The Python that every user can run, on every node; console scripts are beside it."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def hub_address(self) -> str:
        """Where nodes reach what listens on this machine, and this machine's address for nodes."""
        return f"10.89.{self._number or 0}.1"

    def home(self, user: str) -> Path:
        return self.folder / "home" / user

    @property
    def disk(self) -> Path:
        """4 GB that all nodes see, with a folder for each person; it may hang, or be full."""
        return self.folder / "disk"

    def here(self, path: Path | str) -> Path:
        """Where this machine finds what the cluster has there: the disk is mounted in it alone."""
        unshare, _ = (self.folder / "world").read_text().split()
        (first,) = psutil.Process(int(unshare)).children()
        return Path(f"/proc/{first.pid}/root{path}")

    # ---- Its life ----

    @contextmanager
    def held(self) -> Iterator["SlurmCluster"]:
        """This process's alone until the end of the `with`: others could end or change it."""
        with Path(f"{self.folder}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"Another test run uses {self.folder}: wait for its end, "
                    "or set LABKIT_SLURM_NUMBER=1 for a cluster of your own."
                ) from None
            yield self

    @contextmanager
    def running(self) -> Iterator["SlurmCluster"]:
        """A new one, in place of one that a killed test run or `make slurm-up` left."""
        with self.held():
            try:
                self._script("up", timeout_s=UP_S)
                yield self
            finally:
                self._script("down", timeout_s=DOWN_S)

    def is_up(self) -> bool:
        status = [str(SCRIPT), "status"]
        return subprocess.run(status, env=self._environment(), capture_output=True).returncode == 0

    # ---- Commands in it ----

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        user: str | None = None,
        node: str | None = None,
        input: str | None = None,
        timeout_s: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end as a user (root), on a node (the hub's machine).

        It starts in the user's home, with nothing but `environment` beside HOME, PATH and USER.
        """
        return subprocess.run(
            self._command(argv, user, node, environment),
            env=self._environment(),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def output(self, argv: Sequence[str | Path], *, user: str | None = None) -> str:
        """What a command printed, without the blank around it; fails where the command does."""
        done = self.run(argv, user=user)
        assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @contextmanager
    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        terminal: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command, a hub say, as long as the `with` does; then TERM, and KILL for the rest.

        `kill()` of what this yields kills the command; another signal goes to `inner(process)`.
        What it prints is in `log`: `folder/log/NAME.out` if None. It reads from and writes to
        `terminal` instead, where that is open.
        """
        log = log or self.folder / "log" / f"{Path(argv[0]).name}.out"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._command(argv, user, None, environment),
                env=self._environment(),
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=output if terminal is None else terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                inner(process).terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            # What it started and left is in its process group, if not in one of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # ---- Faults ----

    def cut(self, node: str) -> None:
        """Pull the node's network cable out. Its jobs go on."""
        self._script("node-cut", node)

    def heal(self, node: str) -> None:
        """Put the cable back, and wait until Slurm has seen the node."""
        self._script("node-heal", node)
        if self.state(node).startswith("down"):  # Slurm itself looks once a minute, maybe now
            self.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])
        self._wait_until_usable(node)

    def crash(self, node: str) -> None:
        """As if the power went: no process of the node is left."""
        self._script("node-crash", node)

    def boot(self, node: str) -> None:
        """Start a node that crashed, and wait until Slurm has seen it."""
        self._script("node-boot", node)
        self._wait_until_usable(node)

    @contextmanager
    def controller_down(self) -> Iterator[None]:
        """Slurm's controller is down until the end of the `with`, and has its nodes after it."""
        self._script("ctld-stop")
        try:
            yield
        finally:
            self._script("ctld-start")
            for node in NODES:
                self._wait_until_usable(node)

    def need_disk(self) -> None:
        """Skip the test where `disk` is no file system of its own."""
        if not self.here(self.disk).is_mount():
            pytest.skip("A disk that hangs, or is full, needs a loop device.")

    def hang_disk(self, seconds: int) -> None:
        """Whoever writes to `disk`, from any node, waits meanwhile."""
        self._script("disk-hang", str(seconds))

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """`disk` has no byte left until the end of the `with`."""
        self._script("disk-fill")
        try:
            yield
        finally:
            self._script("disk-empty")

    @contextmanager
    def starved(self, process: str, node: str) -> Iterator[None]:
        """A process gets no more memory, as where Slurm has Linux count it; Linux has killed it
        when the `with` ends."""
        if not MEMORY_GROUPS.is_dir():
            pytest.skip("This machine has no memory groups of version 1 (cgroup).")
        group = MEMORY_GROUPS / f"labkit-test{self._number}"

        def inside(script: str) -> str:  # where the process has that number
            done = self.run(["sh", "-ec", script, group, process], node=node)
            assert done.returncode == 0, done.stderr
            return done.stdout

        inside('if [ -d "$0" ]; then rmdir "$0"; fi; mkdir "$0"')  # a killed test run's goes
        inside('echo 65536 > "$0/memory.limit_in_bytes"; echo "$1" > "$0/cgroup.procs"')
        try:
            yield
            wait_for(lambda: inside('cat "$0/cgroup.procs"') == "", "its end")
            assert "oom_kill 1" in inside('cat "$0/memory.oom_control"')
        finally:
            inside('rmdir "$0"')

    def state(self, node: str) -> str:
        """As `sinfo` has it: `idle`, `idle*` where the node does not answer, `down`, …"""
        query = ["sinfo", "--noheader", "--partition=gpu", f"--nodes={node}", "--format=%T"]
        return self.output(query)

    def nodes_of(self, job: str) -> list[str]:
        """Those of the job of that name; none where it does not run."""
        names = self.output(["squeue", "--noheader", f"--name={job}", "--format=%N"])
        return self.output(["scontrol", "show", "hostnames", names]).split() if names else []

    def left_by(self, user: str) -> dict[str, str]:
        """Processes of theirs, and what of theirs is in /tmp or shared memory, on each node."""
        look = f"pgrep -u {user} -a; find /tmp /dev/shm -mindepth 1 -maxdepth 1 -user {user}"
        said = {node: self.run(["sh", "-c", look], node=node).stdout for node in NODES}
        return {node: text for node, text in said.items() if text}

    def cancel_all(self) -> None:
        """Cancel every job, and wait until none is left."""

        def none_left() -> bool:
            jobs = self.output(["squeue", "--noheader", "--format=%A"]).split()
            if jobs:
                self.run(["scancel", *jobs])
            return not jobs

        wait_for(none_left, "no job to be left", seen=lambda: self.output(["squeue"]))

    # ---- Details ----

    def _wait_until_usable(self, node: str) -> None:
        wait_for(
            lambda: self.state(node) in USABLE,
            f"node {node} to be usable",
            seen=lambda: self.state(node),
        )

    def _command(
        self,
        argv: Sequence[str | Path],
        user: str | None,
        node: str | None,
        environment: Mapping[str, str] | None,
    ) -> list[str]:
        where = [*(["-u", user] if user else []), *(["-n", node] if node else [])]
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        prefix = ["env", *variables] if variables else []
        return [str(SCRIPT), "exec", *where, "--", *prefix, *map(str, argv)]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "LABKIT_SLURM_DIR": str(self.folder),
            "LABKIT_SLURM_NUMBER": self._number,
            "LABKIT_SLURM_CORES": str(self._cores),
            "LABKIT_SLURM_PYTHON": sys.executable,
        }

    def _script(self, *arguments: str, timeout_s: float = 60) -> None:
        done = subprocess.run(
            [str(SCRIPT), *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise RuntimeError(f"cluster.sh {' '.join(arguments)}: {done.stdout}{done.stderr}")


def inner(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The command itself: what `popen` yields is a parent that waits for it."""
    children = psutil.Process(process.pid).children()
    if not children:
        raise psutil.NoSuchProcess(process.pid)
    return children[0]


@contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The command does nothing until the `with` ends."""
    command, parent = inner(process), psutil.Process(process.pid)
    command.suspend()
    try:
        yield
    finally:
        command.resume()
        parent.resume()  # nsenter stops itself with what it has started
