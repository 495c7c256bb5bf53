"""What a training process keeps busy, as its accelerator tells it: `use-RANK.json` of its attempt.

A thread looks every few seconds and adds up. What was added up is on disk at each look, so that a
process that is killed has lost no more than the last seconds.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.accelerators import ACCELERATORS
from labkit.accelerators.base import Accelerator, Reading
from labkit.errors import LabkitError
from labkit.parsing import read_as
from labkit.paths import write_json

LOOK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one process used, all from its start."""

    core_s_busy: float
    """Processor time of this process with all its threads."""
    device_s_busy: float | None
    """Seconds that its devices were busy, each counted; None where they do not tell."""
    energy_j: float | None
    """Of its devices; None where they do not tell."""


def add(
    use: Use, readings: Sequence[Reading], num_devices: int, seconds: float, cpu_s: float
) -> Use:
    """The use after so many seconds more. What is not known once stays unknown. Pure."""
    shares = [reading.utilisation for reading in readings]
    powers = [reading.power_w for reading in readings]
    complete = len(readings) == num_devices > 0
    return Use(
        core_s_busy=cpu_s,
        device_s_busy=_plus(use.device_s_busy, shares if complete else [None], seconds),
        energy_j=_plus(use.energy_j, powers if complete else [None], seconds),
    )


def _plus(before: float | None, rates: Sequence[float | None], seconds: float) -> float | None:
    known = [rate for rate in rates if rate is not None]
    if before is None or len(known) < len(rates):
        return None
    return before + sum(known) * seconds


def own_devices(kind: str, environment: Mapping[str, str]) -> list[int]:
    """The devices that this process was given, as the accelerator counts them."""
    if kind == "cpu":
        return [0]
    # Schedulers and Ray say it so for every maker whose plug-in is here.
    said = environment.get("CUDA_VISIBLE_DEVICES", "")
    return [int(index) for index in said.split(",") if index.strip().isdecimal()]


@contextmanager
def metered(kind: str, file: Path) -> Iterator[None]:
    """Meter this process until the end of the `with`."""
    accelerator, devices = ACCELERATORS.load(kind), own_devices(kind, os.environ)
    ended = threading.Event()
    meter = threading.Thread(
        target=_go_on, args=(accelerator, devices, file, ended), name="labkit-meter", daemon=True
    )
    meter.start()
    try:
        yield
    finally:
        ended.set()
        meter.join()


def _go_on(
    accelerator: Accelerator, devices: Sequence[int], file: Path, ended: threading.Event
) -> None:
    use = Use(core_s_busy=0.0, device_s_busy=0.0, energy_j=0.0)
    last = time.monotonic()
    while True:
        over = ended.wait(LOOK_S)
        readings, now = accelerator.meter(devices), time.monotonic()
        use, last = add(use, readings, len(devices), now - last, time.process_time()), now
        try:
            write_json(file, asdict(use))
        except LabkitError as error:  # the next look may write it
            print(error, file=sys.stderr)
        if over:
            return


def read_uses(folder: Path) -> list[Use]:
    """What the processes of an attempt left. Raises DamagedFile."""
    found = (read_as(Use, file) for file in sorted(folder.glob("use-*[0-9].json")))
    return [use for use in found if use is not None]
