"""A shown run as a browser draws it: plain dictionaries."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.recipes import RECIPES
from labkit.runs.cost import cost_line
from labkit.runs.folder import RunState
from labkit.runs.samples import samples
from labkit.runs.votes import votes_of
from labkit_widgets.code import cell, command
from labkit_widgets.home import written
from labkit_widgets.run_page import RunPage
from labkit_widgets.run_view import curve_view, percent, result_view, status_view

ServerPath = Callable[[Path], str | None]
"""A file's path as the server's URLs have it; None where the server does not reach it."""


def run_page_view(page: RunPage, server_path: ServerPath) -> dict[str, Any]:
    if page.gone:
        return {"gone": True, "id": page.run.run_id}
    if page.view is None:
        return {"id": page.run.run_id, "name": page.run.run_id, "status": None}
    view = page.view
    done = view.status.state is RunState.DONE
    return {
        "id": page.run.run_id,
        "name": view.name,
        "attempt": view.attempt,
        "status": status_view(view.status),
        "curve": {**curve_view(page.metrics.lines), "share_of": _validates(page)},
        "samples": [asdict(sample) for sample in samples(page.metrics.lines)],
        "about": _about(page),
        "doing": page.background.doing(),
        "problems": page.problems,
        "folder": written(page.run.folder),
        "result": _result(page, server_path) if done else None,
        "code": _code(page),
    }


def _validates(page: RunPage) -> str:
    """What the validation accuracy is a share of; empty where the run does not say what it is."""
    try:
        return RECIPES.load(page.run.spec().recipe).validates
    except LabkitError:
        return ""


def _about(page: RunPage) -> list[dict[str, str]]:
    """What was asked for, in short."""
    assert page.view is not None
    facts = [("Started", page.view.created.astimezone().strftime("%Y-%m-%d %H:%M"))]
    try:
        spec = page.run.spec()
        facts += [("Base model", spec.base), ("Data", spec.data.name)]
    except LabkitError:
        pass
    if page.view.attempt > 1:
        facts.append(("Attempt", str(page.view.attempt)))
    if page.cost:
        facts.append(("Cost", cost_line(page.cost)))
    return [{"title": title, "value": value} for title, value in facts]


def _result(page: RunPage, server_path: ServerPath) -> dict[str, Any] | None:
    evaluation = page.run.evaluation()
    if evaluation is None:
        return None
    return {
        **result_view(evaluation),
        "asked": page.asked,
        "answers": [
            {
                "text": answer.text,
                "label": answer.label,
                "confidence": "" if answer.confidence is None else percent(answer.confidence),
                "unsure": answer.unsure,
                "others": [
                    {"label": label, "confidence": percent(share)}
                    for label, share in answer.others.items()
                ],
            }
            for answer in page.answers
        ],
        "talk": page.talk.view() if page.talk else None,
        "vote": _vote(page, evaluation),
        "listing": page.listing,
        "table": _table(page, server_path),
        "packed": _file(page.packed, server_path),
        "card": page.card(),
        "needs": page.needs(),
    }


def _vote(page: RunPage, evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the blind vote stands, and the question that is asked next."""
    votes = votes_of(page.run, evaluation)
    if votes is None:
        return None
    return {
        "rival": votes.rival,
        "said": str(votes),
        "open": len(votes.ballots),
        "ballot": asdict(votes.ballots[0]) if votes.ballots else None,
    }


def _table(page: RunPage, server_path: ServerPath) -> dict[str, Any] | None:
    table = page.table
    if table is None:
        return None
    return {**table, "out": _file(table.get("out"), server_path)}


def _file(path: Path | None, server_path: ServerPath) -> dict[str, str | None] | None:
    if path is None:
        return None
    return {"name": path.name, "path": written(path), "url": server_path(path)}


def _code(page: RunPage) -> dict[str, str]:
    try:
        spec = page.run.spec()
        return {"cell": cell(spec), "command": command(spec), "problem": ""}
    except LabkitError as error:
        return {"cell": "", "command": "", "problem": str(error)}
