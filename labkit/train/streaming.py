"""An answer that is told while it is written, and may be ended in the middle."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, TextStreamer


class _Teller(TextStreamer):
    """Pieces end where words do: what comes next may yet change the characters of half a word."""

    def __init__(self, tokenizer: Any, say: Callable[[str], bool]):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say
        self.goes_on = True

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text and self.goes_on:
            self.goes_on = self._say(text)


class _Ended(StoppingCriteria):
    def __init__(self, teller: _Teller):
        self._teller = teller

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        num_answers = len(input_ids)
        return torch.full((num_answers,), not self._teller.goes_on, device=input_ids.device)


def told_to(say: Callable[[str], bool], tokenizer: Any) -> dict[str, Any]:
    """What `generate` is given besides, so that it tells one answer, until `say` returns False."""
    teller = _Teller(tokenizer, say)
    return {"streamer": teller, "stopping_criteria": [_Ended(teller)]}
