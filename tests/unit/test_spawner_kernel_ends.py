"""Whether Linux ended a kernel for want of memory, as its cgroup counts."""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit_spawners import kernel_ends
from labkit_spawners.kernel_ends import KILLED, num_killed_for_memory, watch_kernels

V1 = "5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n0::/other\n"
V2 = "0::/slurm/job_7\n"


@pytest.mark.parametrize(
    "cgroup, file, text, count",
    [
        (V2, "slurm/job_7/memory.events", "low 0\nmax 9\noom 3\noom_kill 2\n", 2),
        (V1, "memory/slurm/job_7/memory.oom_control", "under_oom 0\noom_kill 4\n", 4),
        (V2, "slurm/job_7/memory.events", "low 0\n", None),
        (V2, "elsewhere/memory.events", "oom_kill 2\n", None),
    ],
)
def test_what_linux_has_counted(
    tmp_path: Path, cgroup: str, file: str, text: str, count: int | None
):
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text)
    assert num_killed_for_memory(tmp_path / "cgroup", tmp_path) == count
    assert num_killed_for_memory(tmp_path / "none", tmp_path) is None


class Kernels(dict[str, Any]):
    """A server's kernels, one of which is at its end."""

    def __init__(self) -> None:
        self["k"] = SimpleNamespace(provisioner=SimpleNamespace(process=None))
        self.called: list[Any] = []
        self.get_kernel = self.__getitem__

    def add_restart_callback(self, kernel_id: str, callback: Any, event: str) -> None:
        assert (kernel_id, event) == ("k", "restart")
        self.called.append(callback)

    def die(self, code: int) -> None:
        self["k"].provisioner.process = SimpleNamespace(returncode=code)
        for callback in self.called:
            callback()


def test_each_killed_kernel_is_told_of_once_and_no_other_end(monkeypatch):
    emitted, listeners, counted = [], [], iter([3, 3, 4, 5, 5])
    monkeypatch.setattr(kernel_ends, "num_killed_for_memory", lambda: next(counted))
    logger = SimpleNamespace(
        register_event_schema=lambda schema: None,
        add_listener=lambda schema_id, listener: listeners.append(listener),
        emit=lambda schema_id, data: emitted.append((schema_id, data["for_memory"])),
    )
    kernels = Kernels()
    watch_kernels(SimpleNamespace(event_logger=logger, kernel_manager=kernels))
    for kernel_id in ("k", "k", "gone"):  # started, and started again
        asyncio.run(listeners[0](logger, "", {"kernel_id": kernel_id}))
    kernels.die(-signal.SIGKILL)  # by somebody
    kernels.die(-signal.SIGKILL)  # by Linux
    kernels.die(-signal.SIGSEGV)  # of itself, while Linux ended another process
    kernels.die(-signal.SIGKILL)
    assert emitted == [(KILLED["$id"], for_memory) for for_memory in (False, True, False)]
