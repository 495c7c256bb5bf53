"""What the data doctor has to say: one finding for each thing a person should know or mend.

Loading, checking and the recipes make findings; the form, the CLI and the run's report show
them. A finding never stops anything by itself: the caller decides by its severity.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

MAX_ROWS_SHOWN = 10


class Severity(StrEnum):
    PROBLEM = "problem"
    """The data cannot be used as it is."""
    WARNING = "warning"
    """It can be used; the result will probably be worse."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found in a table."""

    severity: Severity
    code: str
    """Short and stable, for programs: 'blank-text'."""
    message: str
    """A plain sentence, with counts."""
    rows: tuple[int, ...] = ()
    """The first row numbers concerned, as a spreadsheet shows them; at most ten."""
    column: str | None = None
    fix: str | None = None
    """What to do about it."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """For programs: {'merge': {'Spam ': 'spam'}}."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON and TOML: plain strings, lists and dictionaries."""
        return asdict(self) | {"severity": self.severity.value, "rows": list(self.rows)}


def finding(
    severity: Severity,
    code: str,
    message: str,
    *,
    rows: Iterable[int] = (),
    column: str | None = None,
    fix: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Finding:
    """A finding about any number of rows, of which it keeps the first."""
    return Finding(
        severity=severity,
        code=code,
        message=message,
        rows=tuple(heapq.nsmallest(MAX_ROWS_SHOWN, rows)),
        column=column,
        fix=fix,
        details=details or {},
    )


problem = partial(finding, Severity.PROBLEM)
warning = partial(finding, Severity.WARNING)
note = partial(finding, Severity.NOTE)


def count(number: int, noun: str) -> str:
    """'1 row', '2,000 rows'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Sequence[str], at_most: int = 5) -> str:
    """'a', 'b' and 3 more: names for a sentence."""
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:at_most]]
    if len(names) > at_most:
        return f"{', '.join(shown)} and {len(names) - at_most:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def listed_rows(rows: Sequence[int], at_most: int = MAX_ROWS_SHOWN) -> str:
    """'row 3', 'rows 3, 8 and 12 more': row numbers for a sentence."""
    shown = ", ".join(map(str, rows[:at_most]))
    more = f" and {len(rows) - at_most:,} more" if len(rows) > at_most else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"
