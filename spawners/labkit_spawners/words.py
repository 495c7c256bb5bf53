"""Where a session is and how it ended, in sentences for the person who waits."""

from labkit.schedulers.base import JobEnd, JobInfo, JobState, Outcome

_ENDS = {
    Outcome.OUT_OF_MEMORY: "The session needed more memory than its profile gives and was ended. "
    "Choose a profile with more.",
    Outcome.TIMEOUT: "The session's time was over. Start it again.",
    Outcome.CANCELLED: "The session was stopped while it was starting.",
    Outcome.LOST: "The session's processes were killed, or the machine was restarted. "
    "Start it again.",
}


def where_it_is(job: JobInfo | None, *, submitted: bool) -> str:
    """One sentence for the page that waits."""
    if job is None:
        return "Asking the scheduler." if submitted else "Handing the session to the scheduler."
    if job.state is JobState.PENDING:
        place = f"Place {job.place} in the queue. " if job.place else ""
        start = f" Expected start: {job.expected_start:%H:%M} UTC." if job.expected_start else ""
        return f"{place}{job.reason or 'It waits for its turn.'}{start}"
    if job.state is JobState.UNKNOWN:
        return "The scheduler does not answer; the session keeps its place."
    if job.state is JobState.ENDING:
        return "The session is ending."
    return "The job runs; Jupyter is starting."


def how_it_ended(end: JobEnd | None, log: str) -> str:
    """Why a session did not start, and what to do."""
    known = _ENDS.get(end.outcome) if end else None
    if known:
        return known
    reason = f" {end.reason}" if end and end.reason else ""
    return (
        f"The session ended before it answered.{reason} Try again; if it stays so, whoever runs "
        f"this lab finds more in {log}."
    )


def how_it_went(end: JobEnd) -> str:
    """Why a session that ran has ended, for the page that starts the next."""
    what = {
        Outcome.OUT_OF_MEMORY: "Your last session took more memory than its profile gives. "
        "Choose a profile with more, or load less at a time.",
        Outcome.TIMEOUT: "Your last session's time was over. Notebooks are as they were saved.",
        Outcome.CANCELLED: "Your last session was ended.",
        Outcome.LOST: "Your last session's processes were killed, or the machine was restarted.",
    }.get(end.outcome, "Your last session ended by itself.")
    return f"{what} Runs are not touched by it."
