"""Text on its way to a terminal, so that nothing in it is taken for a command to the terminal.

Texts, labels, names and paths are people's own, or came with somebody's table. Standard
library only: every command imports it.
"""

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line break
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u2028\u2029\ud800-\udfff]"  # line breaks of another kind; bytes that were no text
)


def printable(text: object) -> str:
    """The text with control characters written out: '\\x1b' for an escape."""
    return _UNSAFE.sub(_written_out, str(text))


def printable_json(text: str) -> str:
    """JSON in which such characters are written as JSON has them; it means the same."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def on_one_line(text: object, limit: int | None = None) -> str:
    """As `printable`, every run of white space one space, cut at `limit` characters."""
    line = printable(" ".join(str(text).split()))
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
