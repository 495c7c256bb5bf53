"""Slurm's commands: an argument list, a time limit and an environment of ours for each call."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labkit.errors import LabkitError

_INHERITED = ("PATH", "HOME", "SLURM_CONF", "TZ")
"""Not the rest: SBATCH_ and SLURM_ variables of whoever submits would change the job."""


class SlurmError(LabkitError):
    """Slurm refused, or did not answer. Nothing follows from it about any job."""

    def __init__(self, command: str, said: str):
        super().__init__(f"Slurm's {command} failed: {said}")
        self.said = said


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """The commands of one Slurm."""

    folder: Path | None = None
    """Where they lie; found by the PATH where it is None."""
    timeout_s: float = 10
    """A controller that is down is silent for eight seconds, then its commands fail."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """Where the command lies; None where it does not."""
        return shutil.which(name, path=str(self.folder) if self.folder else None)

    async def run(self, name: str, *arguments: str, text: str = "") -> str:
        """What the command prints, given `text` to read. Raises SlurmError."""
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        command = str(self.folder / name) if self.folder else name
        try:
            process = await asyncio.create_subprocess_exec(
                command,
                *arguments,
                env={**inherited, **self.environment, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise SlurmError(name, f"{error.strerror}: {command}") from error
        try:
            async with asyncio.timeout(self.timeout_s):
                printed, complained = await process.communicate(text.encode())
        except TimeoutError:
            raise SlurmError(name, f"no answer within {self.timeout_s:g} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise SlurmError(
                name, complained.decode(errors="replace").strip() or "no reason given."
            )
        # sbatch --test-only speaks on standard error, and is the only one that is asked for that.
        return (printed or complained).decode(errors="replace")
