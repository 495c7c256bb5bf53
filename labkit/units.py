"""Amounts as people write them, '8 GB' and '1h30m', to bytes and seconds, and back."""

import re

from labkit.errors import UsageError

_LONGEST = 40
"""No amount that a person means is longer; a text of a megabyte is not even looked at."""
_MEMORY = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIME = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_memory(text: str | int) -> int:
    """Bytes from '8 GB', '512M', '1.5 GiB' or a plain number of bytes (powers of 1024)."""
    written = _written(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", written, re.IGNORECASE)
    if not match:
        raise UsageError(f"{_shown(text)} is no amount of memory. Write it as '8 GB' or '512 MB'.")
    return int(float(match[1]) * _MEMORY[match[2].upper()])


def parse_duration(text: str | int) -> int:
    """Seconds from '90', '45m', '1h30m', '2d' or '1:30:00'."""
    written = _written(text).strip()
    if clock := re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d)", written):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    parts = re.findall(r"(\d+)\s*([smhd]?)", written.lower())
    if not parts or "".join(a + b for a, b in parts) != re.sub(r"\s", "", written.lower()):
        raise UsageError(
            f"{_shown(text)} is no length of time. Write it as '45m', '8h' or '1:30:00'."
        )
    return sum(int(number) * _TIME[unit or "s"] for number, unit in parts)


def _written(given: object) -> str:
    """'' for what is no number and no short text."""
    whole = isinstance(given, int) and not isinstance(given, bool) and abs(given) < 10**_LONGEST
    short = isinstance(given, str) and len(given) <= _LONGEST
    return str(given) if whole or short else ""


def _shown(given: object) -> str:
    short = _written(given)
    return repr(short) if short else f"A {type(given).__name__} such as this"


def format_memory(num_bytes: float) -> str:
    """'1.5 GB': the largest unit that leaves at least 1, powers of 1024."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} {unit}" if unit != "GB" else f"{num_bytes:.1f} GB"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TB"


def format_duration(seconds: float) -> str:
    """'2 h 05 min', '3 min 20 s' or '12 s'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
