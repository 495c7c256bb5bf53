"""The form of a run: task, base model, data, settings, start. What was chosen, and what it means.

It holds what a person typed, flat, as the keys of a spec; what is right is decided by the spec,
the recipe and the plan, as at every other door.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from labkit.demo import SAMPLES
from labkit.errors import LabkitError, UsageError
from labkit.eventloop import finish
from labkit.models.catalogue import Catalogue, list_models
from labkit.parsing import WrongValues
from labkit.recipes import FIRST, RECIPES
from labkit.recipes.base import BaseLook, LooksAtBases, Recipe
from labkit.runs.fits import places_of
from labkit.runs.folder import Run
from labkit.runs.spec import RunSpec, flat_keys, spec_from_flat
from labkit.runs.submit import Plan, plan_run, submit_run
from labkit.settings import Site
from labkit_widgets import acts
from labkit_widgets.background import Background, alone
from labkit_widgets.fields import columns_of
from labkit_widgets.home import in_home, list_home, sample_file
from labkit_widgets.room import room_in_words
from labkit_widgets.see import Box, see_rows
from labkit_widgets.table_look import Look, look_at
from labkit_widgets.where import Where, ask_where

STEPS = ("task", "base", "data", "settings", "start")
_SOURCE = "the form"


class Form:
    """A run that is being asked for."""

    def __init__(self, site: Site, background: Background, started: Callable[[Run], None]):
        self.site, self.background, self.started = site, background, started
        self.given: dict[str, Any] = {"recipe": FIRST}
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
        self.box = Box()
        """The row that is looked at, of the run as it is now."""
        self.catalogue = Catalogue(entries={}, broken={})
        self.base_looks: dict[str, BaseLook] = {}
        """Of each fitting base model, what the recipe says of it."""
        self.room: dict[str, str] = {}
        """Of each fitting base model, where there is room to tune it, in a sentence."""
        self.refresh()

    def refresh(self) -> None:
        """Read the catalogue anew, and choose what there is only one of."""
        self.catalogue = list_models(self.site.catalogue)
        entries = self.catalogue.entries
        fitting = [name for name in entries if self.given["recipe"] in entries[name].tasks]
        recipe = self.recipe
        self.base_looks = {
            name: recipe.look_at_base(entries[name])
            if isinstance(recipe, LooksAtBases)
            else BaseLook(facts=[], needed={})
            for name in fitting
        }
        places = places_of(self.site)
        self.room = {name: room_in_words(recipe, entries[name], places) for name in fitting}
        if "base" not in self.given and fitting:
            self.given["base"] = fitting[0]

    @property
    def recipe(self) -> Recipe:
        return RECIPES.load(self.given["recipe"])

    @property
    def sample(self) -> str | None:
        """The name of the table to try the chosen recipe with; None where it has none."""
        return SAMPLES.get(self.given["recipe"])

    @property
    def config(self) -> type[BaseModel]:
        """The settings of the chosen recipe."""
        return self.recipe.Config

    def fill(self, keys: Mapping[str, Any]) -> None:
        """Take over the keys of a spec, flat. Raises UsageError for unknown ones."""
        self._take_recipe(keys.get("recipe", self.given["recipe"]))
        known = flat_keys(self.given["recipe"])
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
        if self.sample is None:
            raise UsageError(f"There is no sample data for {self.recipe.title!r}.")
        self.given = {"recipe": self.given["recipe"]}
        self.refresh()
        if not self.given.get("base"):
            self.step = "base"  # whose empty state says what to do
            return
        self.given["data"] = str(sample_file(self.sample))
        self.step = "base" if self.needed() else "start"
        self._read_data()

    def choose_task(self, act: acts.ChooseTask) -> None:
        self._take_recipe(act.recipe)
        if self.given.get("data"):
            self._read_data()

    def _take_recipe(self, recipe: str) -> None:
        """Choose it; of what was given, keep what holds for it too.

        Columns do not: the same table has others for another task.
        """
        if recipe == self.given["recipe"]:
            return
        known, columns = flat_keys(recipe), columns_of(RECIPES.load(recipe).Config)
        self.given = {k: v for k, v in self.given.items() if k in known and k not in columns}
        self.given["recipe"] = recipe
        for key in self.wrong():  # such as a choice that this one does not have
            self.given.pop(key, None)
        entry = self.catalogue.entries.get(self.given.get("base", ""))
        if entry and recipe not in entry.tasks:
            del self.given["base"]
        self.forget_plan()
        self.refresh()

    def choose_base(self, act: acts.ChooseBase) -> None:
        if act.base not in self.catalogue.entries:
            raise UsageError(f"There is no base model {act.base!r}.")
        before = self.base_needs
        self.given["base"] = act.base
        for key in before.keys() - self.base_needs.keys():  # given since the other lacked it
            self.given.pop(key, None)
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
        keys = flat_keys(self.given["recipe"])
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

    def see(self, act: acts.See) -> None:
        """Look at a row as the model would see it, in the background where it is not yet known."""
        box = self.box
        box.row, box.problem = act.row, ""
        if not act.row.isdecimal():
            box.problem = f"{act.row!r} is no row's number, such as 7."
            return
        try:
            spec = self.spec()
        except UsageError as error:
            box.problem = str(error)
            return
        row = int(act.row)
        if row not in box.known and "see" not in self.background.doing():
            words = f"Looking at row {row} …"
            self.background.run("see", words, lambda: see_rows(spec, row), box.known.update)

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
        needed = {"base": "-", "data": "-"}
        try:
            spec_from_flat({**needed, **self.given}, source=_SOURCE)
        except WrongValues as error:
            return {key.rpartition(".")[2]: said for key, said in error.sentences.items()}
        except UsageError as error:
            return {"": str(error)}
        return {}

    @property
    def base_needs(self) -> Mapping[str, str]:
        """Settings that the chosen base model makes necessary, and why."""
        look = self.base_looks.get(self.given.get("base", ""))
        return look.needed if look else {}

    def needed(self) -> dict[str, str]:
        """Those of them that are not given."""
        return {key: why for key, why in self.base_needs.items() if key not in self.given}

    def missing(self) -> str:
        """What must be chosen before there is a spec; empty for nothing."""
        if not self.given.get("base"):
            return "Choose a base model first."
        if why := next(iter(self.needed().values()), ""):
            return why
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
        elif kind == "see":
            self.box.problem = sentence
        elif kind in ("check", "start"):
            self.plan_problem = sentence
        else:
            return False
        return True

    def _read_data(self) -> None:
        path = Path(self.given["data"]).expanduser()
        self._forget_data()
        self.forget_plan()
        recipe = self.recipe
        look = alone(lambda: look_at(path, recipe))
        self.background.run("look", f"Reading {path.name} …", look, self._looked)

    def _looked(self, look: Look) -> None:
        self.look = look
        for role in columns_of(self.config):
            if self.given.get(role, self.config.model_fields[role].default) in look.columns:
                continue
            self.given.pop(role, None)  # of another table
            if role in look.guess:
                self.given[role] = look.guess[role]
        self.check()

    def _forget_data(self) -> None:
        self.background.forget("look")
        self.look, self.data_problem, self.box = None, "", Box()

    def forget_plan(self) -> None:
        for kind in ("check", "see"):
            self.background.forget(kind)
        self.plan, self.plan_problem, self.box = None, "", Box(row=self.box.row)

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
    acts.See: Form.see,
    acts.Start: Form.start,
}
