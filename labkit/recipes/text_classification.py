"""Text classification: put each text under one of a person's own labels.

Data: a table with a column of texts and a column of labels. Base: an encoder. The tuned
model is compared with the most frequent label and with the instant answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from labkit.errors import UsageError
from labkit.models.catalogue import BaseEntry
from labkit.recipes.base import (
    COLUMN,
    DeviceKind,
    Estimate,
    Machine,
    Prediction,
    Prepared,
    Task,
    TrainContext,
    in_sight,
)

if TYPE_CHECKING:
    from labkit.data.check import Examples
    from labkit.data.labelled import LabelledParts, Part
    from labkit.data.load import Table
    from labkit.evaluation.base import Evaluation
    from labkit.train.classifier import TunedClassifier
    from labkit.train.tuning import Tuning


Method = Literal["full", "lora", "head"]

_UNEVEN = 5
"""Labels are uneven where one has more than this many times the rows of another."""
_USUAL_ROWS = 1000
"""Of a table that is not known yet."""


class Config(BaseModel):
    """The settings of text classification."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    text: str = Field(default="text", json_schema_extra=COLUMN)
    """The column that holds the texts."""
    label: str = Field(default="label", json_schema_extra=COLUMN)
    """The column that holds the labels."""
    method: Method = Field(
        default="full",
        title="What is tuned",
        json_schema_extra=in_sight(
            full="The whole model (best)",
            lora="Small adapters in it (lora)",
            head="Its last layer (quickest)",
        ),
    )
    """What is tuned: the whole model, small adapters in it (lora), or only its last layer."""
    epochs: int | None = Field(
        default=None, ge=1, le=200, title="Passes over the data", json_schema_extra=in_sight()
    )
    """How often each row is seen; chosen by the number of rows where it is left out."""
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    """Rows in each step; chosen by the number of rows where it is left out."""
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, title="Learning rate", json_schema_extra=in_sight()
    )
    """How far each step goes; chosen for the method where it is left out."""
    max_tokens: int = Field(default=128, ge=4, le=8192)
    """Longer texts are cut to this many tokens."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """How much the model is kept from being too sure."""
    class_weights: Literal["auto", "on", "off"] = "auto"
    """Let rare labels count more; auto does so where labels are very uneven."""
    patience: int = Field(default=3, ge=1, le=200)
    """Epochs without progress on the validation part before it ends early."""
    lora_rank: int = Field(default=16, ge=1, le=256)
    """The size of the adapters of the method lora."""
    validation: float = Field(default=0.1, ge=0.02, le=0.5)
    """Share of the rows on which settings are chosen."""
    held_out: float = Field(default=0.15, ge=0.02, le=0.5)
    """Share of the rows kept for the final measurement, where there is no test file."""
    merge_labels: bool = False
    """Take labels that differ only in case or blanks for one label."""
    unsure_below: float = Field(default=0.5, ge=0, le=1)
    """Answers with less confidence are called unsure."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The settings that are left to us, for one method and number of rows."""

    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float


_CHOICES = ((5000, 3, 6, 64), (1000, 4, 12, 32), (0, 4, 24, 16))
"""From that many rows on: epochs of the whole encoder, epochs of a part of it, batch size."""


def choose(config: Config, num_rows: int) -> Chosen:
    """Fill in what the person left out (docs/benchmarks.md, "Settings").

    Small tables go in smaller steps. A whole encoder learns them by heart in few epochs, and
    answers new rows worse after more; a head or adapters need more.
    """
    whole, part, batch_size = next(c for least, *c in _CHOICES if num_rows >= least)
    rate = {"full": 2e-4, "lora": 1e-3, "head": 1e-2}[config.method]
    learning_rate = config.learning_rate or rate
    return Chosen(
        epochs=config.epochs or (whole if config.method == "full" else part),
        batch_size=config.batch_size or batch_size,
        learning_rate=learning_rate,
        head_learning_rate=max(learning_rate, 1e-3),
    )


