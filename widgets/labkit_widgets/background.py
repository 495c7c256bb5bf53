"""Work that takes longer than a blink, in threads, so that the kernel goes on answering.

A job of a kind replaces an earlier one of that kind: what the earlier one finds is dropped.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_TABLES = threading.Lock()


def alone(work: Callable[[], T]) -> Callable[[], T]:
    """The same work, but never while other work with tables is done in this process.

    polars 2.1 has ended the process (a segmentation fault) where several threads read tables.
    """

    def work_alone() -> T:
        with _TABLES:
            return work()

    return work_alone


class Background(Protocol):
    """What the forms need: work, and what to do with what it returns."""

    def run(
        self, kind: str, words: str, work: Callable[[], T], then: Callable[[T], None]
    ) -> None: ...

    def forget(self, kind: str) -> None:
        """Drop what a running job of that kind will find."""
        ...

    def tell(self) -> None:
        """Show what a job has found so far."""
        ...

    def doing(self) -> dict[str, str]:
        """Of each kind that is at work, what it does, in words."""
        ...


class Threads:
    """One daemon thread for each job: a kernel that ends waits for none of them.

    `then` and `failed` are called under `lock`, followed by `changed`.
    """

    def __init__(
        self,
        lock: threading.RLock,
        changed: Callable[[], None],
        failed: Callable[[str, Exception], None],
    ):
        self.lock, self.changed, self.failed = lock, changed, failed
        self._jobs: dict[str, tuple[object, str]] = {}

    def run(self, kind: str, words: str, work: Callable[[], T], then: Callable[[T], None]) -> None:
        ticket = object()
        self._jobs[kind] = (ticket, words)
        threading.Thread(
            target=self._work, args=(kind, ticket, work, then), name=f"labkit-{kind}", daemon=True
        ).start()

    def forget(self, kind: str) -> None:
        self._jobs.pop(kind, None)

    def tell(self) -> None:
        self.changed()

    def doing(self) -> dict[str, str]:
        return {kind: words for kind, (_, words) in self._jobs.items()}

    def _work(
        self, kind: str, ticket: object, work: Callable[[], T], then: Callable[[T], None]
    ) -> None:
        found: Any = None
        fault: Exception | None = None
        try:
            found = work()
        except Exception as error:  # an edge: `failed` says it to the person
            fault = error
        with self.lock:
            if self._jobs.get(kind, (None,))[0] is not ticket:
                return
            del self._jobs[kind]
            try:
                then(found) if fault is None else self.failed(kind, fault)
            except Exception as error:
                self.failed(kind, error)
        self.changed()
