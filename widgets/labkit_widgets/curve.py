"""The metrics of a run's attempts, read as they grow: each look reads only what is new."""

import json
from pathlib import Path
from typing import Any

from labkit.runs.folder import Run


class Metrics:
    """All that a run's attempts have reported so far, in order."""

    def __init__(self, run: Run):
        self.run = run
        self.lines: list[dict[str, Any]] = []
        self._read: dict[Path, int] = {}

    def look(self) -> bool:
        """Read on; whether there was anything new."""
        before = len(self.lines)
        for attempt in self.run.attempts():
            self._read_on(attempt.folder / "metrics.jsonl")
        return len(self.lines) > before

    def _read_on(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                stream.seek(self._read.get(file, 0))
                new = stream.read()
        except OSError:
            return  # not yet there, or the run is being deleted
        whole = new[: new.rfind(b"\n") + 1]  # the last line may be half written
        self._read[file] = self._read.get(file, 0) + len(whole)
        for line in whole.splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                self.lines.append(found)
