"""What many sessions ask of Slurm's controller: ours beside plain batchspawner's.

Each session is a real job whose Jupyter is a stub. Slurm itself counts what it is asked (`sdiag`),
by user: batchspawner asks as the session's person, ours as the hub.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.bench.table import Table
from tests.hub.real_lab import Browser
from tests.slurm import stub_jupyter
from tests.slurm.cluster import SlurmCluster
from tests.slurm.plain_hub import PlainHub
from tests.slurm.slurm_lab import at_shipped_pace, write_as_root
from tests.waiting import wait_for

TITLE = "What sessions that run ask of Slurm's controller"
CORES = 128
"""Of each node, so that all sessions run."""
THEIR_EVERY_S = 30
THEIR_MOST = 100
"""Sessions. With two hundred its hub answered nothing for a minute on two cores: for each session
it runs a `sudo squeue` of its own."""
STARTS_AT_ONCE = 8
MANY = """
c.JupyterHub.log_level = "WARN"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.Spawner.start_timeout = c.Spawner.http_timeout = 600
"""
OURS = "c.Spawner.poll_interval = 5\n"
THEIRS = """
c.Spawner.poll_interval = {every}
c.SlurmSpawner.batchspawner_singleuser_cmd = "{python} {stub}"
c.SlurmSpawner.req_memory = "100M"
"""
SETTINGS = """
[environment.set]
PYTHONPATH = "{stub}"

[profiles.stub]
title = "Stub"
cores = 1
memory = "256 MB"
"""


def measure(cluster: SlurmCluster, *, sessions: list[int], seconds: float) -> Iterator[Table]:
    assert seconds > THEIR_EVERY_S, "batchspawner is to ask at least once"
    code = Path(stub_jupyter.__file__).read_text()
    stub = cluster.folder / "etc" / "labkit-stub" / "sitecustomize.py"
    write_as_root(stub, code, 0o644)
    theirs = MANY + THEIRS.format(python=cluster.python, stub=stub, every=THEIR_EVERY_S)
    hubs = {
        "bob": PlainHub(cluster, ours=True, profile="stub", more=MANY + OURS),
        "alice": PlainHub(cluster, ours=False, profile="notebook", more=theirs),
    }
    settings = cluster.folder / "etc" / "labkit" / "labkit.toml"
    text = at_shipped_pace(settings.read_text())
    settings.write_text(text + SETTINGS.format(stub=stub.parent))
    rows = []
    with ExitStack() as running:
        browsers = {
            name: running.enter_context(hub.running()).browser(name) for name, hub in hubs.items()
        }
        for count in sessions:
            num_theirs = min(count, THEIR_MOST)
            start(hubs["bob"], browsers["bob"], "bob", count)
            start(hubs["alice"], browsers["alice"], "alice", num_theirs)
            cluster.output(["sdiag", "--reset"])
            time.sleep(seconds)
            asked = asked_by_user(cluster.output(["sdiag"]))
            ours, plain = (asked.get(user, 0) * 60 / seconds for user in ("hub", "alice"))
            of_plain = f"{ours / plain:.3f} ×" if num_theirs == count else ""
            rows.append([str(count), f"{ours:.0f}", f"{plain:.0f} of {num_theirs}", of_plain])
    yield Table(
        TITLE,
        ["sessions", "labkit, RPCs a minute", "batchspawner, RPCs a minute, sessions", "labkit is"],
        rows,
        [f"batchspawner asks every {THEIR_EVERY_S} s, JupyterHub's default."],
    )


def start(hub: PlainHub, browser: Browser, name: str, count: int) -> None:
    """As many named sessions of that person as there are to be, in all."""
    there = browser.sessions(name)
    wanted = [f"s{number}" for number in range(count) if f"s{number}" not in there]

    def ask(server: str) -> None:
        answer = hub.ask_for_session(browser, name, server)
        assert answer.status in (201, 202), answer.text

    with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
        list(pool.map(ask, wanted))

    def ready() -> int:
        return sum(each["ready"] for each in browser.sessions(name).values())

    wait_for(lambda: ready() == count, f"{count} sessions", 600, seen=ready)


def asked_by_user(sdiag: str) -> dict[str, int]:
    """How many calls the controller had from each user."""
    by_user = sdiag.partition("statistics by user")[2].partition("Pending RPC")[0]
    return {
        user: int(count) for user, count in re.findall(r"(\S+)\s+\(\s*\d+\) count:(\d+)", by_user)
    }
