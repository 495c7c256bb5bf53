"""The accelerator cpu: what this machine has, and its limits by control groups."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from labkit.accelerators import cpu
from labkit.accelerators.cpu import ACCELERATOR as CPU

GIB = 2**30


def test_the_machine_is_one_cpu_device():
    [device] = CPU.devices()
    assert device.index == 0
    assert device.name
    assert device.identifier == os.uname().nodename
    assert 0 < device.free_bytes <= device.memory_bytes <= psutil.virtual_memory().total


def test_no_more_cpus_than_this_process_may_run_on():
    assert 1 <= cpu.num_cpus() <= len(os.sched_getaffinity(0))


def test_cpus_follow_the_affinity_of_this_process():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cpu.num_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_cpu_reading():
    [reading] = CPU.meter([0])
    assert reading.utilisation is not None and 0 <= reading.utilisation <= 1
    assert 0 < reading.memory_used_bytes < cpu.memory_bytes()
    assert reading.power_w is None or reading.power_w > 0


# The CPU: what the kernel's files mean.

CGROUP_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CGROUP_1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
DOCKER_1 = "35 31 0:32 /docker/ab12 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("controller", "proc_cgroup", "mountinfo", "folders"),
    [
        ("memory", "0::/\n", CGROUP_2, [""]),
        ("memory", "0::/a/b\n", CGROUP_2, ["a/b", "a", ""]),
        ("cpu", "0::/a\n", CGROUP_2, ["a", ""]),
        (
            "memory",
            "4:memory:/slurm/job_7\n",
            CGROUP_1,
            ["memory/slurm/job_7", "memory/slurm", "memory"],
        ),
        ("cpu", "3:cpu,cpuacct:/j\n", CGROUP_1, ["cpu,cpuacct/j", "cpu,cpuacct"]),
        ("cpu", "9:name=systemd:/s\n0::/s\n", CGROUP_1, []),
        ("memory", "4:memory:/m\n0::/u\n", CGROUP_1 + CGROUP_2, ["memory/m", "memory", "u", ""]),
        ("memory", "4:memory:/docker/ab12\n", DOCKER_1, ["memory"]),
        ("memory", "4:memory:/docker/ab12/x\n", DOCKER_1, ["memory/x", "memory"]),
        ("memory", "4:memory:/elsewhere\n", DOCKER_1, ["memory"]),
        ("memory", "0::/../../other\n", CGROUP_2, [""]),
        ("memory", "", "", []),
    ],
)
def test_groups_are_found_from_the_nearest_upwards(controller, proc_cgroup, mountinfo, folders):
    found = cpu.group_folders(controller, proc_cgroup, mountinfo)
    assert found == [Path("/sys/fs/cgroup") / folder for folder in folders]


@pytest.fixture
def group(tmp_path: Path) -> Callable[..., Path]:
    """Makes a control group's folder: group(**{'memory.max': 'max'})."""

    def make(**files: str) -> Path:
        folder = tmp_path / f"group{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
        return folder

    return make


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, []),
        ({"memory.max": "max", "memory.high": "max"}, []),
        ({"memory.max": str(4 * GIB)}, [4 * GIB]),
        ({"memory.max": str(4 * GIB), "memory.high": str(3 * GIB)}, [3 * GIB]),
        ({"memory.limit_in_bytes": "1073741824"}, [GIB]),
    ],
)
def test_memory_limits(group, files, limits):
    assert [limit for _, limit in cpu.memory_limits([group(**files)])] == limits


@pytest.mark.parametrize(
    ("files", "in_use"),
    [
        ({}, 0),
        ({"memory.current": "1000", "memory.stat": "anon 500\ninactive_file 300"}, 700),
        ({"memory.usage_in_bytes": "900"}, 900),
        (
            {
                "memory.usage_in_bytes": "900",
                "memory.stat": "inactive_file 100\ntotal_inactive_file 400",
            },
            500,
        ),
        ({"memory.current": "100", "memory.stat": "inactive_file 300"}, 0),
    ],
)
def test_memory_in_use_leaves_out_the_page_cache(group, files, in_use):
    assert cpu.memory_in_use(group(**files)) == in_use


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, float("inf")),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, float("inf")),
        ({"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, 4.0),
    ],
)
def test_cpu_quota(group, files, quota):
    assert cpu.cpu_quota([group(**files)]) == quota


def test_the_least_limit_of_all_groups_holds(group, monkeypatch):
    groups = [
        group(**{"cpu.max": "max 100000", "memory.max": str(GIB // 4)}),
        group(
            **{
                "cpu.max": "100000 100000",
                "memory.max": str(GIB // 2),
                "memory.current": str(GIB // 2 - 4096),
            }
        ),
    ]
    monkeypatch.setattr(cpu, "_own_groups", lambda controller: groups)
    assert cpu.num_cpus() == 1
    assert cpu.memory_bytes() == GIB // 4
    assert cpu.free_memory_bytes() == 4096
    [device] = CPU.devices()
    assert (device.memory_bytes, device.free_bytes) == (GIB // 4, 4096)


def test_a_quota_below_one_cpu_is_still_one_cpu(group, monkeypatch):
    monkeypatch.setattr(cpu, "_own_groups", lambda _: [group(**{"cpu.max": "50000 100000"})])
    assert cpu.num_cpus() == 1


def test_busy_share_counts_only_the_cpus_asked_for():
    before = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0 0 0\n"
    after = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 13 1 11 85 0 0 0 0 0 0\ncpu1 0 0 0 110 0 0 0 0 0 0\n"
    assert cpu.busy_share(before, after, {0}) == 0.5
    assert cpu.busy_share(before, after, {1}) == 0.0
    assert cpu.busy_share(before, after, {0, 1}) == 0.25
    assert cpu.busy_share(before, before, {0}) == 0.0


@pytest.mark.parametrize(
    ("before_uj", "after_uj", "power_w"),
    [(0, 3_000_000, 6.0), (None, 5, None), (5, None, None), (9_000_000, 10, None)],
)
def test_mean_power(before_uj, after_uj, power_w):
    assert cpu.mean_power_w(before_uj, after_uj, seconds=0.5) == power_w


def test_energy_is_the_sum_of_the_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_POWERCAP", tmp_path)
    for zone, name in [("0", "package-0"), ("0:0", "dram"), ("1", "package-1"), ("2", "psys")]:
        folder = tmp_path / f"intel-rapl:{zone}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text("20\n")
    assert cpu._energy_uj() == 40


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t: fpu\n", "AMD EPYC 9654"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", None),
    ],
)
def test_model_name(cpuinfo, name):
    assert cpu.model_name(cpuinfo) == name
