"""A service of the hub's: after a restart, it asks the hub to take up what was starting.

The hub forgets sessions that had not answered yet when it ended. Their jobs wait or run all
the same, and `GpuSpawner.start` adopts them when it is asked to start.
"""

import os
import sys
import time
import urllib.parse

from labkit.settings import load_site
from labkit_spawners.ask_hub import ask_hub
from labkit_spawners.records import SessionRecord, SessionRecords

TRY_FOR_S = 120.0
HUB_LOOK_S = 1.0


def main() -> None:
    hub = os.getppid()
    site = load_site()
    for record in SessionRecords(site.state / "sessions").all():
        if record.job_id and not record.started:
            resume(record)
    while os.getppid() == hub:  # a service that ends is started again; a hub that ends has none
        time.sleep(HUB_LOOK_S)


def resume(record: SessionRecord) -> None:
    """Have the hub start that person's server, as if they had pressed the button."""
    deadline = time.monotonic() + TRY_FOR_S
    while (status := _post(record)) not in (201, 202, 400, 404) and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"labkit: {record.user}/{record.server}: the hub said {status}.", file=sys.stderr)


def _post(record: SessionRecord) -> int | None:
    person, server = (urllib.parse.quote(name, safe="") for name in (record.user, record.server))
    path = f"servers/{server}" if server else "server"
    body = {"profile": record.profile}
    answer = ask_hub("POST", f"/users/{person}/{path}", body, timeout_s=30)
    return answer.status if answer else None


if __name__ == "__main__":
    main()
