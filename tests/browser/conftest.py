"""What tests in a real browser need: a JupyterLab in a home of its own, and Debian's Chromium.

`LABKIT_SCREENSHOTS` names a folder for a picture of every step, in light and dark.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.demo import demo_weights
from labkit.demo.toy_model import add_toy
from labkit.models.catalogue import add_model, inspect_folder
from labkit.ports import free_port
from labkit.processes import all_processes, environment_value, identify, send_signal
from tests.jobs import ONE_CORE, SITE_OF_TEST, settings_of_jobs
from tests.needs import need
from tests.unit.tiny_encoder import save_tiny_encoder
from tests.waiting import wait_for

from .accessibility import audit, scrolled_inside

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def need_chromium() -> None:
    """Skip where there is no browser; in CI that is a failure."""
    missing = "" if CHROMIUM.exists() else f"{CHROMIUM} is missing: apt-get install chromium"
    try:
        import jupyterlab  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        missing = str(error)
    need(missing)


class Lab:
    """A JupyterLab with a site of its own, and a home that is the server's root folder."""

    def __init__(self, folder: Path, tiny: Path):
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(mode=0o700)
        (folder / "scratch").mkdir(mode=0o700)
        (folder / "labkit.toml").write_text(
            'name = "test"\nruns = "runs"\nstate = "state"\ncatalogue = "models"\n'
            f'scratch = "{folder}/scratch"\n\n{ONE_CORE}{settings_of_jobs(folder)}'
        )
        about = {"title": "all-MiniLM-L6-v2", "licence": "Apache-2.0", "languages": ["en"]}
        minilm = inspect_folder(demo_weights(), name="minilm")
        add_model(folder / "models", minilm.model_copy(update=about))
        add_model(folder / "models", inspect_folder(tiny, name="tiny"))
        add_toy(folder / "models", num_steps=4)
        self._settings("notification", {"fetchNews": "false", "checkForUpdates": False})
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _settings(self, plugin: str, values: dict[str, Any]) -> None:
        place = self.home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            "HOME": str(self.home),
            "LABKIT_SITE": str(self.folder / "labkit.toml"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "widgets")]),
            SITE_OF_TEST: str(self.folder),
        }

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
            f"--ServerApp.token={self.token}",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            f"--ServerApp.root_dir={self.home}",
            "--LabApp.expose_app_in_browser=True",
        ]
        self.log = (self.folder / "jupyter.log").open("w")
        self.process = subprocess.Popen(
            command, env=self.environment, cwd=self.home, stdout=self.log, stderr=self.log
        )
        wait_for(self._answers, "JupyterLab to answer")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "jupyter.log").read_text()[-3000:]
        try:
            self.rest("GET", "api")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.url}/{path}", data=data, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def notebook(self, name: str, *cells: str) -> str:
        """A notebook with these cells and a kernel of its own; the kernel's id."""
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None,
             "outputs": [], "source": source}
            for n, source in enumerate(cells)
        ]  # fmt: skip
        content = {"cells": made, "metadata": {"kernelspec": kernelspec}, "nbformat": 4,
                   "nbformat_minor": 5}  # fmt: skip
        (self.home / name).write_text(json.dumps(content))
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        return self.rest("POST", "api/sessions", session)["kernel"]["id"]

    def runs(self) -> list[Path]:
        """All whose spec is written: a folder is there a moment before."""
        return sorted(spec.parent for spec in (self.folder / "runs").glob("2*/spec.toml"))

    def labkit(self, *arguments: str) -> str:
        """What the command prints, in a terminal of this lab."""
        return self.bash(shlex.join(["labkit", *arguments]))

    def bash(self, command: str) -> str:
        """What a line of a terminal prints. Raises CalledProcessError where it fails."""
        path = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        return subprocess.run(
            ["bash", "-c", command],
            env={**self.environment, "PATH": path},
            cwd=self.home,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=120,
        ).stdout

    def kill_job(self, run: Path, attempt: int) -> None:
        """kill -9 for the processes of an attempt's job, but for the one that watches over it."""
        file = run / "attempts" / str(attempt) / "attempt.json"
        job = json.loads(file.read_text())["job_id"]
        for pid in all_processes():
            is_of_site = environment_value(pid, SITE_OF_TEST) == str(self.folder)
            identity = identify(pid)
            if is_of_site and identity and environment_value(pid, "LABKIT_JOB_ID") == job:
                send_signal(identity, signal.SIGKILL)

    def status(self, run: Path, attempt: int = 1) -> dict[str, Any]:
        file = run / "attempts" / str(attempt) / "status.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def stop(self) -> None:
        """End the server by its process id, then whatever of this lab still lives."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self.log.close()
        for pid in all_processes():
            if environment_value(pid, SITE_OF_TEST) != str(self.folder):
                continue
            if identity := identify(pid):
                send_signal(identity, signal.SIGKILL)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_chromium()
    folder = Path(tempfile.mkdtemp(prefix="lb", dir="/tmp"))
    lab = Lab(folder, save_tiny_encoder(tmp_path_factory.mktemp("tiny")))
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Browser:
    """One person's browser, as the tests look at it."""

    def __init__(self, lab: Lab, launch: Callable[[], Any], shots: Path):
        self.lab, self._launch, self.shots = lab, launch, shots
        self.errors: list[str] = []
        self.launch()

    def launch(self) -> None:
        """With what it kept when it was closed."""
        self.context = self._launch()
        self.page: Any = self.context.pages[0] if self.context.pages else self.context.new_page()
        self.watch(self.page)

    def close(self) -> None:
        """With all its pages, as they are."""
        self.context.close()

    def watch(self, page: Any) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._answer)

    def _answer(self, dialog: Any) -> None:
        """Leave an unsaved notebook; nothing else may ask anything in a dialog of the browser's."""
        if dialog.type != "beforeunload":
            self.errors.append(f"a dialog: {dialog.message}")
        dialog.accept()

    def open(self, name: str, *cells: str, run: bool = True) -> str:
        """Open a new notebook with these cells, run them all, and return the kernel's id."""
        kernel = self.lab.notebook(name, *cells)
        self.show(self.page, name)
        if run:
            self.run_all(self.page)
        return kernel

    def show(self, page: Any, name: str) -> None:
        page.goto("about:blank")
        workspace = secrets.token_hex(4)
        page.goto(
            f"{self.lab.url}/lab/workspaces/{workspace}/tree/{name}?reset&token={self.lab.token}"
        )
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
        # The indicator is idle, too, where no kernel is connected yet.
        kernel = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
        page.wait_for_function(f"() => {kernel}?.status === 'idle'", timeout=60_000)

    def run_all(self, page: Any) -> None:
        page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    @property
    def studio(self) -> Any:
        return self.page.locator(".labkit")

    def button(self, name: str, exact: bool = True) -> Any:
        return self.studio.get_by_role("button", name=name, exact=exact)

    def text(self, words: str) -> Any:
        return self.studio.get_by_text(words)

    def see(self, words: str, timeout_s: float = 30) -> None:
        """Wait until a person sees these words."""
        self.text(words).first.wait_for(timeout=timeout_s * 1000)

    def inspect(self, name: str) -> None:
        """A picture of the widget and an audit, in dark and in light, on a screen high enough.

        And a look at it on a narrow one.
        """
        self.page.set_viewport_size({"width": 1280, "height": 3200})
        for kind in ("dark", "light"):
            self._change_theme(f"JupyterLab {kind.capitalize()}")
            self._shoot(f"{name}-{kind}")
            audit(self.page, ".labkit")
        assert scrolled_inside(self.page) == []
        self.page.set_viewport_size({"width": 700, "height": 3200})
        self._shoot(f"{name}-narrow")
        assert scrolled_inside(self.page) == []
        self.page.set_viewport_size({"width": 1280, "height": 1000})

    def _shoot(self, name: str) -> None:
        output = self.page.locator(".jp-OutputArea-output").filter(has=self.studio).first
        output.screenshot(path=self.shots / f"{name}.png")

    def _change_theme(self, theme: str) -> None:
        """And wait for its stylesheet, and until no splash covers the page."""
        surface = "getComputedStyle(document.body).getPropertyValue('--jp-layout-color1')"
        before = self.page.evaluate(surface)
        change = "theme => void jupyterapp.commands.execute('apputils:change-theme', {theme})"
        self.page.evaluate(change, theme)
        self.page.wait_for_function(f"before => !['', before].includes({surface})", arg=before)
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")


@pytest.fixture
def browser(lab: Lab, tmp_path: Path) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    shots = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:

        def launch() -> Any:
            context = playwright.chromium.launch_persistent_context(
                str(tmp_path / "profile"),
                executable_path=str(CHROMIUM),
                args=FLAGS,
                viewport={"width": 1280, "height": 1000},
                reduced_motion="reduce",  # no picture and no audit of a colour on its way
            )
            context.set_default_timeout(30_000)
            return context

        browser = Browser(lab, launch, shots)
        yield browser
        if browser.page.url != "about:blank":
            browser.page.screenshot(path=shots / "last.png")
        browser.close()
    assert browser.errors == []
