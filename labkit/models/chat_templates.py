"""Chat templates: how messages become the text that a model reads.

A template is a Jinja program that most models bring along. labkit never guesses one: a person
says which, where there is none. Light: nothing here imports transformers or runs a template.
"""

import json
from pathlib import Path

from labkit.errors import UsageError, known_names
from labkit.models.catalogue import BaseEntry
from labkit.paths import from_home

MAX_BYTES = 2**20

TEMPLATES = {
    "plain": (
        "{{ bos_token or '' }}"
        "{% for message in messages %}"
        "{% if message.role == 'system' %}{{ message.content }}\n\n"
        "{% elif message.role == 'user' %}### Question\n{{ message.content }}\n\n"
        "{% else %}### Answer\n{{ message.content }}{{ eos_token }}\n\n{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}### Answer\n{% endif %}"
    ),
}
"""Our own, for base models that were never tuned to converse."""


def own_template(folder: Path) -> str | None:
    """The template that a model folder brings along; None where it has none.

    Raises UsageError where it cannot be read.
    """
    file = folder / "chat_template.jinja"
    if file.exists():
        return _read(file)
    try:
        known = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = known.get("chat_template") if isinstance(known, dict) else None
    if isinstance(found, list):  # several by name; older models write them so
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def choose_template(base: BaseEntry, asked: str | None) -> str:
    """The template to use: what was asked for, by name or as a file, or else the model's own.

    Raises UsageError where there is none, and says how to choose one.
    """
    choices = f"{known_names(TEMPLATES)}, or a file of your own (Jinja)"
    if asked is None:
        if own := own_template(base.path):
            return own
        raise UsageError(
            f"The base model {base.name!r} brings no chat template, so it is not known how a "
            f"question and an answer become one text. Say which with the setting template: "
            f"{choices}."
        )
    if asked in TEMPLATES:
        return TEMPLATES[asked]
    file = from_home(asked)
    if not file.is_file():
        raise UsageError(f"There is no chat template {asked!r}. Choose {choices}.")
    return _read(file)


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(f"{file} is too large for a chat template.")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text, so it is no chat template.") from error
