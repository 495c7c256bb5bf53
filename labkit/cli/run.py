"""`labkit run …`: start runs, follow them, use what they leave."""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from labkit.cli import show
from labkit.cli.output import AsJson, print_json, say
from labkit.cli.safe_text import printable
from labkit.cli.start import Flags, flag
from labkit.clusters import Looks
from labkit.errors import LabkitError, UsageError
from labkit.eventloop import finish
from labkit.recipes import RECIPES
from labkit.recipes.base import ShowsRows
from labkit.runs.cost import by_cluster, cost_of_runs
from labkit.runs.find import find_run, list_runs, rename_run
from labkit.runs.folder import Run, RunState
from labkit.runs.spec import RunSpec, read_spec_file, spec_from_flat
from labkit.runs.submit import (
    delete_run,
    plan_run,
    resume_run,
    stop_run,
    submit_run,
    task_of,
)
from labkit.runs.view import view_runs
from labkit.settings import Site, load_site

app = App(name="run", help="Start runs, follow them, use their models.")

MAX_ROWS_SEEN = 1000
RunName = Annotated[str, Parameter(help="A run's id, the start of one, its name, or 'last'.")]


@app.command
def start(
    file: Annotated[Path | None, Parameter(help="A spec.toml; flags are laid over it.")] = None,
    /,
    *,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
    wait: Annotated[bool, Parameter(negative=(), help="Follow it to its result.")] = False,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Check and estimate, print all, start nothing.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Tune a base model on your data, as a job of its own."""
    site = load_site()
    plan = asyncio.run(plan_run(site, _spec(file, flags)))
    if not json:
        show.findings(plan.prepared.findings, to_stderr=not dry_run)
    if dry_run:
        show.plan(plan, site, as_json=json)
        return 0 if plan.prepared.usable else 1
    run = asyncio.run(submit_run(site, plan))
    if not wait:
        return _started(run, json)
    return _follow(site, run, json)


def _spec(file: Path | None, flags: Any) -> RunSpec:
    """The spec of a file, of flags, or of flags laid over a file."""
    given: dict[str, Any] = flags.model_dump(exclude_none=True) if flags else {}
    beneath = read_spec_file(file) if file else None
    doors = [*([str(file)] if file else []), *(["the command line"] if given or not file else [])]
    return spec_from_flat(given, source=" and ".join(doors), beneath=beneath, shown=flag)


@app.command
def see(
    file: Annotated[Path | None, Parameter(help="A spec.toml; flags are laid over it.")] = None,
    /,
    *,
    flags: Annotated[Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
    row: Annotated[int, Parameter(help="Its number, as a spreadsheet shows it.")],
    rows: Annotated[int, Parameter(help="How many, from that row on.")] = 1,
    json: AsJson = False,
) -> None:
    """What the model would see of a row of your data, and what of it is learnt."""
    spec = _spec(file, flags)
    recipe = RECIPES.load(spec.recipe)
    if not isinstance(recipe, ShowsRows):
        raise UsageError(f"The recipe {spec.recipe} learns the whole of each row, as it stands.")
    if not 1 <= rows <= MAX_ROWS_SEEN:
        raise UsageError(f"{rows} rows asked; allowed is a number from 1 to {MAX_ROWS_SEEN}.")
    found = recipe.see(task_of(load_site(), spec), range(row, row + rows))
    if json:
        print_json([asdict(one) for one in found])
    else:
        show.rows(found)
    if not any(one.looks for one in found):
        raise UsageError(" ".join(one.note for one in found))


def _started(run: Run, json: bool) -> int:
    if json:
        print_json({"run": run.run_id, "name": run.name, "folder": str(run.folder)})
    else:
        say(f"Started {run.run_id}. Follow it with: labkit run show {run.run_id} --wait")
    return 0


def _follow(site: Site, run: Run, json: bool) -> int:
    from labkit.cli.follow import follow

    try:
        follow(site, run)
    except KeyboardInterrupt:
        print(
            f"\nThe run goes on without you. See it: labkit run show {run.run_id}. "
            f"End it: labkit run stop {run.run_id}",
            file=sys.stderr,
        )
        return 130
    return _show(site, run, json)


def _show(site: Site, run: Run, json: bool) -> int:
    (view,) = asyncio.run(view_runs(site, [run]))
    (cost,) = asyncio.run(cost_of_runs(site, [run]))
    if json:
        print_json({**show.as_dict(view), "cost": vars(cost.cost)})
    else:
        show.run(view, cost)
    return 1 if view.status.state in (RunState.FAILED, RunState.DAMAGED) else 0


@app.command(name="list")
def list_(*, json: AsJson = False) -> None:
    """All your runs, the newest first."""
    site = load_site()
    views = asyncio.run(view_runs(site, list_runs(site.runs)))
    if json:
        print_json([view.to_dict() for view in views])
    else:
        show.runs(views)


@app.command(name="show")
def show_(
    run: RunName,
    *,
    wait: Annotated[bool, Parameter(negative=(), help="Follow it to its result.")] = False,
    json: AsJson = False,
) -> int:
    """Where a run is, or its result."""
    site = load_site()
    found = find_run(site.runs, run)
    return _follow(site, found, json) if wait else _show(site, found, json)


@app.command
def cost(
    run: Annotated[
        str | None,
        Parameter(help="A run's id, the start of one, its name, or 'last'; all where left out."),
    ] = None,
    *,
    json: AsJson = False,
) -> None:
    """GPU-hours, core-hours and energy of a run, or of all of them and by cluster."""
    site = load_site()
    runs = [find_run(site.runs, run)] if run else list_runs(site.runs)
    costs = asyncio.run(cost_of_runs(site, runs))
    if run:
        print_json(costs[0].to_dict()) if json else show.cost(costs[0])
        return
    clusters = by_cluster(costs)
    if json:
        print_json({"runs": [one.to_dict() for one in costs],
                    "clusters": [one.to_dict() for one in clusters]})  # fmt: skip
    else:
        show.costs(costs, clusters)


@app.command
def logs(
    run: RunName,
    *,
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative=(), help="Go on until the run ends.")
    ] = False,
) -> None:
    """What a run's processes printed."""
    from labkit.cli.follow import follow_log

    site = load_site()
    found = find_run(site.runs, run)

    looks = Looks(site)

    def ended() -> bool:
        (view,) = finish(view_runs(site, [found], looks))
        return view.status.state.ended

    follow_log(found.last.log, ended if follow else None)


@app.command
def stop(run: RunName) -> None:
    """Save a checkpoint and end. `labkit run resume` goes on from it."""
    site = load_site()
    found = find_run(site.runs, run)
    if asyncio.run(stop_run(site, found)):
        say(f"Asked {found.run_id} to save a checkpoint and end.")
    else:
        say(f"{found.run_id} does not run. See: labkit run show {found.run_id}")


@app.command
def resume(
    run: RunName,
    *,
    wait: Annotated[bool, Parameter(negative=(), help="Follow it to its result.")] = False,
    json: AsJson = False,
) -> int:
    """Go on from the newest checkpoint, after a stop, a failure or the end of its time."""
    site = load_site()
    found = find_run(site.runs, run)
    attempt = asyncio.run(resume_run(site, found))
    start = attempt.resume_from or "the beginning: it had no checkpoint yet"
    say(f"Attempt {attempt.number} goes on from {start}.", to_stderr=True)
    return _follow(site, found, json) if wait else _started(found, json)


@app.command
def rename(run: RunName, name: str) -> None:
    """Give a run another name."""
    found = find_run(load_site().runs, run)
    rename_run(found, name)
    say(f"{found.run_id} is now called {found.name!r}.")


@app.command
def delete(
    run: RunName,
    *,
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], negative=(), help="Remove it without asking.")
    ] = False,
) -> None:
    """Remove a run with its model and its copy of the data."""
    site = load_site()
    found = find_run(site.runs, run)
    if not yes and not _agreed(f"Delete {found.name} ({found.run_id}) with its model? [y/N] "):
        raise LabkitError("Nothing was deleted.")
    asyncio.run(delete_run(site, found))
    say(f"Deleted {found.run_id}.")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("Deleting asks for a yes. Add --yes where nobody can answer.")
    return input(printable(question)).strip().lower() in ("y", "yes")


