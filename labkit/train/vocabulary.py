"""Tuning with only those word embeddings that the texts use.

A person's table uses a few thousand of the 30,000 to 250,000 word pieces of a model. No text
changes the others, yet in every step they cost a gradient of zeros, its norm and a pass of
the optimizer, and in every checkpoint their place. So they stand aside while the loop runs.
"""

import numpy as np
import torch
from torch import nn

from labkit.train.tokens import TokenRows


class NarrowVocabulary:
    """Puts a narrow word embedding in an encoder's place, until `restore`.

    The result is that of tuning the whole embedding, but that the weights which no text uses
    do not decay.
    """

    def __init__(self, encoder: nn.Module, *parts: TokenRows):
        self.encoder = encoder
        self.whole: nn.Embedding = encoder.get_input_embeddings()  # type: ignore[operator]
        # Ids up to that of padding keep their number: RoBERTa finds its positions by it.
        kept = np.arange((encoder.config.pad_token_id or 0) + 1)  # type: ignore[union-attr]
        self.used_U = np.unique(np.concatenate([kept, *(part.ids for part in parts)]))
        self._put(self._narrow())

    def renumber(self, tokens: TokenRows) -> TokenRows:
        """The same texts in the narrow embedding's ids."""
        ids = np.searchsorted(self.used_U, tokens.ids).astype(np.int32)
        return TokenRows(ids, tokens.starts, tokens.num_cut)

    def restore(self) -> None:
        """Put the whole embedding back, with what the used weights have learnt."""
        narrow: nn.Embedding = self.encoder.get_input_embeddings()  # type: ignore[operator]
        with torch.no_grad():
            self.whole.weight[self._indexes()] = narrow.weight
        self._put(self.whole)

    def _narrow(self) -> nn.Embedding:
        weight_UD = self.whole.weight.detach()[self._indexes()]
        return nn.Embedding.from_pretrained(
            weight_UD, freeze=False, padding_idx=self.whole.padding_idx
        )

    def _indexes(self) -> torch.Tensor:
        return torch.from_numpy(self.used_U).to(self.whole.weight.device)

    def _put(self, embedding: nn.Embedding) -> None:
        self.encoder.set_input_embeddings(embedding)  # type: ignore[operator]
