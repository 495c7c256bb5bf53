"""`labkit lab`: the hub and its proxy in the foreground, until Ctrl-C.

Both are children with logs of their own. One that ends is started again; sessions and runs
are jobs and notice nothing of it. What a lab that was killed left behind is ended first.
"""

import asyncio
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labkit.clusters import open_cluster
from labkit.errors import LabkitError, UsageError
from labkit.paths import private_folder, read_json, write_json, write_private
from labkit.processes import ProcessIdentity, end_processes, identify, is_alive
from labkit.settings import Site
from labkit_spawners.certificates import prepare_certificates
from labkit_spawners.configure import DEMO, listening_url_of, refuse_unsafe, url_of
from labkit_spawners.proxy import proxy_command

UP_WITHIN_S = 60.0
END_WITHIN_S = 15.0
JOBS_END_WITHIN_S = 120.0
MAX_DEATHS = 5
"""How often in a minute a child may end before the lab gives up."""


@dataclass
class Child:
    """One process of the lab."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)

    def start(self) -> None:
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.log.parent,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the lab alone; it says to its children what to do.
                start_new_session=True,
            )

    def start_again(self) -> None:
        """Raises LabkitError where it ends again and again."""
        now = time.monotonic()
        self.deaths = [death for death in self.deaths if now - death < 60] + [now]
        if len(self.deaths) > MAX_DEATHS:
            raise LabkitError(f"The {self.name} ends again and again. Its log: {self.log}")
        self.start()

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


def run_lab(site: Site, say: Callable[[str], None]) -> int:
    """Run the site's lab until it is interrupted. Raises LabkitError where it cannot start."""
    refuse_unsafe(site)
    folder = private_folder(site.state / "hub")
    with _only_one(folder, site), _signals() as asked_to_end:
        _end_leftovers(folder)
        _require_free_ports(site)
        if site.internal_ssl:
            prepare_certificates(site)
        children = _children(site, folder)
        try:
            for child in children:
                child.start()
            _remember(folder, children)
            _wait_up(site, children, asked_to_end)
            say(_welcome(site, folder))
            _watch(folder, children, asked_to_end)
        finally:
            # A lab that failed ends no work: it could not start, or will be started again.
            _end(site, children, say, jobs=asked_to_end())
    return 0


def _children(site: Site, folder: Path) -> list[Child]:
    """The proxy, then the hub; they share a secret that nobody else has."""
    secret = {"CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32)}
    password = folder / "password"
    if site.hub.authenticator == DEMO and not password.exists():
        write_private(password, _new_password() + "\n")
    environment = {**site.job_environment(), "PATH": os.environ.get("PATH", os.defpath), **secret}
    config = hub_config()
    hub = [sys.executable, "-P", "-m", "jupyterhub", "-f", str(config)]
    return [
        Child(
            "proxy",
            proxy_command(site),
            folder / "proxy.log",
            environment,
        ),
        Child("hub", hub, folder / "hub.log", {**environment, **_of_hub(site)}),
    ]


def _of_hub(site: Site) -> dict[str, str]:
    # JupyterHub upgrades its database by a command that lies beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"LABKIT_SITE": site.settings, "PATH": path}


def hub_config() -> Path:
    """`jupyterhub_config.py`: in the checkout, else where the wheel put it."""
    checkout = Path(__file__).resolve().parents[2] / "jupyterhub_config.py"
    installed = Path(sys.prefix) / "share" / "labkit" / "jupyterhub_config.py"
    return checkout if checkout.exists() else installed


def _new_password() -> str:
    """Easy to type, 60 bits: three groups of four letters and digits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(3))


def _welcome(site: Site, folder: Path) -> str:
    lines = [f"The lab is open: {url_of(site.hub)}"]
    if site.hub.authenticator == DEMO:
        password = (folder / "password").read_text("utf-8").strip()
        names = " or ".join(site.hub.users)
        lines.append(f"Sign in as {names} with the password {password}")
    lines.append("Ctrl-C ends it: runs save a checkpoint first.")
    return "\n".join(lines)


@contextmanager
def _only_one(folder: Path, site: Site) -> Iterator[None]:
    """Hold the site's lab. Raises UsageError while another holds it."""
    with open(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"The lab of {site.settings} is open already, at {url_of(site.hub)}. "
                "End that one first, or use it."
            ) from None
        yield


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether somebody asked the lab to end; the second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def note(signum: int, _: object) -> None:
        if asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signum)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield lambda: bool(asked)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _require_free_ports(site: Site) -> None:
    hub = site.hub
    ports = {
        "port": (hub.address, hub.port),
        "internal_port": (hub.internal_address, hub.internal_port),
        "proxy_port": ("127.0.0.1", hub.proxy_port),
    }
    for key, (address, port) in ports.items():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise UsageError(
                    f"Port {port} of {address} cannot be had ({error.strerror}). End what uses "
                    f"it, or set another {key} under [hub] in {site.settings}."
                ) from None