@app.command
def predict(
    run: RunName,
    texts: Annotated[list[str] | None, Parameter(help="Sentences to answer.")] = None,
    /,
    *,
    data: Annotated[Path | None, Parameter(help="A table of texts to answer.")] = None,
    out: Annotated[Path | None, Parameter(help="The labelled table to write.")] = None,
    overwrite: Annotated[
        bool, Parameter(negative=(), help="Let --out replace a file that is there.")
    ] = False,
    text: Annotated[
        str | None,
        Parameter(metavar="TEXT", help="The column of the texts; as in training by default."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Answer sentences or a whole table with a run's tuned model."""
    from labkit.cli import predict as predicting
    from labkit.data.answers import check_output

    found = find_run(load_site().runs, run)
    if bool(texts) == bool(data):
        raise UsageError(
            'Give sentences (labkit run predict RUN "…") or a table (--data FILE --out FILE).'
        )
    if texts:
        predicting.sentences(found, texts, as_json=json)
    else:
        assert data is not None
        if out is None:
            raise UsageError("Name the file to write: --out labelled.csv")
        check_output(out, data, overwrite=overwrite)
        predicting.table(found, data, out, text, as_json=json)


@app.command
def chat(
    run: RunName,
    *,
    base: Annotated[
        bool, Parameter(negative=(), help="Let the base model answer too, after the tuned one.")
    ] = False,
) -> None:
    """Talk with a run's tuned language model, line by line."""
    from labkit.cli import chat as chatting

    chatting.talk(find_run(load_site().runs, run), base=base)


@app.command
def vote(run: RunName) -> None:
    """Say of held-out questions which answer is better, not knowing which model gave it."""
    from labkit.cli import vote as voting

    voting.ask(find_run(load_site().runs, run))


@app.command(show=False)
def execute(
    folder: Path,
    *,
    attempt: int,
    num_cpus: int,
    num_gpus: int,
    accelerator: str,
    num_nodes: int = 1,
) -> int:
    """The driver of a run; `labkit node` runs it on the head of the run's Ray cluster."""
    from labkit.runs.execute import Group
    from labkit.runs.execute import execute as drive

    return drive(
        Group(num_nodes=num_nodes, num_cpus=num_cpus, num_gpus=num_gpus, accelerator=accelerator),
        folder,
        attempt,
    )
