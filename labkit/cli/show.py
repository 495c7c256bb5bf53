"""Runs, plans and results on a terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.cli.output import print_fields, print_json, print_table, say
from labkit.cli.safe_text import on_one_line
from labkit.cli.start import as_flags
from labkit.data.findings import Finding, count
from labkit.errors import LabkitError
from labkit.evaluation.base import measured
from labkit.recipes import RECIPES
from labkit.recipes.base import Converses, Look, RowLook
from labkit.runs.cost import ClusterCost, Cost, RunCost, cost_line, in_words
from labkit.runs.folder import RunState
from labkit.runs.samples import samples
from labkit.runs.spec import spec_flags, spec_toml
from labkit.runs.view import RunView
from labkit.runs.votes import votes_of
from labkit.settings import Site
from labkit.units import format_duration, format_memory

if TYPE_CHECKING:
    from labkit.runs.submit import Plan

MAX_NAME_SHOWN = 16
MAX_TEXT_SHOWN = 200
_MARKS = {"problem": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


def findings(found: Sequence[Finding], *, to_stderr: bool = False) -> None:
    """What the check found, the worst first."""
    order = list(_MARKS)
    for finding in sorted(found, key=lambda one: order.index(str(one.severity))):
        mark, style = _MARKS[str(finding.severity)]
        fix = f" {as_flags(finding.fix)}" if finding.fix else ""
        rows = f" (rows {', '.join(map(str, finding.rows))})" if finding.rows else ""
        say(f"{finding.message}{rows}{fix}", mark=mark, style=style, to_stderr=to_stderr)


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
    summary = plan.prepared.summary
    rows = summary["rows"]
    say(f"\n{spec_toml(plan.spec)}")
    print_fields(
        {
            "rows": f"{rows['train']} to learn from, {rows['validation']} to choose settings, "
            f"{rows['held_out']} held out",
            **({"labels": len(summary["labels"])} if "labels" in summary else {}),
            "time": f"about {format_duration(estimate.duration_s)} ({estimate.basis})",
            "memory": format_memory(resources.memory_bytes),
            "disk": format_memory(estimate.disk_bytes),
            "job": f"{count(resources.num_nodes, 'node')} of {plan.cluster!r}, each with "
            f"{count(resources.num_cpus, 'core')} and {count(resources.num_gpus, 'GPU')}, "
            f"at most {format_duration(plan.spec.resources.time)}{_pieces(plan)}",
            "starts": _start(plan.expected_start),
        }
    )


def rows(found: Sequence[RowLook]) -> None:
    """Rows as the model would see them; what is learnt stands in ⟦ ⟧."""
    for one in found:
        if len(found) > 1:
            say(f"Row {one.row}", style="bold")
        _looks(one.looks)
        if one.note and (one.looks or len(found) > 1):
            say(as_flags(one.note), mark="!", style="yellow")


def _looks(looks: Sequence[Look]) -> None:
    for number, look in enumerate(looks, 1):
        if len(looks) > 1:
            say(f"Example {number} of {len(looks)}", style="bold")
        say(_marked(look))
        cut = f", {count(look.num_cut, 'token')} cut off" if look.num_cut else ""
        say(f"{count(look.num_tokens, 'token')}, {look.num_learnt} learnt{cut}", style="dim")


_AROUND = {"read": "{}", "learnt": "⟦{}⟧", "cut": " ✂ {}"}


def _marked(look: Look) -> str:
    return "".join(_AROUND[kind].format(text) for kind, text in look.pieces)


def _pieces(plan: "Plan") -> str:
    whole = plan.walltime_s >= plan.spec.resources.time
    return "" if whole else f", in pieces of {format_duration(plan.walltime_s)}"


def _start(expected: datetime | None) -> str:
    if expected is None:
        return "when there is room"
    wait_s = (expected - datetime.now(UTC)).total_seconds()
    return "at once" if wait_s < 5 else f"in {format_duration(wait_s)} at the latest"


def runs(views: Sequence[RunView]) -> None:
    if not views:
        say("No runs yet. Start one with: labkit run start --help")
        return
    measures = measured({key for view in views for key in view.measured}).items()
    rows = [
        (
            view.run.run_id,
            on_one_line(view.name, MAX_NAME_SHOWN),
            view.status.state,
            *(
                one.show(view.measured[key]) if key in view.measured else ""
                for key, one in measures
            ),
            view.status.phase or view.status.message,
        )
        for view in views
    ]
    titles = [measure.title for _, measure in measures]
    print_table(["run", "name", "state", *titles, "now"], rows, rest="now")


def as_dict(view: RunView) -> dict[str, Any]:
    """Everything about one run, for programs."""
    has_files = view.attempt and view.status.state is not RunState.DAMAGED
    evaluation = view.run.evaluation() if has_files else None
    votes = votes_of(view.run, evaluation)
    return {
        **view.to_dict(),
        "spec": _spec(view),
        "evaluation": evaluation,
        "votes": votes.to_dict() if votes else None,
    }


def _spec(view: RunView) -> dict[str, Any] | None:
    """None where it cannot be read, as that of a newer labkit."""
    try:
        return view.run.spec().model_dump(mode="json")
    except LabkitError:
        return None


def run(view: RunView, cost: RunCost) -> None:
    """One run: its result if it has one, else where it is."""
    status = view.status
    if status.state is RunState.DAMAGED:
        print_fields({"run": view.name, "state": status.state, "message": status.message,
                      "folder": view.run.folder})  # fmt: skip
        return
    if view.attempt and (evaluation := view.run.evaluation()):
        _result(view, evaluation)
        say(f"Cost:   {cost_line(cost.cost)}")
        return
    print_fields(
        {
            "run": f"{view.name} ({view.run.run_id})",
            "state": status.state,
            **({"now": status.phase} if status.phase else {}),
            **({"step": f"{status.step} of {status.num_steps}"} if status.num_steps else {}),
            **({"instant answer": percent(status.instant_accuracy)}
               if status.instant_accuracy is not None else {}),
            **({"left": format_duration(status.seconds_left)} if status.seconds_left else {}),
            **({"message": status.message} if status.message else {}),
            **({"before": view.run.last.reason} if view.attempt and view.run.last.reason else {}),
            **({"log": view.run.last.log} if view.attempt else {}),
            "cost": cost_line(cost.cost),
        }
    )  # fmt: skip
    for one in samples(view.run.metrics()) if view.attempt else ():
        said = {"question": one.question, "at first": one.first, "now": one.now}
        _answers(one.row, {**said, "wanted": one.wanted})


def cost(found: RunCost) -> None:
    """One run's, in full."""
    one = found.cost
    print_fields(
        {
            "run": f"{found.run.name} ({found.run.run_id})",
            "cluster": found.cluster or "never submitted",
            "GPU-hours": _three(one.gpu_hours_asked, one.gpu_hours_held, one.gpu_hours_busy),
            "core-hours": _three(one.core_hours_asked, one.core_hours_held, one.core_hours_busy),
            "energy": in_words(one.kwh, "kWh"),
            **({"problem": found.problem} if found.problem else {}),
        }
    )


