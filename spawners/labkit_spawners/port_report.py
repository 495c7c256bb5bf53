"""Where a session says on which port it listens.

It takes one whole number, from the one server whose token comes with it, and nothing else.
Importing batchspawner mounts a handler of its own that sets whatever it is told on the
spawner of whoever tells it; it is taken out here.
"""

import json
from hmac import compare_digest

from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web

PATH = "/api/labkit/port"
MAX_BODY = 200


class PortReportHandler(APIHandler):
    def check_xsrf_cookie(self) -> None:
        """It is asked with a token alone; a browser's cookie is worth nothing here."""

    async def post(self) -> None:
        spawner = self._spawner_of_token()
        if spawner is None:
            raise web.HTTPError(403, "Only a session that is starting may say its port.")
        port, nonce = self._report()
        await spawner.locate()
        if not await spawner.is_own_port(port):
            raise web.HTTPError(409, "What listens there does not show this session's certificate.")
        if not spawner.port_reported(port, nonce):
            raise web.HTTPError(409, "This session was replaced by another, or does not start.")
        self.set_status(204)

    def _spawner_of_token(self):
        """The spawner whose own token came with the request; a person's other tokens are none."""
        token, user = self.get_auth_token(), self.get_current_user_token()
        if not token or user is None or not hasattr(user, "spawners"):
            return None
        return next(
            (
                spawner
                for spawner in user.spawners.values()
                if compare_digest(spawner.api_token.encode(), token.encode())
                and hasattr(spawner, "port_reported")
            ),
            None,
        )

    def _report(self) -> tuple[int, str]:
        report = parse_report(self.request.body)
        if report is None:
            raise web.HTTPError(400, 'The body must be {"port": 1 to 65535, "nonce": "…"}.')
        return report


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
    """Put ours among the hub's handlers, and batchspawner's out of them."""
    ours = (PATH, PortReportHandler)
    default_handlers[:] = [
        handler for handler in default_handlers if handler[0] not in ("/api/batchspawner", PATH)
    ] + [ours]
