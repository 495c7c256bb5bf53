"""What a session may ask of the hub: with its own token, about itself alone."""

from hmac import compare_digest
from typing import Any

from jupyterhub.apihandlers import APIHandler


class SessionHandler(APIHandler):
    """Asked by a session; whoever asks with any other token has no spawner here."""

    def check_xsrf_cookie(self) -> None:
        """It is asked with a token alone; a browser's cookie is worth nothing here."""


def spawner_of_token(handler: APIHandler) -> Any:
    """The spawner of ours whose own token came; a person's other tokens are none."""
    token, user = handler.get_auth_token(), handler.get_current_user_token()
    if not token or user is None or not hasattr(user, "spawners"):
        return None
    return next(
        (
            spawner
            for spawner in user.spawners.values()
            if compare_digest(spawner.api_token.encode(), token.encode()) and is_ours(spawner)
        ),
        None,
    )


def is_ours(spawner: Any) -> bool:
    return hasattr(spawner, "port_reported")
