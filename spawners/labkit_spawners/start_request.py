"""A start that is asked for by the API: whether it can be had is said before it is answered.

JupyterHub answers before it applies the options where that takes more than a moment, and asking
a cluster does: so its handler is given a look at them first.
"""

from jupyterhub.apihandlers import default_handlers
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from labkit.errors import LabkitError
from labkit_spawners.asked import AskedSpawner
from labkit_spawners.asking import bad_request, require_possible
from labkit_spawners.shared import the_lab


class StartHandler(UserServerAPIHandler):
    """The hub's own, which is told first whether the session can be had; where it is ours."""

    @needs_scope("servers")
    async def post(self, user_name: str, server_name: str = "") -> None:
        if issubclass(self.settings["spawner_class"], AskedSpawner):
            await self._require_possible(user_name, server_name or "")
        await super().post(user_name, server_name)

    async def _require_possible(self, user_name: str, server: str) -> None:
        if not isinstance(self.get_json_body(), dict | None):
            raise web.HTTPError(400, "Body must be a JSON object")
        user = self.find_user(user_name)
        # One that waits was asked for already, and may have been by an earlier hub.
        if user is not None and not the_lab().records.is_waiting(user.name, server):
            options = self.get_server_json_body()["user_options"]
            kept = user.orm_spawners.get(server)  # what the hub takes where none are given
            if options is None:
                options = (kept.user_options if kept else None) or {}
            try:
                await require_possible(the_lab(), user.name, options)
            except LabkitError as error:
                raise bad_request(error) from error


def mount() -> None:
    """Put ours in place of the hub's own."""
    default_handlers[:] = [
        (handler[0], StartHandler, *handler[2:]) if handler[1] is UserServerAPIHandler else handler
        for handler in default_handlers
    ]
