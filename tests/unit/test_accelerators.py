"""The accelerators: what this machine has, and what NVML says about a GPU."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from labkit.accelerators import cpu, nvidia
from labkit.accelerators.cpu import ACCELERATOR as CPU
from labkit.accelerators.nvidia import ACCELERATOR as NVIDIA

GIB = 2**30


# The CPU: real values of this machine.


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


# NVIDIA: with a stand-in for pynvml.


class NvmlFake:
    """The part of pynvml that nvidia.py uses, for GPUs given as dictionaries.

    A value that is an exception is raised, as NVML does for what a GPU does not tell.
    """

    NVML_ERROR_NO_PERMISSION = 4
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            self.value = value

        def __str__(self) -> str:
            return f"NVML error {self.value}"

    class NVMLError_NotSupported(NVMLError):
        def __init__(self) -> None:
            super().__init__(3)

    class NVMLError_NoPermission(NVMLError):
        def __init__(self) -> None:
            super().__init__(4)

    class NVMLError_GpuIsLost(NVMLError):
        def __init__(self) -> None:
            super().__init__(15)

    def __init__(self, *gpus: dict, init_error: int | None = None) -> None:
        self.gpus = gpus
        self.init_error = init_error
        self.num_open = 0

    def nvmlInit(self) -> None:
        if self.init_error is not None:
            raise self.NVMLError(self.init_error)
        self.num_open += 1

    def nvmlShutdown(self) -> None:
        self.num_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict:
        assert self.num_open == 1
        if index >= len(self.gpus):
            raise self.NVMLError(2)
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle: dict) -> str:
        return self._told(handle, "name")

    def nvmlDeviceGetUUID(self, handle: dict) -> str:
        return self._told(handle, "uuid")

    def nvmlDeviceGetMemoryInfo(self, handle: dict) -> SimpleNamespace:
        total, used = self._told(handle, "memory")
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetUtilizationRates(self, handle: dict) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._told(handle, "utilisation"), memory=0)

    def nvmlDeviceGetPowerUsage(self, handle: dict) -> int:
        return self._told(handle, "milliwatts")

    def _told(self, handle: dict, key: str):
        if isinstance(handle[key], Exception):
            raise handle[key]
        return handle[key]


def gpu(**values) -> dict:
    return {
        "name": "NVIDIA H200",
        "uuid": "GPU-0a1b",
        "memory": (140 * GIB, 20 * GIB),
        "utilisation": 75,
        "milliwatts": 412_500,
    } | values


NOT_SUPPORTED = NvmlFake.NVMLError_NotSupported()
LOST = NvmlFake.NVMLError_GpuIsLost()


@pytest.fixture
def use_nvml(monkeypatch):
    def use(fake: NvmlFake) -> NvmlFake:
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return use


@pytest.fixture
def pci(tmp_path, monkeypatch):
    """Makes this machine's PCI devices: pci('0x10de', '0x030000')."""
    monkeypatch.setattr(nvidia, "_DEV", tmp_path / "dev")
    monkeypatch.setattr(nvidia, "_PCI_DEVICES", tmp_path / "pci")

    def add(vendor: str, pci_class: str) -> None:
        folder = tmp_path / "pci" / f"0000:{vendor}"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{pci_class}\n")

    return add


def test_gpus_are_listed_in_nvmls_order(use_nvml):
    fake = use_nvml(NvmlFake(gpu(), gpu(uuid="GPU-2c3d", memory=(140 * GIB, 0))))
    first, second = NVIDIA.devices()
    assert (first.index, first.name, first.identifier) == (0, "NVIDIA H200", "GPU-0a1b")
    assert (first.memory_bytes, first.free_bytes) == (140 * GIB, 120 * GIB)
    assert (second.index, second.identifier, second.free_bytes) == (1, "GPU-2c3d", 140 * GIB)
    assert fake.num_open == 0


def test_a_lost_gpu_is_left_out_and_keeps_its_index(use_nvml):
    fake = use_nvml(NvmlFake(gpu(memory=LOST, utilisation=LOST), gpu()))
    assert [device.index for device in NVIDIA.devices()] == [1]
    assert [reading.index for reading in NVIDIA.meter([0, 1, 7])] == [1]
    assert fake.num_open == 0


def test_a_gpu_without_memory_of_its_own_has_the_machines(use_nvml):
    use_nvml(NvmlFake(gpu(name="NVIDIA GB10", memory=NOT_SUPPORTED)))
    [device] = NVIDIA.devices()
    assert device.memory_bytes == cpu.memory_bytes()
    assert 0 < device.free_bytes <= device.memory_bytes