def _three(asked: float | None, held: float | None, busy: float | None) -> str:
    return f"{in_words(asked)} asked, {in_words(held)} held, {in_words(busy)} busy"


def costs(runs: Sequence[RunCost], clusters: Sequence[ClusterCost]) -> None:
    """All runs, then each cluster's together."""
    if not runs:
        say("No runs yet. Start one with: labkit run start --help")
        return
    head = ["GPU-hours asked", "held", "busy", "core-hours asked", "held", "busy", "kWh"]
    rows = [
        (one.run.run_id, on_one_line(one.run.name, MAX_NAME_SHOWN), *_figures(one.cost))
        for one in runs
    ]
    print_table(["run", "name", *head], rows)
    say("")
    print_table(
        ["cluster", "runs", *head],
        [(one.cluster, one.num_runs, *_figures(one.cost, one.num_unknown)) for one in clusters],
    )
    for problem in dict.fromkeys(one.problem for one in runs if one.problem):
        say(problem, mark="!", style="yellow", to_stderr=True)


def _figures(cost: Cost, num_unknown: Mapping[str, int] | None = None) -> list[str]:
    """With those that are not known beside a sum of those that are."""
    unknown = num_unknown or {}
    return [
        in_words(value)
        + (f" + {unknown[key]} not known" if value is not None and unknown.get(key) else "")
        for key, value in vars(cost).items()
    ]


