"""What a browser may ask for: a closed schema, since any page of the origin can send messages.

Each act is one model, named by its `do`. Nothing else is ever carried out.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from labkit.errors import UsageError
from labkit.runs.votes import Side

MAX_SENTENCE = 20_000
MAX_UPLOAD_BYTES = 8 * 2**30

Word = Annotated[str, StringConstraints(max_length=200)]
HomePath = Annotated[str, StringConstraints(max_length=4096)]
"""Relative to the person's home folder, with '/' between its parts; '' is the home folder."""
ServerFolder = Annotated[str, StringConstraints(max_length=4096)]
Role = Literal["data", "test"]


class _Act(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Hello(_Act):
    """A page shows the widget; it says where its server's files begin."""

    do: Literal["hello"]
    root: ServerFolder = ""


class Dismiss(_Act):
    do: Literal["dismiss"]


class GoTo(_Act):
    do: Literal["go_to"]
    step: Literal["task", "base", "data", "settings", "start"]


class TrySample(_Act):
    do: Literal["try_sample"]


class ChooseTask(_Act):
    do: Literal["choose_task"]
    recipe: Word


class ChooseBase(_Act):
    do: Literal["choose_base"]
    base: Word


class OpenFolder(_Act):
    do: Literal["open_folder"]
    path: HomePath


class ChooseFile(_Act):
    do: Literal["choose_file"]
    path: HomePath
    role: Role = "data"


class DropFile(_Act):
    """Take the file back."""

    do: Literal["drop_file"]
    role: Role = "data"


class SetValue(_Act):
    """A key of the spec as it was typed; None or '' for its default."""

    do: Literal["set_value"]
    key: Word
    value: Annotated[str, StringConstraints(max_length=MAX_SENTENCE)] | bool | None


class See(_Act):
    """What the model would see of a row, by its number as it was typed."""

    do: Literal["see"]
    row: Word


class Upload(_Act):
    """A browser has a file to upload and asks where to."""

    do: Literal["upload"]
    name: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    size: Annotated[int, Field(ge=0, le=MAX_UPLOAD_BYTES)]
    purpose: Literal["data", "test", "answer"] = "data"
    page: Word
    """A name of the page that asks, since every page of the widget hears the reply."""


class Uploaded(_Act):
    do: Literal["uploaded"]
    ticket: Word


class UploadFailed(_Act):
    do: Literal["upload_failed"]
    ticket: Word
    why: Annotated[str, StringConstraints(max_length=1000)]


class Start(_Act):
    do: Literal["start"]


class NewRun(_Act):
    """Back to the form."""

    do: Literal["new_run"]


class OpenRun(_Act):
    do: Literal["open_run"]
    run: Word


class OpenRuns(_Act):
    do: Literal["open_runs"]


class Compare(_Act):
    do: Literal["compare"]
    runs: Annotated[list[Word], Field(min_length=2, max_length=2)]


class Stop(_Act):
    do: Literal["stop"]


class Resume(_Act):
    do: Literal["resume"]


class Again(_Act):
    """The form, filled in with what the shown run was asked for."""

    do: Literal["again"]


class Rename(_Act):
    do: Literal["rename"]
    name: Word


class Delete(_Act):
    do: Literal["delete"]


class Ask(_Act):
    do: Literal["ask"]
    text: Annotated[str, StringConstraints(max_length=MAX_SENTENCE)]


class Say(_Act):
    """The next question of a talk."""

    do: Literal["say"]
    text: Annotated[str, StringConstraints(max_length=MAX_SENTENCE)]


class Hush(_Act):
    """Enough of that answer."""

    do: Literal["hush"]


class TalkAnew(_Act):
    do: Literal["talk_anew"]


class LetBaseAnswer(_Act):
    """Whether the base model answers beside the tuned one."""

    do: Literal["let_base_answer"]
    on: bool


class AnswerTable(_Act):
    do: Literal["answer_table"]
    path: HomePath
    column: Word = ""


class Vote(_Act):
    """Which of two answers is better; the page does not know whose they are."""

    do: Literal["vote"]
    row: int
    better: Side


class PackModel(_Act):
    do: Literal["pack_model"]


Act = Annotated[
    Hello | Dismiss | GoTo | TrySample | ChooseTask | ChooseBase | OpenFolder | ChooseFile
    | DropFile | SetValue | See | Upload | Uploaded | UploadFailed | Start | NewRun | OpenRun
    | OpenRuns | Compare | Stop | Resume | Again | Rename | Delete | Ask | Say | Hush
    | TalkAnew | LetBaseAnswer | AnswerTable | Vote | PackModel,
    Field(discriminator="do"),
]  # fmt: skip

_READER: TypeAdapter[Any] = TypeAdapter(Act)


class Call(_Act):
    """An act as a page sends it, which looks for its number in the views that follow."""

    page: Word
    number: Annotated[int, Field(ge=1)]
    act: Any


def read_call(message: object) -> Call | None:
    """None for what is none: then no page waits for an answer."""
    try:
        return Call.model_validate(message)
    except (ValidationError, RecursionError):
        return None


def read_act(message: object) -> Any:
    """The act that a message asks for. Raises UsageError for anything else."""
    try:
        return _READER.validate_python(message)
    except (ValidationError, RecursionError):
        do = message.get("do") if isinstance(message, dict) else None
        named = f" ({do[:40]!r})" if isinstance(do, str) else ""
        raise UsageError(
            f"The page asked for something that labkit does not know{named}. "
            "Reload the page, and run the cell again."
        ) from None
