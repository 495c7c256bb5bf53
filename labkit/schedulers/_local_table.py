"""The jobs of the `local` scheduler, as rows of one SQLite file.

Read and changed by every process that asks about jobs and by the supervisor beside each job,
all at once and without a daemon. Each change is one short transaction that names the stage
a job must still be in, so of two that race one wins.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from labkit.processes import ProcessIdentity, identify
from labkit.schedulers._local_jobs import End, Job, end_of, identity_text, job_of, spec_text
from labkit.schedulers._local_queue import Lease, Machine
from labkit.schedulers.base import JobSpec, Outcome

_BUSY_S = 10.0
"""The longest that a call waits for the transactions of others."""
_KEPT_S = 90 * 86400
_KEPT_JOBS = 10_000

_SCHEMA = """
PRAGMA user_version = 1;
CREATE TABLE site (tag TEXT NOT NULL, machine TEXT NOT NULL);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT UNIQUE,
    stage TEXT NOT NULL DEFAULT 'pending',
    spec TEXT NOT NULL,
    environment TEXT NOT NULL,      -- apart from the spec: emptied at the end, may hold secrets
    walltime_s INTEGER NOT NULL,
    submitted REAL NOT NULL,
    claim TEXT,                     -- drawn anew by whoever starts the job
    claimed REAL,
    claims INTEGER NOT NULL DEFAULT 0,
    launcher TEXT,
    supervisor TEXT,
    gpus TEXT NOT NULL DEFAULT '[]',
    started REAL,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ended REAL,
    outcome TEXT,
    exit_code INTEGER,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX jobs_by_stage ON jobs (stage);
