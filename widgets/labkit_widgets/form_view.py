"""The form as a browser shows it: plain dictionaries of what to draw. Pure, but for the form."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.demo import toy_command
from labkit.errors import LabkitError
from labkit.models.catalogue import BaseEntry
from labkit.naming import NAME_IN_WORDS
from labkit.parsing import WrongValues
from labkit.recipes import FIRST, RECIPES
from labkit.recipes.base import BaseLook, ShowsRows
from labkit.resources import Resources
from labkit.units import format_memory
from labkit_widgets.code import cell, command
from labkit_widgets.fields import as_titles, columns_of, form_fields, instead_of, title
from labkit_widgets.form import STEPS, Form
from labkit_widgets.home import files_of_home, written
from labkit_widgets.plan_view import plan_view
from labkit_widgets.table_look import COLUMNS
from labkit_widgets.where import where_fields, where_title

_TITLES = {
    "task": "Task",
    "base": "Base model",
    "data": "Data",
    "settings": "Settings",
    "start": "Start",
}

_WRONG = "A setting has a value that is not allowed; see the step “Settings”."


def form_view(form: Form) -> dict[str, Any]:
    doing, wrong = form.background.doing(), form.wrong()
    fields = _fields(form, wrong)
    return {
        "step": form.step,
        "sample": form.sample is not None,
        "steps": [_step(form, key, wrong) for key in STEPS],
        "task": _task(form),
        "base": _base(form, fields),
        "data": _data(form, doing),
        "settings": _settings(form, fields, doing, wrong),
        "start": _start(form, doing, wrong),
        "code": _code(form),
    }


def _step(form: Form, key: str, wrong: dict[str, str]) -> dict[str, Any]:
    given = form.given
    words = {
        "task": form.recipe.title,
        "base": _base_title(form, given.get("base", "")),
        "data": Path(given["data"]).name if given.get("data") else "",
        "settings": _settings_words(form),
        "start": "",
    }
    state = "done" if words[key] else "open"
    if key == "data" and (form.data_problem or (form.plan and not form.plan.prepared.usable)):
        state = "wrong"
    if key == "base" and form.needed():
        state = "wrong"
    if key == "settings" and set(wrong) - {"base", "data"}:
        state, words[key] = "wrong", "needs a look"
    return {"key": key, "title": _TITLES[key], "words": words[key], "state": state}


def _base_title(form: Form, name: str) -> str:
    entry = form.catalogue.entries.get(name)
    return (entry.title or entry.name) if entry else name


def _settings_words(form: Form) -> str:
    fields = set(form.config.model_fields) - set(columns_of(form.config))
    changed = len((fields | set(Resources.model_fields)) & set(form.given))
    return f"{changed} changed" if changed else "as recommended"


def _task(form: Form) -> dict[str, Any]:
    choices = [
        {"key": name, "title": recipe.title, "summary": recipe.summary}
        for name, recipe in RECIPES.all().items()
    ]
    choices.sort(key=lambda choice: choice["key"] != FIRST)
    return {"choices": choices, "chosen": form.given["recipe"]}


def _base(form: Form, fields: Sequence[dict[str, Any]]) -> dict[str, Any]:
    looks, entries = form.base_looks.items(), form.catalogue.entries
    return {
        "choices": [
            {**_base_choice(entries[name], look), "room": form.room[name]} for name, look in looks
        ],
        "chosen": form.given.get("base", ""),
        "broken": list(form.catalogue.broken.values()),
        "catalogue": str(form.site.catalogue),
        "toy": toy_command(form.site, form.given["recipe"]),
        "needed": [field for field in fields if field["key"] in form.base_needs],
    }


def _base_choice(entry: BaseEntry, look: BaseLook) -> dict[str, Any]:
    return {
        "key": entry.name,
        "title": entry.title or entry.name,
        "facts": [
            f"{max(0.1, entry.num_parameters / 1e6):,.3g} million weights",
            f"licence {entry.licence}",
            ", ".join(entry.languages) or "languages unknown",
            f"reads {entry.max_tokens:,} tokens",
            *look.facts,
        ],
    }


def _data(form: Form, doing: dict[str, str]) -> dict[str, Any]:
    return {
        "listing": form.listing,
        "data": _file(form.given.get("data")),
        "test": _file(form.given.get("test")),
        "busy": doing.get("look") or doing.get("check") or "",
        "problem": form.data_problem or as_titles(form.plan_problem, Resources),
        "help": form.recipe.examples,
        "preview": _preview(form),
        "columns": _columns(form),
        "check": plan_view(form.plan) if form.plan else None,
        "see": _see(form, doing),
    }


def _see(form: Form, doing: dict[str, str]) -> dict[str, Any] | None:
    """The box that shows a row as the model would see it; None where it sees the row as it is."""
    if form.look is None or not form.look.numbers or not isinstance(form.recipe, ShowsRows):
        return None
    first, box = form.look.numbers[0], form.box.view()
    return {
        **box,
        "first": first,
        "last": form.look.last,
        "row": box["row"] or str(first),
        "busy": doing.get("see", ""),
        "problem": as_titles(box["problem"], form.config),
    }


def _file(path: str | None) -> dict[str, str] | None:
    if not path:
        return None
    place = Path(path).expanduser()
    try:
        size = format_memory(place.stat().st_size)
    except OSError:
        size = ""
    return {"name": place.name, "path": written(place), "size": size}


def _preview(form: Form) -> dict[str, Any] | None:
    look = form.look
    if look is None:
        return None
    return {
        "height": look.height,
        "columns": look.columns[:COLUMNS],
        "more_columns": max(0, len(look.columns) - COLUMNS),
        "rows": [
            {"number": number, "cells": cells}
            for number, cells in zip(look.numbers, look.rows, strict=True)
        ],
    }


def _columns(form: Form) -> list[dict[str, Any]]:
    """For each role of a column that is read: the columns to choose from."""
    if form.look is None:
        return []
    fields = form.config.model_fields
    unread = {other for role in columns_of(form.config) if form.given.get(role)
              for other in instead_of(fields[role])}  # fmt: skip
    return [
        {
            "key": role,
            "title": title(role, fields[role]),
            "help": fields[role].description,
            "value": form.given.get(role, fields[role].default) or "",
            "choices": form.look.columns,
            "optional": fields[role].default is None,
        }
        for role in columns_of(form.config)
        if role not in unread
    ]


def _fields(form: Form, wrong: Mapping[str, str]) -> list[dict[str, Any]]:
    """The recipe's settings that are no column, with what must be given said beside them."""
    fields = list(form_fields(form.config, form.given, {**wrong, **form.needed()}))
    for field in fields:
        if field["key"] in form.base_needs:
            field["placeholder"] = "choose one, or type a file's name"
        if suffix := field["suffix"]:
            found = [f"~/{name}" for name in files_of_home(suffix)]
            field["choices"] = [*field["choices"], *({"value": f, "title": f} for f in found)]
    return fields


