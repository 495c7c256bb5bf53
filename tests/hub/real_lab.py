"""A real lab, hub and proxy and all, on free ports, for tests that ask it as its users do."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from websocket import create_connection

from labkit.demo import prepare_demo
from labkit.ports import free_port
from labkit.processes import (
    ProcessIdentity,
    all_processes,
    descendants,
    end_processes,
    environment_value,
    identify,
    is_alive,
)
from tests.jobs import SITE_OF_TEST, settings_of_jobs
from tests.waiting import wait_for

USERS = ("ana", "ben")
MARKS = ("LABKIT_SITE", SITE_OF_TEST)
"""Variables that say whose a process is: of the lab and its sessions, and of whatever it starts."""


def free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port("127.0.0.1"))
    return list(ports)


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    url: str

    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """A person's cookies, without a screen: for what a browser sends and a person does not see."""

    def __init__(self, base: str):
        self.base, self.jar = base, CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        form: dict[str, str] | None = None,
        body: Any = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """The answer after redirects; one that is an error is an answer too."""
        sent = dict(headers or {})
        data = None
        if form is not None:
            data = urllib.parse.urlencode({**form, "_xsrf": self.xsrf()}).encode()
        elif body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if token is not None:
            sent["Authorization"] = f"token {token}"
        elif method != "GET":
            sent["X-XSRFToken"] = self.xsrf()
        request = urllib.request.Request(
            self.base + path, data=data, headers=sent, method=method if form is None else "POST"
        )
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.read().decode("utf-8", "replace"), answer.url)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode("utf-8", "replace"), error.url or "")

    def post_form(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """As a form on any page does: with this browser's cookies, and without the hub's token."""
        request = urllib.request.Request(self.base + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.read().decode("utf-8", "replace"), answer.url)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode("utf-8", "replace"), error.url or "")

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that goes on."""
        request = urllib.request.Request(self.base + path)
        with self._opener.open(request, timeout=60) as answer:
            yield iter(answer)

    def ready(self) -> bool:
        """Whether a hub answers there."""
        try:
            with self._opener.open(f"{self.base}/hub/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def events(self, path: str) -> Iterator[dict[str, Any]]:
        """What a stream tells, as it comes, until it is over."""
        with self._opener.open(self.base + path, timeout=60) as lines:
            for line in lines:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def xsrf(self, of: str = "/hub") -> str:
        """Of the hub's pages, or of a session's."""
        return next((c.value or "" for c in self.jar if c.name == "_xsrf" and of in c.path), "")

    def sign_in(self, name: str, password: str) -> Answer:
        self.ask("/hub/login")
        return self.ask("/hub/login", form={"username": name, "password": password})

    def sessions(self, name: str) -> dict[str, dict[str, Any]]:
        """What the hub says of that person's sessions, by name; '' is the first."""
        return self.ask(f"/hub/api/users/{name}").json()["servers"]

    def session(self, name: str) -> dict[str, Any]:
        """Of the first one; empty where there is none."""
        return self.sessions(name).get("", {})

    def start_session(self, name: str) -> None:
        """Press the button, and wait until the session answers."""
        self.ask_for_session()
        wait_for(lambda: self.session(name).get("ready"), "the session")
        page = self.ask(f"/user/{name}/lab")
        assert page.status == 200 and "jupyter-config-data" in page.text, page.url

    def ask_for_session(self) -> None:
        self.ask("/hub/spawn")
        answer = self.ask("/hub/spawn", form={"profile": "notebook"})
        assert answer.status == 200, answer.text

    def run_in_kernel(self, name: str, code: str) -> str:
        """Send code to a new kernel of the session; its id. Nothing is waited for."""
        token = self.ask(f"/hub/api/users/{name}/tokens", method="POST", body={}).json()["token"]
        kernel = self.ask(f"/user/{name}/api/kernels", method="POST", body={}, token=token).json()
        address = self.base.replace("http", "ws") + f"/user/{name}/api/kernels/{kernel['id']}"
        channel = create_connection(
            f"{address}/channels", header=[f"Authorization: token {token}"], timeout=60
        )
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        header = {"msg_id": "1", "msg_type": "execute_request", "version": "5.3", "session": "1",
                  "username": name, "date": ""}  # fmt: skip
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content,
                   "channel": "shell", "buffers": []}  # fmt: skip
        channel.send(json.dumps(message))
        while "execute_input" not in str(channel.recv()):
            pass  # until the kernel has taken it; a kernel that says nothing times out
        channel.close()
        return kernel["id"]

    def stop_session(self, name: str) -> None:
        assert self.ask(f"/hub/api/users/{name}/server", method="DELETE").status in (202, 204)
        wait_for(lambda: not self.session(name), "the session's end")


