"""Finding one thing of many by what a person types: its id, the start or end of it, its name."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from labkit.errors import UsageError, did_you_mean

T = TypeVar("T")


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
