"""The processors and memory that this process may use, counted as one device.

A job is often given less than its machine has: Slurm, systemd and containers bound it by a
Linux control group (version 1 or 2). Every amount here is within that bound. The local
scheduler reads `num_cpus` and `memory_bytes` to know how much there is to give.
"""

import os
import platform
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import psutil

from labkit.accelerators.base import Device, Reading

_PROC = Path("/proc")
_POWERCAP = Path("/sys/class/powercap")
_METER_S = 0.1


class Cpu:
    kind = "cpu"
    title = "CPU"
    torch_device = "cpu"

    def devices(self) -> Sequence[Device]:
        total = memory_bytes()
        return [
            Device(
                index=0,
                name=model_name((_PROC / "cpuinfo").read_text()) or platform.machine(),
                identifier=platform.node(),
                memory_bytes=total,
                free_bytes=min(total, free_memory_bytes()),
            )
        ]

    def missing(self) -> str | None:
        return None

    def visible_environment(self, indices: Sequence[int]) -> Mapping[str, str]:
        return {}

    def meter(self, indices: Sequence[int]) -> Sequence[Reading]:
        """Blocks for a tenth of a second: a processor's load is a difference in time."""
        cpus = os.sched_getaffinity(0)
        started, energy, stat = time.monotonic(), _energy_uj(), (_PROC / "stat").read_text()
        time.sleep(_METER_S)
        utilisation = busy_share(stat, (_PROC / "stat").read_text(), cpus)
        power_w = mean_power_w(energy, _energy_uj(), time.monotonic() - started)
        used = max(0, memory_bytes() - free_memory_bytes())
        return [
            Reading(index=i, utilisation=utilisation, memory_used_bytes=used, power_w=power_w)
            for i in indices
        ]


def num_cpus() -> int:
    """Whole CPUs that this process may use: by its affinity and by its groups' quota."""
    quota = cpu_quota(_own_groups("cpu"))
    # Rounded down: half a CPU more is no CPU for one more process.
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its groups' limit."""
    limits = [limit for _, limit in memory_limits(_own_groups("memory"))]
    return min([psutil.virtual_memory().total, *limits])


def free_memory_bytes() -> int:
    """What is left of `memory_bytes`, with the page cache that Linux would give back."""
    left = [limit - memory_in_use(folder) for folder, limit in memory_limits(_own_groups("memory"))]
    return max(0, min([psutil.virtual_memory().available, *left]))


def group_folders(controller: str, proc_cgroup: str, mountinfo: str) -> list[Path]:
    """Where this process's control groups for 'cpu' or 'memory' lie, each with those above it.

    Takes the text of /proc/self/cgroup and /proc/self/mountinfo (man 7 cgroups, man 5 proc).
    A limit of any of those groups holds, so the least counts.
    """
    paths = {}
    for line in proc_cgroup.splitlines():
        _, names, path = line.split(":", maxsplit=2)
        paths.update(dict.fromkeys(names.split(","), path))  # version 2 has the empty name
    folders = []
    for line in mountinfo.splitlines():
        mount, _, file_system = line.partition(" - ")
        root, mount_point = mount.split()[3:5]
        kind, _, options = file_system.split(maxsplit=2)
        if kind == "cgroup2" and "" in paths:
            folders += _upwards(Path(mount_point), root, paths[""])
        elif kind == "cgroup" and controller in paths and controller in options.split(","):
            folders += _upwards(Path(mount_point), root, paths[controller])
    return folders


def memory_limits(folders: Iterable[Path]) -> list[tuple[Path, int]]:
    """Each group that limits its memory, with its limit in bytes."""
    # Above memory.high Linux slows a process almost to a stop, so it is a limit too.
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = []
    for folder in folders:
        limits = [limit for name in names if (limit := _number(folder / name)) is not None]
        if limits:
            found.append((folder, min(limits)))
    return found


def memory_in_use(folder: Path) -> int:
    """Bytes in use by a control group, less the page cache that it would give back."""
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    counts = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
    cache = counts.get("total_inactive_file") or counts.get("inactive_file") or 0
    return max(0, used - int(cache))


def cpu_quota(folders: Iterable[Path]) -> float:
    """CPUs' worth of time that those groups allow; infinity without a limit."""
    quotas = [float("inf")]
    for folder in folders:
        version_1 = f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"
        for text in (_text(folder / "cpu.max"), version_1):
            quota, _, period = text.partition(" ")
            if quota.isdecimal():  # without a limit it is 'max' or '-1'
                quotas.append(int(quota) / int(period))
    return min(quotas)


def busy_share(before: str, after: str, cpus: Collection[int]) -> float:
    """Share of the time between two readings of /proc/stat that those CPUs were busy."""
    busy_before, all_before = _ticks(before, cpus)
    busy_after, all_after = _ticks(after, cpus)
    if all_after <= all_before:
        return 0.0
    # Linux may count the idle time of a CPU backwards a little (man 5 proc_stat).
    return min(1.0, max(0.0, (busy_after - busy_before) / (all_after - all_before)))


def mean_power_w(before_uj: int | None, after_uj: int | None, seconds: float) -> float | None:
    """Mean power from two readings of an energy counter, which starts again when it is full."""
    if before_uj is None or after_uj is None or after_uj < before_uj:
        return None
    return (after_uj - before_uj) / 1e6 / seconds


def model_name(cpuinfo: str) -> str | None:
    """The processor's name in the text of /proc/cpuinfo; None on Arm, which leaves it out."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def _own_groups(controller: str) -> list[Path]:
    own = _PROC / "self"
    return group_folders(controller, _text(own / "cgroup"), _text(own / "mountinfo"))


def _upwards(mount_point: Path, root: str, path: str) -> list[Path]:
    """The folder of the group `path` in a mount that shows the groups below `root`."""
    # Seen from inside a container, a group may lie outside what is mounted there.
    inside = PurePosixPath(path).is_relative_to(root) and ".." not in path
    parts = PurePosixPath(path).relative_to(root).parts if inside else ()
    return [mount_point.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _ticks(proc_stat: str, cpus: Collection[int]) -> tuple[int, int]:
    """Busy and all clock ticks of those CPUs since the machine started."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    busy = total = 0
    for line in proc_stat.splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq + steal
            total += user + nice + system + irq + softirq + steal + idle + iowait
    return busy, total


def _energy_uj() -> int | None:
    """Microjoules that all processor packages have used; None where only root may read it."""
    packages = [
        zone
        for zone in _POWERCAP.glob("intel-rapl:*")
        if _text(zone / "name").startswith("package")
    ]
    readings = [_number(zone / "energy_uj") for zone in packages]
    known = [reading for reading in readings if reading is not None]
    return sum(known) if known and len(known) == len(packages) else None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


ACCELERATOR = Cpu()