def _result(view: RunView, evaluation: Mapping[str, Any]) -> None:
    say(f"{view.name} ({view.run.run_id})", style="bold")
    say(evaluation["verdict"], style=f"bold {_verdict_colour(evaluation['gains'])}")
    say(f"On {evaluation['num_rows']} held-out rows, with 95 % bootstrap intervals:")
    measures = measured(evaluation["tuned"])
    models = {"tuned": evaluation["tuned"], **evaluation["baselines"]}
    rows = [
        (name, *(measure.with_interval(scores[key]) for key, measure in measures.items()))
        for name, scores in models.items()
    ]
    print_table(["model", *(measure.title for measure in measures.values())], rows)
    for sentence in evaluation.get("notes", ()):
        say(as_flags(sentence), mark="!", style="yellow")
    _labels(evaluation)
    _compared(evaluation)
    _vote(view, evaluation)
    say(f'\nTry it: labkit run predict {view.run.run_id} "a sentence"')
    if isinstance(RECIPES.load(view.run.spec().recipe), Converses):
        say(f"Talk:   labkit run chat {view.run.run_id}")
    say(f"Card:   {view.run.last.folder / 'card.md'}")


def _labels(evaluation: Mapping[str, Any]) -> None:
    """What of labels a classifier gets wrong."""
    if confusions := evaluation.get("confusions"):
        say("\nMost frequent confusions", style="bold")
        rows = [(c["label"], c["taken_for"], c["count"]) for c in confusions[:5]]
        print_table(["label", "taken for", "rows"], rows)
    if mistakes := evaluation.get("mistakes"):
        say("\nSurest mistakes", style="bold")
        rows = [
            (m["row"], m["label"], m["answered"], percent(m["confidence"]),
             on_one_line(m["text"], MAX_TEXT_SHOWN))
            for m in mistakes[:10]
        ]  # fmt: skip
        print_table(["row", "label", "answered", "confidence", "text"], rows, rest="text")


def _compared(evaluation: Mapping[str, Any]) -> None:
    """Held-out questions, with what each model answers."""
    if evaluation.get("compared"):
        say("\nSide by side, on held-out questions", style="bold")
    for one in evaluation.get("compared", ()):
        said = {key: one[key] for key in ("question", "wanted", "tuned")}
        _answers(one["row"], {**said, **one["others"]})


def _answers(row: int, said: Mapping[str, str]) -> None:
    """What each says of the question in that row of the person's table."""
    lines = [(who, on_one_line(text, MAX_TEXT_SHOWN)) for who, text in said.items()]
    print_table([f"row {row}", ""], lines, rest="")


def _vote(view: RunView, evaluation: Mapping[str, Any]) -> None:
    """How the blind vote stands, and how to take part in it."""
    votes = votes_of(view.run, evaluation)
    if votes and votes.num_cast:
        say(str(votes))
    if votes and votes.ballots:
        say(f"Which answers are better? Vote blind: labkit run vote {view.run.run_id}")


def _verdict_colour(gains: Mapping[str, Mapping[str, float]]) -> str:
    """Green where every baseline is beaten, red where one is better than the tuned model."""
    if any(gain["high"] < 0 for gain in gains.values()):
        return "red"
    return "green" if all(gain["low"] > 0 for gain in gains.values()) else "yellow"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
