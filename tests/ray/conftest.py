"""What tests with a real Ray need: a site of their own, and proof that nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.demo import demo_weights
from labkit.models.catalogue import add_model, inspect_folder
from labkit.processes import all_processes, environment_value, identify, send_signal
from tests.jobs import ONE_CORE, SITE_OF_TEST, settings_of_jobs
from tests.unit.tiny_encoder import save_tiny_encoder
from tests.waiting import wait_for

HOTLINE = Path(__file__).parents[2] / "labkit" / "demo" / "hotline.csv"


def command_line(pid: int) -> str:
    """The arguments of a process; empty where it has ended."""
    try:
        found = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return found.replace(b"\0", b" ").decode(errors="replace")


class Lab:
    """A site in a folder of its own, used through the command line as a person would."""

    def __init__(self, folder: Path, tiny: Path):
        self.folder = folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir(mode=0o700)
        settings = (
            f'runs = "runs"\nstate = "state"\ncatalogue = "models"\nscratch = "{self.scratch}"'
        )
        (folder / "labkit.toml").write_text(settings)
        add_model(folder / "models", inspect_folder(demo_weights(), name="minilm"))
        add_model(folder / "models", inspect_folder(tiny, name="tiny"))
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ},
            "HOME": str(folder),
            "LABKIT_SITE": str(folder / "labkit.toml"),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "labkit", *arguments]

    def labkit(self, *arguments: str, code: int = 0, prefix: tuple[str, ...] = ()) -> str:
        """Run one command to its end and return what it printed."""
        done = subprocess.run(
            [*prefix, *self.command(*arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.folder,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def start(self, *flags: str, data: Path = HOTLINE, prefix: tuple[str, ...] = ()) -> str:
        """Start a run of text classification and return its id."""
        common = ("--recipe=text-classification", "--label=category", f"--data={data}", "--json")
        said = self.labkit("run", "start", *common, *flags, prefix=prefix)
        return json.loads(said)["run"]

    def show(self, run: str) -> dict[str, Any]:
        return json.loads(self.labkit("run", "show", run, "--json"))

    def status(self, run: str, attempt: int = 1) -> dict[str, Any]:
        """The attempt's own word, without asking the scheduler."""
        file = self.folder / "runs" / run / "attempts" / str(attempt) / "status.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def wait_for_step(self, run: str, step: int, attempt: int = 1) -> None:
        wait_for(lambda: self.status(run, attempt).get("step", 0) >= step, f"step {step}")

    def wait_for_end(self, run: str) -> dict[str, Any]:
        self.wait_for_state(run, "done", "stopped", "failed")
        return self.show(run)

    def wait_for_state(self, run: str, *states: str) -> None:
        """Until its end, which is one of these."""
        shown = self.labkit_any("run", "show", run, "--wait", "--json")
        assert json.loads(shown)["state"] in states, shown

    def labkit_any(self, *arguments: str) -> str:
        """As `labkit`, whatever the exit code: a failed run's is 1."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True,
            timeout=300, cwd=self.folder,
        ).stdout  # fmt: skip

    def processes(self, name: str = "") -> list[int]:
        """The process ids of this lab's jobs whose command line has `name` in it."""
        mine = []
        for pid in all_processes():
            if environment_value(pid, SITE_OF_TEST) == str(self.folder):
                mine.append(pid)
        return [pid for pid in mine if name in command_line(pid)]

    def kill(self, name: str) -> None:
        """kill -9 of the one process of a job whose command line has `name` in it."""
        (pid,) = self.processes(name)
        self._kill(pid)

    def kill_supervisor(self) -> None:
        """kill -9 of the scheduler's process beside the one job."""
        mine = [str(self.folder / "state"), "labkit.schedulers._local_supervisor"]
        (pid,) = [pid for pid in all_processes() if all(word in command_line(pid) for word in mine)]
        self._kill(pid)

    def _kill(self, pid: int) -> None:
        identity = identify(pid)
        assert identity is not None
        send_signal(identity, signal.SIGKILL)

    def leftovers_of_the_dead(self) -> list[str]:
        """Folders of nodes that are no longer alive."""
        from labkit.processes import ProcessIdentity, is_alive

        owners = {
            path: json.loads(path.read_text()) for path in self.scratch.glob("lk*/owner.json")
        }
        return [
            p.parent.name for p, owner in owners.items() if not is_alive(ProcessIdentity(**owner))
        ]

    def leftovers(self) -> list[str]:
        return [*map(command_line, self.processes()), *map(str, self.scratch.iterdir())]

    def wait_until_gone(self) -> None:
        """Until no process or folder of a job is left."""
        wait_for(lambda: not self.leftovers(), "everything to be gone", 30, self.leftovers)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that trains in no time, for tests of everything around the training."""
    return save_tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def lab(tiny_encoder: Path) -> Iterator[Lab]:
    """A lab under a short path, as Ray's sockets need; whatever of it still lives is ended."""
    import shutil

    folder = Path(tempfile.mkdtemp(prefix="lt", dir="/tmp"))
    lab = Lab(folder, tiny_encoder)
    with (folder / "labkit.toml").open("a") as file:
        file.write("\n" + ONE_CORE + settings_of_jobs(folder))
    try:
        yield lab
    finally:
        for pid in lab.processes():
            if identity := identify(pid):
                send_signal(identity, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short path, for nodes."""
    with tempfile.TemporaryDirectory(prefix="ln", dir="/tmp") as name:
        yield Path(name)
