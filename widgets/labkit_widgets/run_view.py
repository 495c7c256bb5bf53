"""A run in words and figures for a page: where it is, its curve, its result. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.evaluation.base import Measure, measured
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
    if status.tokens_per_second and not status.state.ended:
        figures.append(("Speed", f"{status.tokens_per_second:,.0f} tokens a second"))
    if status.share_of_peak and not status.state.ended:
        figures.append(("Of the device's arithmetic", percent(status.share_of_peak)))
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
    of_labels = "mistakes" in evaluation
    return {
        "verdict": evaluation["verdict"],
        "tone": tone(evaluation["gains"]),
        "rows": evaluation["num_rows"],
        "help": _OF_BARS + (_OF_LABELS if of_labels else _OF_WORDS),
        "measures": [
            {"title": capital(measure.title), "help": _HELP[key],
             "bars": _bars(measure, {name: scores[key] for name, scores in models.items()})}
            for key, measure in measured(evaluation["tuned"]).items()
        ],
        "notes": evaluation.get("notes", []),
        "confusions": [
            {**c, "share": percent(c["share"])} for c in evaluation.get("confusions", ())
        ],
        "mistakes": [
            {**m, "confidence": percent(m["confidence"])} for m in evaluation["mistakes"]
        ] if of_labels else None,
        "compared": [
            {"row": one["row"], "question": one["question"],
             "answers": [
                 {"name": "Your tuned model", "text": one["tuned"]},
                 *({"name": capital(name), "text": text} for name, text in one["others"].items()),
                 {"name": "Your table", "text": one["wanted"]},
             ]}
            for one in evaluation.get("compared", ())
        ],
    }  # fmt: skip


_HELP = {
    "accuracy": "Of 100 new texts, so many get the right label.",
    "macro_f1": "Rare labels count as much as frequent ones.",
    "loss": "How far it is from your answers, for each token. Less is better.",
    "perplexity": "Among so many tokens it hesitates at each step. Less is better.",
}
_OF_BARS = (
    "The line on a bar is its 95% interval: measured on other rows, it would probably lie in there."
)
_OF_LABELS = (
    " The most frequent label is what one gets by always giving the same answer; the instant "
    "answer is the base model as it is, not tuned."
)
_OF_WORDS = " The base model is as it was before it was tuned."


def _bars(measure: Measure, found: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """One for each model, the tuned first; their lengths are shares of the longest possible."""
    longest = max(1.0, *(each["high"] for each in found.values()))
    return [
        {
            "name": capital(name),
            "tuned": n == 0,
            **{end: each[end] / longest for end in ("value", "low", "high")},
            **figure(measure, each),
        }
        for n, (name, each) in enumerate(found.items())
    ]


def figure(measure: Measure, found: Mapping[str, float]) -> dict[str, str]:
    """It and its interval in words."""
    value, low, high = (measure.show(found[end]) for end in ("value", "low", "high"))
    return {"words": value, "range": f"{low} to {high}"}


def capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def tone(gains: Mapping[str, Mapping[str, float]]) -> str:
    """'worse' where a baseline is better than the tuned model, 'better' where all are beaten."""
    if any(gain["high"] < 0 for gain in gains.values()):
        return "worse"
    return "better" if all(gain["low"] > 0 for gain in gains.values()) else "even"


def percent(share: float) -> str:
    return f"{share:.1%}"
