"""A service of the hub's: it asks the hub to mend what an earlier hub left, now and again.

The hub forgets sessions that had not answered yet when it ended. Their jobs wait or run all
the same, and `GpuSpawner.start` adopts them when it is asked to start. What the hub finds every
few minutes (`mend`) is started in the same way.
"""

import json
import os
import sys
import time
import urllib.parse
from collections.abc import Collection

from labkit.settings import load_site
from labkit_spawners.ask_hub import HubAnswer, ask_hub
from labkit_spawners.records import SessionRecord, SessionRecords

RESUME_SERVICE = "labkit-resume"
TRY_FOR_S = 120.0
HUB_LOOK_S = 1.0


def main() -> None:
    hub = os.getppid()
    site = load_site()
    records = SessionRecords(site.state / "sessions")
    mend()
    for record in records.all():
        if record.job_id and not record.started:
            resume(record)
    mended = time.monotonic()
    while os.getppid() == hub:  # a service that ends is started again; a hub that ends has none
        time.sleep(HUB_LOOK_S)
        if time.monotonic() - mended >= site.hub.mend_every:
            mended = time.monotonic()
            for user, server in mend():
                if record := records.get(user, server):
                    resume(record)


def mend() -> list[tuple[str, str]]:
    """Have the hub mend what it finds; the sessions, by person and server, to be started."""
    answer = _until_answered("/labkit/mend", {}, final=(200, 403, 404, 500))
    found = json.loads(answer.body)["taken_up"] if answer and answer.status == 200 else []
    return [(user, server) for user, server in found]


def resume(record: SessionRecord) -> None:
    """Have the hub start that person's server, as if they had pressed the button."""
    person, server = (urllib.parse.quote(name, safe="") for name in (record.user, record.server))
    path = f"/users/{person}/" + (f"servers/{server}" if server else "server")
    answer = _until_answered(
        path, record.options or {"profile": record.profile}, final=(201, 202, 400, 404)
    )
    said = answer.status if answer else "nothing"
    print(f"labkit: {record.user}/{record.server}: the hub said {said}.", file=sys.stderr)


def _until_answered(path: str, body: object, final: Collection[int]) -> HubAnswer | None:
    """A hub that starts, or has too much to do, is asked again."""
    deadline = time.monotonic() + TRY_FOR_S
    while True:
        answer = ask_hub("POST", path, body, timeout_s=60)
        if (answer and answer.status in final) or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


if __name__ == "__main__":
    main()
