"""The same run as a cell of Python and as a command, short enough to read."""

import shlex
from typing import Any

from pydantic.fields import FieldInfo

from labkit.recipes import RECIPES
from labkit.resources import Resources
from labkit.runs.spec import RunSpec, flat_keys, spec_flags, spec_keys
from labkit_widgets.fields import as_written
from labkit_widgets.home import written


def cell(spec: RunSpec) -> str:
    """A cell that starts the run; with `.form()` in place of `.run()` it is a form again."""
    name = type(RECIPES.load(spec.recipe)).__name__
    keys = {key: value for key, value in readable_keys(spec).items() if key != "recipe"}
    lines = [f"    {key}={value!r}," for key, value in keys.items()]
    return "\n".join([f"from labkit import {name}", "", f"run = {name}(", *lines, ").run()"])


def command(spec: RunSpec) -> str:
    """The command for a terminal, a flag on each line."""
    readable = spec.model_copy(
        update={key: written(path) for key in ("data", "test") if (path := getattr(spec, key))}
    )
    flags = list(spec_flags(readable))
    parts = ["labkit run start"]
    for flag in flags:
        if flag.startswith("--"):
            parts.append(shlex.quote(flag))
        else:
            parts[-1] += f" {shlex.quote(flag)}"
    return " \\\n    ".join(parts)


def readable_keys(spec: RunSpec) -> dict[str, Any]:
    """The flat keys that differ from the defaults, as a person would write them."""
    keys = spec_keys(spec)
    for key in ("data", "test"):
        if key in keys:
            keys[key] = written(getattr(spec, key))
    paths = flat_keys(spec.recipe)
    return {key: as_written(_field(spec, paths[key]), value) for key, value in keys.items()}


def _field(spec: RunSpec, path: tuple[str, ...]) -> FieldInfo | None:
    if path[0] == "resources":
        return Resources.model_fields[path[1]]
    return None if path[0] != "settings" else type(spec.settings).model_fields[path[1]]
