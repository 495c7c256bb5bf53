"""What labkit asks of a kind of device, without importing torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device that is there now."""

    index: int
    """As the maker's tools count, from 0."""
    name: str
    identifier: str
    """Stays the same over a restart: a GPU's UUID."""
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a device does at this moment."""

    index: int
    utilisation: float | None
    """Share of time it was busy, 0 to 1; None where the device does not tell."""
    memory_used_bytes: int
    power_w: float | None
    """None where the device does not tell."""


class Accelerator(Protocol):
    kind: str
    """The plug-in's name: 'cpu', 'nvidia'."""
    title: str
    torch_device: str
    """The word that torch knows it by: 'cpu', 'cuda'."""

    def devices(self) -> Sequence[Device]:
        """The devices that are there; empty where there are none or the driver is missing."""
        ...

    def missing(self) -> str | None:
        """What is missing and how to get it, where devices might be there; else None."""
        ...

    def visible_environment(self, indices: Sequence[int]) -> Mapping[str, str]:
        """The variables that show a process those devices and no others."""
        ...

    def meter(self, indices: Sequence[int]) -> Sequence[Reading]:
        """One reading for each of those devices."""
        ...
