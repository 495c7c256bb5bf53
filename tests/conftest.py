"""What tests of all kinds share: a site in a folder of its own, and a base model of 50 KB."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from safetensors.numpy import save_file

from labkit.models.catalogue import BaseEntry, add_model, inspect_folder
from labkit.settings import Site, load_site
from tests.jobs import THREADS_SLEEP
from tests.needs import need
from tests.slurm.cluster import SlurmCluster, why_not

SETTINGS = """\
name = "test"
runs = "runs"
state = "state"
catalogue = "models"

[clusters.here]
num_cpus = 2
num_gpus = 0
memory = "64 GB"
"""


os.environ.update(THREADS_SLEEP)  # for torch in the tests themselves

LONG_FILES = (
    "slurm/test_runs.py",
    "browser/test_studio.py",
    "ray/test_run.py",
    "ray/test_instruct.py",
    "slurm/test_ray_jobs.py",
    "slurm/test_journey.py",
    "hub/test_journey.py",
    "browser/test_studio_instruct.py",
    "hub/test_time_left.py",
)
"""They go first, longest first: two processes then end at about the same time."""
SOAK_ROUNDS = 20
INPUTS, SOAK_INPUTS = 40, 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="repeat: 20 rounds, 10,000 inputs")


def pytest_configure(config: pytest.Config) -> None:
    inputs = SOAK_INPUTS if config.getoption("--soak") else INPUTS
    hypothesis.settings.register_profile("labkit", max_examples=inputs, deadline=None)
    hypothesis.settings.load_profile("labkit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {file: number for number, file in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get("/".join(item.path.parts[-2:]), len(place)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `soak_round` runs once, and 20 times in `make soak`."""
    if "soak_round" in metafunc.fixturenames:
        rounds = SOAK_ROUNDS if metafunc.config.getoption("--soak") else 1
        metafunc.parametrize("soak_round", range(rounds))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: nothing of the person who runs the tests is read or written."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / f".{name.lower()}"))
    monkeypatch.delenv("LABKIT_SITE", raising=False)
    return home


@pytest.fixture
def site(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with all its folders in `tmp_path`, in force for this process."""
    (tmp_path / "labkit.toml").write_text(SETTINGS)
    monkeypatch.setenv("LABKIT_SITE", str(tmp_path / "labkit.toml"))
    monkeypatch.chdir(tmp_path)
    return load_site()


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    """A folder that looks like a base model's, made without torch; nothing can be tuned on it."""
    folder = tmp_path / "weights"
    folder.mkdir()
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    save_file({"a": np.zeros((3, 4), np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def base(site: Site, base_folder: Path) -> BaseEntry:
    """That base model in the site's catalogue, as 'thin'."""
    entry = inspect_folder(base_folder, name="thin")
    add_model(site.catalogue, entry)
    return entry


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers, 32 wide, with its own word-piece tokenizer."""
    pytest.importorskip("torch")
    from tests.unit.tiny_encoder import save_tiny_encoder

    return save_tiny_encoder(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Write rows under a header: `write_csv("a.csv", [("hello", "greeting")])`."""

    def write(name: str, rows: list[tuple[str, ...]], header: str = "text,label") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header.split(","), *rows])
        return path

    return write


@pytest.fixture
def pets(write_csv: Callable[..., Path]) -> Path:
    """A table of sixty good rows with two labels."""
    rows = [(f"text {n} about {'cats' if n % 2 else 'dogs'}", "cd"[n % 2]) for n in range(60)]
    return write_csv("pets.csv", rows)


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """Up once. A machine that cannot run it skips these tests, but not in CI."""
    need(why_not())
    with SlurmCluster().running() as cluster:
        yield cluster
