"""What a recipe is: one way to tune a base model on a person's data.

A recipe is asked in this order: `prepare` (reads and checks the data, before submit),
`estimate`, then in the run `baselines`, `train`, `load` and `evaluate`; later `predict`.
It never learns whether a notebook, a terminal or a program asked, nor on which scheduler.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel
from pydantic.config import JsonDict

from labkit.data.findings import Finding
from labkit.data.messages import Message
from labkit.evaluation.base import Evaluation
from labkit.models.catalogue import BaseEntry

if TYPE_CHECKING:
    from polars import DataFrame

    from labkit.data.load import Table
    from labkit.train.workers import Workers

COLUMN: JsonDict = {"column": True}
"""Marks a setting that names a column of the person's table: a form asks for it beside the table.

It is given to a `Config`'s field as `json_schema_extra`. Beside it, `instead_of` lists the settings
of columns that are not read where this one is named.
"""

LONG: JsonDict = {"long": True}
"""Marks a setting whose text may have several lines."""

FILE: JsonDict = {"file": True}
"""Marks a setting that may name a file; a relative one is relative to the spec's own file.

Beside it, `names` lists what is no file's name: what labkit itself brings; `suffix` is how such
files end, and `left_out` says in words what it is without one.
"""


def in_sight(**choices: str) -> JsonDict:
    """Marks a setting that many people may want to change; a form folds the others away.

    `choices` says in plain words what each choice means.
    """
    return {"in_sight": True, "choices": {**choices}}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a recipe is asked to do."""

    config: Any
    """The recipe's own `Config`."""
    base: BaseEntry
    data: Path
    test: Path | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A person's data, read and checked: what a run folder keeps of it."""

    findings: Sequence[Finding]
    summary: Mapping[str, Any]
    """Figures for the check and the card: rows of each part, labels, data hash."""
    save: Callable[[Path], None]
    """Write what the run needs into a folder, so that the person's file may go."""

    @property
    def usable(self) -> bool:
        return not any(finding.severity == "problem" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would take. Rough before anything ran; made of arithmetic, not of promises."""

    memory_bytes: int
    """The largest that one training process will hold, without Ray."""
    disk_bytes: int
    duration_s: float
    basis: str
    """Where the figures come from, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class DeviceKind:
    """On what a model is tuned, as far as memory depends on it."""

    torch_device: str
    number_bytes: int
    """Of the numbers that are computed with: 2 where the device has bfloat16, else 4."""


@dataclass(frozen=True, kw_only=True)
class Machine(DeviceKind):
    """What the nodes of a run give it."""

    num_cpus: int
    flops: float
    """Floating-point operations a second of a matrix product, in the run's precision; of all its
    training processes together."""


@dataclass(frozen=True, kw_only=True)
class TrainContext:
    """What the training process of a run is given."""

    task: Task
    dataset: Path
    """The folder that `Prepared.save` wrote."""
    folder: Path
    """The attempt's folder: checkpoints, model, baselines."""
    device: str
    num_threads: int
    resume_from: Path | None
    report: Callable[..., None]
    """Say where it is: `report(phase=…, step=…, loss=…)`."""
    should_stop: Callable[[], bool]
    workers: "Workers"
    """The processes that train together, of which this is one; the first writes and reports."""
    lean: bool = False
    """Whether it goes on after an `OutOfMemory` of these devices."""

    @property
    def handed_on(self) -> dict[str, Any]:
        """What a tuning of `labkit.train` is told as it stands here."""
        names = ("folder", "resume_from", "report", "should_stop", "workers")
        return {"base": self.task.base.path, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer. Unsure: the confidence lies below the run's threshold."""

    text: str
    label: str
    """The label, or the answer in words."""
    confidence: float | None
    """None where the model says none, as for an answer in words."""
    unsure: bool
    others: Mapping[str, float] = field(default_factory=dict)
    """The next likely labels with their confidence."""


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A text that the model cannot answer, and why, in a sentence."""

    text: str
    reason: str


Piece = tuple[Literal["read", "learnt", "cut"], str]
"""What becomes of a piece of text, and that piece."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One example as the model would see it."""

    text: str
    learnt: Sequence[tuple[int, int]]
    """Which characters of the text are learnt: start and end."""
    cut_at: int
    """How many characters of the text are kept."""
    num_tokens: int
    """Of the whole text."""
    num_learnt: int
    """Tokens that are learnt; those that are cut off do not count."""
    num_cut: int
    """Tokens that are cut off."""

    @property
    def pieces(self) -> Sequence[Piece]:
        """The text in order, with what becomes of each piece; none is empty."""
        found: list[Piece] = []
        end = 0
        for start, stop in self.learnt:
            start, stop = min(start, self.cut_at), min(stop, self.cut_at)
            found.extend([("read", self.text[end:start]), ("learnt", self.text[start:stop])])
            end = stop
        found.extend([("read", self.text[end : self.cut_at]), ("cut", self.text[self.cut_at :])])
        return [piece for piece in found if piece[1]]


@dataclass(frozen=True, kw_only=True)
class RowLook:
    """A row of a person's file as the model would see it."""

    row: int
    """Its number."""
    looks: Sequence[Look]
    """The examples that it gives; none where it is not there, or cannot be one."""
    note: str
    """Why it is left out, or what of it is; empty where all is learnt from."""


@runtime_checkable
class ShowsRows(Protocol):
    """A recipe that can show what its model would see of a row."""

    def see(self, task: Task, rows: Sequence[int]) -> Sequence[RowLook]:
        """Those rows of the person's file, by number, before anything is tuned.

        It needs the base model's tokenizer, not its weights.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BaseLook:
    """What a recipe says of a base model before it is chosen."""

    facts: Sequence[str]
    """A few words each, beside its size and licence."""
    needed: Mapping[str, str]
    """Settings that must be given since the model does not bring what they say; of each, why."""


@runtime_checkable
class LooksAtBases(Protocol):
    """A recipe that needs more of a base model than weights of a family that it can tune."""

    def look_at_base(self, base: BaseEntry) -> BaseLook:
        """Light: it reads small files at most."""
        ...


@runtime_checkable
class KnowsMemory(Protocol):
    """A recipe that can say what of a device it takes to tune a base model."""

    def memory_by_method(
        self, base: BaseEntry, kind: DeviceKind, num_devices: int
    ) -> Mapping[str, int]:
        """Bytes on each of so many devices of that kind by its setting `method`, the others as
        recommended.

        Arithmetic: it reads small files at most, and raises LabkitError where they do not tell.
        """
        ...


@runtime_checkable
class ReadsColumns(Protocol):
    """A recipe that reads more columns of a table that is to be answered than the input's own."""

    def texts(self, frame: "DataFrame", column: str, config: Any) -> list[str]:
        """What `predict` is to answer in each row; `column` is what a person calls the input."""
        ...


@runtime_checkable
class Converses(Protocol):
    """A recipe whose model one can talk with."""

    def base_of(self, model: Any) -> Any:
        """What the loaded model was tuned from, ready for `reply`.

        Raises LabkitError where that is gone.
        """
        ...

    def reply(self, model: Any, talk: Sequence[Message], say: Callable[[str], bool]) -> str:
        """The answer to the last message of a talk.

        `say` is given each piece of it meanwhile; where it returns False, the answer ends there.
        Raises UsageError where the model cannot answer.
        """
        ...


class Recipe(Protocol):
    name: str
    title: str
    summary: str
    Config: type[BaseModel]
    """Its settings; read by forms and terminals, so its module imports no torch."""
    input_setting: str
    """The setting that names the column which `predict` answers."""
    examples: str
    """What a table to learn from holds, in a sentence."""
    validates: str
    """What its validation accuracy is a share of, as in 'texts that get the right label'."""

    def guess_columns(self, table: "Table") -> Mapping[str, str]:
        """Of each setting that names a column, the column that seems to be meant.

        One that none seems to be meant for is left out.
        """
        ...

    def prepare(self, task: Task) -> Prepared:
        """Read and check the data. Raises DataError where it cannot be read at all."""
        ...

    def estimate(self, task: Task, summary: Mapping[str, Any], machine: Machine) -> Estimate: ...

    def baselines(self, context: TrainContext) -> Mapping[str, Any]:
        """Answers of what the tuned model must beat, on the held-out part, by name."""
        ...

    def train(self, context: TrainContext) -> bool:
        """Tune, and leave the model in `context.folder / 'model'`.

        Returns False where it was asked to stop and left a checkpoint instead.
        """
        ...

    def evaluate(self, context: TrainContext, baselines: Mapping[str, Any]) -> Evaluation:
        """The tuned model against the baselines on the held-out part, which is read once."""
        ...

    def load(self, folder: Path, device: str) -> Any:
        """The tuned model in that folder, ready for `predict`."""
        ...

    def predict(self, model: Any, inputs: Sequence[str]) -> Sequence[Prediction | Unanswered]: ...
