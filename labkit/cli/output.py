"""How commands print: tables for people, JSON for programs. Progress goes to stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1, default=str)
    print()


def console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table. Text of a person's is never read as markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, a line each."""
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_header=False)
    for name, value in fields.items():
        made.add_row(Text(name, style="bold"), _cell(value))
    console().print(made)


def _cell(value: Any) -> Any:
    from rich.text import Text

    return Text("" if value is None else str(value))
