"""A run in words and figures for a page: where it is, its curve, its result. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.runs.folder import RunState, Status
from labkit.units import format_duration

MAX_POINTS = 240
_STAGES = (
    (RunState.QUEUED, "Waiting"),
    (RunState.STARTING, "Starting"),
    (RunState.TRAINING, "Training"),
    (RunState.EVALUATING, "Measuring"),
    (RunState.DONE, "Done"),
)
_WORDS = {
    RunState.QUEUED: "Waiting in the queue",
    RunState.STARTING: "Starting",
    RunState.TRAINING: "Training",
    RunState.EVALUATING: "Measuring on rows it has never seen",
    RunState.DONE: "Done",
    RunState.STOPPED: "Stopped",
    RunState.FAILED: "Failed",
    RunState.DAMAGED: "Damaged",
}


def status_view(status: Status) -> dict[str, Any]:
    """Where a run is, in words."""
    words = _WORDS[status.state]
    phase = "" if status.phase == status.state else status.phase
    figures = []
    if status.num_steps and status.state is RunState.TRAINING:
        figures.append(("Step", f"{status.step:,} of {status.num_steps:,}"))
    if status.rows_per_second and not status.state.ended:
        figures.append(("Speed", f"{status.rows_per_second:,.0f} rows a second"))
    if status.seconds_left and status.state is RunState.TRAINING:
        figures.append(("Time left", f"about {format_duration(status.seconds_left)}"))
    if status.validation_accuracy is not None and not status.state.ended:
        figures.append(("Validation accuracy", percent(status.validation_accuracy)))
    return {
        "state": str(status.state),
        "words": words,
        "phase": phase[:1].upper() + phase[1:],
        "message": for_page(status.message),
        "ended": status.state.ended,
        "stages": _stages(status.state),
        "share": status.step / status.num_steps if status.num_steps else None,
        "figures": [{"title": title, "value": value} for title, value in figures],
    }


def _stages(state: RunState) -> list[dict[str, str]]:
    """The way of a run, and how far it is; nothing for one that left the way."""
    order = [stage for stage, _ in _STAGES]
    if state not in order:
        return []
    here = order.index(state)
    marks = ["done" if n < here or state is RunState.DONE else "here" if n == here else "open"
             for n in range(len(order))]  # fmt: skip
    return [
        {"title": title, "state": mark} for (_, title), mark in zip(_STAGES, marks, strict=True)
    ]


def for_page(message: str) -> str:
    """A message without what only a terminal can do; the page has a button for it."""
    return re.sub(r"\s*[A-Z][^.:]*: labkit run [^\n]*$", "", message).strip()


def curve_view(metrics: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The loss and the validation accuracy by step, thinned out for a screen."""
    loss, accuracy, instant, steps = [], [], None, 0
    for line in metrics:
        if _is_figure(line.get("loss")):
            loss.append([line.get("step", 0), line["loss"]])
        if _is_figure(line.get("validation_accuracy")):
            accuracy.append([line.get("step", 0), line["validation_accuracy"]])
        if _is_figure(line.get("instant_accuracy")):
            instant = line["instant_accuracy"]
        steps = line.get("num_steps") or steps
    return {"loss": thin(loss), "accuracy": thin(accuracy), "instant": instant, "steps": steps}


def _is_figure(found: object) -> bool:
    """Whether it can be drawn: a loss that diverged is no number, and no JSON."""
    return isinstance(found, int | float) and math.isfinite(found)


def thin(points: Sequence[list[float]]) -> list[list[float]]:
    """At most MAX_POINTS of them, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return list(points)
    stride = (len(points) - 1) / (MAX_POINTS - 1)
    return [points[round(n * stride)] for n in range(MAX_POINTS)]


def result_view(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the run measured, as bars and tables."""
    models = {"Your tuned model": evaluation["tuned"], **evaluation["baselines"]}
    return {
        "verdict": evaluation["verdict"],
        "tone": tone(evaluation["gains"]),
        "rows": evaluation["num_rows"],
        "measures": [
            {
                "title": title,
                "help": help_,
                "bars": [
                    {"name": name[:1].upper() + name[1:], "tuned": n == 0, **_interval(scores[key])}
                    for n, (name, scores) in enumerate(models.items())
                ],
            }
            for key, title, help_ in (
                ("accuracy", "Accuracy", "Of 100 new texts, so many get the right label."),
                ("macro_f1", "Macro-F1", "Rare labels count as much as frequent ones."),
            )
            if key in evaluation["tuned"]
        ],
        "confusions": [
            {**c, "share": percent(c["share"])} for c in evaluation.get("confusions", ())
        ],
        "mistakes": [
            {**m, "confidence": percent(m["confidence"])} for m in evaluation.get("mistakes", ())
        ],
    }  # fmt: skip


def tone(gains: Mapping[str, Mapping[str, float]]) -> str:
    """'worse' where a baseline is better than the tuned model, 'better' where all are beaten."""
    if any(gain["high"] < 0 for gain in gains.values()):
        return "worse"
    return "better" if all(gain["low"] > 0 for gain in gains.values()) else "even"


def _interval(found: Mapping[str, float]) -> dict[str, Any]:
    return {
        "value": found["value"],
        "low": found["low"],
        "high": found["high"],
        "words": percent(found["value"]),
        "range": f"{percent(found['low'])} to {percent(found['high'])}",
    }


def percent(share: float) -> str:
    return f"{share:.1%}"
