"""From a click to one's own Lab, beside a bare hub that starts a bare `jupyter labhub`.

Both hubs stand side by side and take turns; each figure is from the press of the button to
the answer 200 of `/user/NAME/lab` through the proxy. And what hub and session hold, how soon
a lab that was ended is open again, and whether twenty who start at once all get in.
"""

import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit_spawners.proxy import node, proxy_command
from tests.bench.table import Table, judged, skipped
from tests.browser.conftest import CHROMIUM
from tests.hub.class_room import PEOPLE, class_room, start_all
from tests.hub.person import chromium, person_at
from tests.hub.real_lab import Browser, RealLab, free_ports, real_lab
from tests.waiting import wait_for

GOAL_RATIO, GOAL_MB, GOAL_IMPORT_S, GOAL_AGAIN_S = 1.10, 200, 1.0, 10.0

BARE = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{internal}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = {command!r}
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [{python!r}, "-m", "jupyterlab.labhubapp"]
c.Spawner.args = ["--allow-root"]
c.Spawner.default_url = "/lab"
c.JupyterHub.default_url = "/hub/home"  # else signing in starts the session, before the click
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = {password!r}
c.Authenticator.allowed_users = {{"ana"}}
"""


@dataclass(frozen=True)
class Hub:
    """One hub to press the button of."""

    base: str
    password: str

    def click(self) -> float:
        """Seconds from the start request to the first 200 of one's own Lab."""
        browser = Browser(self.base)
        browser.sign_in("ana", self.password)
        started = time.perf_counter()
        browser.ask("/hub/api/users/ana/server", method="POST", body={})
        wait_for(lambda: browser.session("ana").get("ready"), "the session")
        page = browser.ask("/user/ana/lab")
        assert page.status == 200 and "jupyter-config-data" in page.text, page.url
        return time.perf_counter() - started

    def end(self) -> None:
        browser = Browser(self.base)
        browser.sign_in("ana", self.password)
        browser.stop_session("ana")


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        with real_lab(RealLab(Path(ours))) as lab:
            bare = _BareHub(Path(theirs))
            try:
                hubs = {"labkit": Hub(lab.base, lab.password), "bare labhub": bare.hub}
                yield _clicks(hubs, repeats=3 if quick else 7)
                yield _memory(lab)
                yield _paint(lab, Path(ours), repeats=2 if quick else 5)
            finally:
                bare.end()
    with tempfile.TemporaryDirectory() as folder:
        yield _again(RealLab(Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        yield _twenty(class_room(Path(folder)))
    yield _imports()


def _clicks(hubs: dict[str, Hub], repeats: int) -> Table:
    seconds: dict[str, list[float]] = {name: [] for name in hubs}
    for _ in range(repeats):
        for name, hub in hubs.items():
            seconds[name].append(hub.click())
            hub.end()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    rows = []
    for name, median in medians.items():
        ratio = median / medians["bare labhub"]
        goal = judged(f"at most {GOAL_RATIO:.2f} ×", ratio <= GOAL_RATIO)
        rows.append(
            [name, f"{median:.2f}", f"{ratio:.2f} ×", goal if name == "labkit" else "",
             _spread(seconds[name])]
        )  # fmt: skip
    return Table(
        "From the click to /user/NAME/lab", ["", "seconds", "of bare labhub", "goal", "all"], rows
    )


def _spread(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def _memory(lab: RealLab) -> Table:
    Hub(lab.base, lab.password).click()
    time.sleep(3)  # what starts with a session and ends again
    rows = []
    for pid, command in lab.processes().items():
        name, held = _name(command), psutil.Process(pid).memory_full_info()
        goal = judged(f"under {GOAL_MB} MB", held.uss < GOAL_MB * 10**6)
        rows.append(
            [name, f"{held.uss / 2**20:.0f}", f"{held.rss / 2**20:.0f}",
             goal if name in ("hub", "session") else ""]
        )  # fmt: skip
    return Table(
        "Memory with one idle session",
        ["process", "MiB of its own (USS)", "MiB (RSS)", "goal, for USS"],
        sorted(rows),
    )


def _name(command: str) -> str:
    for part, name in (
        ("labkit_spawners.launcher", "session"),
        ("resume_service", "resume service"),
        ("jupyterhub -f", "hub"),
        ("configurable-http-proxy", "proxy"),
        ("ipykernel", "kernel"),
        ("labkit lab", "labkit lab"),
        ("_local_supervisor", "supervisor of the job"),
        ("labkit_spawners.lab", "labkit lab"),
    ):
        if part in command:
            return name
    return command[:40]


def _paint(lab: RealLab, folder: Path, repeats: int) -> Table:
    """From "Run All Cells" to the form, in a new kernel each time."""
    if not CHROMIUM.exists():
        return skipped("First paint of the Studio", f"{CHROMIUM} is missing")
    seconds = []
    with chromium() as browser:
        for _ in range(repeats):
            person = person_at(browser, lab, folder, "ana")
            person.sign_in_to_session()
            started = time.perf_counter()
            person.run_the_cell()
            seconds.append(time.perf_counter() - started)
            person.end_kernels()
    return Table(
        "First paint of the Studio after its cell runs, two clicks in a menu included",
        ["median, seconds", "all"],
        [[f"{statistics.median(seconds):.2f}", _spread(seconds)]],
    )


def _again(lab: RealLab) -> Table:
    """From the command to the hub's answer through the proxy, in a new folder and in the same."""
    seconds = []
    for _ in ("first", "again"):
        started = time.perf_counter()
        with real_lab(lab):
            seconds.append(time.perf_counter() - started)
    goal = judged(f"again under {GOAL_AGAIN_S:g} s", seconds[1] < GOAL_AGAIN_S)
    return Table(
        "`labkit lab` until it is open",
        ["", "seconds", "goal"],
        [["first start", f"{seconds[0]:.1f}", ""], ["again", f"{seconds[1]:.1f}", goal]],
    )


def _twenty(lab: RealLab) -> Table:
    with real_lab(lab):
        browsers = {name: lab.browser(name) for name in PEOPLE}
        started = time.perf_counter()
        failed = start_all(browsers)
        seconds = time.perf_counter() - started
    return Table(
        f"{len(PEOPLE)} people start at once",
        ["", "seconds until the last is in", "failures", "goal"],
        [["labkit", f"{seconds:.0f}", str(len(failed)), judged("no failure", not failed)]],
        failed,
    )


def _imports() -> Table:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import labkit_widgets"], check=True)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    goal = judged(f"under {GOAL_IMPORT_S:g} s", median < GOAL_IMPORT_S)
    return Table(
        "Import of the widgets, Python's start included",
        ["", "seconds", "goal"],
        [["import labkit_widgets", f"{median:.2f}", goal]],
    )


class _BareHub:
    """JupyterHub with its own simple spawner and a bare `jupyter labhub`."""

    def __init__(self, folder: Path):
        port, internal, proxy = free_ports(3)
        password = secrets.token_hex(16)
        script = next(part for part in proxy_command_parts() if part.endswith("-http-proxy"))
        config = folder / "config.py"
        config.write_text(
            BARE.format(
                port=port,
                internal=internal,
                proxy=proxy,
                command=[node(), script],
                python=sys.executable,
                password=password,
            )
        )
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        with open(folder / "hub.log", "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.hub = Hub(f"http://127.0.0.1:{port}", password)
        wait_for(lambda: Browser(self.hub.base).ready(), "the bare hub")

    def end(self) -> None:
        """It ends its proxy and its sessions itself."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def proxy_command_parts() -> Sequence[str]:
    from labkit.settings import Site

    return proxy_command(Site())
