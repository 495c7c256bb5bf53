"""GPUs of NVIDIA: what NVML says of them, by a fake whose names are checked against pynvml."""

import sys
from types import SimpleNamespace

import pytest

from labkit.accelerators import cpu, nvidia
from labkit.accelerators.nvidia import ACCELERATOR as NVIDIA

GIB = 2**30


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
