"""A thousand people's sessions in one hub, on a Slurm that counts its calls, and a hundred at once.

Hub, proxy, sudo and `labkit-submit` are real, and each person is a Unix user; Slurm's commands
are `fake_slurm`, and one process answers for all sessions.
"""

import os
import secrets
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event

from tests.bench.table import Table, judged
from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster, inner
from tests.slurm.fake_slurm import QUERIES, SHOWN, calls, make_fake_slurm
from tests.slurm.plain_hub import PlainHub
from tests.slurm.slurm_commands import Slurm
from tests.slurm.slurm_lab import at_shipped_pace
from tests.waiting import wait_for

GOAL_QUERIES, GOAL_RATIO = 12, 1.3
LOOKERS, LOOK_EVERY_S = 40, 15
"""People without a session, who keep the page of profiles open; it looks as often by itself."""
FIRST_ID = 30_000
STARTS_AT_ONCE = 8
BEFORE = """
from labkit.settings import load_site
from labkit_spawners.configure import configure

configure(get_config(), load_site())
"""
MORE = """
c.JupyterHub.log_level = "WARN"
c.JupyterHub.services = [*c.JupyterHub.services, {{"name": "bench", "api_token": "{token}"}}]
scopes = ["admin:users", "admin:servers", "servers"]
role = {{"name": "bench", "scopes": scopes, "services": ["bench"]}}
c.JupyterHub.load_roles = [*c.JupyterHub.load_roles, role]
c.Spawner.poll_interval = 5
"""
NOTHING = """
import asyncio
from jupyterhub.spawner import Spawner

class DoNothing(Spawner):
    async def start(self):
        await asyncio.Event().wait()
    async def poll(self):
        return None
    async def stop(self, now=False):
        pass

c.JupyterHub.spawner_class = DoNothing
c.JupyterHub.services = c.JupyterHub.services[-1:]  # not those that mend sessions of ours
c.JupyterHub.load_roles = c.JupyterHub.load_roles[-1:]
"""


@dataclass(frozen=True)
class Press:
    """One person's press of Start."""

    browser: Browser
    form: dict[str, str]

    def wait_page(self) -> float:
        """Seconds until the page that waits is there."""
        started = time.perf_counter()
        page = self.browser.ask("/hub/spawn", form=self.form)
        assert "/spawn-pending/" in page.url and page.status == 200, (page.url, page.text)
        return time.perf_counter() - started


def measure(
    cluster: SlurmCluster, *, people: int, at_once: int, rounds: int, seconds: float
) -> Iterator[Table]:
    names = [f"person{number}" for number in range(people)]
    lookers = [f"looker{number}" for number in range(min(LOOKERS, people))]
    add_people(cluster, [*names, *lookers])
    folder = fake(cluster)
    token = secrets.token_hex(16)
    more = MORE.format(token=token)
    with ExitStack() as running:
        hubs = [
            PlainHub(cluster, ours=True, profile="notebook", before=BEFORE, more=lines,
                     people=[*names, *lookers], name=name)
            for name, lines in (("nothing", more + NOTHING), ("ours", more))
        ]  # fmt: skip
        settings = cluster.folder / "etc" / "labkit" / "labkit.toml"
        text = (
            at_shipped_pace(settings.read_text())
            .replace('scheduler = "slurm"', f'scheduler = "slurm"\ncommands = "{folder / "bin"}"')
            .replace("[hub]", "[hub]\ninternal_ssl = false")
        )
        settings.write_text(text)
        running.enter_context(stub_sessions(folder))
        nothing, ours = (running.enter_context(hub.running()) for hub in hubs)
        api = Browser(ours.base)
        began = time.time()
        yield waves(ours, nothing, names, at_once, rounds, lambda: num_ready(api, token))
        running.enter_context(looking([ours.browser(name) for name in lookers]))
        rest = names[at_once * rounds :]
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            list(pool.map(lambda name: start(api, token, name), rest))
        wait_for(lambda: num_ready(api, token) == people, f"{people} sessions", 1200)
        yield steady(ours, people, folder, seconds)
        yield in_any_minute(people, folder, began)


def add_people(cluster: SlurmCluster, names: Sequence[str]) -> None:
    """Unix users of the cluster's machine, with homes, who may have sessions."""
    etc = cluster.folder / "etc"
    lines = []
    for user_id, name in enumerate(names, FIRST_ID):
        home = cluster.home(name)
        home.mkdir(mode=0o700)
        os.chown(home, user_id, user_id)
        lines.append(f"{name}:x:{user_id}:{user_id}::{home}:/bin/bash\n")
    with (etc / "passwd").open("a") as file:
        file.writelines(lines)
    group = etc / "group"
    group.write_text(group.read_text().rstrip("\n") + "," + ",".join(names) + "\n")


