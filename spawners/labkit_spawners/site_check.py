"""`labkit site check`: all of the site's settings tried against what is there now.

What is asked of a scheduler, it checks itself; this adds what is between the hub, the people
and the nodes. A profile is tried as a person by the same helper that starts sessions, with a
request that starts nothing.
"""

import getpass
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from labkit.clusters import open_cluster
from labkit.errors import LabkitError, UsageError, did_you_mean, known_names
from labkit.schedulers.base import (
    Access,
    CanBeChecked,
    Finding,
    JobKind,
    JobSpec,
    Scheduler,
)
from labkit.settings import Cluster, Profile, Site
from labkit_spawners.configure import refuse_unsafe
from labkit_spawners.options import SessionOptions
from labkit_spawners.session_job import resources_of, unix_home
from labkit_spawners.site_people import check_limits, check_sign_in
from labkit_spawners.submit import SessionRequest, ask_helper, helper_command
from labkit_spawners.submit_helper import trusted_site

MOST_NODES = 50
"""So many names of nodes are tried."""


async def check_site(site: Site, *, people: Sequence[str], hub_user: str = "") -> list[Finding]:
    """What was looked at, and what is wrong. `hub_user`: as whom the hub runs, where we are root.

    Raises UsageError where a person has no account here.
    """
    homes = {person: unix_home(person) for person in people}
    hub_user = hub_user if os.getuid() == 0 and hub_user else getpass.getuser()
    found = [*_safe(site), *_clusters_of_profiles(site), *check_sign_in(site, people, hub_user)]
    known: dict[str, set[str]] = {}
    for cluster, settings in site.clusters.items():
        try:
            scheduler = open_cluster(site, cluster)
        except LabkitError as error:
            found.append(Finding(key=f"clusters.{cluster}", found="wrong", fix=str(error)))
            continue
        profiles = _profiles_of(site, cluster)
        if isinstance(scheduler, CanBeChecked):
            jobs = {name: job_of(profile) for name, profile in profiles.items()}
            found += await scheduler.check(cluster, jobs, hub_user)
        there = await _names(scheduler)
        for what, names in there.items():
            known.setdefault(what, set()).update(names)
        if there:
            found += _devices_described(cluster, settings, there["devices"])
        if settings.scheduler != "local":
            found += await _check_nodes(cluster, scheduler)
            found += await _check_people(site, profiles, homes, hub_user)
    found += check_limits(site, known)
    if any(settings.scheduler != "local" for settings in site.clusters.values()):
        found += [*_address(site.hub.internal_address), *_helper(site)]
    return found


def job_of(profile: Profile) -> JobSpec:
    """What the profile asks of its cluster; it is never submitted."""
    return JobSpec(
        name="labkit-check",
        kind=JobKind.SESSION,
        argv=["true"],
        folder=Path("/"),
        log=Path("/dev/null"),
        resources=resources_of(profile, "nvidia" if profile.gpus else "cpu"),
        walltime_s=profile.time,
        partition=profile.partition,
        account=profile.account,
        reservation=profile.reservation,
    )


def _safe(site: Site) -> Iterator[Finding]:
    try:
        refuse_unsafe(site)
    except UsageError as error:
        yield Finding(key="hub", found="the lab would not start", fix=str(error))


def _clusters_of_profiles(site: Site) -> Iterator[Finding]:
    for name, profile in site.profiles.items():
        if profile.cluster is not None and profile.cluster not in site.clusters:
            yield Finding(
                key=f"profiles.{name}.cluster",
                found=repr(profile.cluster),
                fix=f"Allowed: {', '.join(map(repr, site.clusters))}.",
            )


def _profiles_of(site: Site, cluster: str) -> dict[str, Profile]:
    first = next(iter(site.clusters))
    return {n: p for n, p in site.profiles.items() if (p.cluster or first) == cluster}


async def _names(scheduler: Scheduler) -> dict[str, Sequence[str]]:
    """What people's limits may name of it."""
    try:
        pools = await scheduler.capacity()
        named = await scheduler.named() if isinstance(scheduler, CanBeChecked) else Access()
    except LabkitError:
        return {}  # the scheduler's own check has said it
    return {
        "devices": [pool.device_name for pool in pools if pool.num_gpus],
        "partitions": named.partitions,
        "accounts": named.accounts,
        "reservations": named.reservations,
    }


