"""From what a person wrote to typed values, with errors that name key, found and allowed.

The one place where pydantic's errors become sentences: settings, specs, flags and forms
all come through `parse`.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from labkit.errors import DamagedFile, UsageError, did_you_mean, known_names
from labkit.paths import read_json
from labkit.units import format_duration, format_memory, parse_duration, parse_memory

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True)
class Written:
    """How a person writes values of a type, for errors and help."""

    words: str
    show: Callable[[int], str] = str
    """An amount, as it is written in a sentence."""


MemoryBytes = Annotated[
    int,
    BeforeValidator(parse_memory),
    Written("an amount of memory such as '8 GB'", format_memory),
]
"""Bytes; written as '8 GB' or as a number of bytes."""
Seconds = Annotated[
    int,
    BeforeValidator(parse_duration),
    Written("a length of time such as '45m' or '8h'", format_duration),
]
"""Seconds; written as '45m', '8h', '1:30:00' or as a number of seconds."""

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a file or folder",
    list: "a list",
    dict: "a table",
}


class WrongValues(UsageError):
    """Keys with values that are not allowed. `sentences` says of each what is, by key path."""

    def __init__(self, source: str, sentences: Mapping[str, str], shown: Callable[[str], str]):
        lines = [f"  {shown(key) or 'the whole'}: {said}" for key, said in sentences.items()]
        super().__init__("\n".join([f"Wrong in {source}:", *lines]))
        self.sentences = sentences


def read_toml(path: Path) -> dict[str, Any]:
    """The file's contents. Raises UsageError when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text. Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error


def parse(
    model: type[M],
    given: Mapping[str, Any],
    *,
    source: str,
    shown: Callable[[str], str] = str,
) -> M:
    """`given` as a `model`. Raises WrongValues with a line for each wrong key.

    `source` says where it was written ('labkit.toml', 'the command line'); `shown` turns a
    key path into what the person wrote: 'settings.epochs' into '--epochs'.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        sentences = dict(_sentence(model, detail) for detail in error.errors())
        raise WrongValues(source, sentences, shown) from error


def allowed(field: FieldInfo) -> str:
    """What a field accepts, in words: 'a whole number from 1 to 100'."""
    metadata = [*field.metadata, *_metadata_in(field.annotation)]
    for written in metadata:
        if isinstance(written, Written):
            return " ".join([written.words, *bounds(metadata, written.show)])
    if choices := _choices(field.annotation):
        return "one of " + known_names(map(str, choices))
    return " ".join([_word(field.annotation), *bounds(metadata)])


def bounds(metadata: Sequence[Any], show: Callable[[Any], str] = str) -> list[str]:
    low = [f"from {show(m.ge)}" for m in metadata if isinstance(m, Ge)]
    low += [f"above {show(m.gt)}" for m in metadata if isinstance(m, Gt)]
    high = [f"to {show(m.le)}" for m in metadata if isinstance(m, Le)]
    high += [f"below {show(m.lt)}" for m in metadata if isinstance(m, Lt)]
    length = [f"with at least {m.min_length} in it" for m in metadata if isinstance(m, MinLen)]
    length += [f"of at most {m.max_length} characters" for m in metadata if isinstance(m, MaxLen)]
    return [*low, *high, *length]


def field_at(model: type[BaseModel], path: Sequence[int | str]) -> FieldInfo | None:
    """What a key path leads to: a field, or an item of a list or table; None for neither."""
    here: FieldInfo | None = FieldInfo.from_annotation(model)
    for key in path:
        here = _below(here.annotation, str(key)) if here else None
    return here


def _below(annotation: Any, key: str) -> FieldInfo | None:
    if get_origin(annotation) in (list, dict):
        return FieldInfo.from_annotation(get_args(annotation)[-1])
    model = _model_in(annotation)
    return model.model_fields.get(key) if model else None


def _sentence(model: type[BaseModel], detail: ErrorDetails) -> tuple[str, str]:
    """The key path, and what is wrong there."""
    path = [part for part in detail["loc"] if not str(part).startswith("function-")]
    key = ".".join(map(str, path))
    if detail["type"] == "extra_forbidden":
        known = _keys_beside(model, path)
        nearest = did_you_mean(str(path[-1]), known)
        return key, f"unknown key.{nearest} Known: {', '.join(known)}."
    field = field_at(model, path)
    if detail["type"] == "missing":
        return key, f"missing. {field.description or '' if field else ''}".rstrip()
    if detail["type"] == "value_error" or field is None:
        return key, str(detail["msg"]).removeprefix("Value error, ")
    return key, f"found {_shown(detail['input'])}; allowed is {allowed(field)}."


def _shown(found: object) -> str:
    try:
        text = repr(found)
    except RecursionError:  # lists in lists, by the thousand
        text = f"a {type(found).__name__} that is too deep"
    except ValueError:  # more digits than Python prints
        text = f"a {type(found).__name__} that is too long"
    return text if len(text) <= 80 else text[:77] + "…"


def _keys_beside(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    field = field_at(model, path[:-1])
    beside = (_model_in(field.annotation) if field else None) or model
    return [name for name, field in beside.model_fields.items() if not field.exclude]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if found := _model_in(inner):
            return found
    return None


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return tuple(choice for part in get_args(annotation) for choice in _choices(part))
    return ()


def _word(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    first = kinds[0] if kinds else annotation
    if get_origin(first) is Annotated:
        first = get_args(first)[0]
    if _model_in(annotation):
        return "a table of keys"
    return _WORDS.get(get_origin(annotation), "") or _WORDS.get(first, "text")


def _metadata_in(annotation: Any) -> Iterator[Any]:
    """The metadata of Annotated types inside a union."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _metadata_in(part)


def read_as(kind: type[T], file: Path) -> T | None:
    """The JSON file's object as that dataclass; None where there is no such file."""
    found = read_json(file)
    return None if found is None else as_kind(kind, found, file)


def as_kind(kind: type[T], found: dict[str, Any], file: Path) -> T:
    """What was found in the file, checked. Raises DamagedFile naming file and key."""
    try:
        return _reader(kind).validate_python(found)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise DamagedFile(f"{file} is damaged: {key} is wrong or missing.") from error


@cache
def _reader(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
