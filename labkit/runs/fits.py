"""Where a base model has room to be tuned, before a run of it is asked for.

By arithmetic from the recipe and from what `labkit.toml` and this machine tell of devices: no
scheduler is asked, nothing is loaded. The form and the terminal show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labkit.accelerators import ACCELERATORS
from labkit.clusters import plugin_of
from labkit.errors import LabkitError
from labkit.models.catalogue import BaseEntry
from labkit.raycluster.job import RAY_MEMORY_BYTES
from labkit.recipes import RECIPES
from labkit.recipes.base import DeviceKind, KnowsMemory
from labkit.schedulers.base import SHARE, DeviceHere, IsThisMachine
from labkit.settings import Cluster, DeviceType, Profile, Site

_SPARE = 0.1
"""Share of a GPU's memory that is left alone, as `labkit.train.plan` leaves it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of device that a run may be given, by what a person calls it."""

    title: str
    """A profile's, or 'This machine'."""
    kind: DeviceKind
    room_bytes: int | None
    """What tuning may take of one of its devices; None where that is not known."""
    num_devices: int = 1


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether one method of a recipe has room in one place."""

    recipe: str
    method: str
    place: Place
    memory_bytes: int
    """What it takes of each device."""

    @property
    def fits(self) -> bool | None:
        """None where the place's memory is not known."""
        room = self.place.room_bytes
        return None if room is None else self.memory_bytes <= room

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "method": self.method,
            "place": self.place.title,
            "num_devices": self.place.num_devices,
            "memory_bytes": self.memory_bytes,
            "room_bytes": self.place.room_bytes,
            "fits": self.fits,
        }


def kind_of(accelerator: str, known: DeviceType | None) -> DeviceKind:
    """`known` is what the site says of the type of device, if anything."""
    bfloat16 = accelerator != "cpu" and (known is None or known.bfloat16)
    return DeviceKind(
        torch_device=ACCELERATORS.load(accelerator).torch_device,
        number_bytes=2 if bfloat16 else 4,  # whether a processor is fast in it, only trying tells
    )


def places_of(site: Site) -> list[Place]:
    """What each profile gives, then this machine where jobs run on it."""
    here = {name: _devices_here(site, name) for name in site.clusters}
    places = [_of_profile(site, profile, here) for profile in site.profiles.values()]
    for name, found in here.items():
        places += _of_machine(site.clusters[name], found)
    return places


def what_fits(base: BaseEntry, places: Sequence[Place]) -> tuple[Sequence[Fit], str]:
    """Each method of the recipes that tune it, in each of the places; and why not more is known,
    empty for nothing.
    """
    found: list[Fit] = []
    try:
        for name in base.tasks:
            recipe = RECIPES.load(name)
            if isinstance(recipe, KnowsMemory):
                found += _fits(name, recipe, base, places)
    except LabkitError as error:
        return found, str(error)
    return found, ""


def where_by_method(fits: Sequence[Fit]) -> Iterator[tuple[str, str, str]]:
    """Recipe, method, and where that has room: '“One GPU”, “This machine”', or 'nowhere'."""
    for recipe, method in dict.fromkeys((fit.recipe, fit.method) for fit in fits):
        yield recipe, method, _where([f for f in fits if (f.recipe, f.method) == (recipe, method)])


def _where(fits: Sequence[Fit]) -> str:
    if len(fits) > 1 and all(fit.fits for fit in fits):
        return "everywhere"
    if all(fit.fits is None for fit in fits):
        return "not known"
    room, unknown = (
        ", ".join(f"“{fit.place.title}”" for fit in fits if fit.fits is known)
        for known in (True, None)
    )
    return "; ".join(filter(None, [room, unknown and f"not known of {unknown}"])) or "nowhere"


