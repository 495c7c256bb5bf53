"""The flags of `labkit run start`, made from the RunSpec and the recipes' settings.

Every flag is optional here and its value is text: a spec file may give it, and RunSpec
checks it, with the same sentences for all doors.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from labkit.parsing import allowed
from labkit.recipes import RECIPES
from labkit.resources import Resources
from labkit.runs.spec import RunSpec

_PLAIN = ("text", "a file or folder", "true or false")
"""Not worth saying in help."""
_METAVARS = {
    "a whole number": "NUMBER",
    "a number": "NUMBER",
    "an amount of memory": "SIZE",
    "a length of time": "TIME",
    "one of": "CHOICE",
    "a file or folder": "PATH",
}
"""What stands for a value in help, by how the words for what it accepts begin."""
_HIDDEN = ("spec_version", "resources", "settings")
RUN_ON = Group("What to run on", sort_key=2)


def flag(key: str) -> str:
    """A spec's key as a flag: 'batch_size' as '--batch-size'."""
    return "--" + key.replace("_", "-")


def as_flags(sentence: str) -> str:
    """The sentence with the keys in it as flags: 'merge_labels' as '--merge-labels'."""
    keys = "|".join(key for key in Flags.model_fields if "_" in key)
    return re.sub(rf"(?<![\w./'\"-])({keys})(?![\w.])", lambda key: flag(key[0]), sentence)


def _flags() -> type[BaseModel]:
    """All flags as one model: the run's, the machine's, and those of each recipe."""
    fields = {
        **flags_of(RunSpec, Group("The run", sort_key=1)),
        **flags_of(Resources, RUN_ON),
    }
    configs = {name: recipe.Config for name, recipe in RECIPES.all().items()}
    shared = _shared(configs)
    fields |= shared
    for place, (name, config) in enumerate(configs.items()):
        made = flags_of(config, Group(f"Settings of {name}", sort_key=4 + place))
        fields |= {key: field for key, field in made.items() if key not in shared}
    return create_model("Flags", __config__=ConfigDict(extra="forbid"), **fields)


def _shared(configs: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The settings that several recipes have, with what differs between them said of each."""
    group = Group("Settings of several recipes", sort_key=3)
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for config in configs.values() for key in config.model_fields):
        fields = {name: c.model_fields[key] for name, c in configs.items() if key in c.model_fields}
        if len(fields) > 1:
            said = {name: _about(key, field, field.description) for name, field in fields.items()}
            alike = len(set(said.values())) == 1
            words = [next(iter(said.values()))] if alike else [f"{n}: {w}" for n, w in said.items()]
            first = next(iter(fields.values()))
            found[key] = (_flag(first, group, " ".join(words)), None)
    return found


def flags_of(
    model: type[BaseModel], group: Group, about: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The model's keys as the fields of a model of flags; `about` says other words of some."""
    return {
        key: (
            _flag(field, group, _about(key, field, (about or {}).get(key, field.description))),
            None,
        )
        for key, field in model.model_fields.items()
        if key not in _HIDDEN
    }


def _has_default(field: FieldInfo) -> bool:
    return not field.is_required() and field.default not in (None, False, "")


def _written(key: str, default: Any) -> str:
    """A default as a person would write it."""
    return f"{default // 3600}h" if key == "time" else str(default)


def _metavar(field: FieldInfo) -> str:
    words = allowed(field)
    return next((name for start, name in _METAVARS.items() if words.startswith(start)), "TEXT")


def _about(key: str, field: FieldInfo, what: str | None) -> str:
    """What a flag is for, what it accepts, and what it is where it is left out."""
    accepts = "" if allowed(field) in _PLAIN else f" Allowed: {allowed(field)}."
    default = f" Default: {_written(key, field.default)}." if _has_default(field) else ""
    return f"{what}{accepts}{default}"


def _flag(field: FieldInfo, group: Group, about: str) -> Any:
    kind: Any = bool if field.annotation is bool else str
    parameter = Parameter(group=group, help=about, show_default=False, metavar=_metavar(field))
    return Annotated[kind | None, parameter]


Flags = _flags()
