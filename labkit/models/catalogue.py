"""The site's catalogue of base models: weights on disk, with licence and languages.

An entry is one small TOML file that names a folder of weights, so weights are never copied.
Weights are read as safetensors only; nothing here imports torch or runs a model's code.
"""

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from labkit.errors import LabkitError, UsageError, did_you_mean
from labkit.models.plain_weights import require_plain_weights
from labkit.parsing import Written, parse, read_toml
from labkit.paths import from_home, list_folder, private_folder, write_private

TASK_BY_FAMILY = {
    **dict.fromkeys(
        ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert", "deberta-v2"],
        "text-classification",
    ),
    **dict.fromkeys(
        ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma3_text", "phi", "phi3"], "instruct"
    ),
}
"""transformers' `model_type` to the recipe that tunes it."""

_POSITIONS_FROM_2 = ("roberta", "xlm-roberta", "mpnet")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class BaseEntry(BaseModel):
    """One base model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Annotated[
        str,
        Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
        Written("1 to 64 small letters, digits, '.', '_' and '-', the first a letter or digit"),
    ]
    """What it is called in a spec: small letters, digits, '.', '_' and '-'."""
    path: Path
    """The folder with config.json, the tokenizer and the weights."""
    title: str = ""
    """What it is called on pages."""
    family: str
    """transformers' model_type: 'bert'."""
    num_parameters: int = Field(ge=1)
    """How many weights it has."""
    hidden_size: int = Field(ge=1)
    """The width of its states."""
    num_layers: int = Field(ge=1)
    """How many blocks it has."""
    max_tokens: int = Field(ge=1)
    """The longest text that it reads, in tokens."""
    licence: str = "unknown"
    """Its licence, as an SPDX identifier where there is one."""
    languages: list[str] = Field(default_factory=list)
    """The languages that it was trained on: 'en', 'zh-Hant'."""
    tasks: list[str] = Field(default_factory=list)
    """The recipes that can tune it."""
    weights_sha256: str = ""
    """The SHA-256 of its weights, file by file in the order of their names."""

    @property
    def weights_bytes(self) -> int:
        return sum(file.stat().st_size for file in weight_files(self.path))


def weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What the folder of the catalogue holds."""

    entries: Mapping[str, BaseEntry]
    """By name."""
    broken: Mapping[str, str]
    """For each entry that cannot be used, by name, a sentence with its file and what is wrong."""


def list_models(catalogue: Path) -> Catalogue:
    """All entries; one that is broken hides none of the others."""
    entries: dict[str, BaseEntry] = {}
    broken: dict[str, str] = {}
    for file in [found for found in list_folder(catalogue) if found.suffix == ".toml"]:
        try:
            entries[file.stem] = _read_entry(file)
        except UsageError as error:
            broken[file.stem] = str(error)
    return Catalogue(entries=entries, broken=broken)


def _read_entry(file: Path) -> BaseEntry:
    entry = parse(BaseEntry, read_toml(file), source=str(file))
    if entry.name != file.stem:
        raise UsageError(
            f"Wrong in {file}:\n  name: found {entry.name!r}; allowed is the file's own name, "
            f"{file.stem!r}."
        )
    return entry


def find_model(catalogue: Path, name: str) -> BaseEntry:
    """The entry of that name, its weights still there. Raises UsageError with what to do."""
    found = list_models(catalogue)
    entries = found.entries
    if name not in entries:
        if name in found.broken:
            raise UsageError(found.broken[name])
        known = ", ".join(entries) or f"none yet in {catalogue}"
        raise UsageError(
            f"No base model is called {name!r}.{did_you_mean(name, entries)} Known: {known}. "
            "Add a folder of weights with: labkit models add PATH"
        )
    entry = entries[name]
    if not weight_files(entry.path):
        raise LabkitError(
            f"The weights of {name!r} are no longer at {entry.path}. Put them back, or add the "
            f"folder where they are now: labkit models add PATH --name {name}"
        )
    return entry


def inspect_folder(folder: Path, *, name: str | None = None) -> BaseEntry:
    """What a folder of weights holds. Raises LabkitError where it cannot be used, and why."""
    folder = from_home(folder).resolve()
    config = _read_config(folder)
    family = str(config.get("model_type", ""))
    if "auto_map" in config:
        raise LabkitError(
            f"{folder} wants to run Python code of its own (auto_map in config.json). "
            "labkit runs no code from a model folder. Choose a model that transformers knows."
        )
    if family not in TASK_BY_FAMILY:
        raise LabkitError(
            f"{folder} is of the architecture {family or 'unknown'!r}, which no recipe can tune. "
            f"Known: {', '.join(TASK_BY_FAMILY)}."
        )
    require_plain_weights(folder, config)
    _check_tokenizer(folder)
    found = {
        "name": name or _name_from(folder),
        "path": folder,
        "family": family,
        "num_parameters": _num_parameters(folder),
        "hidden_size": config.get("hidden_size") or config.get("dim"),
        "num_layers": config.get("num_hidden_layers") or config.get("n_layers"),
        "max_tokens": _max_tokens(config, family),
        "tasks": [TASK_BY_FAMILY[family]],
    }
    entry = parse(BaseEntry, found, source=f"the entry for {folder}")
    return entry.model_copy(update={"weights_sha256": hash_weights(folder)})


def num_embedding_weights(base: BaseEntry) -> int:
    """How many weights its vocabulary has: a vector of each token, and those of an output layer
    that is not made of the same. Raises LabkitError where its config.json does not say."""
    config = _read_config(base.path)
    tables = 1 if config.get("tie_word_embeddings", True) else 2
    size = config.get("vocab_size") or 0
    if not isinstance(size, int):
        raise LabkitError(f"{base.path / 'config.json'} has no number as vocab_size.")
    return tables * size * base.hidden_size


def add_model(catalogue: Path, entry: BaseEntry) -> Path:
    """Write the entry's file into the catalogue, over an older one of that name."""
    file = private_folder(catalogue) / f"{entry.name}.toml"
    write_private(file, tomlkit.dumps(entry.model_dump(mode="json")))
    return file


