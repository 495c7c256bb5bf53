"""Where a session is and how it ended, in sentences for the person who waits."""

from datetime import datetime
from typing import Any

from labkit.schedulers.base import JobEnd, JobInfo, JobState, Outcome
from labkit.units import format_duration

_NOW_S = 60
_ENDS = {
    Outcome.OUT_OF_MEMORY: "The session needed more memory than its profile gives and was ended. "
    "Choose a profile with more.",
    Outcome.TIMEOUT: "The session's time was over. Start it again.",
    Outcome.CANCELLED: "The session was stopped while it was starting.",
    Outcome.LOST: "The session's processes were killed, or the machine was restarted. "
    "Start it again.",
}


def step_of(job: JobInfo | None, *, submitted: bool) -> dict[str, Any]:
    """An event for the page that waits; `message` alone says it all to who has no such page."""
    text = where_it_is(job, submitted=submitted)
    if job is None or job.state is not JobState.PENDING:
        return {"message": text}
    start = job.expected_start
    return {
        "message": f"{text} Expected start: {start:%H:%M} UTC." if start else text,
        "queue": text,
        "expected_start": start.isoformat() if start else "",
        "stuck": job.stuck,
    }


def where_it_is(job: JobInfo | None, *, submitted: bool) -> str:
    """One sentence or two for the page that waits."""
    if job is None:
        return "Asking the scheduler." if submitted else "Handing the session to the scheduler."
    if job.state is JobState.PENDING:
        return _in_the_queue(job)
    if job.state is JobState.UNKNOWN:
        return "The scheduler does not answer; the session keeps its place."
    if job.state is JobState.ENDING:
        return "The session is ending."
    return "The job runs; Jupyter is starting."


def _in_the_queue(job: JobInfo) -> str:
    """'Place 4 in the queue. Waiting for a free h100: 3 people before you.'"""
    if job.stuck:
        return f"It will not start as it is. {job.reason}"
    place = f"Place {job.place} in the queue. " if job.place else ""
    if not job.waits_for:
        return f"{place}{job.reason or 'It waits for its turn.'}"
    people = {None: "", 0: "", 1: ": 1 person before you"}.get(
        job.people_before, f": {job.people_before} people before you"
    )
    return f"{place}Waiting for {job.waits_for}{people}."


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


def start_in_words(start: datetime, now: datetime) -> str:
    """'now', 'about 14:20', 'tomorrow, about 09:00' or 'in 3 days', in the zone of `now`."""
    wait_s = (start - now).total_seconds()
    if wait_s <= _NOW_S:
        return "now"
    days = (start.astimezone(now.tzinfo).date() - now.date()).days
    clock = f"about {start.astimezone(now.tzinfo):%H:%M}"
    if days == 0:
        return clock
    return f"tomorrow, {clock}" if days == 1 else f"in {days} days"


def memory_in_words(amount: int) -> str:
    """'4 GB', '100 TB', and '2.5 GB' only where that is what it is."""
    number, unit = amount / 2**30, "GB"
    if number >= 1024:
        number, unit = number / 1024, "TB"
    return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"


def time_in_words(time_s: int) -> str:
    hours, days = time_s / 3600, time_s / 86400
    if days >= 2 and days == int(days):
        return f"{days:.0f} days"
    if hours and hours == int(hours):
        return "1 hour" if hours == 1 else f"{hours:.0f} hours"
    minutes = time_s / 60
    if minutes < 60 and minutes == int(minutes):
        return "1 minute" if minutes == 1 else f"{minutes:.0f} minutes"
    return format_duration(time_s)
