"""From a cluster's name in the site's settings to its scheduler, and what that says of jobs."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.parsing import parse
from labkit.paths import private_folder
from labkit.schedulers import SCHEDULERS
from labkit.schedulers.base import JobEnd, JobInfo, Scheduler, SchedulerPlugin
from labkit.settings import Site


def plugin_of(site: Site, name: str) -> tuple[SchedulerPlugin, Any]:
    """The plug-in of the named cluster's scheduler, with that scheduler's settings.

    Raises UsageError naming the key path where the cluster's part of the settings is wrong.
    """
    name, cluster = site.cluster(name)
    try:
        plugin = SCHEDULERS.load(cluster.scheduler)
    except UsageError as error:
        where = f"Wrong in {site.settings}:\n  clusters.{name}.scheduler"
        raise UsageError(f"{where}: {error}") from error
    settings = parse(
        plugin.Settings,
        cluster.model_extra or {},
        source=site.settings,
        shown=lambda key: f"clusters.{name}.{key}",
    )
    return plugin, settings


def open_cluster(site: Site, name: str | None = None) -> Scheduler:
    """The scheduler of the named cluster of the site, or of its first. Raises as `plugin_of`."""
    name, _ = site.cluster(name)
    plugin, settings = plugin_of(site, name)
    folder = private_folder(site.state / name)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise LabkitError(
            f"The folder {folder} is another person's, and so is the site of {site.settings}. "
            "Use a site of your own: set LABKIT_SITE to its labkit.toml."
        )
    return plugin.open(settings, folder)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one cluster said of jobs."""

    jobs: Mapping[str, JobInfo] = field(default_factory=dict)
    ends: Mapping[str, JobEnd] = field(default_factory=dict)
    silent: str = ""
    """Why it said nothing, in words; '' where it did."""


@dataclass(frozen=True)
class _Look:
    at: float
    job_ids: frozenset[str]
    said: Said


class Looks:
    """Looks at jobs, for those who look again and again: many people do at once.

    A cluster is asked again only when its scheduler thinks that worth it, or for other jobs.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._last: dict[str, _Look] = {}

    async def ask(self, jobs: Iterable[tuple[str, str]]) -> Mapping[str, Said]:
        """What each cluster says, of jobs given by cluster and job id."""
        wanted: dict[str, set[str]] = {}
        for cluster, job_id in jobs:
            wanted.setdefault(cluster, set()).add(job_id)
        return {cluster: await self._of(cluster, frozenset(ids)) for cluster, ids in wanted.items()}

    def forget(self) -> None:
        """After a change of ours: the next look asks."""
        self._last.clear()

    async def _of(self, cluster: str, job_ids: frozenset[str]) -> Said:
        try:
            scheduler = open_cluster(self._site, cluster)
            last = self._last.get(cluster)
            if last and job_ids <= last.job_ids and _age_s(last) < scheduler.look_every_s:
                return last.said
            # In this order: what a job that was started again had been before is no end of it.
            ends, live = await scheduler.ended(job_ids), await scheduler.jobs()
        except LabkitError as error:
            return Said(silent=str(error))
        said = Said(jobs=live, ends=ends)
        self._last[cluster] = _Look(time.monotonic(), job_ids, said)
        return said


def _age_s(look: _Look) -> float:
    return time.monotonic() - look.at


def waits_in_words(job: JobInfo, now: datetime) -> str:
    """Its place, why it waits and until when: 'place 2 in the queue: …'. `now` has the zone."""
    if job.stuck:
        return f"it will not start as it is. {job.reason}"
    place = f"place {job.place} in the queue" if job.place else "waiting"
    why = f"waiting for {job.waits_for}{_people(job)}." if job.waits_for else job.reason
    why = " ".join(filter(None, [why, _expected(job.expected_start, now)]))
    return f"{place}: {why}" if why else place


def _people(job: JobInfo) -> str:
    if not job.people_before:
        return ""
    people = "1 other person" if job.people_before == 1 else f"{job.people_before} other people"
    return f", {people} before you"


def _expected(start: datetime | None, now: datetime) -> str:
    if start is None or start <= now:
        return ""
    there = start.astimezone(now.tzinfo)
    day = "" if there.date() == now.date() else f"{there:%d %B}, "
    return f"Expected to start by {day}{there:%H:%M} ({there:%Z})."
