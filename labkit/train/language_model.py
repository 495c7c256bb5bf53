"""A tuned language model, and its folder.

model/  adapter_config.json adapter_model.safetensors      of LoRA: an adapter as peft keeps it, or
        config.json model.safetensors generation_config.json     the whole model, as transformers
        tokenizer.json chat_template.jinja …               with the template that it was tuned with
        labkit.json                                        the base model, and where answers stop
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from labkit.errors import LabkitError, UsageError
from labkit.train import four_bits
from labkit.train.chat import Chat, Messages
from labkit.train.checkpoint import require_room
from labkit.train.decoder import attending_by, load_decoder, load_tokenizer, stored_dtype
from labkit.train.sharding import is_sharded

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class LanguageCard:
    """What `labkit.json` in a model folder says."""

    format: int = FORMAT
    recipe: str
    base: str
    """The folder of the base model, which an adapter needs."""
    adapter: bool
    """Whether the folder has only what LoRA added."""
    four_bits: bool = False
    """Whether it was added to the base model in 4 bits (QLoRA), as it is then used, too."""
    max_tokens: int
    stop_ids: Sequence[int]
    """The tokens that end an answer."""
    system: str
    """What every conversation began with; empty for nothing."""
    max_answer_tokens: int
    """The longest answer."""
    left_out: Sequence[str] = ()
    """What of the data was not learnt, in sentences."""


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A language model in memory, with the template of its conversations."""

    model: Any
    """The causal language model of transformers; where it has adapters, inside those of peft."""
    chat: Chat
    stop_ids: Sequence[int]
    adapted: Any = None
    """peft's model around it, where its adapters may rest."""
    adapters_rest: bool = False
    """It answers as it was before it was tuned."""
    _at_work: Lock = field(default_factory=Lock)
    """One answer at a time: adapters rest, or not, in the weights themselves."""

    @torch.inference_mode()
    def answer(
        self,
        messages: Messages,
        max_new_tokens: int,
        say: Callable[[str], bool] | None = None,
    ) -> str:
        """The likeliest answer, token by token, until a token that ends it.

        `say` is given each piece of it meanwhile; where it returns False, the answer ends there.
        Raises UsageError where the question leaves no room in the model's context, or has a token
        of the template's in it.
        """
        model, tokenizer = self.model, self.chat.tokenizer
        if token := self.chat.control_token(messages):
            raise UsageError(
                f"The question has {token!r} in it, a token with which the template tells who "
                "speaks. Take it out of the text."
            )
        prompt = self.chat.prompt(messages)
        room = int(model.config.max_position_embeddings) - len(prompt)
        if room < 1:
            raise UsageError(
                f"The question is too long: {len(prompt)} tokens, where the model reads "
                f"{model.config.max_position_embeddings} with its answer. Shorten it"
                f"{', or begin a new conversation' if len(messages) > 2 else ''}."
            )
        ids_1T = torch.tensor([prompt], device=model.device)
        model.eval()
        told: Mapping[str, Any] = {}
        if say is not None:
            from labkit.train.streaming import told_to

            told = told_to(say, tokenizer)
        rests = self.adapted.disable_adapter() if self.adapters_rest else nullcontext()
        with self._at_work, rests, attending_by(model, "sdpa"):
            out_1T = model.generate(
                input_ids=ids_1T,
                attention_mask=torch.ones_like(ids_1T),
                max_new_tokens=min(max_new_tokens, room),
                # All else that a base's generation_config.json may ask for is undone.
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=list(self.stop_ids),
                pad_token_id=self.stop_ids[0],
                # Each token is a meeting of all workers of a model that is shared out.
                synced_gpus=is_sharded(model),
                **told,
            )
        return tokenizer.decode(out_1T[0, len(prompt) :], skip_special_tokens=True).strip()


def save_adapter(folder: Path, adapted: Any, chat: Chat, card: LanguageCard) -> None:
    """Write a model folder with the adapters alone; `adapted` is a model of peft's."""
    _make(folder, {k: p for k, p in adapted.named_parameters() if p.requires_grad})
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's blank form; the run has a card
    _finish(folder, chat, card)


