"""What people call runs and Ray jobs, and finding one by what they type."""

from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TypeVar

from labkit.errors import UsageError, did_you_mean

T = TypeVar("T")
MAX_NAME = 80
NAME_IN_WORDS = (
    f"1 to {MAX_NAME} visible characters, the first of them no '-', without '/', "
    "line breaks and other control characters, and not 'last'"
)


def check_name(name: str, what: str = "run") -> str:
    """The name, where what is meant may be called so. Raises UsageError.

    It is typed as an argument and printed on a line: nothing in it may pass for an option,
    a folder or a command to the terminal.
    """
    if not is_name(name):
        found = name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
        raise UsageError(f"{found!r} cannot be a {what}'s name. Allowed: {NAME_IN_WORDS}.")
    return name


def is_name(name: str) -> bool:
    fits = 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
    return fits and name[0] != "-" and "/" not in name and name != "last"


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, with a number behind it where another has it already."""
    if is_name(wanted) and wanted not in taken:
        return wanted
    numbered = (f"{wanted[: MAX_NAME - 10]}-{number}" for number in count(2))
    return next(name for name in numbered if name not in taken)


def look_up(
    asked: str,
    newest_first: Sequence[T],
    names: Callable[[T], tuple[str, str]],
    *,
    what: str,
    listing: str,
) -> T:
    """The thing whose `names`, id and name, fit; 'last' is the newest.

    `what` it is: 'run'; `listing` is the command that lists them. Raises UsageError where none
    or more than one fits.
    """
    if asked == "last" and newest_first:
        return newest_first[0]
    if not asked:
        raise UsageError(f"A {what}'s id, the start of one, a name, or 'last' is needed.")
    for fits in (
        lambda of_id, _: of_id == asked,
        lambda _, name: name == asked,
        lambda of_id, _: of_id.startswith(asked) or of_id.endswith(asked),
    ):
        found = [one for one in newest_first if fits(*names(one))]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(names(one)[0] for one in found[:5])
            raise UsageError(f"{asked!r} fits {len(found)} {what}s. Name one of: {ids}.")
    known = [name for one in newest_first for name in names(one)]
    raise UsageError(f"No {what} is called {asked!r}.{did_you_mean(asked, known)} See: {listing}")
