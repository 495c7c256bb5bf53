"""What tests of training share: one thread, silence, and several processes at once."""

import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any

import pytest

PEFT_ASKS_BY_AN_OLDER_NAME = pytest.mark.filterwarnings(
    # Of peft 0.21, with transformers 5.23.
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


def silent(**_: Any) -> None:
    """The report of who has nobody to tell."""


def at_once(target: Callable[..., None], given: Iterable[tuple[Any, ...]]) -> None:
    """Run the target in a process for each of those arguments; all must end well."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=target, args=each) for each in given]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
