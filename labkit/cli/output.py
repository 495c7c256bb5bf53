"""How commands print: tables for people, JSON for programs. Progress goes to stderr.

Whatever is printed goes through here, where people's text loses its power over terminals.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from labkit.cli.safe_text import on_one_line, printable, printable_json

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]

_UNLIMITED = 10_000


def print_json(value: Any) -> None:
    print(printable_json(json.dumps(value, ensure_ascii=False, indent=1, default=str)))


def say(
    text: str, *, style: str = "", mark: str = "", to_stderr: bool = False, end: str = "\n"
) -> None:
    """Print text, which may have several lines. The style is the mark's where there is one."""
    made = Text(f"{mark} ", style) if mark else Text()
    made.append(printable(text), "" if mark else style)
    console(to_stderr=to_stderr).print(made, end=end)


def print_finding(what: str, found: str, fix: str, *, needed: bool) -> None:
    """One thing that was looked at; `fix` says what to do about it, and is empty where all is well.

    `needed`: whether something fails without it.
    """
    mark, style = ("✓", "green") if not fix else ("✗", "red")
    if fix and not needed:
        mark, style = ("!", "yellow")
    say(f"{what}: {found}", mark=mark, style=style)
    if fix:
        say(indent(fix, "    "))


def console(*, to_stderr: bool = False) -> Console:
    """As wide as the terminal; where none reads, so wide that nothing is cut."""
    stream = sys.stderr if to_stderr else sys.stdout
    sized = stream.isatty() or "COLUMNS" in os.environ
    width = None if sized else _UNLIMITED
    return Console(stderr=to_stderr, highlight=False, soft_wrap=True, width=width)


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[Any]], *, rest: str | None = None
) -> None:
    """A plain table, a line for each row.

    The column `rest` takes the room that the others leave, and is cut where that is too little.
    """
    screen = console()
    fills = rest is not None and screen.width < _UNLIMITED
    made = Table(box=None, pad_edge=False, header_style="bold", expand=fills)
    for heading in headings:
        takes_rest = fills and heading == rest
        made.add_column(
            heading,
            overflow="ellipsis" if takes_rest else "fold",
            no_wrap=True,
            ratio=1 if takes_rest else None,
        )
    for row in rows:
        made.add_row(*(Text("" if value is None else on_one_line(value)) for value in row))
    screen.print(made)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, a line each; a long value is left whole, so that it can be copied."""
    width = max(map(len, fields))
    for name, value in fields.items():
        line = Text(f"{name:<{width}}", "bold").append("  ").append(printable(value), "not bold")
        console().print(line)
