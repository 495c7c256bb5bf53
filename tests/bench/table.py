"""A table of figures as Markdown, which terminals and docs/benchmarks.md both show."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def as_markdown(self) -> str:
        widths = [
            max(len(row[column]) for row in [self.columns, *self.rows])
            for column in range(len(self.columns))
        ]

        def line(cells: Sequence[str]) -> str:
            padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        lines = [line(self.columns), rule, *(line(row) for row in self.rows)]
        return "\n".join(
            [f"**{self.title}**", "", *lines, *([""] if self.notes else []), *self.notes]
        )


def judged(goal: str, reached: bool) -> str:
    """A cell for a goal: 'at most 1.10 ×: reached'."""
    return f"{goal}: {'reached' if reached else 'missed'}"


def skipped(title: str, why: str) -> Table:
    return Table(title, ["skipped"], [[why]])