class RealLab:
    """`labkit lab` in a folder of its own."""

    def __init__(self, folder: Path, more_settings: str = "", *, of_hub: str = ""):
        """`more_settings` come at the end of the file, `of_hub` under `[hub]`."""
        self.folder = folder
        prepare_demo(folder, of_environment=False)
        port, internal, proxy = free_ports(3)
        self.settings = folder / "labkit.toml"
        text = re.sub(r"users = \[.*\]", f'users = ["{USERS[0]}", "{USERS[1]}"]',
                      self.settings.read_text())  # fmt: skip
        text = text.replace(
            "[hub]\n",
            f"[hub]\nport = {port}\ninternal_port = {internal}\nproxy_port = {proxy}\n" + of_hub,
        )
        of_jobs = settings_of_jobs(self.settings)
        self.settings.write_text(f"{text}\n{of_jobs}\n{more_settings}")
        self.base = f"http://127.0.0.1:{port}"
        self.internal = f"http://127.0.0.1:{internal}"
        self.process: subprocess.Popen[str] | None = None
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            "HOME": str(folder / "operator"),
            "LABKIT_SITE": str(self.settings),
        }
        (folder / "operator").mkdir(exist_ok=True)

    def start(self) -> None:
        with open(self.folder / "lab.out", "a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "labkit", "lab"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        wait_for(Browser(self.base).ready, f"the lab: {self.said()}")

    def said(self) -> str:
        return (self.folder / "lab.out").read_text()

    def interrupt(self) -> None:
        """As Ctrl-C does; waits until the lab has ended."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)

    def child(self, name: str) -> ProcessIdentity:
        """The hub's or the proxy's process."""
        found = json.loads((self.folder / "state" / "hub" / "processes.json").read_text())
        return ProcessIdentity(**found[name])

    def kill(self, name: str) -> None:
        """kill -9, and wait until another is in its place."""
        before = self.child(name)
        os.kill(before.pid, signal.SIGKILL)
        wait_for(lambda: self.child(name) != before and is_alive(self.child(name)), f"a new {name}")
        wait_for(Browser(self.base).ready, "the lab")

    @property
    def password(self) -> str:
        return (self.folder / "state" / "hub" / "password").read_text().strip()

    def browser(self, name: str) -> Browser:
        """One that is signed in."""
        browser = Browser(self.base)
        assert browser.sign_in(name, self.password).status == 200
        return browser

    def record(self, name: str, server: str = "_") -> dict[str, Any]:
        """What the hub wrote down of a session; empty where there is none."""
        file = self.folder / "state" / "sessions" / name / f"{server}.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def start_run(self, name: str, *flags: str) -> Path:
        """From a terminal in that person's session; the run's folder."""
        own = {"USER": name, "LOGNAME": name, "HOME": str(self.folder / "homes" / name)}
        data = self.folder / "data" / "hotline.csv"
        said = subprocess.run(
            [
                *(sys.executable, "-m", "labkit", "run", "start", "--json"),
                *("--recipe=text-classification", "--base=minilm", "--label=category"),
                *(f"--data={data}", *flags),
            ],
            env={**self.environment, **own},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return self.folder / "runs" / name / json.loads(said.stdout)["run"]

    def status(self, run: Path) -> dict[str, Any]:
        file = run / "attempts" / "1" / "status.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def processes(self) -> dict[int, str]:
        """Every living process of this lab, by its command: hub, proxy, sessions, runs, and what
        watches over them."""
        there = all_processes()
        ours = [each for pid, each in there.items() if not each.ended and self._is_ours(pid)]
        # Ray's processes write their title over their environment.
        below = [each for root in ours for each in descendants(there, root.pid, lambda _: False)]
        return {each.pid: command_of(each.pid) for each in [*ours, *below]}

    def _is_ours(self, pid: int) -> bool:
        marks = {environment_value(pid, name) for name in MARKS}
        # A supervisor has no environment of the site's.
        database = f"{self.folder}/state/local/jobs.sqlite"
        return str(self.settings) in marks or database in command_of(pid)

    def processes_of(self, run: Path) -> list[int]:
        """Those of its job."""
        job = json.loads((run / "attempts" / "1" / "attempt.json").read_text())["job_id"]
        return [p for p in self.processes() if environment_value(p, "LABKIT_JOB_ID") == job]


def command_of(pid: int) -> str:
    """Empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


@contextmanager
def real_lab(lab: RealLab) -> Iterator[RealLab]:
    """Started, and ended with all that it left."""
    try:
        lab.start()
        yield lab
    finally:
        if lab.process and lab.process.poll() is None:
            lab.interrupt()
        assert end_processes(lambda: alive(lab.processes()), grace_s=0)


def alive(pids: Iterable[int]) -> list[ProcessIdentity]:
    return [identity for pid in pids if (identity := identify(pid))]
