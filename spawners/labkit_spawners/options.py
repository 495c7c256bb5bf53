"""What a person may ask of a session: a closed schema, wherever it comes from.

The form, the REST API's body, a link's query, what the hub had stored and what
`labkit-submit` reads all pass here. What is left out is as the profile has it. Whether this
person may have it (`permission`) and whether it can fit (`fit`) is asked after that.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from labkit.errors import UsageError
from labkit.parsing import MemoryBytes, Seconds, Written, parse
from labkit.settings import Profile

SOURCE = "the options of the session"

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"),
    Written("a name that the page offers"),
]
"""Of something of the cluster's; which are known is the cluster's word."""


class SessionOptions(BaseModel):
    """All that can be asked. Nothing of it is text that reaches a command but names we know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    profile: str | None = Field(default=None, max_length=100)
    """The name of a profile; the site's first where none is named."""
    device: Name | None = None
    """The type of GPU, 'shard' for shares of one."""
    gpus: int | None = Field(default=None, strict=True, ge=0, le=64)
    """GPUs or shares, on each node."""
    nodes: int | None = Field(default=None, strict=True, ge=1, le=10_000)
    cores: int | None = Field(default=None, strict=True, ge=1, le=4096)
    """Cores on each node."""
    memory: MemoryBytes | None = Field(default=None, ge=2**28, le=2**50)
    """Memory on each node."""
    time: Seconds | None = Field(default=None, ge=60, le=30 * 86400)
    """The longest that the session may last."""
    partition: Name | None = None
    account: Name | None = None
    reservation: Name | None = None


ADVANCED = tuple(name for name in SessionOptions.model_fields if name != "profile")
"""What may be asked beside a profile: each is a key of `Profile` too."""
NAMES = ("device", "partition", "account", "reservation")
"""Those of them that are names of the cluster's."""
_COUNTS = ("gpus", "nodes", "cores")


def read_options(given: object, profiles: Mapping[str, Profile]) -> SessionOptions:
    """What is asked, its profile named. Raises UsageError with what is allowed."""
    known = ", ".join(map(repr, profiles))
    if not isinstance(given, Mapping):
        raise UsageError(
            f"Wrong in {SOURCE}: they must be an object, as in {{'profile': {known}}}."
        )
    options = parse(SessionOptions, dict(given), source=SOURCE, shown=_shown)
    name = next(iter(profiles)) if options.profile is None else options.profile
    if name not in profiles:
        raise UsageError(f"Wrong in {SOURCE}:\n  profile: found {name!r}. Allowed: {known}.")
    return options.model_copy(update={"profile": name})


def parse_options(given: object, profiles: Mapping[str, Profile]) -> tuple[str, Profile]:
    """The profile's name, and the profile with what is asked otherwise.

    Raises UsageError with what is allowed.
    """
    options = read_options(given, profiles)
    assert options.profile is not None
    profile = profiles[options.profile]
    asked = {key: value for key in ADVANCED if (value := getattr(options, key)) is not None}
    if not asked:
        return options.profile, profile
    if options.device and not (options.gpus or (options.gpus is None and profile.gpus)):
        raise UsageError(
            f"Wrong in {SOURCE}:\n  gpus: {options.device!r} is chosen, but not how many. Say it."
        )
    return options.profile, profile.model_copy(update=asked)


def as_given(options: SessionOptions) -> dict[str, Any]:
    """Only what was asked, as it may be given again: to be kept, or sent."""
    return options.model_dump(exclude_none=True)


def options_of_form(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """What a page's form holds, each field once; empty ones and the hub's own are left out.

    Raises UsageError where a field comes twice.
    """
    fields = {key: values for key, values in form.items() if key != "_xsrf"}
    for key, values in fields.items():
        if len(values) != 1:
            times = f"given {len(values)} times. Give it once."
            raise UsageError(f"Wrong in {SOURCE}:\n  {_shown(key)}: {times}")
    return {
        key: _typed(key, values[0])
        for key, values in fields.items()
        if not _is_empty(key, values[0])
    }


def _is_empty(key: str, value: object) -> bool:
    return key in ADVANCED and isinstance(value, str) and not value.strip()


def _typed(key: str, value: Any) -> Any:
    """Fields of a form are texts; a text that is no number is refused as what it is."""
    text = value.strip() if key in ADVANCED and isinstance(value, str) else value
    is_count = key in _COUNTS and isinstance(text, str) and len(text) <= 9
    return int(text) if is_count and text.isascii() and text.isdecimal() else text


def _shown(key: str) -> str:
    """As it was sent, so far as it can be read."""
    key = key if key.isprintable() else repr(key)
    return key if len(key) <= 80 else key[:77] + "…"
