"""All own runs as rows of a table, and two of them side by side."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from labkit.errors import LabkitError
from labkit.evaluation.base import measured
from labkit.eventloop import finish
from labkit.runs.find import find_run, list_runs
from labkit.runs.folder import Run
from labkit.runs.view import RunView, view_runs
from labkit.settings import Site
from labkit.units import format_duration
from labkit_widgets.code import readable_keys
from labkit_widgets.run_view import capital, figure, percent

_NOT_SETTINGS = ("name", "spec_version")
_OF_TOKENS = ("loss", "perplexity")
"""Figures of one token: which tokens there are is a matter of base, template and data."""


def read_rows(site: Site) -> list[dict[str, Any]]:
    """A row for each run, the newest first."""
    return [_row(view) for view in finish(view_runs(site, list_runs(site.runs)))]


def _row(view: RunView) -> dict[str, Any]:
    base, data = _asked(view.run)
    duration_s = _duration_s(view)
    return {
        "id": view.run.run_id,
        "name": view.name,
        "state": str(view.status.state),
        "live": not view.status.state.ended,
        "base": base,
        "data": data,
        "accuracy": view.accuracy,
        "macro_f1": view.macro_f1,
        "accuracy_words": _percent(view.accuracy),
        "macro_f1_words": _percent(view.macro_f1),
        "started": view.created.timestamp(),
        "started_words": view.created.astimezone().strftime("%Y-%m-%d %H:%M"),
        "duration": duration_s,
        "duration_words": format_duration(duration_s),
    }


def _asked(run: Run) -> tuple[str, str]:
    """Its base model and its table, by name; nothing where the spec cannot be read."""
    try:
        spec = run.spec()
    except LabkitError:
        return "", ""
    return spec.base, spec.data.name


def _duration_s(view: RunView) -> float:
    """From its start to its end, or until now; waiting counts."""
    end = datetime.now(UTC)
    if view.status.state.ended:
        try:
            end = datetime.fromisoformat(view.status.updated)
        except ValueError:
            end = view.created
    return max(0.0, (end - view.created).total_seconds())


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def compare_runs(site: Site, ids: Sequence[str]) -> dict[str, Any]:
    """Two runs side by side: the settings that differ, and what was measured."""
    runs = [find_run(site.runs, run_id) for run_id in ids]
    views = finish(view_runs(site, runs))
    specs = [_keys(run) for run in runs]
    return {
        "runs": [
            {"id": view.run.run_id, "name": view.name, "state": str(view.status.state)}
            for view in views
        ],
        "settings": differences(*specs),
        **_measured([run.evaluation() if view.measured else None
                     for run, view in zip(runs, views, strict=True)], _alike(runs)),
    }  # fmt: skip


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[dict[str, str]]:
    """The keys whose values differ; what is left out is the default."""
    keys = [*left, *(key for key in right if key not in left)]
    return [
        {"title": key.replace("_", " ").capitalize(), "left": _said(left, key),
         "right": _said(right, key)}
        for key in keys
        if key not in _NOT_SETTINGS and left.get(key) != right.get(key)
    ]  # fmt: skip


def _said(keys: Mapping[str, Any], key: str) -> str:
    return str(keys[key]) if key in keys else "default"


def _keys(run: Run) -> dict[str, Any]:
    try:
        return readable_keys(run.spec())
    except LabkitError:
        return {}


def _alike(runs: Sequence[Run]) -> bool:
    """Whether the runs had the same base model, chat template and data."""
    try:
        made_of = [_made_of(run) for run in runs]
    except LabkitError:
        return False
    return all(one == made_of[0] and one["sha256"] for one in made_of)


def _made_of(run: Run) -> dict[str, Any]:
    record = run.record()
    known = ("sha256", "test_sha256", "template_sha256")
    base = record.get("base", {}).get("path") or run.spec().base
    return {"base": base, **{key: record.get("data", {}).get(key) for key in known}}


def _measured(found: Sequence[Mapping[str, Any] | None], alike: bool) -> dict[str, Any]:
    """What the runs achieved, and the figures of their tuned models; None before there are any."""
    keys = {key for each in found if each for key in each["tuned"]}
    return {
        "achieved": [each and {"rows": each["num_rows"], "verdict": each["verdict"]}
                     for each in found],
        "figures": [
            {
                "title": capital(measure.title),
                "cells": [each and key in each["tuned"] and figure(measure, each["tuned"][key])
                          or None for each in found],
                "differ": _differ([each["tuned"].get(key) if each else None for each in found])
                if alike or key not in _OF_TOKENS else None,
            }
            for key, measure in measured(keys).items()
        ],
    }  # fmt: skip


def _differ(found: Sequence[Mapping[str, float] | None]) -> bool | None:
    """Whether the two intervals lie apart; None where there are not two."""
    left, right = found
    if left is None or right is None:
        return None
    return left["low"] > right["high"] or right["low"] > left["high"]
