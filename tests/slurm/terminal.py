"""What a person types on the machine that they sign in to."""

import json
import os
import pty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.minilm import save_minilm
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab, own
from tests.waiting import wait_for


class Terminal:
    """A person's shell on the machine that they sign in to."""

    def __init__(self, cluster: SlurmCluster, user: str) -> None:
        self.cluster, self.user = cluster, user
        self.home = cluster.home(user)

    def labkit(self, *given: str | Path, fails: bool = False, folder: Path | None = None) -> str:
        """What it printed; `fails`: and what it said besides. In their home, or the folder."""
        argv = ["env", "-C", folder or self.home, self.cluster.python.parent / "labkit", *given]
        done = self.cluster.run(argv, user=self.user, timeout_s=600)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr if fails else done.stdout

    def json(self, *given: str | Path, folder: Path | None = None) -> Any:
        group, verb, *rest = given
        return json.loads(self.labkit(group, verb, "--json", *rest, folder=folder))

    def types(self, *given: str, then: Sequence[str]) -> str:
        """What stands on their screen after `labkit …`, and the lines that they type into it."""
        labkit = self.cluster.python.parent / "labkit"
        ours, theirs = pty.openpty()
        with self.cluster.popen([labkit, *given], user=self.user, terminal=theirs) as process:
            os.close(theirs)
            os.write(ours, "".join(f"{line}\n" for line in then).encode())
            screen = b""
            with suppress(OSError):  # EIO: the last who had it open has ended
                while data := os.read(ours, 4096):
                    screen += data
            process.wait(60)
        os.close(ours)
        return screen.decode(errors="replace")

    def leaves_nothing(self) -> None:
        """Wait until no process and no file of theirs is left on any node."""

        def left() -> dict[str, str]:
            return self.cluster.left_by(self.user)

        wait_for(lambda: not left(), "the nodes to be clean", 60, seen=left)


def minilm_at_home(cluster: SlurmCluster, user: str, num_layers: int | None = None) -> Path:
    """all-MiniLM-L6-v2, or its first layers, in that person's home, which all nodes see."""
    models = cluster.home(user) / "models"
    weights = models / f"minilm-{num_layers or 'whole'}"
    if not weights.exists():
        save_minilm(weights, num_layers)
        own(models, like=cluster.home(user))
    return weights


@contextmanager
def terminal_with_model(
    cluster: SlurmCluster, user: str, *, site_settings: str = "", num_layers: int | None = None
) -> Iterator[Terminal]:
    """That of a person who has 'minilm', or its first layers; their jobs end with it."""
    SlurmLab(cluster, site_settings=site_settings)
    terminal = Terminal(cluster, user)
    weights = minilm_at_home(cluster, user, num_layers)
    terminal.labkit("models", "add", weights, "--name", "minilm")
    yield terminal
    cluster.cancel_all()
