"""The form of a run: task, base model, data, settings, start. What was chosen, and what it means.

It holds what a person typed, flat, as the keys of a spec; what is right is decided by the spec,
the recipe and the plan, as at every other door.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from labkit.errors import LabkitError, UsageError
from labkit.eventloop import finish
from labkit.models.catalogue import Catalogue, list_models
from labkit.parsing import WrongValues
from labkit.recipes import RECIPES
from labkit.runs.folder import Run
from labkit.runs.spec import RunSpec, flat_keys, spec_from_flat
from labkit.runs.submit import Plan, plan_run, submit_run
from labkit.settings import Site
from labkit_widgets import acts
from labkit_widgets.background import Background, alone
from labkit_widgets.fields import columns_of
from labkit_widgets.home import in_home, list_home, sample_file
from labkit_widgets.table_look import Look, look_at
from labkit_widgets.where import Where, ask_where

TASKS = ("text-classification",)
"""The recipes that the form has views of; the others are for the terminal and for Python."""

STEPS = ("task", "base", "data", "settings", "start")
SAMPLE = "hotline.csv"
_SOURCE = "the form"


class Form:
    """A run that is being asked for."""

    def __init__(self, site: Site, background: Background, started: Callable[[Run], None]):
        self.site, self.background, self.started = site, background, started
        self.given: dict[str, Any] = {}
        self.step = "task"
        self.folder = ""
        self.listing: dict[str, Any] = {}
        self.look: Look | None = None
        self.data_problem = ""
        self.plan: Plan | None = None
        self.plan_problem = ""
        self.where: Where | None = None
        """What the chosen cluster has; None until it is known."""
        self.where_problem = ""
        self.catalogue = Catalogue(entries={}, broken={})
        self.refresh()

    def refresh(self) -> None:
        """Read the catalogue anew, and choose what there is only one of."""
        self.catalogue = list_models(self.site.catalogue)
        if len(TASKS) == 1:
            self.given.setdefault("recipe", TASKS[0])
        fitting = self.bases()
        if "base" not in self.given and fitting:
            self.given["base"] = fitting[0]

    def bases(self) -> list[str]:
        """The base models that the chosen recipe can tune."""
        recipe = self.given.get("recipe")
        entries = self.catalogue.entries
        return [name for name, entry in entries.items() if recipe in entry.tasks]

    @property
    def config(self) -> type[BaseModel] | None:
        """The settings of the chosen recipe."""
        recipe = self.given.get("recipe")
        return RECIPES.load(recipe).Config if recipe in TASKS else None

    def fill(self, keys: Mapping[str, Any]) -> None:
        """Take over the keys of a spec, flat. Raises UsageError for unknown ones."""
        recipe = keys.get("recipe", self.given.get("recipe"))
        if recipe in RECIPES.names() and recipe not in TASKS:
            raise UsageError(
                f"The form has no view of {recipe} yet. Start it with .run() in a cell, or with "
                "labkit run start in a terminal."
            )
        known = flat_keys(recipe) if recipe in TASKS else {}
        self.given |= {k: v for k, v in keys.items() if k in known and v is not None}
        if self.given.get("data"):
            self._read_data()
            self.step = "start"
        if unknown := [key for key in keys if key not in known]:
            raise UsageError(
                f"The form has no {', '.join(map(repr, unknown))}. Known: {', '.join(known)}."
            )

    # What a person does.

    def go_to(self, act: acts.GoTo) -> None:
        self.step = act.step
        if act.step == "base":
            self.refresh()
        if act.step == "data":
            self._list()
        if act.step == "settings":
            self.ask_where()
        if act.step in ("data", "start"):
            self.check()

    def try_sample(self, act: acts.TrySample) -> None:
        """All defaults with the sample table, one click before the start."""
        self.given = {}
        self.refresh()
        if not self.given.get("base"):
            self.step = "base"  # whose empty state says what to do
            return
        self.given["data"] = str(sample_file(SAMPLE))
        self.step = "start"
        self._read_data()

    def choose_task(self, act: acts.ChooseTask) -> None:
        if act.recipe not in TASKS:
            raise UsageError(f"There is no task {act.recipe!r}.")
        self.given["recipe"] = act.recipe
        self.forget_plan()
        self.refresh()

    def choose_base(self, act: acts.ChooseBase) -> None:
        if act.base not in self.catalogue.entries:
            raise UsageError(f"There is no base model {act.base!r}.")
        self.given["base"] = act.base
        self.forget_plan()

    def open_folder(self, act: acts.OpenFolder) -> None:
        self.listing = list_home(act.path)
        self.folder = act.path

    def choose_file(self, act: acts.ChooseFile) -> None:
        self.take_file(in_home(act.path), act.role)

    def take_file(self, path: Path, role: str) -> None:
        """Use this table as the data or the test file."""
        self.given[role] = str(path)
        self.step = "data"
        self._list()
        if role == "data":
            self._read_data()
        else:
            self.forget_plan()
            self.check()

    def drop_file(self, act: acts.DropFile) -> None:
        self.given.pop(act.role, None)
        self.forget_plan()
        if act.role == "data":
            self._forget_data()
            self._list()
        else:
            self.check()

    def set_value(self, act: acts.SetValue) -> None:
        config = self.config
        keys = flat_keys(self.given["recipe"]) if config else {}
        if act.key not in keys or act.key in ("recipe", "base", "data", "test", "spec_version"):
            raise UsageError(f"There is no setting {act.key!r}.")
        text = act.value.strip() if isinstance(act.value, str) else act.value
        if text is None or text == "":
            self.given.pop(act.key, None)
        else:
            self.given[act.key] = text
        if act.key == "name" and self.plan:
            return  # nothing to check anew; `start` takes the name
        self.forget_plan()
        if act.key == "cluster":
            self.ask_where()
        if self.step in ("data", "start"):
            self.check()

    def start(self, act: acts.Start) -> None:
        """Submit the run, from the plan that is shown where nothing has changed since."""
        spec, plan, site = self.spec(), self.plan, self.site
        background = self.background
        self.plan_problem = ""

        def submit() -> Run:
            if plan and plan.spec == spec.model_copy(update={"name": plan.spec.name}):
                return finish(submit_run(site, replace(plan, spec=spec)))
            return finish(submit_run(site, finish(plan_run(site, spec))))

        if "start" not in background.doing():
            background.run("start", "Starting the run …", alone(submit), self.started)

    # What follows from it.

    def wrong(self) -> dict[str, str]:
        """Of each key with a value that is not allowed, what is."""
        if self.config is None:
            return {}
        needed = {"base": "-", "data": "-"}
        try:
            spec_from_flat({**needed, **self.given}, source=_SOURCE)
        except WrongValues as error:
            return {key.rpartition(".")[2]: said for key, said in error.sentences.items()}
        except UsageError as error:
            return {"": str(error)}
        return {}

    def missing(self) -> str:
        """What must be chosen before there is a spec; empty for nothing."""
        if self.config is None:
            return "Choose a task first."
        if not self.given.get("base"):
            return "Choose a base model first."
        return "" if self.given.get("data") else "Choose your data first."

    def spec(self) -> RunSpec:
        """Raises UsageError where something is missing or wrong."""
        if missing := self.missing():
            raise UsageError(missing)
        return spec_from_flat(self.given, source=_SOURCE)

    def check(self) -> None:
        """Check and estimate the run in the background, where it is not yet known."""
        if self.plan or self.missing() or self.wrong() or self.look is None:
            return
        spec, site = self.spec(), self.site
        self.plan_problem = ""

        def done(plan: Plan) -> None:
            self.plan = plan

        self.background.run(
            "check", "Checking every row …", alone(lambda: finish(plan_run(site, spec))), done
        )

    def ask_where(self) -> None:
        """Ask the chosen cluster what it has, in the background."""
        site, cluster = self.site, self.given.get("cluster")
        if self.where and self.where.cluster != (cluster or next(iter(site.clusters))):
            self.where = None
        self.where_problem = ""

        def done(where: Where) -> None:
            self.where = where

        self.background.run(
            "where", "Asking what there is …", lambda: ask_where(site, cluster), done
        )

    def failed(self, kind: str, sentence: str) -> bool:
        """Keep a failure of this form's work beside what it is about. False: it is not ours."""
        if kind == "look":
            self.data_problem = sentence
        elif kind == "where":
            self.where, self.where_problem = None, sentence
        elif kind in ("check", "start"):
            self.plan_problem = sentence
        else:
            return False
        return True

    def _read_data(self) -> None:
        path = Path(self.given["data"]).expanduser()
        self._forget_data()
        self.forget_plan()
        look = alone(lambda: look_at(path))
        self.background.run("look", f"Reading {path.name} …", look, self._looked)

    def _looked(self, look: Look) -> None:
        self.look = look
        config = self.config
        for role in columns_of(config) if config else []:
            known = self.given.get(role, config.model_fields[role].default if config else "")
            if known not in look.columns and role in look.guess:
                self.given[role] = look.guess[role]
        self.check()

    def _forget_data(self) -> None:
        self.background.forget("look")
        self.look, self.data_problem = None, ""

    def forget_plan(self) -> None:
        self.background.forget("check")
        self.plan, self.plan_problem = None, ""

    def _list(self) -> None:
        try:
            self.listing = list_home(self.folder)
        except LabkitError:
            self.folder = ""
            self.listing = list_home("")


HANDLERS: dict[type, Callable[[Form, Any], None]] = {
    acts.GoTo: Form.go_to,
    acts.TrySample: Form.try_sample,
    acts.ChooseTask: Form.choose_task,
    acts.ChooseBase: Form.choose_base,
    acts.OpenFolder: Form.open_folder,
    acts.ChooseFile: Form.choose_file,
    acts.DropFile: Form.drop_file,
    acts.SetValue: Form.set_value,
    acts.Start: Form.start,
}
