"""People's mistakes, as sentences a person can act on.

A `LabkitError` says what was asked, what is allowed and what to do next. It is raised
anywhere and caught at the edges only: a CLI command, a form, a request handler. Our own
mistakes are ordinary exceptions and never take this type.
"""

import difflib
from collections.abc import Iterable


class LabkitError(Exception):
    """What was asked cannot be done; the message says what to do instead."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the sentence alone."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(LabkitError, ValueError):
    """A command, key or value that labkit does not know, or cannot accept.

    It is also a ValueError, so that pydantic catches it in a validator and names the key.
    """

    exit_code = 2


class DataError(LabkitError):
    """A table that cannot be used as it is."""


class OutOfMemory(LabkitError):
    """Of several training processes one ran out of its device's memory, and the others cannot go on
    without it; all can begin again, with less."""


class DamagedFile(LabkitError, ValueError):
    """A file of labkit's own that cannot be read or does not hold what it should."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def known_names(known: Iterable[str]) -> str:
    """The known names as a list for a sentence: "'a', 'b'"."""
    return ", ".join(repr(name) for name in known) or "none"
