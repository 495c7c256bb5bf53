"""What the unit tests share: a terminal, and a person at a widget."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.cli import main as cli
from labkit.models.catalogue import BaseEntry
from labkit.settings import Site

from .as_terminal import Labkit, Said

if TYPE_CHECKING:
    from .fake_page import Person
    from .local_lab import Lab


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other are slow on a machine that others use too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator["Lab"]:
    """A scheduler `local` of its own; nothing of its jobs stays."""
    from .local_lab import Lab

    lab = Lab(tmp_path)
    yield lab
    await lab.close()


@pytest.fixture
def labkit(site: Site, capsys: pytest.CaptureFixture[str]) -> Labkit:
    """`labkit("run", "list")`: run a command as a person would; no traceback ever shows."""

    def run(*arguments: str | Path) -> Said:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def person(site: Site, base: BaseEntry, home: Path) -> "Person":
    from .fake_page import Person

    return Person()


@pytest.fixture
def mine(home: Path, pets: Path) -> Path:
    """The table of pets, in the home folder."""
    place = home / "my table's 表格.csv"
    place.write_bytes(pets.read_bytes())
    return place
