"""A tuning of a random thin decoder on questions about three colours, for tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from labkit.data.messages import Message
from labkit.train.decoder import Method
from labkit.train.instruct import InstructTuning
from labkit.train.loop import LoopSettings
from labkit.train.talks import Talks
from tests.unit.tiny_decoder import TEMPLATE
from tests.unit.training import silent

METHODS: tuple[Method, ...] = ("lora", "qlora", "full")
RATES = {"lora": 2e-2, "qlora": 2e-2, "full": 1e-2}
COLOURS = {"red": "stop", "green": "go", "blue": "swim"}


def talks(first: int, number: int) -> Talks:
    """Questions about one of three colours, each of which has one answer."""
    rows = range(first, first + number)
    asked = [(n, *list(COLOURS.items())[n % len(COLOURS)]) for n in rows]
    return Talks(
        messages=[
            [Message(role="user", content=f"{n}: {colour}?"),
             Message(role="assistant", content=answer)]
            for n, colour, answer in asked
        ],
        rows=[n + 2 for n in rows],
    )  # fmt: skip


def make_tuning(base: Path, folder: Path) -> InstructTuning:
    return InstructTuning(
        base=base,
        recipe="instruct",
        template=TEMPLATE,
        train=talks(0, 24),
        validation=talks(24, 6),
        held_out=talks(30, 9),
        method="lora",
        sharding="auto",
        max_tokens=64,
        row_tokens=64,
        lora_rank=8,
        lora_targets="all-linear",
        merge=False,
        system="",
        num_answers=3,
        num_samples=0,
        sample_tokens=12,
        max_answer_tokens=12,
        loop=LoopSettings(
            num_epochs=2, batch_size=8, learning_rate=2e-2, head_learning_rate=2e-2, patience=9
        ),
        folder=folder,
        resume_from=None,
        report=silent,
        should_stop=lambda: False,
    )


def by(tuning: InstructTuning, method: Method, epochs: int = 2, **changes: Any) -> InstructTuning:
    loop = replace(
        tuning.loop,
        learning_rate=RATES[method],
        head_learning_rate=RATES[method],
        num_epochs=epochs,
    )
    return replace(tuning, method=method, loop=loop, **changes)


def saved(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder."""
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)