class TextClassification:
    """The recipe; see `labkit.recipes.base.Recipe` for what each step is for."""

    name = "text-classification"
    title = "Text classification"
    summary = "Put texts under labels of your own: triage, topics, intents."
    Config = Config
    input_setting = "text"
    examples = (
        "A table with a row for each example: a column with the text, and one with the label that "
        "a person gave it."
    )
    validates = "texts that get the right label"

    def guess_columns(self, table: "Table") -> Mapping[str, str]:
        from labkit.data.check import guess_columns

        if table.frame.width < 2:
            return {}
        text, label = guess_columns(table)
        return {"text": text, "label": label}

    def prepare(self, task: Task) -> Prepared:
        from labkit.data.check import check_between, check_text_labels

        config: Config = task.config
        table, examples = _read(task.data, config)
        found = check_text_labels(
            table, config.text, config.label, merge_labels=config.merge_labels
        )
        findings = [*table.findings, *found]
        summary = {"file": task.data.name, "sha256": table.sha256}
        test = None
        if task.test:
            test_table, test = _read(task.test, config)
            findings += [*test_table.findings, *check_between(examples, test)]
            summary |= {"test_file": task.test.name, "test_sha256": test_table.sha256}
        parts = _cut(examples, test, config)
        sizes = {name: len(part) for name, part in vars(parts).items()}
        labels = Counter(examples.labels)
        summary |= {
            "rows": sizes,
            "labels": dict(labels.most_common()),
            "mean_bytes": sum(len(t.encode()) for t in examples.texts)
            / max(1, len(examples.texts)),
        }
        return Prepared(findings=findings, summary=summary, save=parts.save)

    def estimate(self, task: Task, summary: Mapping[str, Any], machine: Machine) -> Estimate:
        from labkit.recipes._text_classification_estimate import estimate

        return estimate(task, summary, machine, choose(task.config, summary["rows"]["train"]))

    def memory_by_method(
        self, base: BaseEntry, kind: DeviceKind, num_devices: int
    ) -> Mapping[str, int]:
        from labkit.recipes._text_classification_estimate import usual_memory

        configs = {method: Config(method=method) for method in get_args(Method)}
        return {
            method: usual_memory(base, config, kind, choose(config, _USUAL_ROWS).batch_size)
            for method, config in configs.items()
        }

    def baselines(self, context: TrainContext) -> Mapping[str, Any]:
        from labkit.train.tuning import instant_answers

        parts = _parts(context)
        labels = sorted(set(parts.train.labels))
        majority = Counter(parts.train.labels).most_common(1)[0][0]
        answers = instant_answers(_tuning(context, parts), parts.held_out.texts)
        return {
            "the most frequent label": [majority] * len(parts.held_out),
            "the instant answer": [labels[int(n)] for n in answers],
        }

    def train(self, context: TrainContext) -> bool:
        from labkit.train.tuning import tune

        tuned = tune(_tuning(context, _parts(context)))
        if tuned is None:
            return False
        if context.workers.is_first:
            tuned.save(context.folder / "model")
        return True

    def evaluate(self, context: TrainContext, baselines: Mapping[str, Any]) -> "Evaluation":
        import numpy as np

        from labkit.evaluation.labels import Answers, compare

        part = _parts(context).held_out
        tuned = self.load(context.folder / "model", context.device)
        shares_NL = tuned.shares(part.texts)
        labels = sorted({*tuned.card.labels, *part.labels})
        index = {label: n for n, label in enumerate(labels)}
        answered = [tuned.card.labels[int(n)] for n in shares_NL.argmax(axis=1)]
        answers = Answers(
            labels=labels,
            truth_N=np.array([index[label] for label in part.labels]),
            answered_N=np.array([index[label] for label in answered]),
            confidence_N=shares_NL.max(axis=1).astype(np.float64),
            texts=part.texts,
            rows=part.rows,
        )
        others = {name: np.array([index[a] for a in given]) for name, given in baselines.items()}
        return compare(answers, others, seed=context.task.seed)

    def load(self, folder: Path, device: str) -> "TunedClassifier":
        from labkit.train.classifier import TunedClassifier

        return TunedClassifier.load(folder, device)

    def predict(self, model: "TunedClassifier", inputs: Sequence[str]) -> Sequence[Prediction]:
        shares_NL = model.shares(inputs)
        return [
            _prediction(text, shares_L, model.card.labels, model.card.unsure_below)
            for text, shares_L in zip(inputs, shares_NL, strict=True)
        ]


