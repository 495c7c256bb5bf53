"""The form as a browser shows it: plain dictionaries of what to draw. Pure, but for the form."""

from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.naming import NAME_IN_WORDS
from labkit.parsing import WrongValues
from labkit.recipes import RECIPES
from labkit.resources import Resources
from labkit.units import format_memory
from labkit_widgets.code import cell, command
from labkit_widgets.fields import as_titles, columns_of, form_fields, title
from labkit_widgets.form import STEPS, TASKS, Form
from labkit_widgets.home import written
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
    return {
        "step": form.step,
        "steps": [_step(form, key, wrong) for key in STEPS],
        "task": _task(form),
        "base": _base(form),
        "data": _data(form, doing),
        "settings": _settings(form, doing, wrong),
        "start": _start(form, doing, wrong),
        "code": _code(form),
    }


def _step(form: Form, key: str, wrong: dict[str, str]) -> dict[str, Any]:
    given = form.given
    words = {
        "task": RECIPES.load(given["recipe"]).title if form.config else "",
        "base": _base_title(form, given.get("base", "")),
        "data": Path(given["data"]).name if given.get("data") else "",
        "settings": _settings_words(form),
        "start": "",
    }
    state = "done" if words[key] else "open"
    if key == "data" and (form.data_problem or (form.plan and not form.plan.prepared.usable)):
        state = "wrong"
    if key == "settings" and set(wrong) - {"base", "data"}:
        state, words[key] = "wrong", "needs a look"
    return {"key": key, "title": _TITLES[key], "words": words[key], "state": state}


def _base_title(form: Form, name: str) -> str:
    entry = form.catalogue.entries.get(name)
    return (entry.title or entry.name) if entry else name


def _settings_words(form: Form) -> str:
    fields = set(form.config.model_fields) - set(columns_of(form.config)) if form.config else set()
    changed = len((fields | set(Resources.model_fields)) & set(form.given))
    return f"{changed} changed" if changed else "as recommended"


def _task(form: Form) -> dict[str, Any]:
    choices = [
        {"key": name, "title": recipe.title, "summary": recipe.summary}
        for name, recipe in RECIPES.all().items()
        if name in TASKS
    ]
    return {"choices": choices, "chosen": form.given.get("recipe", "")}


def _base(form: Form) -> dict[str, Any]:
    fitting = form.bases()
    choices = [
        {
            "key": name,
            "title": entry.title or name,
            "facts": [
                f"{max(0.1, entry.num_parameters / 1e6):,.3g} million weights",
                f"licence {entry.licence}",
                ", ".join(entry.languages) or "languages unknown",
                f"reads {entry.max_tokens} tokens",
            ],
        }
        for name, entry in form.catalogue.entries.items()
        if name in fitting
    ]
    return {
        "choices": choices,
        "chosen": form.given.get("base", ""),
        "broken": list(form.catalogue.broken.values()),
        "catalogue": str(form.site.catalogue),
    }


def _data(form: Form, doing: dict[str, str]) -> dict[str, Any]:
    return {
        "listing": form.listing,
        "data": _file(form.given.get("data")),
        "test": _file(form.given.get("test")),
        "busy": doing.get("look") or doing.get("check") or "",
        "problem": form.data_problem or as_titles(form.plan_problem, Resources),
        "preview": _preview(form),
        "columns": _columns(form),
        "check": plan_view(form.plan) if form.plan else None,
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
    """For each role of a column: the columns to choose from."""
    config = form.config
    if config is None or form.look is None:
        return []
    fields = config.model_fields
    return [
        {
            "key": role,
            "title": title(role, fields[role]),
            "help": fields[role].description,
            "value": form.given.get(role, fields[role].default),
            "choices": form.look.columns,
        }
        for role in columns_of(config)
    ]


def _settings(form: Form, doing: dict[str, str], wrong: dict[str, str]) -> dict[str, Any]:
    if form.config is None:
        return {
            "sight": [],
            "more": [],
            "machine": [],
            "machine_title": "",
            "busy": "",
            "problem": "",
        }
    clusters = list(form.site.clusters)
    fields = list(form_fields(form.config, form.given, wrong))
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
