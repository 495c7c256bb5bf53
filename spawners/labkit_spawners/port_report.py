"""Where a session says on which port it listens.

It takes one whole number, from the one server whose token comes with it, and nothing else.
Importing batchspawner mounts a route of its own, which trusts its caller more; for sessions of
ours it is not there. A hub that has labkit installed and starts sessions by batchspawner keeps it.
"""

import json

from batchspawner.api import BatchSpawnerAPIHandler
from jupyterhub.apihandlers import default_handlers
from tornado import web

from labkit_spawners.own_token import SessionHandler, is_ours, spawner_of_token

PATH = "/api/labkit/port"
BATCHSPAWNERS = "/api/batchspawner"
MAX_BODY = 200


class PortReportHandler(SessionHandler):
    async def post(self) -> None:
        spawner = spawner_of_token(self)
        if spawner is None:
            raise web.HTTPError(403, "Only a session that is starting may say its port.")
        port, nonce = self._report()
        await spawner.locate()
        if not await spawner.is_own_port(port):
            raise web.HTTPError(409, "What listens there does not show this session's certificate.")
        if not spawner.port_reported(port, nonce):
            raise web.HTTPError(409, "This session was replaced by another, or does not start.")
        self.set_status(204)

    def _report(self) -> tuple[int, str]:
        report = parse_report(self.request.body)
        if report is None:
            raise web.HTTPError(400, 'The body must be {"port": 1 to 65535, "nonce": "…"}.')
        return report


class BatchspawnersHandler(BatchSpawnerAPIHandler):
    """batchspawner's own, which reaches no session of ours."""

    async def prepare(self) -> None:
        if is_ours(self.settings["spawner_class"]):
            raise web.HTTPError(404)
        await super().prepare()
        if spawner_of_token(self) is not None:
            raise web.HTTPError(404)


def parse_report(body: bytes) -> tuple[int, str] | None:
    """The port and the nonce; None where the body is anything else."""
    try:
        found = json.loads(body) if len(body) <= MAX_BODY else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"port", "nonce"}:
        return None
    port, nonce = found["port"], found["nonce"]
    good = type(port) is int and 1 <= port <= 65535 and type(nonce) is str
    return (port, nonce) if good else None


def mount() -> None:
    """Put ours among the hub's handlers, and ours in place of batchspawner's."""
    ours = {PATH: PortReportHandler, BATCHSPAWNERS: BatchspawnersHandler}
    others = [handler for handler in default_handlers if handler[0] not in ours]
    default_handlers[:] = [*others, *ours.items()]
