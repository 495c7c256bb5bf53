"""Which process is meant, so that a process id that Linux gave to another is never signalled.

For whoever keeps a process id in a file or a database, or ends processes that are not its
own children. Standard library only: it is imported beside every job of the `local` scheduler.
"""

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_GIVE_UP_S = 5.0
_PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2); the number is part of Linux's interface to programs."""


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """One process, told apart from all others that this machine ran or will run."""

    boot_id: str
    pid: int
    start_ticks: int
    """When it started, in clock ticks since the machine did."""


@dataclass(frozen=True, kw_only=True)
class ProcessStat:
    """What `/proc/PID/stat` says of one process."""

    pid: int
    state: str
    parent: int
    num_threads: int
    start_ticks: int
    rss_bytes: int

    @property
    def ended(self) -> bool:
        """Its parent may not have noticed yet: a zombie has ended too."""
        # With threads left, only the first of them has ended.
        return self.state in "ZX" and self.num_threads <= 1


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has this id now; None where it has ended."""
    stat = _stat(pid)
    return _identity(stat) if stat and not stat.ended else None


def is_alive(identity: ProcessIdentity) -> bool:
    return identify(identity.pid) == identity


def send_signal(identity: ProcessIdentity, signum: int) -> bool:
    """Signal that process and no other. False where it has ended."""
    # The file descriptor stays with one process, so what is checked is what is signalled.
    with suppress(ProcessLookupError), ExitStack() as stack:
        pidfd = _open_pidfd(identity, stack)
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, signum)
            return True
    return False


def adopt_orphans() -> None:
    """From now on, descendants whose parent ends become children of this process.

    Else they become the machine's first process's, and nobody can tell whose they were. A
    child of its own must still be waited for by whoever started it.
    """
    prctl()(_PR_SET_CHILD_SUBREAPER, 1)


def prctl() -> Callable[[int, int], None]:
    """prctl(2), found now, so that it can be called between a fork and an exec."""
    function = ctypes.CDLL(None, use_errno=True).prctl

    def call(option: int, value: int) -> None:
        # Variadic in C: each argument must be passed at its full width.
        if function(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
            raise OSError(ctypes.get_errno(), "prctl failed")

    return call


def wait_ended(identities: Iterable[ProcessIdentity], timeout_s: float) -> bool:
    """Wait until all of them have ended. False where some live on after the time."""
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        opened = [_open_pidfd(identity, stack) for identity in identities]
        pidfds = {pidfd for pidfd in opened if pidfd is not None}
        poll = select.poll()
        for pidfd in pidfds:
            poll.register(pidfd, select.POLLIN)
        while pidfds and (left_s := deadline - time.monotonic()) > 0:
            for pidfd, _ in poll.poll(left_s * 1000):
                poll.unregister(pidfd)
                pidfds.discard(pidfd)
        return not pidfds


def end_processes(find: Callable[[], Collection[ProcessIdentity]], *, grace_s: float) -> bool:
    """End what `find` finds, again and again until it finds nothing.

    Each is asked once (SIGTERM); after the grace all are killed. False where some live on,
    as those do that wait for a disk that does not answer.
    """
    kill_at = time.monotonic() + grace_s
    asked: set[ProcessIdentity] = set()
    while found := find():
        left_s = kill_at - time.monotonic()
        if left_s < -_GIVE_UP_S:
            return False
        for identity in found:
            if left_s <= 0:
                send_signal(identity, signal.SIGKILL)
            elif identity not in asked:
                send_signal(identity, signal.SIGTERM)
        asked.update(found)
        wait_ended(found, left_s if left_s > 0 else 0.5)
    return True


def all_processes() -> dict[int, ProcessStat]:
    """Every process of this machine that may be seen, by its id."""
    pids = (int(name) for name in os.listdir(_PROC) if name.isdecimal())
    return {pid: stat for pid in pids if (stat := _stat(pid))}


def descendants(
    processes: Mapping[int, ProcessStat], root: int, skip: Callable[[int], bool]
) -> list[ProcessStat]:
    """The living children of `root` and theirs, but none that `skip` names nor those below it."""
    children: dict[int, list[ProcessStat]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found, parents = [], [root]
    while parents:
        below = [p for p in children.get(parents.pop(), ()) if not skip(p.pid)]
        found += [process for process in below if not process.ended]
        parents += [process.pid for process in below]
    return found


def identities(processes: Iterable[ProcessStat]) -> list[ProcessIdentity]:
    return [_identity(process) for process in processes]


def environment_value(pid: int, name: str) -> str | None:
    """A variable that the process was started with; None where it has none or may not be read."""
    with suppress(OSError):
        for entry in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            key, _, value = entry.partition(b"=")
            if key == name.encode():
                return os.fsdecode(value)
    return None


def memory_held(processes: Iterable[ProcessStat], limit_bytes: int) -> int:
    """Bytes that those processes hold together, exact where it is above the limit.

    Pages that several share count once (PSS, man 5 proc_pid_smaps). Reading that costs
    milliseconds, so it is left out where even the sum of all (RSS) is within the limit.
    """
    processes = list(processes)
    rss_bytes = sum(process.rss_bytes for process in processes)
    if rss_bytes <= limit_bytes:
        return rss_bytes
    return sum(_pss_bytes(process) for process in processes)


def parse_stat(text: str) -> ProcessStat:
    """The text of `/proc/PID/stat` (man 5 proc_pid_stat)."""
    # The second field is the program's name in parentheses, and may hold ') ' itself.
    pid, rest = text.split(" ", maxsplit=1)
    fields = rest[rest.rindex(")") + 2 :].split()
    return ProcessStat(
        pid=int(pid),
        state=fields[0],
        parent=int(fields[1]),
        num_threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


@cache
def boot_id() -> str:
    """Differs after each start of this machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _identity(stat: ProcessStat) -> ProcessIdentity:
    return ProcessIdentity(boot_id=boot_id(), pid=stat.pid, start_ticks=stat.start_ticks)


def _stat(pid: int) -> ProcessStat | None:
    # ProcessLookupError: the process ended between opening its file and reading it.
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        return parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    return None


def _pss_bytes(process: ProcessStat) -> int:
    with suppress(OSError):
        for line in (_PROC / str(process.pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return process.rss_bytes


def _open_pidfd(identity: ProcessIdentity, stack: ExitStack) -> int | None:
    """A file descriptor of that very process, closed with the stack; None where it has ended."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, pidfd)
    return pidfd if is_alive(identity) else None
