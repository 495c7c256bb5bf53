"""Whether a person may have the session that they ask for.

Two things are asked: the site's own limits by group, and, where the cluster's names are chosen
by hand, whether the cluster offers them to this person. The hub asks before it answers; the
helper that submits asks again, as the person.
"""

import asyncio
import grp
import os
import pwd
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from labkit.errors import LabkitError, UsageError, known_names
from labkit.schedulers.base import Access, Pool
from labkit.settings import Limits, Profile, Site
from labkit.units import format_duration, format_memory
from labkit_spawners.options import ADVANCED, NAMES, SOURCE
from labkit_spawners.places import SHARE

GROUPS_WITHIN_S = 10
_DIRECTORY = ThreadPoolExecutor(4, "directory")
"""Of its own: a directory that hangs must not take the threads of others."""


class Offering(Protocol):
    """What a cluster has for people, as the hub knows it or as a scheduler says it now."""

    async def access(self, person: str, groups: Collection[str]) -> Access: ...

    async def pools(self) -> Sequence[Pool]: ...


async def require_permitted(
    site: Site, cluster: Offering, person: str, name: str, asked: Profile
) -> None:
    """Raises UsageError with what is allowed; LabkitError where that cannot be known now."""
    groups = await groups_now(person)
    wrong = dict(over_limits(site, groups, name, asked))
    names = chosen_names(site.profiles[name], asked)
    if names and not wrong:
        offered = await _offered(cluster, person, groups, site, names)
        wrong = dict(_not_offered(names, offered))
    if wrong:
        lines = [f"  {key}: {said}" for key, said in wrong.items()]
        raise UsageError("\n".join([f"Wrong in {SOURCE}:", *lines]))


async def groups_now(person: str) -> frozenset[str]:
    """Raises LabkitError where the machine's directory of users (LDAP, …) takes too long."""
    asked = asyncio.get_running_loop().run_in_executor(_DIRECTORY, groups_of, person)
    try:
        return await asyncio.wait_for(asked, GROUPS_WITHIN_S)
    except TimeoutError:
        raise LabkitError(
            "The directory of users does not say now which groups you are in. Try again soon."
        ) from None


def groups_of(person: str) -> frozenset[str]:
    """The Unix groups of that user; none where there is no such user."""
    try:
        entry = pwd.getpwnam(person)
    except (KeyError, ValueError):
        return frozenset()
    return frozenset(filter(None, map(_group, os.getgrouplist(person, entry.pw_gid))))


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def limits_of(site: Site, groups: Collection[str]) -> tuple[str, Limits]:
    """The limits that hold for people of those groups, with their name; '' where none do."""
    return next(
        (
            (name, limits)
            for name, limits in site.limits.items()
            if limits.groups is None or not set(limits.groups).isdisjoint(groups)
        ),
        ("", Limits()),
    )


def over_limits(
    site: Site, groups: Collection[str], name: str, asked: Profile
) -> Iterator[tuple[str, str]]:
    """Each key that is over a limit of the site, and what is allowed."""
    whose, limits = limits_of(site, groups)
    profile = site.profiles[name]
    if limits.profiles is not None and name not in limits.profiles:
        allowed = known_names(limits.profiles)
        yield "profile", f"{name!r} asked; limits.{whose}.profiles allows {allowed}."
    changed = [key for key in ADVANCED if getattr(asked, key) != getattr(profile, key)]
    if changed and not limits.advanced:
        yield changed[0], f"limits.{whose}.advanced allows the profiles as they are, and no more."
    yield from over_amounts(whose, limits, asked)
    for key, chosen in chosen_names(profile, asked).items():
        allowed = getattr(limits, f"{key}s")
        if allowed is not None and chosen not in allowed:
            allowed = known_names(allowed)
            yield key, f"found {chosen!r}; limits.{whose}.{key}s allows {allowed}."


def over_amounts(whose: str, limits: Limits, asked: Profile) -> Iterator[tuple[str, str]]:
    for key, (found, most, show) in _amounts(asked, limits).items():
        if most is not None and found > most:
            yield (
                "gpus" if key == "shares" else key,
                f"{show(found)} asked in all; limits.{whose}.{key} allows {show(most)}.",
            )


def _amounts(asked: Profile, limits: Limits) -> Mapping[str, tuple]:
    """What the session would hold altogether, the most that it may, and how that is written."""
    devices = asked.gpus * asked.nodes
    shared = asked.device == SHARE
    return {
        "gpus": (0 if shared else devices, limits.gpus, str),
        "shares": (devices if shared else 0, limits.shares, str),
        "cores": (asked.cores * asked.nodes, limits.cores, str),
        "memory": (asked.memory * asked.nodes, limits.memory, format_memory),
        "nodes": (asked.nodes, limits.nodes, str),
        "time": (asked.time, limits.time, format_duration),
    }


def chosen_names(profile: Profile, asked: Profile) -> dict[str, str]:
    """The names of the cluster's that a person chose, and not the site."""
    return {
        key: getattr(asked, key) for key in NAMES if getattr(asked, key) != getattr(profile, key)
    }


async def _offered(
    cluster: Offering, person: str, groups: Collection[str], site: Site, names: Mapping[str, str]
) -> Mapping[str, Sequence[str]]:
    try:
        access = await cluster.access(person, groups)
        pools = await cluster.pools() if "device" in names else ()
    except LabkitError as error:
        raise LabkitError(
            f"The scheduler does not answer now, so {known_names(names.values())} cannot be looked "
            "up. Leave it empty, or try again in a minute."
        ) from error
    limits = limits_of(site, groups)[1]
    devices = [pool.device_name for pool in pools if pool.partition in access.partitions]
    return within_limits(access, devices, limits)


def within_limits(
    access: Access, devices: Sequence[str], limits: Limits
) -> Mapping[str, Sequence[str]]:
    """What a person may name: the cluster's word, less what the site does not let them."""
    names = {
        "device": (devices, limits.devices),
        "partition": (access.partitions, limits.partitions),
        "account": (access.accounts, limits.accounts),
        "reservation": (access.reservations, limits.reservations),
    }
    return {
        key: [name for name in dict.fromkeys(offered) if name and (only is None or name in only)]
        for key, (offered, only) in names.items()
    }


def _not_offered(
    names: Mapping[str, str], offered: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    for key, name in names.items():
        if name not in offered[key]:
            known = known_names(offered[key])
            yield key, f"found {name!r}. Allowed for you: {known}, or leave it empty."
