"""Looking at something again and again, in one thread, until there is no more to see."""

import threading
from collections.abc import Callable


class Watch:
    """Calls `look` every `every_s` seconds while it returns True."""

    def __init__(self, every_s: float, look: Callable[[], bool]):
        self.every_s, self.look = every_s, look
        self._lock = threading.Lock()
        self._again = threading.Event()
        self._closed = False
        self._alive = False

    def start(self) -> None:
        """Look now, and go on; a watch that is at it looks at once."""
        with self._lock:
            self._again.set()
            if self._alive or self._closed:
                return
            self._alive = True
        threading.Thread(target=self._run, name="labkit-watch", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._again.set()

    def _run(self) -> None:
        while not self._closed:
            self._again.clear()
            if self.look():
                self._again.wait(self.every_s)
                continue
            with self._lock:
                if not self._again.is_set():  # `start` was not called meanwhile
                    self._alive = False
                    return
        self._alive = False
