"""How long a person waits: commands, imports, a run's first step; and what its processes hold."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from labkit.demo import demo_weights
from labkit.models.catalogue import add_model, inspect_folder
from tests.bench.table import Table

HOTLINE = Path(__file__).parents[2] / "labkit" / "demo" / "hotline.csv"
DEADLINE_S = 120
STARTING = "starting the training process"
"""The phase that the driver writes; the worker's first word is another."""
MARKER = "LABKIT_SITE_OF_BENCH"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import labkit": ["-c", "import labkit"],
    "import labkit.api": ["-c", "import labkit.api"],
    "labkit --help": ["-m", "labkit", "--help"],
    "labkit run start --help": ["-m", "labkit", "run", "start", "--help"],
    "import torch": ["-c", "import torch"],
    "import ray": ["-c", "import ray"],
}
SETTINGS = """\
runs = "runs"
state = "state"
catalogue = "models"
[environment.set]
{marker} = "{folder}"
"""


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    yield commands(repeats=3 if quick else 7)
    with tempfile.TemporaryDirectory() as folder:
        lab = _Lab(Path(folder))
        try:
            timeline = lab.timeline()
            memory = lab.memory()
        finally:
            lab.stop()
    yield timeline
    yield memory


def commands(repeats: int) -> Table:
    """The commands take turns, so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    least = medians["python -c pass"]
    rows = [
        [name, f"{1000 * median:.0f}", f"{median / least:.1f} ×"]
        for name, median in medians.items()
    ]
    return Table("Commands and imports, median", ["", "ms", "python -c pass"], rows)


@dataclass(frozen=True)
class _Moment:
    """One stretch of the way to the first step."""

    name: str
    of_ray: bool
    reached: Callable[["_Lab"], bool]


class _Lab:
    """A site of its own with one run of the sample data."""

    def __init__(self, folder: Path):
        self.folder = folder
        settings = SETTINGS.format(marker=MARKER, folder=folder)
        (folder / "labkit.toml").write_text(settings)
        add_model(folder / "models", inspect_folder(demo_weights(), name="minilm"))
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        site = str(folder / "labkit.toml")
        self.environment = {**kept, "HOME": str(folder), "LABKIT_SITE": site}
        self.run = ""

    def labkit(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "labkit", *arguments]
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def timeline(self) -> Table:
        """Start a run and take the time of each stretch up to its first training step."""
        started = last = time.perf_counter()
        flags = ("--recipe=text-classification", "--base=minilm", "--label=category")
        said = self.labkit("run", "start", *flags, f"--data={HOTLINE}", "--epochs=200", "--json")
        self.run = json.loads(said)["run"]
        rows: list[list[str]] = []
        ray_s = 0.0
        for moment in _MOMENTS:
            _wait_for(lambda moment=moment: moment.reached(self), moment.name)
            now = time.perf_counter()
            rows.append([moment.name, f"{now - last:.1f}", "yes" if moment.of_ray else ""])
            ray_s += now - last if moment.of_ray else 0.0
            last = now
        total = last - started
        rows.append(["in all", f"{total:.1f}", f"{ray_s:.1f} s, {ray_s / total:.0%}"])
        return Table("From `labkit run start` to the first step", ["", "seconds", "Ray's"], rows)

    def memory(self) -> Table:
        """PSS of every process of the run's job: shared pages count once, by shares."""
        found = sorted(self._processes(), reverse=True)
        rows = [[name, f"{pss / 2**20:.0f}"] for pss, name in found]
        rows.append(["in all", f"{sum(pss for pss, _ in found) / 2**20:.0f}"])
        return Table("Memory while it trains (PSS)", ["process", "MiB"], rows)

    def stop(self) -> None:
        """End the run, so that nothing of it stays behind."""
        if self.run:
            self.labkit("run", "stop", self.run)
            _wait_for(lambda: not list(self._processes()), "the run to end")

    def status(self) -> dict[str, Any]:
        file = self.attempt / "status.json"
        return json.loads(file.read_text()) if file.exists() else {}

    @property
    def attempt(self) -> Path:
        return self.folder / "runs" / self.run / "attempts" / "1"

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Those that the site marked in their environment."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(self.folder):
                    yield process.memory_full_info().pss, _name(process.cmdline())
            except psutil.Error:
                continue  # It ended while we looked, or is not ours.


_MOMENTS = (
    _Moment("command: check, estimate, submit", False, lambda lab: True),
    _Moment(
        "node and Ray's head",
        True,
        lambda lab: (lab.attempt / "cluster" / "address.json").exists(),
    ),
    _Moment("driver", False, lambda lab: "state" in lab.status()),
    _Moment("Ray's worker", True, lambda lab: lab.status()["phase"] != STARTING),
    _Moment("import of torch", False, lambda lab: lab.status()["state"] == "training"),
    _Moment(
        "worker: base model, instant answer",
        False,
        lambda lab: lab.status().get("phase") == "training",
    ),
    _Moment("first step", False, lambda lab: lab.status().get("step", 0) >= 1),
)


def _name(command: list[str]) -> str:
    """A process in two words: 'labkit node', 'gcs_server', 'ray::work'."""
    if "labkit" in command:
        return "labkit " + " ".join(command[command.index("labkit") + 1 :][:2])
    if len(command) > 2 and command[1] in ("-m", "-u"):
        return Path(command[2]).name
    script = next((part for part in command[1:] if part.endswith(".py")), command[0])
    return Path(script.split()[0]).name if command else "?"


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {DEADLINE_S} s for {what}")
        time.sleep(0.02)
