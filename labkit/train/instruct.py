"""Tuning a language model on conversations: from messages to a model folder.

Plain dataclasses at its edge; it runs where only torch, transformers and peft are, and knows
nothing of recipes, runs or Ray.
"""

import gc
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labkit.train import packed_attention
from labkit.train.arithmetic import flop_per_epoch, peak_flops
from labkit.train.chat import Chat, Messages, Seen
from labkit.train.compiled import Blocks, When
from labkit.train.decoder import (
    Method,
    add_adapters,
    load_decoder,
    stored_dtype,
    weights_dtype,
)
from labkit.train.encoder import autocast
from labkit.train.language_loss import LanguageLoss, LossSettings, measure
from labkit.train.language_model import (
    LanguageCard,
    LanguageModel,
    load_model,
    merge,
    save_adapter,
    save_whole,
)
from labkit.train.loop import AnyTuning
from labkit.train.peak import room_bytes
from labkit.train.plan import Needs, Plan, first_that_fits, ladder, why_shard
from labkit.train.sharding import Sharding, gathered, is_sharded, shard
from labkit.train.talks import Read, Talks, read_part


@dataclass(frozen=True, kw_only=True)
class InstructTuning(AnyTuning):
    """All that a tuning needs to know."""

    template: str
    train: Talks
    validation: Talks
    held_out: Talks
    method: Method
    sharding: Sharding
    """Whether the workers share out the model's weights, gradients and moments."""
    row_tokens: int
    lora_targets: str
    merge: bool
    """Save the whole model, with the adapters added into its weights."""
    system: str
    """What every conversation begins with; kept beside the model for those to come."""
    num_answers: int
    """How many held-out questions are answered in full."""
    max_answer_tokens: int
    num_samples: int
    """How many questions of the validation part are answered anew at each validation."""
    sample_tokens: int
    """The longest of those answers."""
    lean: bool = False
    """Whether to begin with the leanest plan, as others were too much for a device."""
    compile: When = "never"
    """Whether the model's blocks are compiled; 'auto' where that pays."""

    @property
    def four_bits_on(self) -> str | None:
        """The device that holds the base model in 4 bits while it is tuned, if one does."""
        return self.loop.device if self.method == "qlora" else None

    @property
    def loss(self) -> LossSettings:
        return LossSettings.of(self.loop, self.row_tokens)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model makes of the held-out part; written as JSON."""

    losses: Sequence[float]
    """Of each example, summed over the tokens that are learnt, in nats."""
    tokens: Sequence[int]
    rows: Sequence[int]
    answers: Mapping[str, str]
    """To the first questions that leave room for an answer, by row."""
    left_out: Sequence[str] = ()
    """What of the part was not measured, in sentences."""


def tune(tuning: InstructTuning) -> bool:
    """Tune, and leave the model in `folder / 'model'`.

    Returns False where it was asked to stop and left a checkpoint instead.
    """
    tuning.report(phase="loading the base model")
    # While the device is empty: it takes a gigabyte there.
    peak = tuning.workers.size * peak_flops(tuning.loop.device, tuning.loop.dtype)
    room = _room(tuning)
    model, tokenizer, adapted = _load(tuning)
    chat = Chat(tokenizer=tokenizer, template=tuning.template, max_tokens=tuning.max_tokens)
    train = _read(chat, tuning.train, "training")
    validation = _read(chat, tuning.validation, "validation")
    left_out = train.notes("learnt")
    for note in left_out:
        tuning.report(message=note)
    stop_ids = chat.stop_ids(train.examples)
    _place(tuning, model, room)
    tuning.report(phase="training")
    learning = LanguageModel(model=model, chat=chat, stop_ids=stop_ids)
    telling = _telling_the_share(tuning, model, train.examples, peak)
    if not _fit(telling, learning, train.examples, validation.examples):
        return False
    tuning.report(phase="saving the model")
    model, adapted = _in_one_piece(tuning, model, adapted)
    if tuning.workers.is_first:
        card = LanguageCard(
            recipe=tuning.recipe,
            base=str(tuning.base),
            adapter=adapted is not None,
            four_bits=tuning.four_bits_on is not None,
            max_tokens=tuning.max_tokens,
            stop_ids=stop_ids,
            system=tuning.system,
            max_answer_tokens=tuning.max_answer_tokens,
            left_out=left_out,
        )
        _save(tuning, model, adapted, chat, card)
    return True


def _load(tuning: InstructTuning) -> tuple[Any, Any, Any]:
    """The model to tune, its tokenizer, and peft's model around it, if it has adapters to train.

    It lies on the processor, or in 4 bits on the device.
    """
    torch.manual_seed(tuning.loop.seed)
    dtype = weights_dtype(tuning.method, tuning.loop.dtype)
    model, tokenizer = load_decoder(tuning.base, dtype, tuning.four_bits_on)
    adapted = None
    if tuning.method != "full":
        adapted = add_adapters(model, tuning.lora_rank, tuning.lora_targets)
    return model, tokenizer, adapted


def _place(tuning: InstructTuning, model: Any, room_bytes: int) -> None:
    """Bring the model to the device, or this worker's part of it."""
    why = "" if tuning.four_bits_on else why_shard(
        tuning.sharding, model, tuning.workers.size, room_bytes
    )  # fmt: skip
    if why:
        _say(tuning, why)
        shard(model, tuning.workers, tuning.loop.device, tuning.loop.dtype)
    else:
        model.to(tuning.loop.device)


