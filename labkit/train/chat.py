"""What a model sees of a conversation: one text, its tokens, and which of them it learns.

The template renders the conversation once with and once without each answer, so what is
learnt is just what the model would have to write after the template asked for an answer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.data.messages import Message
from labkit.errors import LabkitError

Messages = Sequence[Message]


class Refused(LabkitError):
    """The template cannot write a conversation; `reason` says why, without its row."""

    def __init__(self, row: int | None, reason: str):
        super().__init__(row, reason)  # so that it can be sent from one process to another
        self.row, self.reason = row, reason

    def __str__(self) -> str:
        return self.reason if self.row is None else f"Row {self.row}: {self.reason}"


_AT_A_TIME = 1024
"""Conversations that are tokenized together: the places of their tokens take much memory."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One example as the model sees it."""

    row: int
    """Its number in the person's file."""
    text: str
    """The whole text, as the template writes it."""
    learnt_spans: Sequence[tuple[int, int]]
    """Which characters of the text are learnt: start and end."""
    ids_T: NDArray[np.int32]
    """The token ids of the text, whole."""
    learnt_T: NDArray[np.bool_]
    """Which tokens are learnt."""
    cut_at: int
    """How many characters of the text are kept."""
    max_tokens: int
    """What stands behind so many tokens is cut off."""

    @property
    def num_tokens(self) -> int:
        """Tokens that are kept."""
        return min(len(self.ids_T), self.max_tokens)

    @property
    def num_cut(self) -> int:
        """Tokens that are cut off."""
        return max(0, len(self.ids_T) - self.max_tokens)

    @property
    def num_learnt_cut(self) -> int:
        """Tokens to learn that are cut off."""
        return int(self.learnt_T[self.max_tokens :].sum())

    @property
    def num_learnt(self) -> int:
        """Tokens that are learnt, after the cut; the first has nothing before it to learn from."""
        return int(self.learnt_T[1 : self.max_tokens].sum())


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A tokenizer with the template of its conversations."""

    tokenizer: Any
    """A fast tokenizer of transformers."""
    template: str
    max_tokens: int

    def see(
        self,
        conversations: Sequence[Messages],
        rows: Sequence[int],
        refused: list[Refused] | None = None,
    ) -> list[Seen]:
        """Each conversation as the model sees it.

        One with several answers gives one example that learns them all. Where the template
        writes earlier answers otherwise than the last (as those that drop its thoughts do), it
        gives one for each answer. Raises Refused where the template cannot write a row, or leaves
        the row out and puts that into `refused` where it is given.
        """
        places = range(0, len(rows), _AT_A_TIME)
        parts = [slice(start, start + _AT_A_TIME) for start in places]
        return [
            seen for part in parts for seen in self._see(conversations[part], rows[part], refused)
        ]

    def control_token(self, messages: Messages) -> str | None:
        """A token in them that belongs to the template, such as the one that ends an answer."""
        found = (self._control.search(message["content"]) for message in messages)
        return next((match[0] for match in found if match), None)

    def prompt(self, messages: Messages, row: int | None = None) -> list[int]:
        """The token ids after which the model writes its answer to these messages."""
        text = self._render(messages, row, asks=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def fits(self, messages: Messages) -> bool:
        """Whether an answer to these messages would begin within `max_tokens`."""
        return len(self.prompt(messages)) < self.max_tokens

    def stop_ids(self, examples: Sequence[Seen]) -> list[int]:
        """The tokens that end an answer: the model's own, and those that the template writes.

        Raises LabkitError where the template writes none, so that no answer would ever end.
        """
        ends = {int(seen.ids_T[seen.learnt_T][-1]) for seen in examples if seen.learnt_T.any()}
        if plain := ends - self._special.keys():
            shown = self.tokenizer.decode([min(plain)])
            raise LabkitError(
                f"The chat template ends an answer with {shown!r}, which is no special token: the "
                "model would not learn where to stop. The template must write the tokenizer's "
                f"end-of-text token ({self.tokenizer.eos_token or 'it has none'}) after an answer."
            )
        own = self.tokenizer.eos_token_id
        return sorted(ends | ({own} if own is not None else set()))

    @cached_property
    def _special(self) -> dict[int, str]:
        """The special tokens, by id."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {number: token.content for number, token in added if token.special}

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Any of them; the longest first, where one begins as another does."""
        longest_first = sorted(self._special.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def _see(
        self,
        conversations: Sequence[Messages],
        rows: Sequence[int],
        refused: list[Refused] | None,
    ) -> Iterator[Seen]:
        written = []
        for messages, row in zip(conversations, rows, strict=True):
            try:
                written += [(row, text, spans) for text, spans in self._written(messages, row)]
            except Refused as error:
                if refused is None:
                    raise
                refused.append(error)
        if not written:
            return
        encoded = self.tokenizer(
            [text for _, text, _ in written],
            add_special_tokens=False,  # the template writes them
            return_offsets_mapping=True,
        )
        for (row, text, spans), ids, offsets in zip(
            written, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            yield self._seen(row, text, spans, ids, offsets)

    def _written(self, messages: Messages, row: int) -> list[tuple[str, list[tuple[int, int]]]]:
        """The texts of a conversation, each with the spans that are learnt."""
        answers = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
        found = [self._answer(messages[: n + 1], row) for n in answers]
        text, _ = found[-1]
        if all(text.startswith(earlier[: span[1]]) for earlier, span in found):
            return [(text, [span for _, span in found])]
        return [(text, [span]) for text, span in found]

    def _answer(self, messages: Messages, row: int) -> tuple[str, tuple[int, int]]:
        """The text up to the last message, an answer, and where in it that is."""
        before = self._render(messages[:-1], row, asks=True)
        text = self._render(messages, row, asks=False)
        if not text.startswith(before):
            raise Refused(
                row,
                "the chat template writes an answer otherwise than it asks for one "
                f"({before[-40:]!r}), so it is not known what is to be learnt. Choose another "
                "with the setting template.",
            )
        return text, (len(before), max(len(before), len(text.rstrip())))

    def _render(self, messages: Messages, row: int | None, *, asks: bool) -> str:
        try:
            return self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=self.template,
                add_generation_prompt=asks,
                tokenize=False,
                # Else Qwen 3's asks with an empty thought, and then learns to write it.
                enable_thinking=False,
            )
        except Exception as error:  # the template is a program of the site's or the person's
            reason = f"{error or type(error).__name__}".rstrip(".")
            raise Refused(row, f"the chat template refuses it: {reason}.") from error

    def _seen(
        self,
        row: int,
        text: str,
        spans: Sequence[tuple[int, int]],
        ids: Sequence[int],
        offsets: Sequence[tuple[int, int]],
    ) -> Seen:
        starts_T, ends_T = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
        learnt_T = np.zeros(len(ids), dtype=np.bool_)
        for start, end in spans:
            learnt_T |= (starts_T >= start) & (ends_T <= end) & (ends_T > starts_T)
        fits = len(ids) <= self.max_tokens
        return Seen(
            row=row,
            text=text,
            learnt_spans=spans,
            ids_T=np.array(ids, dtype=np.int32),
            learnt_T=learnt_T,
            cut_at=len(text) if fits else int(starts_T[self.max_tokens]),
            max_tokens=self.max_tokens,
        )
