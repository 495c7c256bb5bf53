"""A decoder's blocks compiled by torch, each by itself, where that pays.

Compiling takes half a minute and gains some hundredths to a fifth, so training begins without it,
and it is compared with what was before. What cannot be compiled trains as it is. Only training
uses what is compiled: answers and measurements have other shapes.
"""

import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import torch

When = Literal["auto", "always", "never"]
T = TypeVar("T")

ENOUGH_LEFT_S = 600.0
"""With `auto`, how long training must have to go on: half a minute is then made good for by a
gain of a twentieth."""
_WARM_UP_STEPS = 3
_MEASURED_STEPS, _MEASURED_S = 10, 5.0
"""Of a pace that is told or compared: how many steps at least, and how long they take."""


def why_not() -> str:
    """What this machine lacks to compile, in words; '' if nothing. GPUs' code needs both, too."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r} on this machine"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"the headers of Python are not on this machine: no Python.h in {headers}"
    return ""


@cache
def code_folder() -> TemporaryDirectory[str]:
    """Where this process keeps compiled code, for its owner alone (0700) and until it ends.

    torch's own place is known to all users of a machine, who may have put code there before. One
    for several machines would hold code that another's processor does not know.
    """
    made = TemporaryDirectory(prefix="labkit-compiled-", ignore_cleanup_errors=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = made.name
    return made


@dataclass
class Pace:
    """How fast steps are, without the first ones."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self.steps += 1
        if self.steps > _WARM_UP_STEPS:
            self.tokens += tokens
            self.seconds += seconds

    @property
    def is_known(self) -> bool:
        return self.steps >= _WARM_UP_STEPS + _MEASURED_STEPS and self.seconds >= _MEASURED_S

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def _nothing(message: str) -> None:
    pass


class Blocks:
    """The blocks of a causal language model of transformers, while it is trained."""

    def __init__(self, model: Any, when: When = "never", say: Callable[[str], None] = _nothing):
        """`say` is told, in a sentence, what came of it."""
        self.when, self.say = when, say
        self.seconds_left = 0.0
        """Of the whole training; whoever knows it says so."""
        self._blocks = [*model.get_decoder().layers]
        self._device = next(model.parameters()).device
        self._compiled: list[Any] = []
        self._before, self._after = Pace(), Pace()

    @property
    def are_compiled(self) -> bool:
        return bool(self._compiled)

    def hearing(self, report: Callable[..., None]) -> Callable[..., None]:
        """The report, from which they learn on its way how much of the training is left."""

        def heard(**said: Any) -> None:
            self.seconds_left = said.get("seconds_left", self.seconds_left)
            report(**said)

        return heard

    def step(self, compute: Callable[[], T], tokens: int) -> T:
        """What `compute` gives, which trains with so many tokens.

        It is called a second time where it fails with compiled blocks.
        """
        if self.are_compiled or self._should_compile():
            try:
                return self._compiled_step(compute, tokens)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of many libraries; what is no fault of theirs comes again
                self._give_up(_first_line(getattr(error, "inner_exception", error)))
        return self._timed(compute, tokens, self._before)

    def _should_compile(self) -> bool:
        pays = self._before.is_known and self.seconds_left > ENOUGH_LEFT_S
        if self.when == "never" or (self.when == "auto" and not pays):
            return False
        if lacking := why_not():
            self._give_up(lacking)
        return not lacking

    def _compiled_step(self, compute: Callable[[], T], tokens: int) -> T:
        if not self.are_compiled:
            self._compile()
        with self._at_work():
            out = self._timed(compute, tokens, self._after)
        self._compare()
        return out

    def _compile(self) -> None:
        code_folder()
        for block in self._blocks:
            # Rows have many lengths, and each would be compiled anew.
            block.compile(dynamic=True)
            self._compiled.append(block._compiled_call_impl)
            block._compiled_call_impl = None

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        for block, call in zip(self._blocks, self._compiled, strict=True):
            block._compiled_call_impl = call
        try:
            yield
        finally:
            for block in self._blocks:
                block._compiled_call_impl = None

    def _timed(self, compute: Callable[[], T], tokens: int, pace: Pace) -> T:
        start = time.perf_counter()
        out = compute()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        pace.add(tokens, time.perf_counter() - start)
        return out

    def _compare(self) -> None:
        """Once both paces are known, keep the faster; with `always` that is not asked."""
        if self.when != "auto" or not self._after.is_known:
            return
        self.when = "never"
        rates = f"{self._after.rate:,.0f} tokens a second instead of {self._before.rate:,.0f}"
        if self._after.rate > self._before.rate:
            return self.say(f"The model's blocks are compiled: {rates}.")
        self._compiled = []
        self.say(f"The model's blocks were compiled and are not any more: {rates}.")

    def _give_up(self, reason: str) -> None:
        self.when, self._compiled = "never", []
        self.say(f"The model's blocks are not compiled, and it trains without: {reason}.")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(":. ")
