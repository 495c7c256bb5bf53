"""NVIDIA GPUs, asked through the driver's management library, NVML.

NVML is opened for each question and closed after it: a process that keeps it open holds the
driver. It counts GPUs by PCI bus, so CUDA is told to count in that order too.
A GPU that is cut into MIG slices counts as one device.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labkit.accelerators.base import Device, Reading
from labkit.accelerators.cpu import free_memory_bytes, memory_bytes

_DEV = Path("/dev")
_PCI_DEVICES = Path("/sys/bus/pci/devices")
_PCI_VENDOR = "0x10de"
_PCI_CLASS_DISPLAY = "0x03"


class Nvidia:
    kind = "nvidia"
    title = "NVIDIA GPU"
    torch_device = "cuda"

    def devices(self) -> Sequence[Device]:
        devices = []
        with suppress(_Unavailable), _nvml() as nvml:
            for index in range(nvml.nvmlDeviceGetCount()):
                with suppress(nvml.NVMLError):  # a GPU that fell off the bus is not there
                    devices.append(_describe(nvml, index))
        return devices

    def missing(self) -> str | None:
        try:
            with _nvml() as nvml:
                num_gpus = nvml.nvmlDeviceGetCount()
        except _Unavailable as error:
            return str(error) if _hardware_is_there() else None
        if num_gpus == 0 and _hardware_is_there():
            return (
                "This machine has an NVIDIA GPU, but this process was given none. Ask the "
                "scheduler for a GPU, or start the container with '--gpus all' (Docker) or "
                "'--nv' (Apptainer)."
            )
        return None

    def visible_environment(self, indices: Sequence[int]) -> Mapping[str, str]:
        return {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in indices),
        }

    def meter(self, indices: Sequence[int]) -> Sequence[Reading]:
        """A GPU that is gone gives no reading."""
        readings = []
        with suppress(_Unavailable), _nvml() as nvml:
            for index in indices:
                with suppress(nvml.NVMLError):
                    readings.append(_read(nvml, index))
        return readings


class _Unavailable(Exception):
    """NVML cannot be used; the message says why, and what helps."""


@contextmanager
def _nvml() -> Iterator[Any]:
    """The NVML module, open. Raises _Unavailable."""
    try:
        import pynvml
    except ImportError as error:
        raise _Unavailable(
            "An NVIDIA GPU cannot be asked without the package 'nvidia-ml-py'. "
            "Install it: pip install nvidia-ml-py."
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _Unavailable(_advice(pynvml, error)) from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _advice(nvml: Any, error: Any) -> str:
    advice = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
            "Install NVIDIA's driver (https://www.nvidia.com/drivers), or start the container "
            "with '--gpus all' (Docker) or '--nv' (Apptainer)."
        ),
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: (
            "Load the driver with 'sudo modprobe nvidia', or install it again for this kernel."
        ),
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "The driver was updated while it ran: restart this machine."
        ),
        nvml.NVML_ERROR_NO_PERMISSION: (
            "Ask the administrator for the right to use /dev/nvidia* on this machine."
        ),
    }
    return (
        f"This machine has an NVIDIA GPU, but its driver does not answer: {error}. "
        + advice.get(error.value, "Run 'nvidia-smi' to see what it reports.")
    )


def _hardware_is_there() -> bool:
    """Whether Linux sees a GPU of NVIDIA's, with a driver or without."""
    return any(_DEV.glob("nvidia[0-9]*")) or any(
        _is_gpu(device) for device in _PCI_DEVICES.glob("*")
    )


def _is_gpu(pci_device: Path) -> bool:
    # NVIDIA also makes network, audio and bridge devices: the class tells them apart.
    with suppress(OSError):
        vendor = (pci_device / "vendor").read_text().strip()
        pci_class = (pci_device / "class").read_text()
        return vendor == _PCI_VENDOR and pci_class.startswith(_PCI_CLASS_DISPLAY)
    return False


def _describe(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = memory.total, memory.free
    except nvml.NVMLError_NotSupported:
        # A GPU without memory of its own (DGX Spark, Jetson) uses the machine's.
        total, free = memory_bytes(), free_memory_bytes()
    return Device(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        identifier=nvml.nvmlDeviceGetUUID(handle),
        memory_bytes=total,
        free_bytes=free,
    )


def _read(nvml: Any, index: int) -> Reading:
    """Memory that the device does not tell is 0; what else it does not tell is None."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    utilisation, used, power_w = None, 0, None
    with suppress(nvml.NVMLError_NotSupported):  # a GPU in MIG slices tells no utilisation
        utilisation = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    with suppress(nvml.NVMLError_NotSupported):
        used = nvml.nvmlDeviceGetMemoryInfo(handle).used
    with suppress(nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
        power_w = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return Reading(index=index, utilisation=utilisation, memory_used_bytes=used, power_w=power_w)


ACCELERATOR = Nvidia()