def _devices_described(cluster: str, settings: Cluster, there: Sequence[str]) -> Iterator[Finding]:
    """What the site says of a type of device that no node has is of no use."""
    for name in settings.devices:
        if name not in there:
            yield Finding(
                key=f"clusters.{cluster}.devices.{name}",
                found="no node has it",
                fix=f"It is not looked at.{did_you_mean(name, there)} There: {known_names(there)}.",
                needed=False,
            )


async def _check_nodes(cluster: str, scheduler: Scheduler) -> list[Finding]:
    """The hub reaches sessions by the names of their nodes."""
    try:
        pools = await scheduler.capacity()
    except LabkitError:
        return []  # the scheduler's own check has said it
    names = sorted({node.name for pool in pools for node in pool.nodes})[:MOST_NODES]
    lost = [name for name in names if not _addresses(name)]
    return [
        Finding(
            key=f"nodes of {cluster}",
            found=f"{len(names)} names tried" if not lost else f"no address of {', '.join(lost)}",
            fix="This machine must resolve the nodes' names: in DNS or /etc/hosts." if lost else "",
        )
    ]


def _addresses(name: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None)})
    except OSError:
        return []


async def _check_people(
    site: Site, profiles: Mapping[str, Profile], homes: Mapping[str, Path], hub_user: str
) -> list[Finding]:
    if not homes:
        return [
            Finding(
                key="profiles",
                found="not tried as a person",
                fix="Name somebody who may start sessions: labkit site check --user NAME",
                needed=False,
            )
        ]
    found = []
    for person, home in homes.items():
        found += [*_home(person, home)]
        found += [await _tried(name, person, hub_user) for name in profiles]
    return found


def _home(person: str, home: Path) -> Iterator[Finding]:
    there = home.is_dir()
    yield Finding(
        key=f"home of {person}",
        found=f"{home}" if there else f"{home}, which is no folder",
        fix="" if there else "Make it, on a file system that all nodes see.",
    )


async def _tried(profile: str, person: str, hub_user: str) -> Finding:
    """The helper's whole way, sudo and settings and `sbatch --test-only`, as that person."""
    request = SessionRequest(
        options=SessionOptions(profile=profile),
        server="",
        nonce=secrets.token_urlsafe(16),
        environment={},
        check_only=True,
    )
    as_hub = ["sudo", "-n", "-u", hub_user, "--"] if os.getuid() == 0 else []
    key = f"profiles.{profile}"
    if not shutil.which("sudo"):
        return Finding(key=key, found="no sudo here", fix="Install sudo.")
    try:
        await ask_helper([*as_hub, *helper_command(person)], request)
    except LabkitError as error:
        return Finding(key=key, found=f"{person} could not start it", fix=str(error))
    return Finding(key=key, found=f"{person} could start it")


def _address(address: str) -> Iterator[Finding]:
    """Whether the hub could listen there, where the nodes look for it."""
    key, found = "hub.internal_address", _addresses(address)
    if not found:
        fix = "It has no address. Name this machine's, in the nodes' network."
    elif any(ip_address(each.partition("%")[0]).is_loopback for each in found):
        fix = "That is loopback, which nodes cannot reach. Name this machine's in their network."
    elif not _is_here(found[0]):
        fix = "That is not this machine's. Run this where the hub runs, or name another."
    else:
        fix = ""
    same = found == [address] or not found
    yield Finding(key=key, found=address if same else f"{address}: {', '.join(found)}", fix=fix)


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _helper(site: Site) -> Iterator[Finding]:
    """The helper believes only settings that root alone can change, and only in two places."""
    try:
        trusted = trusted_site().settings
    except LabkitError as error:
        yield Finding(key="settings of labkit-submit", found="not trusted", fix=str(error))
        return
    yield Finding(
        key="settings of labkit-submit",
        found=trusted,
        fix=""
        if trusted == site.settings
        else f"The hub reads {site.settings}, the helper this one: keep one file for both.",
    )
