"""RunSpec: what a person asks for, whichever door they come through.

Form, code cell, flags and `spec.toml` are faces of this one model. On flags and in Python
its keys are flat; in TOML the recipe's own lie under `[settings]`, the machine's under
`[resources]`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializeAsAny, create_model

from labkit.errors import UsageError, did_you_mean, known_names
from labkit.naming import NAME_IN_WORDS, check_name
from labkit.parsing import Written, parse, read_toml
from labkit.paths import from_home, here
from labkit.recipes import RECIPES
from labkit.resources import Resources

SPEC_VERSION = 1


def _check_path(path: Path) -> Path:
    if "\0" in str(path):
        raise UsageError("the path holds a NUL character, which no path can.")
    return path


TablePath = Annotated[Path, AfterValidator(_check_path)]


class RunSpec(BaseModel):
    """One run, as asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    spec_version: Literal[1] = SPEC_VERSION
    """The version of this format."""
    recipe: str
    """The way to tune: 'text-classification', 'instruct'."""
    base: str
    """The base model, by its name in the catalogue."""
    data: TablePath
    """The table to learn from: CSV, TSV, JSONL, Parquet or Excel."""
    test: TablePath | None = None
    """A table to measure on, never learnt from; without it a part of the data is held out."""
    name: Annotated[str, AfterValidator(check_name), Written(NAME_IN_WORDS)] | None = None
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

    def written(path: str) -> str:
        key = path.rpartition(".")[2]
        return path if beneath is not None and key not in given else shown(key)

    recipe = _recipe_of({**merged, **given}, source, written)
    keys = flat_keys(recipe)
    _check_version(merged, source)
    _check_places(merged, keys, source)
    for key, value in given.items():
        if key not in keys:
            raise UsageError(
                f"Wrong in {source}:\n  {shown(key)}: {recipe} has no such key."
                f"{did_you_mean(key, keys)} Known: {', '.join(map(shown, keys))}."
            )
        _put(merged, keys[key], value)
    model = spec_model(recipe)
    return parse(model, _absolute(merged, here()), source=source, shown=written)


def read_spec_file(path: Path) -> dict[str, Any]:
    """A spec file's contents, its paths relative to the file. Not yet checked."""
    return _absolute(read_toml(path), path.resolve().parent)


def read_spec(path: Path) -> RunSpec:
    """The spec that a file holds. Raises UsageError naming the key, what was found, allowed."""
    return spec_from_flat({}, source=str(path), beneath=read_spec_file(path))


def spec_toml(spec: RunSpec) -> str:
    """The spec as `spec.toml`; `read_spec` gives the same spec again."""
    return tomlkit.dumps(spec.model_dump(mode="json", exclude_none=True))


def spec_keys(spec: RunSpec) -> dict[str, Any]:
    """The spec's flat face: what differs from the defaults. `spec_from_flat` undoes it."""
    dumped = spec.model_dump(mode="json", exclude_defaults=True)
    dumped["recipe"] = spec.recipe
    keys: dict[str, Any] = {}
    for key, path in flat_keys(spec.recipe).items():
        value: Any = dumped
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            keys[key] = value
    return keys


def spec_flags(spec: RunSpec) -> list[str]:
    """The spec as arguments of `labkit run start`: what differs from the defaults."""
    return [argument for key, value in spec_keys(spec).items() for argument in _flag(key, value)]


def _flag(key: str, value: Any) -> list[str]:
    flag = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if str(value).startswith("-"):
        return [f"--{flag}={value}"]  # else it would be taken for a flag
    return [f"--{flag}", str(value)]


def _recipe_of(given: Mapping[str, Any], source: str, shown: Callable[[str], str]) -> str:
    recipe = given.get("recipe")
    if not isinstance(recipe, str):
        found = "missing" if recipe is None else f"found {recipe!r}, which is no recipe's name"
        known = known_names(RECIPES.names())
        raise UsageError(f"Wrong in {source}:\n  {shown('recipe')}: {found}. Known: {known}.")
    return recipe


def _check_version(given: Mapping[str, Any], source: str) -> None:
    version = given.get("spec_version")
    if isinstance(version, int) and version > SPEC_VERSION:
        raise UsageError(
            f"{source} is of a newer labkit: its spec_version is {version}, and this labkit "
            f"reads {SPEC_VERSION}. Use a newer labkit, or write the spec anew."
        )


def _check_places(
    given: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]], source: str
) -> None:
    """Raises UsageError for keys that stand at the top of a file and belong into a table."""
    misplaced = [f"  {key}: belongs under [{keys[key][0]}]." for key in given
                 if len(keys.get(key, ())) > 1]  # fmt: skip
    if misplaced:
        raise UsageError("\n".join([f"Wrong in {source}:", *misplaced]))


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(target.get(part, {}), Mapping):
            return  # `parse` says that it is no table
        target[part] = dict(target.get(part, {}))
        target = target[part]
    target[path[-1]] = value


def _absolute(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """With the paths in it made absolute; what names no file in that folder stays as it is."""
    paths: dict[str, Any] = {
        key: str(folder / from_home(given[key]))
        for key in ("data", "test")
        if isinstance(given.get(key), str | Path)
    }
    settings = given.get("settings")
    if isinstance(settings, Mapping):
        named = {
            key: settings[key]
            for key, ours in _files(given.get("recipe")).items()
            if isinstance(settings.get(key), str) and settings[key] not in ours
        }
        files = {key: folder / from_home(name) for key, name in named.items()}
        found = {key: str(file) for key, file in files.items() if file.is_file()}
        paths["settings"] = {**settings, **found}
    return {**given, **paths}


def _files(recipe: Any) -> dict[str, Any]:
    """The settings of that recipe that may name a file, each with the names that are none.

    None where there is no such recipe.
    """
    if recipe not in RECIPES.names():
        return {}
    fields = RECIPES.load(recipe).Config.model_fields.items()
    extras = {key: field.json_schema_extra for key, field in fields}
    return {
        key: extra.get("names", ())
        for key, extra in extras.items()
        if isinstance(extra, dict) and extra.get("file")
    }
