"""`labkit sweep`: what killed nodes left goes, and nobody's folder keeps others' from going."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.cli import node

GONE = json.dumps({"boot_id": "another boot", "pid": 1, "start_ticks": 1})
SOMEBODY = 65534


@pytest.fixture
def scratch(site, monkeypatch) -> Iterator[Path]:
    """A scratch folder that everybody may reach, as /tmp."""
    folder = Path("/tmp") / f"labkit-sweep-{os.getpid()}"
    folder.mkdir(mode=0o1777)
    folder.chmod(0o1777)
    settings = folder / "labkit.toml"
    settings.write_text(f'scratch = "{folder}"\n')
    settings.chmod(0o644)
    monkeypatch.setenv("LABKIT_SITE", str(settings))
    yield folder
    for left in sorted(folder.rglob("*"), reverse=True):
        left.rmdir() if left.is_dir() else left.unlink()
    folder.rmdir()


def left_over(scratch: Path, name: str, uid: int) -> Path:
    folder = scratch / name
    folder.mkdir(mode=0o700)
    (folder / "owner.json").write_text(GONE)
    for path in (folder / "owner.json", folder):
        os.chown(path, uid, uid)
    return folder


def test_what_my_killed_nodes_left_goes(scratch: Path, capsys):
    mine = left_over(scratch, "lkmine", os.getuid())
    node.sweep()
    assert not mine.exists() and f"Removed {mine}" in capsys.readouterr().out


@pytest.mark.skipif(os.getuid() != 0, reason="only root sweeps for others")
def test_what_cannot_be_swept_as_its_owner_is_said_and_fails_nothing(
    scratch: Path, monkeypatch, capfd
):
    """On the cluster, where everybody can run this Python: tests/slurm/test_runs."""
    theirs = left_over(scratch, "lktheirs", SOMEBODY)
    monkeypatch.setattr(node.sys, "executable", str(scratch / "no-python"))
    node.sweep()
    assert theirs.exists()
    assert f"What user {SOMEBODY} has there is left" in capfd.readouterr().err