def _remember(folder: Path, children: Sequence[Child]) -> None:
    alive = {c.name: identify(c.process.pid) for c in children if c.process is not None}
    write_json(folder / "processes.json", {n: asdict(i) for n, i in alive.items() if i})


def _end_leftovers(folder: Path) -> None:
    known = [
        ProcessIdentity(**each) for each in (read_json(folder / "processes.json") or {}).values()
    ]
    end_processes(lambda: [each for each in known if is_alive(each)], grace_s=END_WITHIN_S)


def _wait_up(site: Site, children: Sequence[Child], asked_to_end: Callable[[], bool]) -> None:
    """Until the hub answers through the proxy. Raises LabkitError naming the log."""
    deadline = time.monotonic() + UP_WITHIN_S
    while not asked_to_end() and not _answers(site):
        dead = next((child for child in children if child.ended), None)
        if dead or time.monotonic() > deadline:
            child = dead or children[-1]
            raise LabkitError(f"The {child.name} did not start. Its log: {child.log}")
        time.sleep(0.1)


def _answers(site: Site) -> bool:
    # Past the $http_proxy of whoever starts the lab: it leads out of this machine.
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    try:
        with ask(f"{listening_url_of(site.hub)}/hub/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _watch(folder: Path, children: Sequence[Child], asked_to_end: Callable[[], bool]) -> None:
    while not asked_to_end():
        for child in children:
            if child.ended:
                child.start_again()
                _remember(folder, children)
        time.sleep(0.3)


def _end(site: Site, children: Sequence[Child], say: Callable[[str], None], *, jobs: bool) -> None:
    """The hub, then the demo's jobs, then the proxy, so that nothing starts meanwhile."""
    proxy, hub = children
    try:
        _end_child(hub)
        if jobs and site.hub.authenticator == DEMO:
            asyncio.run(_end_jobs(site, say))
    except KeyboardInterrupt:
        say("Left the jobs to end by themselves.")
    finally:
        _end_child(hub)
        _end_child(proxy)


def _end_child(child: Child) -> None:
    if child.process is None:
        return
    child.process.terminate()
    try:
        child.process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


async def _end_jobs(site: Site, say: Callable[[str], None]) -> None:
    """Ask all jobs of this machine to end, and wait until they have saved their work."""
    for name, cluster in site.clusters.items():
        if cluster.scheduler != "local":
            continue
        scheduler = open_cluster(site, name)
        jobs = await scheduler.jobs()
        if jobs:
            say(f"Ending {len(jobs)} jobs; runs save a checkpoint. Ctrl-C again does not wait.")
        for job_id in jobs:
            await scheduler.cancel(job_id)
        deadline = time.monotonic() + JOBS_END_WITHIN_S
        # No event tells of a job's end: the scheduler has no daemon.
        while await scheduler.jobs() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
