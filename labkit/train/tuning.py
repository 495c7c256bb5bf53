"""Tuning an encoder into a classifier: the instant answer, then head, LoRA or the whole.

Plain dataclasses at its edge; it runs where only torch, transformers, peft and
scikit-learn are, and knows nothing of recipes, runs or Ray.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.train.classifier import (
    ClassifierCard,
    TunedClassifier,
    best_temperature,
    negative_log_likelihood,
)
from labkit.train.dropout import use_byte_dropout
from labkit.train.encoder import (
    Method,
    TextClassifier,
    embed_rows,
    load_encoder,
    logits_of_rows,
    merge_adapters,
    prepare_method,
    start_head_from_means,
)
from labkit.train.instant import fit_regression
from labkit.train.label_loss import LabelLoss
from labkit.train.loop import AnyTuning
from labkit.train.tokens import TokenRows, batches_of_like_length, tokenize
from labkit.train.vocabulary import NarrowVocabulary

_EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True, kw_only=True)
class LabelledTexts:
    texts: Sequence[str]
    labels_N: NDArray[np.int64]
    """Each text's label, as an index."""


@dataclass(frozen=True, kw_only=True)
class Tuning(AnyTuning):
    """All that a tuning needs to know; the instant answer leaves its embeddings in `folder`."""

    labels: Sequence[str]
    train: LabelledTexts
    validation: LabelledTexts
    method: Method
    class_weights: Sequence[float] | None
    unsure_below: float