"""


Choice = Callable[[Sequence[Job], Machine], Sequence[Lease]]
"""Of all jobs that have not ended, those that start now."""


class JobTable:
    """Every method is one transaction on a connection of its own, so threads may share this."""

    def __init__(self, path: Path, *, busy_s: float = _BUSY_S) -> None:
        self.path = path
        self._busy_s = busy_s

    def create(self) -> None:
        """Make the file where there is none: 0600, in a folder that is 0700."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        with _locked(self.path.parent):
            if not self.path.exists():
                _create(self.path)

    def set_machine(self, machine: Machine) -> None:
        text = json.dumps(asdict(machine))
        with self._change() as db:
            db.execute("UPDATE site SET machine = ? WHERE machine != ?", (text, text))

    def machine(self) -> Machine:
        with self._read() as db:
            return _machine(db)

    def add(self, spec: JobSpec) -> str:
        """Queue a job and return its id. Forgets jobs that ended long ago."""
        now = time.time()
        row = (spec_text(spec), json.dumps(dict(spec.environment)), spec.walltime_s, now)
        with self._change() as db:
            number = db.execute(
                "INSERT INTO jobs (spec, environment, walltime_s, submitted) VALUES (?, ?, ?, ?)",
                row,
            ).lastrowid
            # The tag is the site's own: processes are found again by the id of their job, and
            # a run folder asks for the end of its job after this file was deleted and made anew.
            db.execute(
                "UPDATE jobs SET job_id = (SELECT tag FROM site) || '-' || number WHERE number = ?",
                (number,),
            )
            db.execute(
                "DELETE FROM jobs WHERE stage = 'ended' AND (ended < ? OR number <= ?)",
                (now - _KEPT_S, (number or 0) - _KEPT_JOBS),
            )
            (job_id,) = db.execute("SELECT job_id FROM jobs WHERE number = ?", (number,)).fetchone()
            return job_id

    def live(self) -> list[Job]:
        """All jobs that have not ended, first come first."""
        with self._read() as db:
            return _live(db)

    def get(self, job_id: str) -> Job | None:
        with self._read() as db:
            return _get(db, job_id)

    def ends(self, job_ids: Collection[str]) -> dict[str, tuple[End, float]]:
        """How and when those of the jobs ended that did."""
        with self._read() as db:
            rows = db.execute(
                "SELECT job_id, outcome, exit_code, reason, ended FROM jobs WHERE stage = 'ended' "
                "AND job_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(job_ids)),),
            ).fetchall()
        return {row["job_id"]: (end_of(row), row["ended"]) for row in rows}

    def spans(self, job_ids: Collection[str]) -> list[tuple[Job, float]]:
        """Those of the jobs, each with how long it held what it was given, in seconds."""
        with self._read() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE job_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(job_ids)),),
            ).fetchall()
        now = time.time()
        return [
            (job_of(row), max(0.0, (row["ended"] or now) - (row["started"] or row["ended"] or now)))
            for row in rows
        ]

    def claim(self, choose: Choice) -> list[Job]:
        """Give leases to the jobs that `choose` names, and the sole right to launch them."""
        launcher = identity_text(identify(os.getpid()))
        with self._change() as db:
            leases = choose(_live(db), _machine(db))
            for lease in leases:
                db.execute(
                    "UPDATE jobs SET stage = 'starting', claim = ?, claimed = ?, launcher = ?, "
                    "supervisor = NULL, gpus = ?, claims = claims + 1 "
                    "WHERE job_id = ? AND stage = 'pending'",
                    (
                        os.urandom(8).hex(),
                        time.time(),
                        launcher,
                        json.dumps(lease.gpus),
                        lease.job_id,
                    ),
                )
            return [job for lease in leases if (job := _get(db, lease.job_id))]

    def launched(self, job: Job, supervisor: ProcessIdentity | None) -> None:
        """Remember the supervisor that was launched, until it reports by itself."""
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET supervisor = ? WHERE job_id = ? AND claim = ? "
                "AND stage = 'starting'",
                (identity_text(supervisor), job.job_id, job.claim),
            )

    def unclaim(self, job: Job) -> None:
        """Put a job back in its place in the queue, if that start has not come about."""
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET stage = 'pending', claim = NULL, claimed = NULL, launcher = NULL, "
                "supervisor = NULL, gpus = '[]' WHERE job_id = ? AND claim = ? "
                "AND stage = 'starting'",
                (job.job_id, job.claim),
            )

    def give_up(self, job: Job, end: End) -> None:
        """As `unclaim`, but end the job."""
        with self._change() as db:
            _end(db, job.job_id, "stage = 'starting' AND claim IS ?", end, job.claim)

    def begin(self, job_id: str, claim: str, supervisor: ProcessIdentity) -> Job | None:
        """The job, now running under that supervisor; None where the claim is no longer good."""
        with self._change() as db:
            begun = db.execute(
                "UPDATE jobs SET stage = 'running', supervisor = ?, started = ? "
                "WHERE job_id = ? AND claim = ? AND stage = 'starting'",
                (identity_text(supervisor), time.time(), job_id, claim),
            )
            return _get(db, job_id) if begun.rowcount else None

    def cancel(self, job_id: str) -> Job | None:
        """End a job that waits; mark one that runs. The job as it then is."""
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET stage = 'ending', cancelled = 1 "
                "WHERE job_id = ? AND stage IN ('running', 'ending')",
                (job_id,),
            )
            _end(db, job_id, "stage IN ('pending', 'starting')", End(outcome=Outcome.CANCELLED))
            return _get(db, job_id)

    def set_ending(self, job_id: str) -> None:
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET stage = 'ending' WHERE job_id = ? AND stage = 'running'", (job_id,)
            )

    def set_walltime(self, job_id: str, walltime_s: int) -> None:
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET walltime_s = ? WHERE job_id = ? AND stage != 'ended'",
                (walltime_s, job_id),
            )

    def end(self, job: Job, end: End) -> None:
        """Write the end of a job, unless it has ended, or begun anew since it was read."""
        with self._change() as db:
            _end(db, job.job_id, "stage != 'ended' AND claim IS ?", end, job.claim)

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: a file that was deleted is an error, not a new and empty one.
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        with closing(
            sqlite3.connect(uri, uri=True, timeout=self._busy_s, isolation_level=None)
        ) as db:
            db.row_factory = sqlite3.Row
            yield db

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, undone where it raises: closing a connection rolls it back."""
        with self._read() as db:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")


def _create(path: Path) -> None:
    # Under another name until it is whole, so that nobody opens half a table.
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(fresh)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        nothing = json.dumps(asdict(Machine(num_cpus=0, memory_bytes=0)))
        db.execute("INSERT INTO site VALUES (?, ?)", (os.urandom(3).hex(), nothing))
        db.commit()
    fresh.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The folder, not the database: closing a file drops every lock that SQLite has on it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _live(db: sqlite3.Connection) -> list[Job]:
    rows = db.execute("SELECT * FROM jobs WHERE stage != 'ended' ORDER BY number")
    return [job_of(row) for row in rows]


def _get(db: sqlite3.Connection, job_id: str) -> Job | None:
    row = db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    return job_of(row) if row else None


def _machine(db: sqlite3.Connection) -> Machine:
    (text,) = db.execute("SELECT machine FROM site").fetchone()
    written = json.loads(text)
    gpus = tuple((index, name) for index, name in written.pop("gpus"))
    return Machine(**written, gpus=gpus)


def _end(db: sqlite3.Connection, job_id: str, still: str, end: End, *values: str | None) -> None:
    """`still` is the condition, in SQL, on which the end holds."""
    db.execute(
        "UPDATE jobs SET stage = 'ended', ended = ?, outcome = ?, exit_code = ?, reason = ?, "
        f"environment = '{{}}' WHERE job_id = ? AND {still}",
        (time.time(), end.outcome, end.exit_code, end.reason, job_id, *values),
    )
