"""Instruction tuning: let a language model answer as a person's own answers do.

Data: a table of questions and answers, or of conversations. Base: a decoder. The tuned model
is compared with its base on questions that were held out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from labkit.data.messages import Message
from labkit.errors import UsageError
from labkit.models.catalogue import BaseEntry
from labkit.models.chat_templates import TEMPLATES, choose_template
from labkit.recipes._instruct_answer import Answerer
from labkit.recipes.base import (
    COLUMN,
    FILE,
    LONG,
    BaseLook,
    DeviceKind,
    Estimate,
    Machine,
    Prediction,
    Prepared,
    RowLook,
    Task,
    TrainContext,
    Unanswered,
    in_sight,
)

if TYPE_CHECKING:
    from polars import DataFrame

    from labkit.data.conversations import Columns, ConversationParts, Conversations
    from labkit.data.findings import Finding
    from labkit.data.load import Table
    from labkit.evaluation.base import Evaluation
    from labkit.train.instruct import InstructTuning

Method = Literal["lora", "qlora", "full"]

BASELINE = "the base model"
_TEMPLATE_FILE = "chat_template.jinja"
_SAMPLES, _SAMPLE_TOKENS = 3, 64
"""Questions that are answered anew after each pass over the data, and how far."""
_ANSWERS_SHOWN = 5
"""Held-out questions that base and tuned model answer in full."""


class Config(BaseModel):
    """The settings of instruction tuning."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    question: str = Field(default="question", json_schema_extra=COLUMN)
    """The column that holds the questions."""
    answer: str = Field(default="answer", json_schema_extra=COLUMN)
    """The column that holds the answers."""
    input: str | None = Field(default=None, json_schema_extra=COLUMN)
    """A column that holds what a question is about; it is put below the question."""
    messages: str | None = Field(
        default=None, json_schema_extra={**COLUMN, "instead_of": ["question", "answer", "input"]}
    )
    """A column that holds whole conversations as JSON; then question and answer are not read."""
    system: str = Field(
        default="", max_length=20_000, title="System message", json_schema_extra=LONG
    )
    """What every conversation begins with: how the model shall answer."""
    template: str | None = Field(
        default=None,
        title="Chat template",
        json_schema_extra={
            **FILE,
            "names": [*TEMPLATES],
            "suffix": ".jinja",
            "left_out": "the model's own",
        },
    )
    """How a conversation becomes one text: 'plain', or a Jinja file; else the model's own."""
    method: Method = Field(
        default="lora",
        title="What is tuned",
        json_schema_extra=in_sight(
            lora="Small adapters in it (lora)",
            qlora="Small adapters, the model in 4 bits (qlora)",
            full="The whole model",
        ),
    )
    """What is tuned: adapters in the model (lora), in one held in 4 bits (qlora), or all of it."""
    epochs: int = Field(
        default=3, ge=1, le=200, title="Passes over the data", json_schema_extra=in_sight()
    )
    """How often each row is seen."""
    batch_size: int = Field(default=16, ge=1, le=4096)
    """Conversations in each step."""
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, title="Learning rate", json_schema_extra=in_sight()
    )
    """How far each step goes; chosen for the method where it is left out."""
    max_tokens: int = Field(default=1024, ge=16, le=131_072)
    """Longer conversations are cut to this many tokens; it is said which."""
    row_tokens: int = Field(default=4096, ge=16, le=1_048_576)
    """How many tokens go through the model at a time; less takes less memory."""
    sharding: Literal["auto", "always", "never"] = "auto"
    """Whether several workers share out the model: auto does where it is large for each."""
    patience: int = Field(default=3, ge=1, le=200)
    """Epochs without progress on the validation part before it ends early."""
    lora_rank: int = Field(default=16, ge=1, le=256)
    """The size of the adapters of the methods lora and qlora."""
    lora_targets: str = "all-linear"
    """The layers that get adapters: 'all-linear', or names as in 'q_proj,v_proj'."""
    merge: bool = False
    """Save the whole model with the adapters added into it, not the adapters alone."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the model's blocks: auto does where over 10 minutes are left; never with qlora."""
    max_answer_tokens: int = Field(default=256, ge=1, le=8192)
    """The longest answer that the tuned model writes, in tokens."""
    validation: float = Field(default=0.1, ge=0.02, le=0.5)
    """Share of the rows on which settings are chosen."""
    held_out: float = Field(default=0.15, ge=0.02, le=0.5)
    """Share of the rows kept for the final measurement, where there is no test file."""


_RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}


