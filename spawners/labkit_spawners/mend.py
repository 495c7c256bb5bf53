"""Mends what a hub that was killed left behind, at the hub's start and every few minutes.

The hub does it in its own event loop, where nothing else changes a record meanwhile. The
service `resume_service` asks for it, on `POST /hub/api/labkit/mend`, and starts again what
was taken up.
"""

import logging
import time
from collections.abc import Collection
from functools import cache

from jupyterhub import orm
from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web

from labkit.schedulers.base import JobEnd
from labkit_spawners.figures import ORPHANS_MENDED
from labkit_spawners.orphans import Orphans, find_orphans
from labkit_spawners.records import SessionRecord
from labkit_spawners.resume_service import RESUME_SERVICE
from labkit_spawners.shared import Lab, the_lab
from labkit_spawners.submit import as_the_hub
from labkit_spawners.tags import is_job_of
from labkit_spawners.words import how_it_went

PATH = "/api/labkit/mend"
Name = tuple[str, str]
"""Of a session: its person and its server."""

log = logging.getLogger("jupyterhub.labkit")


class Mender:
    """Looks through all clusters of a lab, one round at a time."""

    def __init__(self, lab: Lab):
        self._lab = lab
        self._seen: dict[tuple[str, str], float] = {}
        """Since when a job is known that no record knows, by cluster and id."""

    async def mend(self, held: Collection[Name]) -> list[Name]:
        """Mend what is found; the sessions that are to be started again.

        `held` are those that the hub has in hand: it starts, serves or ends them. A cluster that
        does not answer is left as it is.
        """
        taken_up = []
        for cluster in self._lab.site.clusters:
            try:
                taken_up += await self._mend(cluster, held)
            except Exception as error:
                log.warning("Nothing is mended on %s, which does not answer: %s", cluster, error)
        return taken_up

    async def _mend(self, cluster: str, held: Collection[Name]) -> list[Name]:
        watch = self._lab.watch(cluster)
        jobs = await watch.jobs()
        await watch.prepare()
        # Read after the jobs: what started in between has its record, and is no orphan.
        ours = [record for record in self._lab.records.all() if record.cluster == cluster]
        left = [record for record in ours if name_of(record) not in held]
        gone = [record.job_id for record in left if record.job_id and record.job_id not in jobs]
        ends = await watch.ended(gone) if gone else {}
        found = find_orphans(
            ours,
            jobs,
            ends,
            owns=lambda record, job: is_job_of(
                record, job, as_hub=as_the_hub(self._lab.site, cluster, record.user)
            ),
            issued=self._lab.tags.issued,
        )
        await self._end_unknown(cluster, found)
        for record, end in found.ended:
            if record in left:
                self._let_go(record, end)
        return [
            name_of(self._take_up(record, job_id))
            for record, job_id in found.unnoted
            if record in left
        ]

    def _take_up(self, record: SessionRecord, job_id: str) -> SessionRecord:
        log.info("Session %s: its job %s was not noted yet", name_of(record), job_id)
        ORPHANS_MENDED.labels(record.cluster, "taken up").inc()
        return self._lab.records.update(record, job_id=job_id)

    def _let_go(self, record: SessionRecord, end: JobEnd) -> None:
        log.info("Session %s: its job %s has ended meanwhile", name_of(record), record.job_id)
        ORPHANS_MENDED.labels(record.cluster, "let go").inc()
        self._lab.records.tell(record, how_it_went(end))
        self._lab.records.remove(record)

    async def _end_unknown(self, cluster: str, found: Orphans) -> None:
        """Those that an earlier round has seen, too: an answer may be some seconds old."""
        if damaged := self._lab.records.damaged():
            log.error("No job is ended while a record cannot be read: %s", " ".join(damaged))
            return
        now, age_s = time.monotonic(), self._lab.site.hub.mend_every / 2
        seen = {(cluster, job.job_id): job for job in found.unknown}
        others = {key: since for key, since in self._seen.items() if key[0] != cluster}
        self._seen = {**others, **{key: self._seen.get(key, now) for key in seen}}
        watch = self._lab.watch(cluster)
        for key, job in seen.items():
            if now - self._seen[key] >= age_s:
                log.warning("Job %s of %s is of no session any more: ended", job.job_id, job.user)
                await watch.scheduler.cancel(job.job_id)
                ORPHANS_MENDED.labels(cluster, "ended").inc()
                watch.outdate()


def name_of(record: SessionRecord) -> Name:
    return record.user, record.server


@cache
def the_mender() -> Mender:
    return Mender(the_lab())


class MendHandler(APIHandler):
    def check_xsrf_cookie(self) -> None:
        """It is asked with a token alone; a browser's cookie is worth nothing here."""

    async def post(self) -> None:
        asking = self.get_current_user_token()
        if not isinstance(asking, orm.Service) or str(asking.name) != RESUME_SERVICE:
            raise web.HTTPError(403, "Only a service of the hub's own may ask for that.")
        held = {
            (user.name, spawner.name)
            for user in self.users.values()
            for spawner in user.spawners.values()
            if spawner.pending or spawner.active
        }
        taken_up = await the_mender().mend(held)
        self.write({"taken_up": taken_up})


def mount() -> None:
    """Put ours among the hub's handlers."""
    ours = (PATH, MendHandler)
    default_handlers[:] = [each for each in default_handlers if each[0] != PATH] + [ours]
