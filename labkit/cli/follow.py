"""Following a run on a terminal: a progress bar to its result, or its log as it grows."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from labkit.cli.safe_text import printable
from labkit.clusters import Looks
from labkit.eventloop import finish
from labkit.runs.folder import Run, Status
from labkit.runs.view import RunView, view_runs
from labkit.settings import Site
from labkit.units import format_duration

LOOK_EVERY_S = 0.3


def follow(site: Site, run: Run) -> RunView:
    """Show where the run is until it ends. Ctrl-C leaves the run alone."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=Console(stderr=True, highlight=False),
    )
    said, looks = "", Looks(site)
    with progress:
        bar = progress.add_task(printable(run.name), total=None, figures="")
        while True:
            (view,) = finish(view_runs(site, [run], looks))
            _draw(progress, bar, view.status)
            now = printable(view.status.phase or view.status.state)
            if not progress.console.is_terminal and now != said:
                said = now  # no bar is drawn into a file or a pipe: a line for each phase
                print(now, file=sys.stderr, flush=True)
            if view.status.state.ended:
                return view
            time.sleep(LOOK_EVERY_S)


def _draw(progress: Progress, bar: TaskID, status: Status) -> None:
    figures = [
        f"step {status.step}/{status.num_steps}" if status.num_steps else "",
        f"loss {status.loss:.3f}" if status.loss is not None else "",
        f"validation {status.validation_accuracy:.1%}"
        if status.validation_accuracy is not None
        else (
            f"instant answer {status.instant_accuracy:.1%}"
            if status.instant_accuracy is not None
            else ""
        ),
        f"{status.rows_per_second:.0f} rows/s" if status.rows_per_second else "",
        f"{status.tokens_per_second:.0f} tokens/s" if status.tokens_per_second else "",
        f"{status.share_of_peak:.0%} of peak" if status.share_of_peak else "",
        f"{format_duration(status.seconds_left)} left" if status.seconds_left else "",
    ]
    progress.update(
        bar,
        description=printable(status.phase or status.state),
        total=status.num_steps or None,
        completed=status.step,
        figures=" · ".join(part for part in figures if part),
    )


def follow_log(log: Path, ended: Callable[[], bool] | None) -> None:
    """Print the log; where `ended` is given, also what comes, until that is so."""
    shown = 0
    while True:
        last = ended is None or ended()
        if log.exists():
            with log.open(errors="replace") as file:
                file.seek(shown)
                sys.stdout.write(printable(file.read()))
                sys.stdout.flush()
                shown = file.tell()
        if last:
            return
        time.sleep(LOOK_EVERY_S)
