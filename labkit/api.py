"""The Python door: the same runs as from a form or a terminal.

from labkit import TextClassification

run = TextClassification(base="minilm", data="train.csv", text="text", label="category").run()
print(run.accuracy)
run.predict(["The bin at the corner is full"])
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError
from labkit.eventloop import finish
from labkit.recipes import RECIPES
from labkit.recipes.base import Prediction
from labkit.runs.folder import Run, RunState
from labkit.runs.predict import TunedModel
from labkit.runs.spec import RunSpec, spec_from_flat
from labkit.runs.submit import Plan, plan_run, resume_run, stop_run, submit_run
from labkit.runs.view import RunView, view_runs
from labkit.settings import Site, load_site

if TYPE_CHECKING:
    from labkit_widgets import Studio


class TunedRun:
    """A run that was started, from Python."""

    def __init__(self, site: Site, run: Run):
        self.site, self.folder, self._run = site, run.folder, run

    @cached_property
    def _model(self) -> TunedModel:
        return TunedModel(self._run)

    @property
    def view(self) -> RunView:
        return finish(view_runs(self.site, [self._run]))[0]

    @property
    def accuracy(self) -> float | None:
        return self.view.accuracy

    @property
    def macro_f1(self) -> float | None:
        return self.view.macro_f1

    @property
    def evaluation(self) -> dict[str, Any] | None:
        return self._run.evaluation()

    def wait(self) -> "TunedRun":
        """Show its progress until it ends. Raises LabkitError where it failed."""
        from labkit.cli.follow import follow

        view = follow(self.site, self._run)
        if view.status.state in (RunState.FAILED, RunState.DAMAGED):
            raise LabkitError(f"{view.name} failed: {view.status.message}")
        return self

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        finish(stop_run(self.site, self._run))

    def resume(self) -> "TunedRun":
        """Go on from the newest checkpoint."""
        finish(resume_run(self.site, self._run))
        return self

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """The tuned model's answers."""
        return self._model.answer(texts)


class Task:
    """A recipe with what it was given. `settings` are the keys of its spec, flat."""

    recipe: str

    def __init__(self, **settings: Any):
        self.spec: RunSpec = spec_from_flat(
            {"recipe": self.recipe, **settings}, source=type(self).__name__
        )

    def form(self) -> "Studio":
        """The same as a form in the notebook, filled in."""
        from labkit_widgets import Studio

        return Studio(self)

    def plan(self) -> Plan:
        """Check the data and estimate the run; nothing starts."""
        return finish(plan_run(load_site(), self.spec))

    def start(self) -> TunedRun:
        """Start the run as a job of its own and return at once."""
        site = load_site()
        return TunedRun(site, finish(submit_run(site, self.plan())))

    def run(self) -> TunedRun:
        """Start the run and follow it to its result."""
        return self.start().wait()


def task_class(name: str) -> type[Task]:
    """The class for the recipe whose own class has that name: 'TextClassification'."""
    for key, recipe in RECIPES.all().items():
        if type(recipe).__name__ == name:
            return type(name, (Task,), {"recipe": key, "__doc__": recipe.summary})
    raise AttributeError(f"labkit has no {name!r}")