class Instruct:
    """The recipe; see `labkit.recipes.base.Recipe` for what each step is for."""

    name = "instruct"
    title = "Answers in words"
    summary = "Tune a language model on questions and answers of your own."
    Config = Config
    input_setting = "question"
    examples = (
        "A table with a row for each example: a column with the question, and one with the answer. "
        "Or a file of whole conversations: JSONL with messages."
    )
    validates = "tokens of the answers that it finds the likeliest"

    def guess_columns(self, table: "Table") -> Mapping[str, str]:
        from labkit.data.check_conversations import guess_conversation_columns

        return guess_conversation_columns(table)

    def look_at_base(self, base: BaseEntry) -> BaseLook:
        try:
            choose_template(base, None)
        except UsageError as error:
            facts = ["has no chat template: you will be asked for one"]
            return BaseLook(facts=facts, needed={"template": str(error)})
        return BaseLook(facts=["brings a chat template"], needed={})

    def prepare(self, task: Task) -> Prepared:
        from labkit.data.check_conversations import (
            check_conversations,
            check_parts,
            check_test_conversations,
        )
        from labkit.paths import write_private
        from labkit.train.four_bits import require_installed

        config: Config = task.config
        if config.method == "qlora":
            if config.sharding == "always":
                raise UsageError(
                    "The method 'qlora' holds the model in 4 bits, which is not shared out: each "
                    "worker has all of it. Leave sharding out, or choose 'lora' or 'full'."
                )
            require_installed()
        template = choose_template(task.base, config.template)
        table, found, findings = _read(task.data, config)
        findings = [*findings, *check_conversations(found)]
        summary: dict[str, Any] = {"file": task.data.name, "sha256": table.sha256}
        test = None
        if task.test:
            test_table, test, test_findings = _read(task.test, config)
            findings += [*test_findings, *check_test_conversations(found, test)]
            summary |= {"test_file": task.test.name, "test_sha256": test_table.sha256}
        parts = _cut(found, test, config)
        if all(finding.severity != "problem" for finding in findings):
            findings += check_parts(parts, has_test=test is not None)
        sizes = [
            sum(len(message["content"].encode()) for message in messages)
            for messages in found.messages
        ]
        summary |= {
            "rows": {name: len(part) for name, part in vars(parts).items()},
            "template_sha256": sha256(template.encode()).hexdigest(),
            "mean_bytes": sum(sizes) / max(1, len(sizes)),
        }

        def save(folder: Path) -> None:
            parts.save(folder)
            write_private(folder / _TEMPLATE_FILE, template)

        return Prepared(findings=findings, summary=summary, save=save)

    def see(self, task: Task, rows: Sequence[int]) -> Sequence[RowLook]:
        from labkit.recipes._instruct_see import see_rows
        from labkit.train.chat import Chat
        from labkit.train.decoder import load_tokenizer

        config: Config = task.config
        template = choose_template(task.base, config.template)
        table, found, findings = _read(task.data, config)
        chat = Chat(
            tokenizer=load_tokenizer(task.base.path),
            template=template,
            max_tokens=min(config.max_tokens, task.base.max_tokens),
        )
        return see_rows(chat, rows, found, findings, table.path.name)

    def estimate(self, task: Task, summary: Mapping[str, Any], machine: Machine) -> Estimate:
        from labkit.recipes._instruct_estimate import estimate

        config: Config = task.config
        answered = 2 * _ANSWERS_SHOWN * config.max_answer_tokens
        answered += config.epochs * _SAMPLES * _SAMPLE_TOKENS
        return estimate(task, summary, machine, answered)

    def memory_by_method(
        self, base: BaseEntry, kind: DeviceKind, num_devices: int
    ) -> Mapping[str, int]:
        from labkit.recipes._instruct_estimate import least_memory

        configs = {method: Config(method=method) for method in get_args(Method)}
        return {
            method: least_memory(base, config, kind, num_devices)
            for method, config in configs.items()
        }

    def baselines(self, context: TrainContext) -> Mapping[str, Any]:
        from labkit.train.instruct import measure_base

        return {BASELINE: asdict(measure_base(_tuning(context)))}

    def train(self, context: TrainContext) -> bool:
        from labkit.train.instruct import tune

        return tune(_tuning(context))

    def evaluate(self, context: TrainContext, baselines: Mapping[str, Any]) -> "Evaluation":
        from labkit.evaluation.language import compare_losses
        from labkit.recipes._instruct_result import compared, foretold
        from labkit.train.instruct import Measured, measure_tuned
        from labkit.train.language_model import read_card

        tuning = _tuning(context)
        tuned = measure_tuned(tuning)
        others = {name: Measured(**found) for name, found in baselines.items()}
        return compare_losses(
            foretold(tuned),
            {name: foretold(found) for name, found in others.items()},
            compared=compared(_parts(context).held_out, tuned, others),
            notes=[*read_card(context.folder / "model").left_out, *tuned.left_out],
            seed=context.task.seed,
        )

    def load(self, folder: Path, device: str) -> Answerer:
        return Answerer.load(folder, device)

    def texts(self, frame: "DataFrame", column: str, config: Config) -> list[str]:
        from labkit.data.conversations import asked

        beside = None if config.messages or config.input == column else config.input
        return asked(frame, column, beside if beside in frame.columns else None)

    def predict(self, model: Answerer, inputs: Sequence[str]) -> Sequence[Prediction | Unanswered]:
        return [model.predict(text) for text in inputs]

    def base_of(self, model: Answerer) -> Answerer:
        return model.base()

    def reply(self, model: Answerer, talk: Sequence[Message], say: Callable[[str], bool]) -> str:
        return model.reply(talk, say)


