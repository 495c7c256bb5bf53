"""The part of `GpuSpawner` that knows a session's record and its job, as they are now.

It is asked by the hub every few seconds for each session.
"""

from typing import Any

from batchspawner.batchspawner import JobStatus

from labkit.errors import DamagedFile
from labkit.schedulers.base import JobEnd, JobInfo, JobState
from labkit_spawners.asked import AskedSpawner, SessionFailed
from labkit_spawners.certificates import fingerprint_at
from labkit_spawners.records import SessionRecord
from labkit_spawners.session_job import home_of, session_log, unix_home
from labkit_spawners.submit import as_the_hub
from labkit_spawners.tags import is_job_of
from labkit_spawners.watch import JobWatch


class FollowedSpawner(AskedSpawner):
    """What is known of a session: the hub's own record, and the scheduler's last word."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._job: JobInfo | None = None
        self._end: JobEnd | None = None
        """Of the scheduler's last word: the job while it is there, how it ended once it has."""

    @property
    def record(self) -> SessionRecord:
        """What the hub wrote down of it. Raises SessionFailed where it has no job."""
        record = self._record()
        if record is None:
            raise SessionFailed("The session has ended.")
        return record

    def _record(self) -> SessionRecord | None:
        try:
            return self.lab.records.get(self.user.name, self.name)
        except DamagedFile as error:  # one session's, which must not keep the hub from starting
            self.log.error("%s", error)
            return None

    def _current(self, record: SessionRecord) -> SessionRecord:
        """As it is now: the port may have come meanwhile. Raises SessionFailed."""
        current = self._record()
        if current is None or current.nonce != record.nonce:
            raise SessionFailed("The session was stopped while it was starting.")
        return current

    def _cluster(self) -> str:
        return self._cluster_of(self._record())

    def _cluster_of(self, record: SessionRecord | None) -> str:
        return record.cluster if record else self.lab.site.cluster(None)[0]

    def _watch(self) -> JobWatch | None:
        """None where the cluster of the session was taken out of `labkit.toml`."""
        return self._watch_of(self._record())

    def _watch_of(self, record: SessionRecord | None) -> JobWatch | None:
        name = self._cluster_of(record)
        return self.lab.watch(name) if name in self.lab.site.clusters else None

    def _log_file(self) -> str:
        site, person = self.lab.site, self.user.name
        home = home_of(site, person) if self._as_the_hub() else unix_home(person)
        return str(session_log(home, self.name))

    def _as_the_hub(self) -> bool:
        return as_the_hub(self.lab.site, self._cluster(), self.user.name)

    async def query_job_status(self) -> JobStatus:
        """Only the scheduler's word that a job has ended ends a session: unknown is not dead."""
        if not self.job_id:
            return JobStatus.NOTFOUND
        record = self._record()  # a file: read once, since there may be a thousand sessions
        if (watch := self._watch_of(record)) is None:
            return JobStatus.UNKNOWN
        try:
            found = await watch.job(self.job_id, record.created if record else 0.0)
        except Exception as error:
            self.log.warning("The scheduler does not answer about %s: %s", self.job_id, error)
            found = None
        self._job = found if isinstance(found, JobInfo) and self._is_of(record, found) else None
        self._end = found if isinstance(found, JobEnd) else None
        self.job_status = self._job.state.value if self._job else ""
        if self._job is None:
            return JobStatus.NOTFOUND if self._end else JobStatus.UNKNOWN
        return {
            JobState.PENDING: JobStatus.PENDING,
            JobState.UNKNOWN: JobStatus.UNKNOWN,
        }.get(self._job.state, JobStatus.RUNNING)

    def _is_of(self, record: SessionRecord | None, job: JobInfo) -> bool:
        if record is None:
            return False
        as_hub = as_the_hub(self.lab.site, record.cluster, self.user.name)
        return is_job_of(record, job, as_hub=as_hub)

    async def cancel_batch_job(self) -> None:
        if (watch := self._watch()) is None:
            self.log.error(
                "Job %s on cluster %r could not be cancelled: %s names that cluster no more. "
                "Cancel it there by hand.",
                self.job_id,
                self._cluster(),
                self.lab.site.settings,
            )
            return
        await watch.scheduler.cancel(self.job_id)
        watch.outdate()

    def state_ispending(self) -> bool:
        return self.job_status == JobState.PENDING

    def state_isrunning(self) -> bool:
        return self.job_status in (JobState.RUNNING, JobState.ENDING)

    def state_isunknown(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.job_status == JobState.UNKNOWN

    def state_gethost(self) -> str:
        """Where the session listens, by the scheduler's word alone; '' while that is not known."""
        settings = self.lab.site.clusters.get(self._cluster())
        if settings and settings.scheduler == "local":
            return "127.0.0.1"
        return self._job.nodes[0] if self._job and self._job.nodes else ""

    async def locate(self) -> None:
        """Have the scheduler say where the job runs, where its last answer is from before."""
        if not self.state_gethost() and (watch := self._watch()):
            watch.outdate()
            await self.query_job_status()

    async def is_own_port(self, port: int) -> bool:
        """Whether what listens there has this session's key: else it is another's, or nobody's."""
        record, host = self._record(), self.state_gethost()
        if record is None or not record.certificate:
            return True
        return await fingerprint_at(host, port, self.user.settings) == record.certificate

    async def job_now(self) -> JobInfo | None:
        """Its job by the scheduler's word; None where it has none, or is not answered."""
        await self.query_job_status()
        return self._job
