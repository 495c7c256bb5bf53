"""JSON Lines: one object on each line, its keys are the columns.

Called by `load_table`. The row number is the line's number. A line that holds no object is set
aside; a key that is missing on a line is a blank cell.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from labkit.data.cells import plain_text
from labkit.data.rows import Gathered, Row, SetAside, gather, tidy
from labkit.data.text_encoding import find_encoding
from labkit.errors import DataError


def read_json_lines(path: Path) -> Gathered:
    """The objects of a JSON Lines file. Raises DataError where no line holds one."""
    encoding = find_encoding(path)
    names: list[str] = []
    aside = SetAside()
    with path.open(encoding=encoding.name, errors=encoding.errors) as file:
        if file.read(100).lstrip().startswith("["):
            raise DataError(
                f"{path.name} is one JSON list. labkit reads JSON Lines: write each object on "
                "a line of its own, without commas between lines."
            )
        file.seek(0)
        frame, numbers = gather(path, names, read_objects(file, names, aside), aside, pad=True)
    if frame.is_empty() and not len(aside):
        raise DataError(f"{path.name} holds no rows: it is empty or blank.")
    frame, numbers = tidy(path, frame, numbers, aside)
    findings = encoding.findings() + aside.findings(frame.height)
    return Gathered(frame=frame, row_numbers=numbers, findings=findings, encoding=encoding.name)


def read_objects(lines: Iterable[str], names: list[str], aside: SetAside) -> Iterator[Row]:
    """Each object as cells in the order of `names`, which grows with every new key."""
    known: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        values = _parse_object(line)
        if values is None:
            aside.add("broken-json", number)
            continue
        if not values.keys() <= known:
            names.extend(name for name in values if name not in known)
            known.update(values)
        if names:
            cells = [values.get(name) for name in names]
            yield number, [cell if isinstance(cell, str) else plain_text(cell) for cell in cells]


def _parse_object(line: str) -> dict[str, object] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and _are_names(values) else None


def _are_names(keys: Iterable[str]) -> bool:
    """Not where JSON spells half a character, which no column name can hold."""
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        return False
    return True
