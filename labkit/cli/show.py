"""Runs, plans and results on a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from labkit.cli.output import console, print_fields, print_json, table
from labkit.data.findings import Finding
from labkit.runs.spec import spec_flags, spec_toml
from labkit.runs.view import RunView
from labkit.settings import Site
from labkit.units import format_duration, format_memory

if TYPE_CHECKING:
    from labkit.runs.submit import Plan

_MARKS = {"problem": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


def findings(found: Sequence[Finding], *, to_stderr: bool = False) -> None:
    """What the check found, the worst first."""
    order = list(_MARKS)
    screen = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
    for finding in sorted(found, key=lambda one: order.index(str(one.severity))):
        mark, style = _MARKS[str(finding.severity)]
        fix = f" {finding.fix}" if finding.fix else ""
        rows = f" (rows {', '.join(map(str, finding.rows))})" if finding.rows else ""
        screen.print(Text(f"{mark} ", style), Text(f"{finding.message}{rows}{fix}"), sep="")


def plan(plan: "Plan", site: Site, *, as_json: bool) -> None:
    """All that a dry run tells: spec, check, estimate, job."""
    estimate, resources = plan.estimate, plan.resources
    command = ["labkit", "run", "start", *spec_flags(plan.spec)]
    if as_json:
        print_json(
            {
                "spec": plan.spec.model_dump(mode="json"),
                "usable": plan.prepared.usable,
                "findings": [finding.to_dict() for finding in plan.prepared.findings],
                "data": plan.prepared.summary,
                "estimate": vars(estimate),
                "job": {"cluster": plan.cluster, **vars(resources)},
                "command": command,
            }
        )
        return
    rows = plan.prepared.summary["rows"]
    print()
    print(spec_toml(plan.spec))
    print_fields(
        {
            "rows": f"{rows['train']} to learn from, {rows['validation']} to choose settings, "
            f"{rows['held_out']} held out",
            "labels": len(plan.prepared.summary["labels"]),
            "time": f"about {format_duration(estimate.duration_s)} ({estimate.basis})",
            "memory": format_memory(resources.memory_bytes),
            "disk": format_memory(estimate.disk_bytes),
            "job": f"{resources.num_cpus} cores, {resources.num_gpus} GPUs on {plan.cluster!r}, "
            f"at most {format_duration(plan.spec.resources.time)}",
        }
    )


def runs(views: Sequence[RunView]) -> None:
    if not views:
        print("No runs yet. Start one with: labkit run start --help")
        return
    console().print(
        table(
            ["run", "name", "state", "accuracy", "macro-F1", "now"],
            [
                (
                    view.run.run_id,
                    view.name,
                    view.status.state,
                    _percent(view.accuracy),
                    _percent(view.macro_f1),
                    view.status.phase or view.status.message,
                )
                for view in views
            ],
        )
    )


def as_dict(view: RunView) -> dict[str, Any]:
    """Everything about one run, for programs."""
    return {
        **view.to_dict(),
        "spec": view.run.spec().model_dump(mode="json"),
        "evaluation": view.run.evaluation(),
    }


def run(view: RunView) -> None:
    """One run: its result if it has one, else where it is."""
    status = view.status
    if evaluation := view.run.evaluation():
        _result(view, evaluation)
        return
    print_fields(
        {
            "run": f"{view.name} ({view.run.run_id})",
            "state": status.state,
            **({"now": status.phase} if status.phase else {}),
            **({"step": f"{status.step} of {status.num_steps}"} if status.num_steps else {}),
            **({"instant answer": _percent(status.instant_accuracy)}
               if status.instant_accuracy is not None else {}),
            **({"left": format_duration(status.seconds_left)} if status.seconds_left else {}),
            **({"message": status.message} if status.message else {}),
            "log": view.run.last.log,
        }
    )  # fmt: skip


def _result(view: RunView, evaluation: Mapping[str, Any]) -> None:
    screen = console()
    screen.print(Text(f"{view.name} ({view.run.run_id})", "bold"))
    screen.print(Text(evaluation["verdict"], "bold green"))
    screen.print(Text(f"On {evaluation['num_rows']} held-out rows, with 95 % bootstrap intervals:"))
    models = {"tuned": evaluation["tuned"], **evaluation["baselines"]}
    rows = [
        (name, _interval(scores["accuracy"]), _interval(scores["macro_f1"]))
        for name, scores in models.items()
    ]
    screen.print(table(["model", "accuracy", "macro-F1"], rows))
    if evaluation["confusions"]:
        screen.print(Text("\nMost frequent confusions", "bold"))
        rows = [(c["label"], c["taken_for"], c["count"]) for c in evaluation["confusions"][:5]]
        screen.print(table(["label", "taken for", "rows"], rows))
    if evaluation["mistakes"]:
        screen.print(Text("\nSurest mistakes", "bold"))
        rows = [
            (m["row"], m["text"][:60], m["label"], m["answered"], _percent(m["confidence"]))
            for m in evaluation["mistakes"][:10]
        ]
        screen.print(table(["row", "text", "label", "answered", "confidence"], rows))
    print(f'\nTry it: labkit run predict {view.run.run_id} "a sentence"')
    print(f"Card:   {view.run.last.folder / 'card.md'}")


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
