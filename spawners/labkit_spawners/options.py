"""What a person may ask of a session: a closed schema, wherever it comes from.

The form, the REST API's body, a link's query and what the hub had stored all pass here, in
`GpuSpawner.apply_user_options` and once more in its `start`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from labkit.errors import UsageError
from labkit.parsing import parse
from labkit.settings import Profile

SOURCE = "the options of the session"


class SessionOptions(BaseModel):
    """All that can be asked. Nothing of it is text that reaches a command."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    profile: str | None = Field(default=None, max_length=100)
    """The name of a profile; the site's first where none is named."""


def parse_options(given: object, profiles: Mapping[str, Profile]) -> tuple[str, Profile]:
    """The chosen profile with its name. Raises UsageError with what is allowed."""
    known = ", ".join(map(repr, profiles))
    if not isinstance(given, Mapping):
        raise UsageError(
            f"Wrong in {SOURCE}: they must be an object, as in {{'profile': {known}}}."
        )
    options = parse(SessionOptions, dict(given), source=SOURCE, shown=_shown)
    name = next(iter(profiles)) if options.profile is None else options.profile
    if name not in profiles:
        raise UsageError(f"Wrong in {SOURCE}:\n  profile: found {name!r}. Allowed: {known}.")
    return name, profiles[name]


def options_of_form(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """What a page's form holds, each field once; the hub's own field is left out.

    Raises UsageError where a field comes twice.
    """
    fields = {key: values for key, values in form.items() if key != "_xsrf"}
    for key, values in fields.items():
        if len(values) != 1:
            times = f"given {len(values)} times. Give it once."
            raise UsageError(f"Wrong in {SOURCE}:\n  {_shown(key)}: {times}")
    return {key: values[0] for key, values in fields.items()}


def _shown(key: str) -> str:
    """As it was sent, so far as it can be read."""
    key = key if key.isprintable() else repr(key)
    return key if len(key) <= 80 else key[:77] + "…"
