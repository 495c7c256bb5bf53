"""What a person could have now, for the page: from answers that are known already.

The page never waits for a scheduler: a question that takes longer than a moment is answered
for whoever looks next, and nothing is asked while nobody looks.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from labkit.errors import UsageError
from labkit.schedulers.base import Access, JobKind, JobSpec, Pool
from labkit.settings import Limits, Profile, Site
from labkit_spawners.permission import groups_now, limits_of
from labkit_spawners.places import pools_for, room_for, why_not
from labkit_spawners.session_job import resources_of
from labkit_spawners.watch import JobWatch, LastKnown, Shared

T = TypeVar("T")

_GROUPS_WITHIN_S = 0.04
_POOLS_WITHIN_S = 0.08
_STARTS_WITHIN_S = 0.04
_OLD_S = 30.0
GROUPS_FRESH_S = 60.0
START_FRESH_S = 60.0
"""How often a profile's expected start is asked for, at most, while somebody looks."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What is known now, for one person. None and missing: not known yet."""

    pools: Mapping[str, Sequence[Pool] | None]
    """By cluster."""
    silent: bool
    """Whether a scheduler does not answer."""
    known_at: datetime | None
    """When what is shown was so, where that was not just now."""
    access: Mapping[str, Access | None]
    starts: Mapping[str, datetime | None]
    """By profile, where all is in use now."""
    limits: Limits
    limits_name: str


@dataclass
class Offers:
    """One for the hub."""

    site: Site
    watch_of: Callable[[str], JobWatch]
    _pools: dict[str, LastKnown[Sequence[Pool]]] = field(default_factory=dict)
    _groups: dict[str, LastKnown[frozenset[str]]] = field(default_factory=dict)
    _access: dict[tuple[str, str, frozenset[str]], LastKnown[Access]] = field(default_factory=dict)
    _starts: dict[str, LastKnown[datetime | None]] = field(default_factory=dict)

    async def look(self, person: str) -> View:
        groups = await self._groups_of(person).get(_GROUPS_WITHIN_S)
        clusters = {self.cluster_of(profile) for profile in self.site.profiles.values()}
        known, allowed = await asyncio.gather(
            self._gather({name: self._pools_of(name) for name in clusters}, _POOLS_WITHIN_S),
            self._accesses(clusters, person, groups),
        )
        shown = [self._pools_of(name) for name in clusters]
        old = [at for last in shown if (at := last.answered) and (last.fails or _is_old(at))]
        waiting = {
            name: self._start_of(name)
            for name, profile in self.site.profiles.items()
            if _all_in_use(profile, known[self.cluster_of(profile)])
        }
        limits_name, limits = limits_of(self.site, groups or ())
        return View(
            pools=known,
            access=allowed,
            starts=await self._gather(waiting, _STARTS_WITHIN_S),
            silent=any(last.fails for last in shown),
            known_at=min(old, default=None),
            limits=limits,
            limits_name=limits_name,
        )

    def cluster_of(self, profile: Profile) -> str:
        return self.site.cluster(profile.cluster)[0]

    async def _gather(
        self, questions: Mapping[str, LastKnown[T]], within_s: float
    ) -> dict[str, T | None]:
        answers = await asyncio.gather(*(last.get(within_s) for last in questions.values()))
        return dict(zip(questions, answers, strict=True))

    def _pools_of(self, cluster: str) -> LastKnown[Sequence[Pool]]:
        if cluster not in self._pools:
            self._pools[cluster] = LastKnown(self.watch_of(cluster).pools)
        return self._pools[cluster]

    def _groups_of(self, person: str) -> LastKnown[frozenset[str]]:
        if person not in self._groups:
            groups = Shared(lambda: groups_now(person), GROUPS_FRESH_S)
            self._groups[person] = LastKnown(groups.get)
        return self._groups[person]

    async def _accesses(
        self, clusters: Collection[str], person: str, groups: Collection[str] | None
    ) -> Mapping[str, Access | None]:
        if groups is None:
            return dict.fromkeys(clusters)
        asked = {name: self._access_of(name, person, groups) for name in clusters}
        return await self._gather(asked, _POOLS_WITHIN_S)

    def _access_of(self, cluster: str, person: str, groups: Collection[str]) -> LastKnown[Access]:
        key = cluster, person, frozenset(groups)
        if key not in self._access:
            watch = self.watch_of(cluster)
            self._access[key] = LastKnown(lambda: watch.access(person, groups))
        return self._access[key]

    def _start_of(self, name: str) -> LastKnown[datetime | None]:
        if name not in self._starts:
            start = Shared(lambda: self._ask_start(name), START_FRESH_S)
            self._starts[name] = LastKnown(start.get)
        return self._starts[name]

    async def _ask_start(self, name: str) -> datetime | None:
        """By the scheduler's word; None where the hub itself may not ask for such a session."""
        profile = self.site.profiles[name]
        watch = self.watch_of(self.cluster_of(profile))
        there = pools_for(profile, await watch.pools())
        accelerator = next((pool.accelerator for pool in there), "cpu")
        try:
            return await watch.expected_start(_trial(profile, accelerator))
        except UsageError:
            return None


def _all_in_use(profile: Profile, pools: Sequence[Pool] | None) -> bool:
    if pools is None or why_not(profile, pools):
        return False
    return not sum(room_for(profile, pool) for pool in pools_for(profile, pools))


def _is_old(at: datetime) -> bool:
    return (datetime.now(UTC) - at).total_seconds() > _OLD_S


def _trial(profile: Profile, accelerator: str) -> JobSpec:
    """A job that is never submitted."""
    return JobSpec(
        name="labkit-session",
        kind=JobKind.SESSION,
        argv=["true"],
        folder=Path("/"),
        log=Path("/dev/null"),
        resources=resources_of(profile, accelerator),
        walltime_s=profile.time,
        partition=profile.partition,
        account=profile.account,
        reservation=profile.reservation,
    )
