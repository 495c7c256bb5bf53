"""In a session: that Linux ended a kernel, and whether for want of memory, for its page to say.

Jupyter starts a kernel that has died again, and tells its page of that but not of why. What
`session_server` switches on here looks at each one that dies, and sends the page an event.
"""

import signal
from pathlib import Path
from typing import Any

_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
KILLED = {
    "$id": "urn:labkit:kernel-killed",
    "version": "1",
    "title": "A kernel was killed by another process than its server",
    "type": "object",
    "required": ["for_memory"],
    "properties": {
        "for_memory": {
            "type": "boolean",
            "description": "Linux has ended a process here meanwhile because memory ran out.",
        }
    },
}
"""What the page hears. JupyterLab's own notice that a kernel died comes beside it."""


def watch_kernels(server: Any) -> None:
    """Look at each kernel of this server that dies, from its start on."""
    server.event_logger.register_event_schema(KILLED)
    kernels, watched = server.kernel_manager, set()
    num_before = num_killed_for_memory() or 0

    def look(kernel_id: str) -> None:
        nonlocal num_before
        num_now = num_killed_for_memory() or 0
        for_memory, num_before = num_now > num_before, num_now
        process = kernels.get_kernel(kernel_id).provisioner.process
        if process and process.returncode == -signal.SIGKILL:
            server.event_logger.emit(schema_id=KILLED["$id"], data={"for_memory": for_memory})

    async def started(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        kernel_id = str(data.get("kernel_id"))
        if kernel_id in kernels and kernel_id not in watched:
            watched.add(kernel_id)
            # Called before the kernel is started again, while its end is still known.
            kernels.add_restart_callback(kernel_id, lambda: look(kernel_id), "restart")

    server.event_logger.add_listener(schema_id=_ACTIONS, listener=started)


def num_killed_for_memory(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """How many processes of our cgroup Linux has ended for want of memory; None where unknown.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events), and for the first version
    .../cgroup-v1/memory.html (memory.oom_control).
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            file = root / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            file = root / "memory" / path.lstrip("/") / "memory.oom_control"
        else:
            continue
        if (count := _oom_kill(file)) is not None:
            return count
    return None


def _oom_kill(file: Path) -> int | None:
    try:
        values = dict(line.split() for line in file.read_text().splitlines())
        return int(values["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