def test_a_gpu_reading(use_nvml):
    fake = use_nvml(NvmlFake(gpu(), gpu(utilisation=0, milliwatts=70_000)))
    second, first = NVIDIA.meter([1, 0])
    assert (second.index, second.utilisation, second.power_w) == (1, 0.0, 70.0)
    assert (first.index, first.utilisation, first.power_w) == (0, 0.75, 412.5)
    assert first.memory_used_bytes == 20 * GIB
    assert fake.num_open == 0


def test_a_gpu_that_tells_nothing_reads_as_idle(use_nvml):
    silent = gpu(utilisation=NOT_SUPPORTED, memory=NOT_SUPPORTED, milliwatts=NOT_SUPPORTED)
    use_nvml(NvmlFake(silent))
    [reading] = NVIDIA.meter([0])
    assert (reading.utilisation, reading.memory_used_bytes, reading.power_w) == (None, 0, None)


def test_a_process_sees_only_the_gpus_it_is_given():
    in_order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert NVIDIA.visible_environment([2, 3]) == in_order | {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert NVIDIA.visible_environment([]) == in_order | {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("init_error", "advice"),
    [
        (NvmlFake.NVML_ERROR_LIBRARY_NOT_FOUND, "Install NVIDIA's driver"),
        (NvmlFake.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe nvidia"),
        (NvmlFake.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "restart this machine"),
        (NvmlFake.NVML_ERROR_NO_PERMISSION, "Ask the administrator"),
        (999, "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_answer(use_nvml, pci, init_error, advice):
    use_nvml(NvmlFake(init_error=init_error))
    pci("0x10de", "0x030200")
    assert NVIDIA.devices() == []
    assert NVIDIA.meter([0]) == []
    missing = NVIDIA.missing()
    assert missing and f"NVML error {init_error}" in missing and advice in missing


def test_a_device_file_is_a_sign_of_a_gpu_too(use_nvml, pci, tmp_path):
    use_nvml(NvmlFake(init_error=NvmlFake.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert NVIDIA.missing() is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    assert NVIDIA.missing()


@pytest.mark.parametrize(("vendor", "pci_class"), [("0x8086", "0x030000"), ("0x10de", "0x040300")])
def test_other_makers_and_other_devices_are_no_sign_of_a_gpu(use_nvml, pci, vendor, pci_class):
    use_nvml(NvmlFake(init_error=NvmlFake.NVML_ERROR_LIBRARY_NOT_FOUND))
    pci(vendor, pci_class)
    assert NVIDIA.missing() is None


def test_a_gpu_that_this_process_was_not_given(use_nvml, pci):
    use_nvml(NvmlFake())
    assert NVIDIA.missing() is None
    pci("0x10de", "0x030200")
    missing = NVIDIA.missing()
    assert missing and "Ask the scheduler" in missing


def test_a_missing_package_is_named(monkeypatch, pci):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    pci("0x10de", "0x030200")
    assert NVIDIA.devices() == []
    missing = NVIDIA.missing()
    assert missing and "pip install nvidia-ml-py" in missing


# NVIDIA: the real NVML, and that the stand-in is like it.


def test_the_stand_in_has_only_names_that_pynvml_has():
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(NvmlFake) if name.lower().startswith("nvml")]
    assert "nvmlInit" in names and "NVMLError_GpuIsLost" in names
    for name in names:
        real, ours = getattr(pynvml, name), getattr(NvmlFake, name)
        assert real == ours if isinstance(ours, int) else callable(real), name


def test_the_real_nvml_without_a_driver():
    if NVIDIA.devices():
        pytest.skip("this machine has an NVIDIA driver and a GPU")
    assert NVIDIA.meter([0]) == []
    assert bool(NVIDIA.missing()) == nvidia._hardware_is_there()


def test_the_real_nvml_with_a_gpu():
    devices = NVIDIA.devices()
    if not devices:
        pytest.skip(f"no NVIDIA driver or GPU: {NVIDIA.missing() or 'this machine has none'}")
    assert NVIDIA.missing() is None
    assert all(device.identifier.startswith("GPU-") for device in devices)
    readings = NVIDIA.meter([device.index for device in devices])
    assert [reading.index for reading in readings] == [device.index for device in devices]
    assert all(0 <= (reading.utilisation or 0) <= 1 for reading in readings)
