"""Form fields out of pydantic models, so that a new setting of a recipe is in the form at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from labkit.parsing import Written, allowed


def columns_of(config: type[BaseModel]) -> list[str]:
    """The settings that name a column of the person's table."""
    return [key for key, field in config.model_fields.items() if _extra(field).get("column")]


def instead_of(info: FieldInfo) -> list[str]:
    """The settings of columns that are not read where this one is named."""
    return list(_extra(info).get("instead_of", ()))


def choices_of(config: type[BaseModel], key: str) -> dict[str, str]:
    """What each choice of that setting means, in plain words; empty where it has none."""
    info = config.model_fields.get(key)
    return {one["value"]: one["title"] for one in _choices(info)} if info else {}


def form_fields(
    model: type[BaseModel], given: Mapping[str, Any], wrong: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A field for each setting that is no column: what it is, what was typed, what is wrong."""
    for key, info in model.model_fields.items():
        if _extra(info).get("column"):
            continue
        choices, extra = _choices(info), _extra(info)
        names = [{"value": name, "title": name} for name in extra.get("names", ())]
        yield {
            "key": key,
            "title": title(key, info),
            "help": info.description or "",
            "kind": _kind(info, choices),
            "choices": choices or names,
            "suffix": extra.get("suffix", ""),
            "value": _shown(given.get(key, info.default if choices else None)),
            "on": bool(given.get(key, info.default)) if info.annotation is bool else None,
            "placeholder": _default(info),
            "allowed": allowed(info),
            "wrong": wrong.get(key, ""),
            "in_sight": bool(extra.get("in_sight")),
        }


def _kind(info: FieldInfo, choices: Sequence[Any]) -> str:
    """Which field of a page it is; a 'file' may be typed or chosen among names."""
    if info.annotation is bool:
        return "switch"
    if choices:
        return "choice"
    return "file" if _extra(info).get("file") else "long" if _extra(info).get("long") else "text"


def title(key: str, info: FieldInfo) -> str:
    """'batch_size' as 'Batch size', unless the field has a title of its own."""
    plain = info.title or key.replace("_", " ").capitalize()
    return plain.replace("Gpus", "GPUs").replace("Cpus", "CPUs").replace("Lora", "LoRA")


def as_titles(sentence: str, *models: type[BaseModel]) -> str:
    """The sentence with the keys in it as the form calls them: 'merge_labels' as “Merge labels”."""
    for model in models:
        for key, info in model.model_fields.items():
            if "_" in key:
                sentence = sentence.replace(key, f"“{title(key, info)}”")
    return sentence


def as_written(info: FieldInfo | None, value: Any) -> Any:
    """A value as a person would write it: 4294967296 bytes as '4 GB', 28800 seconds as '8h'."""
    words = next((m.words for m in _metadata(info) if isinstance(m, Written)), "")
    if not isinstance(value, int):
        return value
    if "memory" in words:
        return next((f"{value // size} {unit}" for unit, size in (("GB", 2**30), ("MB", 2**20))
                     if value % size == 0), value)  # fmt: skip
    if "time" in words:
        return next((f"{value // size}{unit}" for unit, size in (("h", 3600), ("m", 60))
                     if value % size == 0), value)  # fmt: skip
    return value


def _metadata(info: FieldInfo | None) -> list[Any]:
    if info is None:
        return []
    inside = [m for part in get_args(info.annotation) for m in get_args(part)[1:]]
    return [*info.metadata, *inside]


def _choices(info: FieldInfo) -> list[dict[str, str]]:
    """Of a Literal, each choice with its meaning in plain words."""
    if info.annotation is bool:
        return []
    words = _extra(info).get("choices") or {}
    kinds = [a for a in get_args(info.annotation) if isinstance(a, str)]
    return [{"value": choice, "title": words.get(choice, choice)} for choice in kinds]


def _default(info: FieldInfo) -> str:
    if info.default is None:
        return str(_extra(info).get("left_out", "chosen for you"))
    words = as_written(info, info.default)
    return str(words)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
