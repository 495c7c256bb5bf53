"""A real lab on the test cluster: the hub as the user `hub`, sessions as jobs of their people."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit_spawners.lab import MAX_DEATHS
from tests.hub.real_lab import Browser, free_ports
from tests.slurm.cluster import SlurmCluster, paused
from tests.waiting import wait_for

PEOPLE = ("alice", "bob", "carol")
SUDOERS = Path(__file__).parents[2] / "spawners" / "sudoers"
SETTINGS = """
name = "Test cluster"
{site_settings}

[clusters.slurm]
scheduler = "slurm"
timeout = 3
queries_a_minute = 120  # tests start and stop more than people do
{cluster_settings}

[hub]
{hub_settings}
{sign_in}
port = {port}
internal_port = {internal}
proxy_port = {proxy}
internal_address = "{address}"

[profiles.notebook]
title = "Notebook"
cores = 1
memory = "2 GB"

[profiles.gpu]
title = "One GPU"
gpus = 1
device = "h100"
memory = "4 GB"

[profiles.whole]
title = "A node with a GPU for each finger"
cores = 16
gpus = 7
device = "1g.10gb"
memory = "32 GB"

[profiles.share]
title = "Quarter of a GPU, for class"
cores = 1
gpus = 2
device = "shard"
memory = "2 GB"
"""

PACE = "queries_a_minute = 120  # tests start and stop more than people do\n"


def at_shipped_pace(settings: str) -> str:
    """Those settings, with Slurm asked as often as labkit does by itself."""
    assert PACE in settings
    return settings.replace(PACE, "")


class SlurmLab:
    """`labkit lab` on the cluster's own machine."""

    def __init__(
        self,
        cluster: SlurmCluster,
        more_settings: str = "",
        *,
        site_settings: str = "",
        cluster_settings: str = "",
        hub_settings: str = "",
        sign_in: str = 'users = ["alice", "bob", "carol"]',
        settings: str = SETTINGS,
    ):
        """`settings` has places in braces for what is this cluster's."""
        self.cluster = cluster
        self.port, self.internal_port, proxy = free_ports(3)
        self.base = f"http://127.0.0.1:{self.port}"
        self.settings = cluster.folder / "etc" / "labkit" / "labkit.toml"
        self.state = cluster.home("hub") / ".local" / "state" / "labkit"
        self.log = cluster.folder / "log" / "lab.out"
        self.kills: list[float] = []
        text = settings.format(
            port=self.port,
            internal=self.internal_port,
            proxy=proxy,
            address=cluster.hub_address,
            site_settings=site_settings,
            cluster_settings=cluster_settings,
            hub_settings=hub_settings,
            sign_in=sign_in,
        )
        write_as_root(self.settings, text + more_settings, 0o644)
        rule = SUDOERS.read_text().replace("/opt/labkit/bin", str(cluster.python.parent))
        write_as_root(cluster.folder / "etc" / "sudoers.d" / "labkit", rule, 0o440)

    @contextmanager
    def running(self) -> Iterator["SlurmLab"]:
        """Until the end of the `with`; sessions are ended with it."""
        # Each lab is new: JupyterHub's limit of named sessions counts those of earlier ones, too.
        shutil.rmtree(self.state, ignore_errors=True)
        command = [self.cluster.python.parent / "labkit", "lab"]
        try:
            with self.cluster.popen(command, user="hub", log=self.log) as self.process:
                wait_for(Browser(self.base).ready, "the lab", seen=self.log.read_text)
                yield self
        finally:
            for name in ("hub.log", "proxy.log"):  # the cluster's homes go with it
                shutil.copyfile(self.state / "hub" / name, self.log.parent / name)
            self.cluster.cancel_all()

    @property
    def password(self) -> str:
        return (self.state / "hub" / "password").read_text().strip()

    def browser(self, name: str) -> Browser:
        """One that is signed in."""
        browser = Browser(self.base)
        assert browser.sign_in(name, self.password).status == 200
        return browser

    def record(self, name: str, server: str = "_") -> dict[str, Any]:
        """What the hub wrote down of a session; empty where there is none."""
        file = self.state / "sessions" / name / f"{server}.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def hub_log(self) -> str:
        return (self.state / "hub" / "hub.log").read_text()

    def kill_hub(self) -> None:
        """kill -9, and wait until another is in its place."""
        with self.without_hub():
            pass

    @contextmanager
    def without_hub(self) -> Iterator[None]:
        """kill -9; another is in its place after the end of the `with`, and not before."""
        before = self._child("hub")
        with paused(self.process):  # so that it starts no hub meanwhile
            self.cluster.output(["kill", "-9", str(before)])
            yield
            self.kills.append(time.monotonic())
        wait_for(lambda: self._child("hub") != before, "a new hub")
        wait_for(Browser(self.base).ready, "the lab", seen=self.hub_log)
        wait_for(self._outlives_one_more, "the lab to bear another end of its hub")

    def _outlives_one_more(self) -> bool:
        """It gives up where its hub ends more often in a minute, as it may in `make soak`."""
        return len(self.kills) < MAX_DEATHS or time.monotonic() - self.kills[-MAX_DEATHS] > 65

    def _child(self, name: str) -> int:
        """Its process id, as the cluster's machine counts."""
        found = json.loads((self.state / "hub" / "processes.json").read_text())
        return found[name]["pid"]

    def queue(self, *fields: str) -> list[list[str]]:
        """Those fields of each job of the cluster, as `squeue -O` names them."""
        text = self.cluster.output(
            ["squeue", "--noheader", "-O", ",".join(f"{field}:80" for field in fields)]
        )
        # Newer ones write 'gres/gpu:h100:1'.
        return [line.replace("gres/", "gres:").split() for line in text.splitlines()]


def write_as_root(file: Path, text: str, mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def own(path: Path, like: Path) -> None:
    """Give it, and all in it, to whom the other belongs."""
    for each in [path, *path.rglob("*")]:
        os.chown(each, like.stat().st_uid, like.stat().st_gid)
