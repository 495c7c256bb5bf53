"""A checked plan in words: what the check found, and what the run would take. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from labkit.data.findings import Finding, count
from labkit.resources import Resources
from labkit.runs.submit import Plan
from labkit.units import format_memory
from labkit_widgets.fields import as_titles

MAX_LABELS = 24
_ORDER = ("problem", "warning", "note")


def plan_view(plan: Plan) -> dict[str, Any]:
    config = type(plan.spec.settings)
    found = sorted(plan.prepared.findings, key=lambda one: _ORDER.index(str(one.severity)))
    return {
        "usable": plan.prepared.usable,
        "findings": [finding_view(one, config) for one in found],
        **_data(plan.prepared.summary),
        "facts": _facts(plan),
    }


def finding_view(found: Finding, config: Any) -> dict[str, Any]:
    more = " and more" if len(found.rows) >= 10 else ""
    return {
        "severity": str(found.severity),
        "message": as_titles(found.message, config),
        "rows": f"Rows {', '.join(map(str, found.rows))}{more}." if found.rows else "",
        "fix": as_titles(found.fix or "", config, Resources),
    }


def _data(summary: Mapping[str, Any]) -> dict[str, Any]:
    rows, labels = summary["rows"], summary.get("labels", {})
    return {
        "parts": [
            {"title": "to learn from", "rows": rows["train"]},
            {"title": "to choose settings", "rows": rows["validation"]},
            {"title": "held out for the final measurement", "rows": rows["held_out"]},
        ],
        "labels": [{"label": name, "rows": n} for name, n in list(labels.items())[:MAX_LABELS]],
        "more_labels": max(0, len(labels) - MAX_LABELS),
    }


def _facts(plan: Plan) -> Sequence[dict[str, str]]:
    """The estimate, a line for each fact, with the details for those who ask."""
    resources = plan.resources
    gpus = f" and {count(resources.num_gpus, 'GPU')}" if resources.num_gpus else ""
    several = resources.num_nodes > 1
    where = f"{resources.num_nodes} nodes of {plan.cluster}" if several else plan.cluster
    each = " on each node" if several else ""
    return [
        _fact("Takes", f"about {rough_time(plan.estimate.duration_s)}", plan.estimate.basis),
        _fact("Starts", starts(plan.expected_start, datetime.now(UTC)), ""),
        _fact("Runs on", where, _place(plan)),
        _fact("Memory", format_memory(resources.memory_bytes), f"held for this run{each}"),
        _fact("Processor", f"{count(resources.num_cpus, 'core')}{gpus}{each}", ""),
        _fact("Disk", format_memory(plan.estimate.disk_bytes), "for the model and a checkpoint"),
        _fact("At most", rough_time(plan.spec.resources.time), "then it saves and stops"),
    ]


def _place(plan: Plan) -> str:
    """What was named of the cluster's: 'partition gpu, account p123'."""
    named = plan.spec.resources.placed
    return ", ".join(f"{key} {name}" for key, name in named.items() if name)


def _fact(title: str, value: str, details: str) -> dict[str, str]:
    return {"title": title, "value": value, "details": details}


def rough_time(seconds: float) -> str:
    """An estimate says no more than it knows: 'a minute', '7 minutes', '2 h 10 min'."""
    if seconds < 50:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    minutes = round(seconds / 60)
    if minutes < 60:
        return "a minute" if minutes <= 1 else f"{minutes} minutes"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes % 60 else f"{minutes // 60} h"


def starts(expected: datetime | None, now: datetime) -> str:
    if expected is None:
        return "when there is room"
    wait_s = (expected - now).total_seconds()
    return "at once" if wait_s < 5 else f"in {rough_time(wait_s)} at the latest"