def _read(path: Path, config: Config) -> "tuple[Table, Examples]":
    from labkit.data.check import check_columns, usable_rows
    from labkit.data.load import load_table

    table = load_table(path)
    try:
        check_columns(table, {"text": config.text, "label": config.label})
    except UsageError as error:
        raise UsageError(f"{error} Say which with the settings text and label.") from error
    return table, usable_rows(table, config.text, config.label, merge_labels=config.merge_labels)


def _cut(examples: "Examples", test: "Examples | None", config: Config) -> "LabelledParts":
    from labkit.data.labelled import LabelledParts, Part
    from labkit.data.split import split

    cut = split(examples, validation=config.validation, heldout=0 if test else config.held_out)

    def part(source: "Examples", indexes: Sequence[int]) -> Part:
        return Part(
            texts=[source.texts[n] for n in indexes],
            labels=[source.labels[n] for n in indexes],
            rows=[source.rows[n] for n in indexes],
        )

    return LabelledParts(
        train=part(examples, cut.train),
        validation=part(examples, cut.validation),
        held_out=part(test, range(len(test.texts))) if test else part(examples, cut.heldout),
    )


def _parts(context: TrainContext) -> "LabelledParts":
    from labkit.data.labelled import LabelledParts

    return LabelledParts.load(context.dataset)


def _tuning(context: TrainContext, parts: "LabelledParts") -> "Tuning":
    import numpy as np

    from labkit.train.loop import LoopSettings
    from labkit.train.precision import training_dtype
    from labkit.train.tuning import LabelledTexts, Tuning

    config: Config = context.task.config
    labels = sorted(set(parts.train.labels))
    index = {label: n for n, label in enumerate(labels)}
    chosen = choose(config, len(parts.train))

    def labelled(part: "Part") -> LabelledTexts:
        # A label that only a validation row has cannot be learnt; split() prevents it.
        return LabelledTexts(
            texts=part.texts, labels_N=np.array([index[label] for label in part.labels])
        )

    return Tuning(
        recipe=TextClassification.name,
        labels=labels,
        train=labelled(parts.train),
        validation=labelled(parts.validation),
        method=config.method,
        max_tokens=min(config.max_tokens, context.task.base.max_tokens),
        lora_rank=config.lora_rank,
        class_weights=class_weights(config, Counter(parts.train.labels)),
        unsure_below=config.unsure_below,
        loop=LoopSettings(
            num_epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            head_learning_rate=chosen.head_learning_rate,
            label_smoothing=config.label_smoothing,
            patience=config.patience,
            seed=context.task.seed,
            device=context.device,
            dtype=training_dtype(context.device),
        ),
        **context.handed_on,
    )


def class_weights(config: Config, counts: Mapping[str, int]) -> list[float] | None:
    """A weight for each label in order of name, with mean 1 over the rows; None for none.

    The inverse square root of the label's share: rare labels count more, not all the same.
    """
    uneven = max(counts.values()) > _UNEVEN * min(counts.values())
    if config.class_weights == "off" or (config.class_weights == "auto" and not uneven):
        return None
    raw = {label: count**-0.5 for label, count in counts.items()}
    mean = sum(raw[label] * count for label, count in counts.items()) / sum(counts.values())
    return [raw[label] / mean for label in sorted(counts)]


def _prediction(text: str, shares_L: Any, labels: Sequence[str], unsure_below: float) -> Prediction:
    order: list[int] = shares_L.argsort()[::-1].tolist()
    confidence = float(shares_L[order[0]])
    return Prediction(
        text=text,
        label=labels[order[0]],
        confidence=confidence,
        unsure=confidence < unsure_below,
        others={labels[n]: float(shares_L[n]) for n in order[1:3]},
    )


RECIPE = TextClassification()