def _settings(
    form: Form,
    fields: Sequence[dict[str, Any]],
    doing: dict[str, str],
    wrong: dict[str, str],
) -> dict[str, Any]:
    clusters = list(form.site.clusters)
    return {
        "sight": [field for field in fields if field["in_sight"]],
        "more": [field for field in fields if not field["in_sight"]],
        "machine": list(where_fields(form.where, clusters, form.given, wrong)),
        "machine_title": where_title(form.where, clusters),
        "busy": doing.get("where", ""),
        "problem": form.where_problem,
    }


def _start(form: Form, doing: dict[str, str], wrong: dict[str, str]) -> dict[str, Any]:
    data = form.given.get("data")
    plan_problem = as_titles(form.plan_problem, Resources)
    problem = form.missing() or form.data_problem or plan_problem or wrong.get("", "")
    if set(wrong) - {"base", "data", "name", ""}:
        problem = _WRONG
    return {
        "name": str(form.given.get("name", "")),
        "name_wrong": wrong.get("name", ""),
        "name_allowed": NAME_IN_WORDS,
        "placeholder": Path(data).stem if data else "",
        "busy": doing.get("start") or doing.get("look") or doing.get("check") or "",
        "problem": problem,
        "ready": bool(form.plan and form.plan.prepared.usable and not wrong)
        and "start" not in doing,
        "check": plan_view(form.plan) if form.plan else None,
    }


def _code(form: Form) -> dict[str, str]:
    try:
        spec = form.spec()
    except WrongValues:
        return {"cell": "", "command": "", "problem": _WRONG}
    except LabkitError as error:
        return {"cell": "", "command": "", "problem": str(error)}
    return {"cell": cell(spec), "command": command(spec), "problem": ""}