def _max_tokens(config: dict[str, Any], family: str) -> int:
    """RoBERTa and its like count positions from 2, after that of padding."""
    positions = int(config.get("max_position_embeddings") or 512)
    return positions - 2 if family in _POSITIONS_FROM_2 else positions


def hash_weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise LabkitError(f"{folder} is not a folder. Name the folder that holds config.json.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabkitError(
            f"{folder} holds no config.json, so it is no folder of a base model."
        ) from None
    except (OSError, ValueError) as error:
        raise LabkitError(f"{folder / 'config.json'} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise LabkitError(f"{folder / 'config.json'} holds no settings of a model.")
    return config


def _check_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    advice = "Save the model's fast tokenizer into it."
    if not file.is_file():
        raise LabkitError(f"{folder} holds no tokenizer.json. {advice}")
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabkitError(f"{file} cannot be read: {error}. {advice}") from error
    if not isinstance(known, dict) or "model" not in known:
        raise LabkitError(f"{file} holds no tokenizer. {advice}")


def _num_parameters(folder: Path) -> int:
    files = weight_files(folder)
    if not files:
        pickled = [file.name for file in folder.iterdir() if file.suffix in _PICKLED]
        found = f"only {', '.join(pickled)}, which can run code when opened" if pickled else "none"
        raise LabkitError(
            f"{folder} holds no weights as safetensors ({found}). "
            "Save them with save_pretrained(…, safe_serialization=True)."
        )
    _check_shards(folder, {file.name for file in files})
    return sum(_count(file) for file in files)


def _check_shards(folder: Path, found: Set[str]) -> None:
    """Raises LabkitError where the index names files of weights that are not there."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        missing = sorted(set(index["weight_map"].values()) - found)
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LabkitError(
            f"{folder / 'model.safetensors.index.json'} is damaged: {error}. Get it anew."
        ) from error
    if missing:
        raise LabkitError(
            f"{folder} lacks {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}, which "
            "its index names. Get the missing weights."
        )


def _count(file: Path) -> int:
    total = 0
    try:
        with safe_open(file, framework="numpy") as weights:
            for key in weights.keys():
                size = 1
                for length in weights.get_slice(key).get_shape():
                    size *= length
                total += size
    except (SafetensorError, OSError) as error:
        raise LabkitError(f"{file} is not a whole safetensors file: {error}.") from error
    return total


def _name_from(folder: Path) -> str:
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in folder.name.lower())
    return name.strip("-")[:64] or "model"