def _in_one_piece(tuning: InstructTuning, model: Any, adapted: Any) -> tuple[Any, Any]:
    """The model and peft's around it, as the first worker can save them.

    One that is shared out is made anew on its processor, with what all of them have learnt.
    """
    if not is_sharded(model):
        return model, adapted
    learnt = {name: gathered(p) for name, p in model.named_parameters() if p.requires_grad}
    if tuning.workers.is_first:
        model, _, adapted = _load(tuning)
        unknown = model.load_state_dict(learnt, strict=False).unexpected_keys
        assert not unknown, unknown
    return model, adapted


def _save(tuning: InstructTuning, model: Any, adapted: Any, chat: Chat, card: LanguageCard) -> None:
    folder = tuning.folder / "model"
    if adapted is None:
        save_whole(folder, model, chat, card, stored_dtype(tuning.base))
    else:
        save_adapter(folder, adapted, chat, card)
        if tuning.merge:
            merge(folder)


def measure_base(tuning: InstructTuning) -> Measured:
    """What the base model makes of the held-out part, in the format of what is tuned from it."""
    tuning.report(phase="measuring the base model")
    four_bits_on = None if tuning.merge else tuning.four_bits_on
    model, tokenizer = load_decoder(tuning.base, stored_dtype(tuning.base), four_bits_on)
    chat = Chat(tokenizer=tokenizer, template=tuning.template, max_tokens=tuning.max_tokens)
    held_out = _read(chat, tuning.held_out, "held-out")
    base = LanguageModel(
        model=model.to(tuning.loop.device), chat=chat, stop_ids=chat.stop_ids(held_out.examples)
    )
    return _measured(tuning, base, held_out)


def measure_tuned(tuning: InstructTuning) -> Measured:
    """What the tuned model, as it was saved, makes of the held-out part."""
    gc.collect()  # one that was shared out refers to itself, and would keep its part of the device
    tuned = load_model(tuning.folder / "model", tuning.loop.device)
    return _measured(tuning, tuned, _read(tuned.chat, tuning.held_out, "held-out"))


def _measured(tuning: InstructTuning, model: LanguageModel, held_out: Read) -> Measured:
    figures_N3 = measure(model.model, held_out.examples, tuning.loss)
    rows = [seen.row for seen in held_out.examples]
    asked = _questions(model.chat, tuning.held_out, rows)
    return Measured(
        losses=[float(loss) for loss in figures_N3[:, 0]],
        tokens=[int(tokens) for tokens in figures_N3[:, 1]],
        rows=rows,
        answers={
            str(row): model.answer(question, tuning.max_answer_tokens)
            for row, question, _ in islice(asked, tuning.num_answers)
        },
        left_out=held_out.notes("measured"),
    )


