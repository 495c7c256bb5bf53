"""From a click to one's own Lab, beside a bare hub that starts a bare `jupyter labhub`.

Both hubs stand side by side and take turns; each figure is from the press of the button to
the answer 200 of `/user/NAME/lab` through the proxy. And what hub and session hold.
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
from tests.bench.table import Table, skipped
from tests.browser.conftest import CHROMIUM
from tests.hub.person import chromium, person_at
from tests.hub.real_lab import Browser, RealLab, free_ports, real_lab
from tests.waiting import wait_for

GOAL_RATIO, GOAL_MIB, GOAL_IMPORT_S = 1.10, 200, 1.0

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
    yield _imports()


def _clicks(hubs: dict[str, Hub], repeats: int) -> Table:
    seconds: dict[str, list[float]] = {name: [] for name in hubs}
    for _ in range(repeats):
        for name, hub in hubs.items():
            seconds[name].append(hub.click())
            hub.end()
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [
        [name, f"{median:.2f}", f"{median / medians['bare labhub']:.2f} ×", _spread(seconds[name])]
        for name, median in medians.items()
    ]
    return Table(
        "From the click to /user/NAME/lab",
        ["", "seconds", "of bare labhub", "all"],
        rows,
        [f"Goal: at most {GOAL_RATIO:.2f} ×."],
    )


def _spread(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def _memory(lab: RealLab) -> Table:
    Hub(lab.base, lab.password).click()
    time.sleep(3)  # what starts with a session and ends again
    rows = []
    for pid, command in lab.processes().items():
        held = psutil.Process(pid).memory_full_info()
        rows.append([_name(command), f"{held.uss / 2**20:.0f}", f"{held.rss / 2**20:.0f}"])
    hub = [psutil.Process(lab.child("proxy").pid)]
    for process in hub:
        held = process.memory_full_info()
        rows.append(["proxy", f"{held.uss / 2**20:.0f}", f"{held.rss / 2**20:.0f}"])
    return Table(
        "Memory with one idle session",
        ["process", "MiB of its own (USS)", "MiB (RSS)"],
        sorted(rows),
        [f"Goal: hub and session under {GOAL_MIB} MB each."],
    )


def _name(command: str) -> str:
    for part, name in (
        ("labkit_spawners.launcher", "session"),
        ("resume_service", "resume service"),
        ("jupyterhub -f", "hub"),
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


def _imports() -> Table:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import labkit_widgets"], check=True)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return Table(
        "Import of the widgets, Python's start included",
        ["", "seconds"],
        [["import labkit_widgets", f"{median:.2f}"]],
        [f"Goal: under {GOAL_IMPORT_S:g} s."],
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