def _fits(
    name: str, recipe: KnowsMemory, base: BaseEntry, places: Sequence[Place]
) -> Iterator[Fit]:
    kinds = dict.fromkeys((place.kind, place.num_devices) for place in places)
    takes = {kind: recipe.memory_by_method(base, *kind) for kind in kinds}
    for method in next(iter(takes.values()), {}):
        for place in places:
            taken = takes[place.kind, place.num_devices][method]
            yield Fit(recipe=name, method=method, place=place, memory_bytes=taken)


@dataclass(frozen=True, kw_only=True)
class _Gpu:
    """A type of GPU, as far as it is known."""

    kind: DeviceKind
    memory_bytes: int | None

    def place(self, title: str, num_devices: int = 1) -> Place:
        room = None if self.memory_bytes is None else round(self.memory_bytes * (1 - _SPARE))
        return Place(title=title, kind=self.kind, room_bytes=room, num_devices=num_devices)


def _processor(title: str, memory_bytes: int | None) -> Place:
    room = None if memory_bytes is None else memory_bytes - RAY_MEMORY_BYTES
    return Place(title=title, kind=kind_of("cpu", None), room_bytes=room)


def _devices_here(site: Site, cluster: str) -> Sequence[DeviceHere]:
    """Nothing where the cluster is elsewhere, or has wrong settings, which other verbs tell of."""
    try:
        plugin, settings = plugin_of(site, cluster)
        return plugin.devices(settings) if isinstance(plugin, IsThisMachine) else []
    except LabkitError:
        return []


def _of_machine(cluster: Cluster, here: Sequence[DeviceHere]) -> Iterator[Place]:
    gpus = _gpus(cluster, here)
    for device in {device.name: device for device in here}.values():
        if device.accelerator == "cpu":
            yield _processor("This machine", device.memory_bytes)
        else:
            yield gpus[device.name].place(f"This machine's {device.name}")


def _of_profile(site: Site, profile: Profile, here: Mapping[str, Sequence[DeviceHere]]) -> Place:
    if not profile.gpus:
        return _processor(profile.title, profile.memory)
    name = profile.cluster or next(iter(site.clusters))
    gpus = _gpus(site.clusters[name], here[name]) if name in site.clusters else {}
    if profile.device == SHARE:
        one = gpus.get(SHARE, _UNKNOWN)
        memory = one.memory_bytes and profile.gpus * one.memory_bytes
        return replace(one, memory_bytes=memory).place(f"{profile.title} (in a session alone)")
    if profile.device:
        gpu = gpus.get(profile.device, _UNKNOWN)
    else:
        gpu = _whichever([gpu for name, gpu in gpus.items() if name != SHARE])
    return gpu.place(profile.title, profile.gpus)


def _gpus(cluster: Cluster, here: Sequence[DeviceHere]) -> Mapping[str, _Gpu]:
    """By type, those that are here and those that the site describes."""
    found = {device.name: device for device in here if device.accelerator != "cpu"}
    types: dict[str, _Gpu] = {}
    for name in dict.fromkeys([*found, *cluster.devices]):
        described, device = cluster.devices.get(name), found.get(name)
        # torch calls AMD's by the same word.
        kind = kind_of(device.accelerator if device else "nvidia", described)
        memory = (described and described.memory) or (device and device.memory_bytes)
        types[name] = _Gpu(kind=kind, memory_bytes=memory)
    return types


def _whichever(gpus: Sequence[_Gpu]) -> _Gpu:
    """What each of these types has, since any of them may be given."""
    memories = [gpu.memory_bytes for gpu in gpus if gpu.memory_bytes is not None]
    known = bool(gpus) and len(memories) == len(gpus)
    return _Gpu(
        kind=max((gpu.kind for gpu in gpus), key=lambda kind: kind.number_bytes,
                 default=_UNKNOWN.kind),
        memory_bytes=min(memories) if known else None,
    )  # fmt: skip


_UNKNOWN = _Gpu(kind=DeviceKind(torch_device="cuda", number_bytes=2), memory_bytes=None)
