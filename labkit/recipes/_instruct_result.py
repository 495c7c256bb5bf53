"""What the instruction recipe measured, as the evaluation takes it: by row of a person's table.

`labkit.recipes.instruct` calls it in a run; it computes nothing of a model.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.evaluation.language import Compared, Foretold

if TYPE_CHECKING:
    from labkit.data.conversations import Conversations
    from labkit.data.messages import Message
    from labkit.train.instruct import Measured


def foretold(found: "Measured") -> Foretold:
    """How well each row is foretold; a row of several examples counts once, with all of them."""
    _, row_E = np.unique(np.array(found.rows, np.int64), return_inverse=True)
    losses_N, tokens_N = np.zeros((2, row_E.max() + 1))
    np.add.at(losses_N, row_E, found.losses)
    np.add.at(tokens_N, row_E, found.tokens)
    return Foretold(losses_N=losses_N, tokens_N=tokens_N)


def compared(
    held_out: "Conversations", tuned: "Measured", others: "Mapping[str, Measured]"
) -> list[Compared]:
    """The questions that were answered, with the answers of all models."""
    talks = dict(zip(held_out.rows, held_out.messages, strict=True))
    return [
        Compared(
            row=int(row),
            question=_last(talks[int(row)], "user"),
            wanted=_last(talks[int(row)], "assistant"),
            tuned=answer,
            others={name: found.answers[row] for name, found in others.items()},
        )
        for row, answer in tuned.answers.items()
    ]


def _last(messages: "Sequence[Message]", role: str) -> str:
    return next(m["content"] for m in reversed(messages) if m["role"] == role)
