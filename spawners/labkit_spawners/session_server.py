"""In a session: what its page asks, handed on to the hub with the session's own token.

A Jupyter server extension, switched on by `templates/session`. The page never has the token;
who may ask is the session's own affair, as with everything of its Jupyter server.
"""

import asyncio
import json
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from labkit_spawners.ask_hub import ask_hub
from labkit_spawners.kernel_ends import watch_kernels

ANSWER_WITHIN_S = 5.0
PATHS = {"": "GET", "/extend": "POST", "/give-back": "POST"}


class HandOn(APIHandler):
    """One question of the page to the hub, whose answer or refusal it gets as it is."""

    def initialize(self, path: str) -> None:
        self._path = path

    @web.authenticated
    async def get(self) -> None:
        await self._ask("GET")

    @web.authenticated
    async def post(self) -> None:
        await self._ask("POST")

    async def _ask(self, method: str) -> None:
        if method != PATHS[self._path]:
            raise web.HTTPError(405)
        path = f"/labkit/session{self._path}"
        answer = await asyncio.to_thread(ask_hub, method, path, {}, timeout_s=ANSWER_WITHIN_S)
        if answer is None:
            raise web.HTTPError(503, "The hub does not answer now.")
        if answer.status >= 400:
            raise web.HTTPError(answer.status, _message(answer.body))
        self.set_status(answer.status)
        self.finish(answer.body)


def _message(body: bytes) -> str:
    try:
        # Tornado fills in what follows a '%'.
        return str(json.loads(body)["message"]).replace("%", "%%")
    except (ValueError, KeyError, TypeError):
        return "The hub refused, and gave no reason."


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    base = server.web_app.settings["base_url"]
    handlers = [
        (url_path_join(base, f"/labkit/session{path}"), HandOn, {"path": path}) for path in PATHS
    ]
    server.web_app.add_handlers(".*$", handlers)
    watch_kernels(server)
