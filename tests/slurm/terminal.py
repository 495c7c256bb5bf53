"""What a person types on the machine that they sign in to."""

import json
from pathlib import Path
from typing import Any

from tests.slurm.cluster import SlurmCluster


class Terminal:
    """A person's shell on the machine that they sign in to."""

    def __init__(self, cluster: SlurmCluster, user: str) -> None:
        self.cluster, self.user = cluster, user
        self.home = cluster.home(user)

    def labkit(self, *given: str | Path, fails: bool = False, folder: Path | None = None) -> str:
        """What it printed; `fails`: what it said of why it failed. In their home, or the folder."""
        argv = ["env", "-C", folder or self.home, self.cluster.python.parent / "labkit", *given]
        done = self.cluster.run(argv, user=self.user, timeout_s=600)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def json(self, *given: str | Path, folder: Path | None = None) -> Any:
        group, verb, *rest = given
        return json.loads(self.labkit(group, verb, "--json", *rest, folder=folder))
