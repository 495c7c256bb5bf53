"""One value of JSON, Parquet or Excel as the text that a person would write.

Used by the readers; light, because the process that reads workbooks imports it at each start.
"""

import datetime
import json
from typing import Any


def plain_text(value: Any) -> str:
    """3.0 is '3', true is 'true', nothing and 'not a number' are '', a list is JSON."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # pandas writes a missing value as NaN
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=plain_text)
    return str(value)


def excel_text(value: Any) -> str:
    """As `plain_text`, but midnight has no time, and a number the 15 digits that Excel keeps."""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.15g}"
    return plain_text(value)
