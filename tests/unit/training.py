"""What tests of training share: one thread, silence, and several processes at once."""

import multiprocessing
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch

PEFT_ASKS_BY_AN_OLDER_NAME = pytest.mark.filterwarnings(
    # Of peft 0.21, with transformers 5.23.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


_AFTER_IMPORTS = multiprocessing.get_context("forkserver")
"""Processes begin with what takes seconds to import; it has computed nothing, so may be forked."""
_AFTER_IMPORTS.set_forkserver_preload(["labkit.train.instruct", "tests.unit.preloaded"])


def silent(**_: Any) -> None:
    """The report of who has nobody to tell."""


def steady_adam(patch: pytest.MonkeyPatch) -> None:
    """Adam divides by a gradient's size: none is so small now that its rounding makes a step."""
    patch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-4))


def at_once(target: Callable[..., None], given: Iterable[tuple[Any, ...]]) -> None:
    """Run the target in a process for each of those arguments; all must end well."""
    processes = [_AFTER_IMPORTS.Process(target=target, args=each) for each in given]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
