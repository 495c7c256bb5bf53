"""`GpuSpawner`: a session is a job of the site's scheduler, like every run.

It stands on batchspawner's base class for what other tools expect of a batch spawner (job id
and status in its state), and speaks to the scheduler protocol where that class would run
shell commands. Works in labkit's own hub and, as the spawner 'labkit', in any other.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

from batchspawner.batchspawner import JobStatus
from traitlets import Integer

from labkit.errors import LabkitError
from labkit.schedulers.base import Outcome
from labkit.settings import Profile
from labkit_spawners import asking, figures_now, mend, port_report, session_api, start_request
from labkit_spawners.ask_hub import trust_ours_alone
from labkit_spawners.asked import SessionFailed
from labkit_spawners.certificates import (
    SESSIONS,
    fingerprint_of,
    session_certificates,
)
from labkit_spawners.figures import session_answered, timed
from labkit_spawners.followed import FollowedSpawner
from labkit_spawners.options import (
    SessionOptions,
    as_given,
    parse_options,
    read_options,
)
from labkit_spawners.records import SessionRecord
from labkit_spawners.session_job import FROM_HUB
from labkit_spawners.shared import accelerator_for, nodes_for
from labkit_spawners.sign_in import DemoAuthenticator
from labkit_spawners.submit import Certificates, SessionRequest, submit_session
from labkit_spawners.watch import JobWatch
from labkit_spawners.words import how_it_ended, how_it_went, step_of

port_report.mount()
trust_ours_alone()
mend.mount()
asking.mount()
start_request.mount()
session_api.mount()
figures_now.mount()

_NEVER_S = 10 * 365 * 86400
_STOP_WAIT_S = 40.0


class GpuSpawner(FollowedSpawner):
    """One session of one person."""

    starting_timeout_s = Integer(
        180,
        help="How long a session may take from the start of its job to its first answer, in "
        "seconds. The time in the queue does not count.",
    ).tag(config=True)
    queue_timeout_s = Integer(
        0, help="How long a session may wait in the queue, in seconds; 0: as long as it takes."
    ).tag(config=True)

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        # JupyterHub's one clock for queue and start together must not end what waits in turn.
        self.start_timeout = _NEVER_S
        self.ip, self.port = "127.0.0.1", 0
        self._detached = False
        self._reported = asyncio.Event()
        self._answered: datetime | None = None
        """When it first answered, until that is among the figures."""

    # Its job.

    async def start(self) -> tuple[str, int]:
        """Submit the job, or adopt the one that an earlier hub submitted, and wait for its port."""
        self._end, self._job = None, None
        record = self._record()
        waits = record is not None and record.waits
        if record is None or not waits:
            record = self._new_record()
        self._detached = self.will_resume = False
        try:
            if waits:
                self._adopt(record)
            else:
                await self._submit(record)
            host, port = await self._listening(record)
        except LabkitError as error:
            await self._give_up(record)
            raise SessionFailed(str(error)) from error
        except Exception:  # not CancelledError: a hub that ends leaves its jobs to the next
            await self._give_up(record)
            raise
        self.lab.records.update(self._current(record), started=True)
        self._answered = datetime.now(UTC)
        return host, port

    def _adopt(self, record: SessionRecord) -> None:
        if self._watch() is None:
            raise SessionFailed(
                f"The session waited on {record.cluster!r}, which this lab has no more. Start "
                "another."
            )
        self.log.info("Adopting job %s of %s", record.job_id, self._log_name)
        self.job_id, self.api_token = record.job_id, record.api_token

    def _new_record(self) -> SessionRecord:
        name, profile = self.chosen(self.user_options)
        cluster, settings = self.lab.site.cluster(profile.cluster)
        if settings.scheduler == "local":
            self._refuse_strangers()
        self.job_id = ""
        self.ip = "127.0.0.1" if settings.scheduler == "local" else "0.0.0.0"
        self._reported.clear()
        return self.lab.records.create(
            user=self.user.name,
            server=self.name,
            profile=name,
            cluster=cluster,
            api_token=self.api_token,
            nonce=self.lab.tags.new_nonce(),
            options=as_given(read_options(self.user_options, self.lab.site.profiles)),
        )

    def _refuse_strangers(self) -> None:
        """As `configure` does, where the spawner alone serves somebody's own JupyterHub."""
        demo = self.authenticator is None or isinstance(self.authenticator, DemoAuthenticator)
        if not demo and not self.lab.site.hub.trust_everyone:
            raise SessionFailed(
                "This lab runs all sessions as one Unix user, so everybody could read everybody's "
                "files. Whoever runs it may allow that: trust_everyone = true under [hub] in "
                f"{self.lab.site.settings}."
            )

    async def _submit(self, record: SessionRecord) -> None:
        await self.submit_batch_script()
        self.lab.records.update(self._current(record), job_id=self.job_id)

    async def submit_batch_script(self) -> str:
        record = self._record()
        assert record is not None, "a session has its record before its job"
        profile = parse_options(record.options, self.lab.site.profiles)[1]
        watch = self.lab.watch(record.cluster)
        certificates = await self._certificates(profile, watch)
        if certificates is not None:
            self.lab.records.update(record, certificate=fingerprint_of(certificates))
        request = SessionRequest(
            options=SessionOptions(**record.options),
            server=record.server,
            nonce=record.nonce,
            environment={k: v for k, v in self.get_env().items() if FROM_HUB.fullmatch(k)},
            certificates=certificates,
        )
        accelerator = await accelerator_for(profile, watch)
        async with watch.submitting:
            with timed(record.cluster, "session"):
                self.job_id = await submit_session(
                    self.lab.site,
                    watch.scheduler,
                    record.user,
                    request,
                    as_hub=self._as_the_hub(),
                    accelerator=accelerator,
                )
        watch.outdate()
        self.log.info("Submitted %s as job %s", self._log_name, self.job_id)
        return self.job_id

    async def create_certs(self) -> dict[str, str]:
        """JupyterHub asks before each start; a job that is adopted has its own already."""
        return {}

    async def _certificates(self, profile: Profile, watch: JobWatch) -> Certificates | None:
        if not self.internal_ssl:
            return None
        host = self.state_gethost()  # known before only where all sessions run on one machine
        names = [host] if host else await nodes_for(profile, watch)
        if self.user.settings.get("subdomain_host"):
            names.append(self.user.domain)
        trusted = self.internal_trust_bundles[SESSIONS]
        return session_certificates(self.internal_certs_location, trusted, names)

    async def _listening(self, record: SessionRecord) -> tuple[str, int]:
        """Wait until the job runs and has said its port. Raises SessionFailed."""
        queued, running = time.monotonic(), None
        while True:
            current = self._current(record)
            if current.port:
                return current.host, current.port
            status = await self.query_job_status()
            if status == JobStatus.NOTFOUND:
                raise SessionFailed(how_it_ended(self._end, self._log_file()))
            if status == JobStatus.RUNNING and running is None:
                running = time.monotonic()
            self._check_clocks(queued, running)
            try:
                await asyncio.wait_for(self._reported.wait(), self.startup_poll_interval)
            except TimeoutError:
                continue

    def _check_clocks(self, queued: float, running: float | None) -> None:
        now = time.monotonic()
        if running is not None and now - running > self.starting_timeout_s:
            raise SessionFailed(
                f"The session did not answer within {self.starting_timeout_s} seconds of its "
                f"start and was ended. Try again; if it stays so, whoever runs this lab finds "
                f"why in {self._log_file()}."
            )
        if running is None and self.queue_timeout_s and now - queued > self.queue_timeout_s:
            raise SessionFailed(
                f"The session waited {self.queue_timeout_s} seconds in the queue and was taken "
                "out, as this lab is set up to do. Choose a smaller profile, or try later."
            )

    def port_reported(self, port: int, nonce: str) -> bool:
        """Take the port that the session says. False where it is not the session that is meant."""
        record = self._record()
        if record is None or record.nonce != nonce:
            return False
        if record.started:
            return record.port == port  # it says it again where our answer was lost
        host = self.state_gethost()
        if not host:
            return False
        self.lab.records.update(record, host=host, port=port)
        self._reported.set()
        return True

    async def poll(self) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None while the job is there or may be."""
        if self._detached:
            return 0  # JupyterHub drops its own, half-made row; `start` adopts the job
        if await self.query_job_status() != JobStatus.NOTFOUND:
            self._note_start()
            return None
        if self._end is None:
            return 0
        self.log.info("%s has ended: %s", self._log_name, self._end.outcome)
        self._forget_ended()
        code = self._end.exit_code
        return code if code is not None else int(self._end.outcome != Outcome.COMPLETED)

    def _note_start(self) -> None:
        """Once the scheduler has said when the job began, which may be after its first answer."""
        record = self._record()
        if self._answered and record and self._job and self._job.started:
            session_answered(record.profile, self._job, self._answered)
            self._answered = None

    def _forget_ended(self) -> None:
        """The session ended by itself: keep why, and let go of its record."""
        record = self._record()
        if record is None or not record.started or self._end is None:
            return
        if self._end.outcome is not Outcome.COMPLETED:
            self.lab.records.tell(record, how_it_went(self._end))
        self._let_go(record)

    async def stop(self, now: bool = False) -> None:
        """End the job, and wait until it has ended unless `now`."""
        if self._detached:
            return
        record = self._record()
        if self.job_id:
            await self.cancel_batch_job()
            if not now:
                await self._ended()
        if record is not None:
            self._let_go(record)

    async def _ended(self) -> None:
        """Wait for the scheduler's word, asked ever less often: there are few questions."""
        if (watch := self._watch()) is None:
            return
        started, pause_s = time.monotonic(), max(0.01, watch.scheduler.look_every_s / 30)
        while time.monotonic() - started < _STOP_WAIT_S:
            await asyncio.sleep(pause_s)
            watch.outdate()
            if await self.query_job_status() == JobStatus.NOTFOUND:
                return
            pause_s *= 2

    def _let_go(self, record: SessionRecord) -> None:
        if watch := self._watch():
            watch.let_go(self.job_id)
        self.lab.records.remove(record)

    async def _give_up(self, record: SessionRecord) -> None:
        try:
            if self.job_id:
                await self.cancel_batch_job()
        except Exception as error:  # the person is told why it failed, not this
            self.log.warning("Job %s could not be cancelled: %s", self.job_id, error)
        self._let_go(record)

    # What survives the hub.

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        record = self._record()
        if record is None or not record.job_id:
            return
        self.job_id, self.api_token = record.job_id, record.api_token
        self._detached = self.will_resume = not record.started

    # What a person sees meanwhile.

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """Each step in words, once."""
        said: dict[str, Any] = {}
        while True:
            step = step_of(self._job, submitted=bool(self.job_id))
            if step != said:
                said = step
                yield step.copy()
            await asyncio.sleep(0.3)
