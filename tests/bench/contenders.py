"""The two trainings that the bench compares, from the same model to an accuracy each."""

import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.demo import demo_weights
from labkit.train.dropout import use_byte_dropout
from labkit.train.encoder import (
    TextClassifier,
    embed_rows,
    load_encoder,
    logits_of_rows,
    start_head_from_means,
)
from labkit.train.label_loss import LabelLoss
from labkit.train.loop import LoopSettings
from labkit.train.precision import training_dtype
from labkit.train.tokens import TokenRows, tokenize
from labkit.train.tuning import TokenBatches
from labkit.train.vocabulary import NarrowVocabulary
from tests.bench import banking77
from tests.bench.trainings import fit_alone, trainer_arguments

MAX_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class Job:
    """What both are to train."""

    train: TokenRows
    labels_N: NDArray[np.int64]
    test: TokenRows
    test_labels_N: NDArray[np.int64]
    embeddings_ND: NDArray[np.float32]
    """Of the training rows, frozen: both heads start from their class means."""
    settings: LoopSettings

    def model(self, attention: str = "eager") -> TextClassifier:
        encoder, _ = load_encoder(demo_weights())
        encoder.set_attn_implementation(attention)  # type: ignore[operator]
        torch.manual_seed(self.settings.seed)
        model = TextClassifier(encoder, int(self.labels_N.max()) + 1)
        start_head_from_means(model.head, self.embeddings_ND, self.labels_N)
        return model


@dataclass(frozen=True)
class Outcome:
    rows: int
    """Rows trained, of all epochs."""
    wall_s: float
    processor_s: float
    """Of all threads; where others want the cores too, a fairer clock than the wall's."""
    accuracy: float
    """On the test part."""
    padding: float
    """Tokens with padding for each token without."""

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.wall_s

    @property
    def rows_per_core_second(self) -> float:
        return self.rows / self.processor_s


def prepare(*, num_rows: int, num_epochs: int) -> Job:
    """`num_rows` rows drawn from the train file, and the whole test file."""
    encoder, tokenizer = load_encoder(demo_weights())
    texts, names = banking77.read(banking77.TRAIN)
    test_texts, test_names = banking77.read(banking77.TEST)
    index = {name: number for number, name in enumerate(sorted(set(names)))}
    drawn = np.random.default_rng(0).permutation(len(texts))[:num_rows]
    train = tokenize(tokenizer, [texts[n] for n in drawn], MAX_TOKENS)
    dtype = training_dtype("cpu")
    return Job(
        train=train,
        labels_N=np.array([index[names[n]] for n in drawn]),
        test=tokenize(tokenizer, test_texts, MAX_TOKENS),
        test_labels_N=np.array([index[name] for name in test_names]),
        embeddings_ND=embed_rows(encoder, train, "cpu", dtype),
        settings=LoopSettings(
            num_epochs=num_epochs,
            batch_size=64,
            learning_rate=2e-4,
            head_learning_rate=2e-4,  # The Trainer has one learning rate.
            label_smoothing=0.1,
            dtype=dtype,
        ),
    )


def train_ours(job: Job) -> Outcome:
    """As `labkit.train.tuning` does, without validation and checkpoints, as the Trainer."""
    model = job.model()
    use_byte_dropout(model)
    clock = _Clock()
    vocabulary = NarrowVocabulary(model.encoder, job.train)
    rows = TokenBatches(tokens=vocabulary.renumber(job.train), labels_N=job.labels_N)
    fit_alone(model, LabelLoss(model, rows, job.settings), job.settings)
    vocabulary.restore()
    clock.stop()
    batches = rows.batches(job.settings.batch_size, (job.settings.seed, 0))
    padded = sum(len(batch) * job.train.lengths_N[batch].max() for batch in batches)
    return clock.outcome(job, model, int(padded) * job.settings.num_epochs)


def train_by_trainer(job: Job, *, best: bool) -> Outcome:
    """With transformers' Trainer, at its defaults or as fast as its options make it."""
    from transformers import (
        AutoTokenizer,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    model = job.model("eager" if best else "sdpa")
    tokenizer = AutoTokenizer.from_pretrained(demo_weights(), local_files_only=True)
    rows = [
        {"input_ids": job.train.ids[start:end].tolist(), "labels": int(label)}
        for start, end, label in zip(
            job.train.starts[:-1], job.train.starts[1:], job.labels_N, strict=True
        )
    ]
    with_loss = _WithLoss(model, job.settings.label_smoothing)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampling = "group_by_length" if best else "random"
        arguments = trainer_arguments(job.settings, folder, train_sampling_strategy=sampling)
        trainer = Trainer(
            model=with_loss,
            args=TrainingArguments(**arguments),
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        clock = _Clock()
        trainer.train()
        clock.stop()
    return clock.outcome(job, model, with_loss.num_tokens)


class _WithLoss(nn.Module):
    """The same classifier as the Trainer wants it: named inputs, and the loss with it."""

    def __init__(self, model: TextClassifier, label_smoothing: float):
        super().__init__()
        self.model, self.label_smoothing, self.num_tokens = model, label_smoothing, 0

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        self.num_tokens += input_ids.numel()
        logits_BL = self.model(input_ids, attention_mask)
        assert labels is not None, "the Trainer is only asked to train"
        smoothed = nn.functional.cross_entropy(
            logits_BL.float(), labels, label_smoothing=self.label_smoothing
        )
        return {"loss": smoothed, "logits": logits_BL}


class _Clock:
    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall = time.perf_counter() - self.wall
        self.processor = time.process_time() - self.processor

    def outcome(self, job: Job, model: TextClassifier, num_tokens: int) -> Outcome:
        """What the stopped clock shows, with the accuracy on the test part."""
        num_epochs = job.settings.num_epochs
        answers_N = logits_of_rows(model, job.test, "cpu", job.settings.dtype).argmax(axis=1)
        return Outcome(
            rows=len(job.train) * num_epochs,
            wall_s=self.wall,
            processor_s=self.processor,
            padding=num_tokens / (len(job.train.ids) * num_epochs),
            accuracy=float((answers_N == job.test_labels_N).mean()),
        )
