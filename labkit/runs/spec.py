"""RunSpec: what a person asks for, whichever door they come through.

Form, code cell, flags and `spec.toml` are faces of this one model. On flags and in Python
its keys are flat; in TOML the recipe's own lie under `[settings]`, the machine's under
`[resources]`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, create_model

from labkit.errors import UsageError, did_you_mean
from labkit.parsing import parse, read_toml
from labkit.recipes import RECIPES
from labkit.resources import Resources

SPEC_VERSION = 1
NAME_PATTERN = r"[^\x00-\x1f\x7f/]{1,80}"
"""A run's name: one line that can stand in a path."""


class RunSpec(BaseModel):
    """One run, as asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    spec_version: Literal[1] = SPEC_VERSION
    """The version of this format."""
    recipe: str
    """The way to tune: 'text-classification'."""
    base: str
    """The base model, by its name in the catalogue."""
    data: Path
    """The table to learn from: CSV, TSV, JSONL, Parquet or Excel."""
    test: Path | None = None
    """A table to measure on, never learnt from; without it a part of the data is held out."""
    name: str | None = Field(default=None, pattern=f"^{NAME_PATTERN}$")
    """What the run is called; made from the data's name where it is left out."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The start of its random numbers: the same seed, the same result."""
    resources: Resources = Resources()
    """What to run on."""
    settings: SerializeAsAny[BaseModel]
    """The recipe's own settings."""


@cache
def spec_model(recipe: str) -> type[RunSpec]:
    """RunSpec with the `Config` of that recipe. Raises UsageError for an unknown recipe."""
    config = RECIPES.load(recipe).Config
    return create_model(
        f"RunSpec_{recipe.replace('-', '_')}",
        __base__=RunSpec,
        recipe=cast(Any, (Literal[recipe], recipe)),
        settings=(config, Field(default_factory=config)),
    )


def flat_keys(recipe: str) -> dict[str, tuple[str, ...]]:
    """Each key of the flat face, with its path in the spec."""
    keys = {key: (key,) for key in RunSpec.model_fields if key not in ("resources", "settings")}
    keys |= {key: ("resources", key) for key in Resources.model_fields}
    return keys | {key: ("settings", key) for key in RECIPES.load(recipe).Config.model_fields}


def spec_from_flat(
    given: Mapping[str, Any],
    *,
    source: str,
    beneath: Mapping[str, Any] | None = None,
    shown: Callable[[str], str] = str,
) -> RunSpec:
    """The spec from flat keys, laid over `beneath` (a spec file's contents), checked.

    `shown` turns a flat key into what the person wrote, for errors: 'epochs' into '--epochs'.
    """
    merged: dict[str, Any] = dict(beneath or {})
    recipe = _recipe_of({**merged, **given}, source, shown)
    keys = flat_keys(recipe)
    for key, value in given.items():
        if key not in keys:
            raise UsageError(
                f"Wrong in {source}:\n  {shown(key)}: {recipe} has no such key."
                f"{did_you_mean(key, keys)} Known: {', '.join(map(shown, keys))}."
            )
        _put(merged, keys[key], value)
    written = (lambda path: path) if beneath else (lambda path: shown(path.rpartition(".")[2]))
    model = spec_model(recipe)
    return parse(model, _absolute(merged, Path.cwd()), source=source, shown=written)


def read_spec_file(path: Path) -> dict[str, Any]:
    """A spec file's contents, its paths relative to the file. Not yet checked."""
    return _absolute(read_toml(path), path.resolve().parent)


def read_spec(path: Path) -> RunSpec:
    """The spec that a file holds. Raises UsageError naming the key, what was found, allowed."""
    return spec_from_flat({}, source=str(path), beneath=read_spec_file(path))


def spec_toml(spec: RunSpec) -> str:
    """The spec as `spec.toml`; `read_spec` gives the same spec again."""
    return tomlkit.dumps(spec.model_dump(mode="json", exclude_none=True))


def spec_flags(spec: RunSpec) -> list[str]:
    """The spec as arguments of `labkit run start`: what differs from the defaults."""
    dumped = spec.model_dump(mode="json", exclude_defaults=True)
    dumped["recipe"] = spec.recipe
    arguments: list[str] = []
    for key, path in flat_keys(spec.recipe).items():
        value: Any = dumped
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            arguments += _flag(key, value)
    return arguments


def _flag(key: str, value: Any) -> list[str]:
    flag = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def _recipe_of(given: Mapping[str, Any], source: str, shown: Callable[[str], str]) -> str:
    recipe = given.get("recipe")
    if not isinstance(recipe, str):
        known = ", ".join(RECIPES.names())
        raise UsageError(f"Wrong in {source}:\n  {shown('recipe')}: missing. Known: {known}.")
    return recipe


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        target[part] = dict(target.get(part) or {})
        target = target[part]
    target[path[-1]] = value


def _absolute(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    paths = {
        key: str(folder / Path(given[key]).expanduser())
        for key in ("data", "test")
        if isinstance(given.get(key), str | Path)
    }
    return {**given, **paths}