@dataclass(frozen=True, kw_only=True)
class TokenBatches:
    """Rows as the loop of a whole encoder sees them: token ids, batched by length."""

    tokens: TokenRows
    labels_N: NDArray[np.int64]

    def batches(self, batch_size: int, seed: tuple[int, ...]) -> list[NDArray[np.int64]]:
        return batches_of_like_length(self.tokens.lengths_N, batch_size, seed)

    def inputs(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        return self.tokens.batch(rows)


@dataclass(frozen=True, kw_only=True)
class EmbeddingBatches:
    """Rows as the loop of a head alone sees them: embeddings that do not change."""

    embeddings_ND: NDArray[np.float32]
    labels_N: NDArray[np.int64]

    def batches(self, batch_size: int, seed: tuple[int, ...]) -> list[NDArray[np.int64]]:
        order_N = np.random.default_rng(seed).permutation(len(self.labels_N))
        return np.array_split(order_N, max(1, -(-len(order_N) // batch_size)))

    def inputs(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        return (torch.from_numpy(self.embeddings_ND[rows]),)


def instant_answers(tuning: Tuning, texts: Sequence[str]) -> NDArray[np.int64]:
    """What logistic regression over frozen embeddings answers to `texts`, as label indices.

    Reports its accuracy on the validation part, then learns from that part too and answers.
    """
    tuning.report(phase="reading every row once with the base model")
    encoder, tokenizer = load_encoder(tuning.base)
    encoder.to(tuning.loop.device)

    def embedded(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = tokenize(tokenizer, texts, tuning.max_tokens)
        return embed_rows(encoder, tokens, tuning.loop.device, tuning.loop.dtype)

    train_ND = embedded(tuning.train.texts)
    np.save(tuning.folder / _EMBEDDINGS, train_ND, allow_pickle=False)
    validation_VD = embedded(tuning.validation.texts)
    train_N, validation_V = tuning.train.labels_N, tuning.validation.labels_N
    guessed = fit_regression(train_ND, train_N, tuning.loop.seed).predict(validation_VD)
    accuracy = float((guessed == validation_V).mean())
    tuning.report(phase="the instant answer is ready", instant_accuracy=accuracy)
    both_ND, both_N = np.vstack([train_ND, validation_VD]), np.append(train_N, validation_V)
    return fit_regression(both_ND, both_N, tuning.loop.seed).predict(embedded(texts))


def tune(tuning: Tuning) -> TunedClassifier | None:
    """The tuned model; None where it was asked to stop and left a checkpoint instead."""
    tuning.report(phase="loading the base model")
    device, dtype = tuning.loop.device, tuning.loop.dtype
    torch.manual_seed(tuning.loop.seed)
    encoder, tokenizer = load_encoder(tuning.base)
    model = TextClassifier(encoder, len(tuning.labels)).to(device)
    tokens = tokenize(tokenizer, tuning.train.texts, tuning.max_tokens)
    validation = tokenize(tokenizer, tuning.validation.texts, tuning.max_tokens)
    embeddings_ND = _frozen_embeddings(tuning, model, tokens)
    start_head_from_means(model.head, embeddings_ND, tuning.train.labels_N)
    prepare_method(model, tuning.method, tuning.lora_rank)
    use_byte_dropout(model)
    tuning.report(phase="training")
    if tuning.method == "head":
        done = _fit_head(tuning, model, embeddings_ND, validation)
    elif tuning.method == "lora":
        done = _fit_model(tuning, model, tokens, validation)
    else:
        vocabulary = NarrowVocabulary(model.encoder, tokens, validation)
        used = vocabulary.renumber(tokens), vocabulary.renumber(validation)
        done = _fit_model(tuning, model, *used)
        vocabulary.restore()
    if not done:
        return None
    merge_adapters(model)
    logits_VL = logits_of_rows(model, validation, device, dtype)
    card = ClassifierCard(
        recipe=tuning.recipe,
        labels=list(tuning.labels),
        max_tokens=tuning.max_tokens,
        temperature=best_temperature(logits_VL, tuning.validation.labels_N),
        unsure_below=tuning.unsure_below,
    )
    (tuning.folder / _EMBEDDINGS).unlink(missing_ok=True)
    return TunedClassifier(model.eval(), tokenizer, card, device, dtype)


def _frozen_embeddings(
    tuning: Tuning, model: TextClassifier, tokens: TokenRows
) -> NDArray[np.float32]:
    """Those that the instant answer left, or made anew."""
    file = tuning.folder / _EMBEDDINGS
    if file.exists():
        return np.load(file, allow_pickle=False)

    def embedded(mine: NDArray[np.int64]) -> NDArray[np.float32]:
        some = tokens.take(mine)
        return embed_rows(model.encoder, some, tuning.loop.device, tuning.loop.dtype)

    return tuning.workers.gather(len(tokens), embedded)


def _fit_model(
    tuning: Tuning, model: TextClassifier, tokens: TokenRows, validation: TokenRows
) -> bool:
    rows = TokenBatches(tokens=tokens, labels_N=tuning.train.labels_N)

    def validate() -> NDArray[np.float32]:
        def logits(mine: NDArray[np.int64]) -> NDArray[np.float32]:
            some = validation.take(mine)
            return logits_of_rows(model, some, tuning.loop.device, tuning.loop.dtype)

        return tuning.workers.gather(len(validation), logits)

    return _fit(tuning, model, rows, validate)


def _fit_head(
    tuning: Tuning,
    model: TextClassifier,
    embeddings_ND: NDArray[np.float32],
    validation: TokenRows,
) -> bool:
    device = tuning.loop.device
    frozen_VD = torch.from_numpy(embed_rows(model.encoder, validation, device, tuning.loop.dtype))
    rows = EmbeddingBatches(embeddings_ND=embeddings_ND, labels_N=tuning.train.labels_N)

    @torch.inference_mode()
    def validate() -> NDArray[np.float32]:
        return model.head(frozen_VD.to(device)).cpu().numpy()

    return _fit(tuning, model.head, rows, validate)


def _fit(
    tuning: Tuning,
    trained: nn.Module,
    rows: TokenBatches | EmbeddingBatches,
    validation_logits: Callable[[], NDArray[np.float32]],
) -> bool:
    def validate() -> tuple[float, float]:
        logits_VL, labels_V = validation_logits(), tuning.validation.labels_N
        accuracy = float((logits_VL.argmax(1) == labels_V).mean())
        return negative_log_likelihood(logits_VL, labels_V, 1.0), accuracy

    weights = tuning.class_weights
    objective = LabelLoss(
        trained,
        rows,
        tuning.loop,
        class_weights_L=torch.tensor(weights, device=tuning.loop.device) if weights else None,
        workers=tuning.workers,
    )
    return tuning.fit(trained, objective, validate)