def save_whole(
    folder: Path, model: Any, chat: Chat, card: LanguageCard, dtype: torch.dtype
) -> None:
    """Write a model folder with all weights, in that format."""
    model.to(dtype)
    model.set_attn_implementation("sdpa")
    model.generation_config.eos_token_id = list(card.stop_ids)
    _make(folder, dict(model.named_parameters()))
    model.save_pretrained(folder)
    _finish(folder, chat, card)


def merge(folder: Path) -> None:
    """Put the whole model into a folder that has an adapter: base and adapter added up."""
    card = read_card(folder)
    base = _base_of(folder, card)
    model, _ = load_decoder(base, torch.float32)  # sums of fewer digits would lose some
    adapted, tokenizer = _with_adapter(model, folder)
    merged = adapted.merge_and_unload()
    (folder / "labkit.json").unlink()
    for file in folder.glob("adapter_*"):
        file.unlink()
    chat = Chat(tokenizer=tokenizer, template=tokenizer.chat_template, max_tokens=card.max_tokens)
    save_whole(
        folder, merged, chat, replace(card, adapter=False, four_bits=False), stored_dtype(base)
    )


def _make(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_room(folder, tensors)


def _finish(folder: Path, chat: Chat, card: LanguageCard) -> None:
    """The rest of a model folder, `labkit.json` last: where it is, the model is whole."""
    chat.tokenizer.chat_template = chat.template
    chat.tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o600)
    text = json.dumps(asdict(card), ensure_ascii=False, indent=1)
    (folder / "labkit.json").write_text(text, encoding="utf-8")


def load_model(folder: Path, device: str, dtype: torch.dtype | None = None) -> LanguageModel:
    """The model in that folder, in the format that its base is kept in where none is given.

    An adapter of QLoRA has its base in 4 bits, as it was learnt. Raises LabkitError where the
    model is not whole, its base model is gone, or 4 bits cannot be had.
    """
    card = read_card(folder)
    source = _base_of(folder, card) if card.adapter else folder
    model, tokenizer = load_decoder(
        source, dtype or stored_dtype(source), device if card.four_bits else None
    )
    adapted = None
    if card.adapter:
        adapted, tokenizer = _with_adapter(model, folder)
        model = adapted.get_base_model()
    chat = Chat(tokenizer=tokenizer, template=tokenizer.chat_template, max_tokens=card.max_tokens)
    return LanguageModel(
        model=model.to(device).eval(), chat=chat, stop_ids=card.stop_ids, adapted=adapted
    )


def base_of(tuned: LanguageModel, folder: Path) -> LanguageModel:
    """What that model, of that folder, was tuned from; with its template, and where answers end.

    Where it has adapters, both are the same weights in memory. Raises LabkitError where the base
    model is gone.
    """
    if tuned.adapted is not None:
        return replace(tuned, adapters_rest=True)
    base = _base_of(folder, read_card(folder))
    model, _ = load_decoder(base, stored_dtype(base))
    return replace(tuned, model=model.to(tuned.model.device).eval(), _at_work=Lock())


def _base_of(folder: Path, card: LanguageCard) -> Path:
    base = Path(card.base)
    if not (base / "config.json").is_file():
        raise LabkitError(
            f"The base model of {folder} is no longer at {base}. Put it back, or tune it again."
        )
    return base


def read_card(folder: Path) -> LanguageCard:
    """What `labkit.json` says. Raises LabkitError where it is damaged, missing or newer."""
    try:
        known: Mapping[str, Any] = json.loads((folder / "labkit.json").read_text("utf-8"))
        if known.get("format", FORMAT) > FORMAT:
            raise LabkitError(
                f"The tuned model in {folder} is of a newer labkit: its format is "
                f"{known['format']}, and this labkit reads {FORMAT}. Use a newer labkit."
            )
        return LanguageCard(**known)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LabkitError(f"{_DAMAGED.format(folder)}: {error}. {_ADVICE}") from error


def _with_adapter(model: Any, folder: Path) -> tuple[Any, Any]:
    """The model inside peft's, with the folder's adapters; and the folder's tokenizer."""
    four_bits.import_without_fetching()
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 by an older name.
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is", FutureWarning)
            adapted = PeftModel.from_pretrained(model, folder)
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise LabkitError(f"{_DAMAGED.format(folder)}: {reason}. {_ADVICE}") from error
    return adapted, tokenizer


_DAMAGED = "The tuned model in {} is damaged"
_ADVICE = "Put its files back from a copy, or tune it again."