def fake(cluster: SlurmCluster) -> Path:
    """The folder of the Slurm that counts, on a machine like the cluster's."""
    shown = {what: Slurm(cluster).show(what) for what in SHOWN}
    make_fake_slurm(cluster.folder / "fake", cluster.python, shown)
    return cluster.folder / "fake"


@contextmanager
def stub_sessions(folder: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "tests.slurm.stub_sessions", str(folder)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def waves(
    ours: PlainHub,
    nothing: PlainHub,
    names: Sequence[str],
    size: int,
    rounds: int,
    num_ready: Callable[[], int],
) -> Table:
    """Waves of people who press Start at once, at one hub and at the other in turns.

    The next begins when all sessions of ours have started: their submissions take processors.
    """
    seconds: dict[str, list[float]] = {"labkit": [], "do-nothing spawner": []}
    hubs = [(nothing, {}, "do-nothing spawner"), (ours, {"profile": "notebook"}, "labkit")]
    for number in range(rounds):
        wave = names[number * size : (number + 1) * size]
        for hub, form, name in hubs:
            presses = [Press(hub.browser(person), form) for person in wave]
            seconds[name].extend(at_once([press.wait_page for press in presses]))
        there = (number + 1) * size
        wait_for(lambda: num_ready() >= there, f"{there} sessions", 600, seen=num_ready)  # noqa: B023
    p95 = {name: statistics.quantiles(each, n=20)[-1] for name, each in seconds.items()}
    floor = p95["do-nothing spawner"]
    rows = [
        [
            name,
            f"{statistics.median(each):.2f}",
            f"{p95[name]:.2f}",
            f"{p95[name] / floor:.2f} ×",
        ]
        for name, each in seconds.items()
    ]
    return Table(
        f"From the press of Start to the page that waits, {size} people at once",
        ["", "seconds, median", "p95", "of the do-nothing spawner"],
        rows,
        [f"{rounds} waves at each, in turns. Goal: p95 at most {GOAL_RATIO:.1f} ×."],
    )


def at_once(acts: Sequence[Callable[[], float]]) -> list[float]:
    gate = Barrier(len(acts))

    def act(what: Callable[[], float]) -> float:
        gate.wait()
        return what()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))


def start(api: Browser, token: str, name: str) -> None:
    answer = api.ask(f"/hub/api/users/{name}/server", method="POST", body={}, token=token)
    assert answer.status in (201, 202), answer.text


def num_ready(api: Browser, token: str) -> int:
    """How many people's sessions have answered; not those that only have a row already."""
    seen, ready = 0, set[str]()
    while page := api.ask(f"/hub/api/users?state=ready&offset={seen}", token=token).json():
        seen += len(page)
        # Who starts meanwhile moves others to the next page: they are counted once.
        answered = [user for user in page if user["servers"].get("", {}).get("ready", False)]
        ready.update(user["name"] for user in answered)
    return len(ready)


@contextmanager
def looking(browsers: Sequence[Browser]) -> Iterator[None]:
    """All of them look at the page of profiles, again and again."""
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            for browser in browsers:
                assert browser.ask("/hub/spawn").status == 200

    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(look)
        try:
            yield
        finally:
            over.set()
            looks.result()


def in_any_minute(people: int, folder: Path, began: float) -> Table:
    """The most questions of any sixty seconds, from the first press of Start on."""
    when = sorted(when for when, name in calls(folder) if when > began and name in QUERIES)
    most = max(bisect_left(when, each + 60) - number for number, each in enumerate(when))
    row = [str(people), str(most), judged(f"at most {GOAL_QUERIES}", most <= GOAL_QUERIES)]
    return Table(
        "The most scheduler queries in any minute, from the first press of Start",
        ["sessions in the end", "queries", "goal"],
        [row],
        [f"{(when[-1] - when[0]) / 60:.0f} minutes; up to {LOOKERS} others kept the page open."],
    )


def steady(hub: PlainHub, people: int, folder: Path, seconds: float) -> Table:
    """What the hub asks and holds while all sessions run and nobody does anything."""
    process = inner(hub.process)
    began, used = time.time(), process.cpu_times()
    time.sleep(seconds)
    minutes = (time.time() - began) / 60
    now = process.cpu_times()
    asked = [name for when, name in calls(folder) if when > began and name in QUERIES]
    kinds = ", ".join(f"{name} {count}" for name, count in Counter(asked).items())
    held = process.memory_full_info()
    cpu = (now.user + now.system - used.user - used.system) / (60 * minutes)
    return Table(
        f"The hub with {people} sessions that run",
        ["scheduler queries a minute", "of one core", "MiB of its own (USS)", "MiB (PSS)"],
        [
            [
                f"{len(asked) / minutes:.1f} ({kinds})",
                f"{cpu:.0%}",
                f"{held.uss / 2**20:.0f}",
                f"{held.pss / 2**20:.0f}",
            ]
        ],
        [f"Goal: at most {GOAL_QUERIES} queries a minute; over {seconds:.0f} s."],
    )
