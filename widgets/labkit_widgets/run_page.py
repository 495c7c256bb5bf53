"""One run: watched while it goes on, then its result and its model in use.

Everything shown comes from the run folder by `labkit.runs.view`. Closing it stops nothing.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.clusters import Looks
from labkit.data.load import load_table
from labkit.errors import LabkitError
from labkit.eventloop import finish
from labkit.paths import read_json
from labkit.recipes.base import Converses, Prediction
from labkit.runs.cost import Cost, RunCost, cost_of_runs
from labkit.runs.find import rename_run
from labkit.runs.folder import Run
from labkit.runs.predict import Answered, TunedModel
from labkit.runs.submit import delete_run, resume_run, stop_run
from labkit.runs.view import RunView, view_runs
from labkit.runs.votes import vote
from labkit.settings import Site
from labkit_widgets import acts
from labkit_widgets.background import Background, alone
from labkit_widgets.curve import Metrics
from labkit_widgets.home import OURS, in_home, list_home, take_name
from labkit_widgets.talk_box import TalkBox

MAX_ANSWERS = 20
_WRITABLE = (".csv", ".tsv", ".jsonl", ".parquet")


class RunPage:
    """A run that is shown."""

    def __init__(self, site: Site, run: Run, background: Background, left: Callable[[str], None]):
        self.site, self.run, self.background, self.left = site, run, background, left
        self.metrics = Metrics(run)
        self.view: RunView | None = None
        self._looks = Looks(site)
        self.gone = False
        self.problems: dict[str, str] = {}
        """Of each kind of work, why it failed."""
        self.answers: list[Prediction] = []
        """The newest first."""
        self.asked = 0
        self.listing: dict[str, Any] = list_home("")
        self.table: dict[str, Any] | None = None
        """The table that was answered last, or the columns to choose from."""
        self.packed: Path | None = None
        self.cost: Cost | None = None
        """What it cost; asked once it has ended."""
        self._model: TunedModel | None = None
        self._talk: TalkBox | None = None

    def look(self) -> bool:
        """Read where the run is; whether it goes on."""
        if not self.run.folder.exists():
            self.gone = True
            return False
        try:
            (view,) = finish(view_runs(self.site, [self.run], self._looks))
            self.metrics.look()
        except FileNotFoundError:  # it is being deleted just now
            self.gone = not self.run.folder.exists()
            return False
        self.view = view
        if view.status.state.ended and self.cost is None:
            self._ask_cost()
        return not view.status.state.ended

    def _ask_cost(self) -> None:
        def asked(found: list[RunCost]) -> None:
            self.cost = found[0].cost

        self._do("cost", "", lambda: finish(cost_of_runs(self.site, [self.run])), asked)

    # What a person does.

    def stop(self, act: acts.Stop) -> None:
        self._do("stop", "Asking it to save a checkpoint and end …",
                 lambda: finish(stop_run(self.site, self.run)),
                 lambda _: self._looks.forget())  # fmt: skip

    def resume(self, act: acts.Resume) -> None:
        self.cost = None
        self._do("resume", "Going on from the newest checkpoint …",
                 lambda: finish(resume_run(self.site, self.run)), lambda _: None)  # fmt: skip

    def rename(self, act: acts.Rename) -> None:
        rename_run(self.run, act.name.strip())
        self.look()

    def delete(self, act: acts.Delete) -> None:
        name = self.run.name
        self._do("delete", "Deleting the run …", lambda: finish(delete_run(self.site, self.run)),
                 lambda _: self.left(f"The run {name!r} was deleted."))  # fmt: skip

    def ask(self, act: acts.Ask) -> None:
        def answered(found: list[Prediction]) -> None:
            self.answers = [*found, *self.answers][:MAX_ANSWERS]
            self.asked += 1

        loaded = self._model and self._model.is_loaded
        words = "Thinking …" if loaded else "Loading the model, once …"
        self._do("ask", words, lambda: self._tuned().answer_sentences([act.text]), answered)

    @property
    def talk(self) -> TalkBox | None:
        """None where the model does not converse."""
        if self._talk is None:
            try:
                model = self._tuned()
            except LabkitError:
                return None  # of a newer labkit, or damaged: its result can be read all the same
            if isinstance(model.recipe, Converses):
                self._talk = TalkBox(model, self.background)
        return self._talk

    def its_talk(self) -> TalkBox:
        """To say something in. Raises LabkitError where the model does not converse."""
        if self.talk is None:
            raise LabkitError("This model gives labels, it does not converse.")
        self.problems.pop("talk", None)
        return self.talk

    def close(self) -> None:
        """Nobody looks at it any more."""
        if self._talk:
            self._talk.hush()

    def open_folder(self, act: acts.OpenFolder) -> None:
        self.listing = list_home(act.path)

    def answer_file(self, act: acts.AnswerTable) -> None:
        self.answer_table(in_home(act.path), act.path, act.column)

    def answer_table(self, path: Path, shown: str, column: str = "") -> None:
        """Answer every row of the table into a new file in the home folder."""
        self.table = None

        def work() -> dict[str, Any]:
            return alone(lambda: answered_file(self._tuned(), path, column))()

        def answered(found: dict[str, Any]) -> None:
            self.table = {"path": shown, "name": path.name, **found}

        self._do("table", f"Answering every row of {path.name} …", work, answered)

    def vote(self, act: acts.Vote) -> None:
        vote(self.run, act.row, act.better)

    def pack_model(self, act: acts.PackModel) -> None:
        def packed(path: Path) -> None:
            self.packed = path

        self._do("pack", "Packing the model …", lambda: pack_model(self.run), packed)

    def failed(self, kind: str, sentence: str) -> bool:
        """Keep a failure beside what it is about."""
        if kind not in ("stop", "resume", "delete", "ask", "talk", "table", "pack", "cost"):
            return False
        self.problems[kind] = sentence
        return True

    def card(self) -> str:
        """The card of the tuned model, as Markdown; empty where there is none."""
        try:
            return (self.run.last.folder / "card.md").read_text(encoding="utf-8")
        except (OSError, LabkitError, UnicodeDecodeError):
            return ""

    def needs(self) -> str:
        """The base model without which the tuned one is nothing; empty where it is whole."""
        try:
            known = read_json(self.run.model_folder() / "labkit.json") or {}
            return self.run.spec().base if known.get("adapter") else ""
        except LabkitError:
            return ""

    def _tuned(self) -> TunedModel:
        self._model = self._model or TunedModel(self.run)
        return self._model

    def _do(
        self, kind: str, words: str, work: Callable[[], Any], then: Callable[[Any], None]
    ) -> None:
        self.problems.pop(kind, None)
        if kind not in self.background.doing():
            self.background.run(kind, words, work, then)


def answered_file(model: TunedModel, path: Path, column: str) -> dict[str, Any]:
    """The labelled table, or the columns where it is not clear which holds the texts."""
    asked = column or model.input_column
    columns = load_table(path).frame.columns
    if asked not in columns:
        if len(columns) != 1:
            return {"columns": columns, "asked": asked}
        asked = columns[0]
    suffix = path.suffix.lower() if path.suffix.lower() in _WRITABLE else ".csv"
    out = take_name(Path.home() / OURS / "answers", f"{path.stem} labelled{suffix}")
    try:
        done: Answered = model.answer_table(path, out, asked)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return {"out": out, "answered": done.num_answered, "blank": done.blank,
            "left_out": done.left_out, "unsure": done.unsure}  # fmt: skip


def pack_model(run: Run) -> Path:
    """The tuned model with its card as one ZIP file in the home folder."""
    model = run.model_folder()
    name = "".join(sign if sign.isalnum() or sign in " -_." else "-" for sign in run.name)
    out = take_name(Path.home() / OURS / "downloads", f"{name}.zip")
    half = out.with_name(f".{out.name}.half")
    try:
        # Stored, not compressed: weights hardly get smaller.
        with zipfile.ZipFile(half, "w", zipfile.ZIP_STORED) as packed:
            for file in sorted(p for p in model.rglob("*") if p.is_file()):
                packed.write(file, f"model/{file.relative_to(model)}")
            for kept in ("card.md", "evaluation.json"):
                packed.write(model.parent / kept, kept)
        os.chmod(half, 0o600)
        os.replace(half, out)
    except BaseException:
        half.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
        raise
    return out


HANDLERS: dict[type, Callable[[RunPage, Any], None]] = {
    acts.Stop: RunPage.stop,
    acts.Resume: RunPage.resume,
    acts.Rename: RunPage.rename,
    acts.Delete: RunPage.delete,
    acts.Ask: RunPage.ask,
    acts.Say: lambda page, act: page.its_talk().say(act.text),
    acts.Hush: lambda page, act: page.its_talk().hush(),
    acts.TalkAnew: lambda page, act: page.its_talk().anew(),
    acts.LetBaseAnswer: lambda page, act: page.its_talk().let_base_answer(act.on),
    acts.OpenFolder: RunPage.open_folder,
    acts.AnswerTable: RunPage.answer_file,
    acts.Vote: RunPage.vote,
    acts.PackModel: RunPage.pack_model,
}
