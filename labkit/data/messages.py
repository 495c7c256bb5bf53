"""One message of a conversation. Light: training imports it where there are no tables."""

from typing import TypedDict

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """What one of the ROLES says."""

    role: str
    content: str