def _read(path: Path, config: Config) -> "tuple[Table, Conversations, list[Finding]]":
    from labkit.data.check import check_columns
    from labkit.data.conversations import read_conversations
    from labkit.data.load import load_table

    table, columns = load_table(path), _columns(config)
    try:
        check_columns(table, columns.by_role)
    except UsageError as error:
        raise UsageError(f"{error} {_advice(table)}") from error
    found, left_out = read_conversations(table, columns)
    return table, found, [*table.findings, *left_out]


def _columns(config: Config) -> "Columns":
    from labkit.data.conversations import Columns

    return Columns(
        question=config.question,
        answer=config.answer,
        input=config.input,
        messages=config.messages,
        system=config.system,
    )


def _advice(table: "Table") -> str:
    """How to name the table's columns, as far as their names say."""
    from labkit.data.check_conversations import guess_conversation_columns

    guessed = guess_conversation_columns(table)
    if not guessed:
        return "Say which with the settings question and answer, or messages."
    named = ", ".join(f"{role} = {column!r}" for role, column in guessed.items())
    return f"It looks like: {named}. Say so with the settings of these names."


def _cut(
    found: "Conversations", test: "Conversations | None", config: Config
) -> "ConversationParts":
    from labkit.data.conversations import ConversationParts
    from labkit.data.examples import Examples
    from labkit.data.split import split

    # All of one label: each part gets a row as soon as there are enough of them.
    alike = Examples(texts=found.questions, labels=[""] * len(found), rows=list(found.rows))
    cut = split(alike, validation=config.validation, heldout=0 if test else config.held_out)
    return ConversationParts(
        train=found.take(cut.train),
        validation=found.take(cut.validation),
        held_out=test or found.take(cut.heldout),
    )


def _parts(context: TrainContext) -> "ConversationParts":
    from labkit.data.conversations import ConversationParts

    return ConversationParts.load(context.dataset)


def _tuning(context: TrainContext) -> "InstructTuning":
    from labkit.train.instruct import InstructTuning
    from labkit.train.loop import LoopSettings
    from labkit.train.precision import training_dtype
    from labkit.train.talks import Talks

    config: Config = context.task.config
    parts = _parts(context)
    rate = config.learning_rate or _RATES[config.method]

    def talks(part: "Conversations") -> Talks:
        return Talks(messages=part.messages, rows=part.rows)

    return InstructTuning(
        recipe=Instruct.name,
        template=(context.dataset / _TEMPLATE_FILE).read_text(encoding="utf-8"),
        train=talks(parts.train),
        validation=talks(parts.validation),
        held_out=talks(parts.held_out),
        method=config.method,
        sharding=config.sharding,
        max_tokens=min(config.max_tokens, context.task.base.max_tokens),
        row_tokens=config.row_tokens,
        lora_rank=config.lora_rank,
        lora_targets=config.lora_targets,
        compile=config.compile,
        lean=context.lean,
        merge=config.merge,
        system=config.system,
        num_answers=_ANSWERS_SHOWN,
        num_samples=_SAMPLES,
        sample_tokens=min(_SAMPLE_TOKENS, config.max_answer_tokens),
        max_answer_tokens=config.max_answer_tokens,
        loop=LoopSettings(
            num_epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=rate,
            head_learning_rate=rate,
            patience=config.patience,
            seed=context.task.seed,
            device=context.device,
            dtype=training_dtype(context.device),
        ),
        **context.handed_on,
    )


RECIPE = Instruct()