def _questions(chat: Chat, part: Talks, rows: Sequence[int]) -> Iterator[tuple[int, Messages, str]]:
    """Each row with what stands before its last answer, if it leaves room for one; and that answer.

    A conversation may be cut before its last question, which is the one that is asked.
    """
    talks = dict(zip(part.rows, part.messages, strict=True))
    for row in dict.fromkeys(rows):
        messages = talks[row]
        last = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
        if chat.fits(messages[:last]):
            yield row, messages[:last], messages[last]["content"]


def _read(chat: Chat, part: Talks, name: str) -> Read:
    """As `read_part`. Raises LabkitError where nothing is left of the part of that name."""
    read = read_part(chat, part)
    read.check(name)
    return read


def _fit(
    tuning: InstructTuning,
    learning: LanguageModel,
    train: Sequence[Seen],
    validation: Sequence[Seen],
) -> bool:
    model = learning.model
    plans = _plans(tuning, model, train)
    loss = replace(tuning.loss, row_tokens=plans[0].row_tokens)
    rows = [seen.row for seen in validation]
    asked = [*islice(_questions(learning.chat, tuning.validation, rows), tuning.num_samples)]

    def validate() -> tuple[float, float]:
        def figures(mine: NDArray[np.int64]) -> NDArray[np.float32]:
            return measure(model, [validation[n] for n in mine], loss, tuning.workers)

        losses, tokens, hits = tuning.workers.gather(len(validation), figures).sum(axis=0)
        if tuning.workers.is_first or is_sharded(model):  # then all of them write each answer
            tuning.report(samples=[sample(*one) for one in asked])
        return float(losses / tokens), float(hits / tokens)

    def sample(row: int, question: Messages, wanted: str) -> Mapping[str, Any]:
        with autocast(tuning.loop.device, tuning.loop.dtype):
            answer = learning.answer(question, tuning.sample_tokens)
        last = question[-1]["content"]
        return {"row": row, "question": last, "wanted": wanted, "answer": answer}

    say = partial(_say, tuning)
    when = _compile_when(tuning, model)
    blocks = Blocks(model, when, say)
    taken = packed_attention.in_words(tuning.loop.device, tuning.loop.dtype, model.config)
    print(f"Attention: {taken}. Blocks are compiled: {when}.", flush=True)
    objective = LanguageLoss(
        model, train, loss, tuning.workers, plans=plans, blocks=blocks, say=say
    )
    return replace(tuning, report=blocks.hearing(tuning.report)).fit(model, objective, validate)


def _compile_when(tuning: InstructTuning, model: Any) -> When:
    """Layers in 4 bits are bitsandbytes' own, with code that is compiled already. In blocks that
    are shared out workers meet: one that fails to compile could not do a step again alone."""
    return "never" if tuning.method == "qlora" or is_sharded(model) else tuning.compile


def _telling_the_share(
    tuning: InstructTuning, model: Any, train: Sequence[Seen], peak: float
) -> InstructTuning:
    """It reports, beside tokens a second, how much of the devices' arithmetic that is: of `peak`
    operations a second."""
    per_token = flop_per_epoch(model, train) / sum(seen.num_tokens for seen in train)

    def report(**said: Any) -> None:
        if rate := said.get("tokens_per_second"):
            said["share_of_peak"] = round(rate * per_token / peak, 3)
        tuning.report(**said)

    return replace(tuning, report=report)


def _plans(tuning: InstructTuning, model: Any, train: Sequence[Seen]) -> Sequence[Plan]:
    """From the fastest that all workers have room for down to the leanest."""
    longest = max(seen.num_tokens for seen in train)
    plans = ladder(tuning.row_tokens, longest)
    if tuning.lean:
        return plans[-1:]
    needs = Needs(model, longest, tuning.loop.dtype, tuning.workers)
    number, why = first_that_fits(plans, needs, _room(tuning))
    if why:
        _say(tuning, why)
    return plans[number:]


def _room(tuning: InstructTuning) -> int:
    """Bytes that are free on the device of each worker: of the one that has the least."""
    rooms = tuning.workers.everyone((platform.node(), room_bytes(tuning.loop.device)))
    machines = [machine for machine, _ in rooms]
    return min(  # of a machine's memory each of its workers has a share
        free // (machines.count(machine) if tuning.loop.device == "cpu" else 1)
        for machine, free in rooms
    )


def _say(tuning: InstructTuning, message: str) -> None:
    tuning.report(message=message)
