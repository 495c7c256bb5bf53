"""Where settings are looked for, and how private files are written."""

import json
import stat
import sys
import threading
from pathlib import Path

import pytest

from labkit.errors import DamagedFile, LabkitError, UsageError
from labkit.paths import (
    from_home,
    list_folder,
    of_person,
    of_this_person,
    private_folder,
    read_json,
    settings_file,
    write_json,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def places(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A labkit.toml in each place where one is looked for, but the machine's."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    found = {
        "named": tmp_path / "named" / "labkit.toml",
        "person": home / ".config" / "labkit" / "labkit.toml",
        "environment": tmp_path / "venv" / "etc" / "labkit" / "labkit.toml",
    }
    for path in found.values():
        path.parent.mkdir(parents=True)
        path.touch()
    return found


def test_the_named_site_is_first_then_the_persons_then_the_environments(places, monkeypatch):
    monkeypatch.setenv("LABKIT_SITE", str(places["named"]))
    assert settings_file() == places["named"]
    monkeypatch.setenv("LABKIT_SITE", str(places["named"].parent))
    assert settings_file() == places["named"]
    monkeypatch.delenv("LABKIT_SITE")
    assert settings_file() == places["person"]
    places["person"].unlink()
    assert settings_file() == places["environment"]


def test_the_current_folder_never_gives_the_site(places, tmp_path, monkeypatch):
    for name in ("person", "environment"):
        places[name].unlink()
    monkeypatch.chdir(places["named"].parent)
    assert settings_file() != places["named"]


def test_a_named_site_that_is_not_there_is_an_error(home, monkeypatch):
    monkeypatch.setenv("LABKIT_SITE", "/nowhere/labkit.toml")
    with pytest.raises(UsageError, match="LABKIT_SITE names /nowhere/labkit.toml, which is no"):
        settings_file()


def test_home_is_written_out_but_for_strangers(home):
    assert from_home("~/a") == home / "a"
    assert from_home("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")


def test_a_path_may_name_the_person(home, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ana")
    assert of_this_person("~/{user}/runs") == home / "ana" / "runs"
    assert of_this_person("/runs") == Path("/runs")
    assert of_person(Path("/homes/{user}"), "中文") == Path("/homes/中文")


@pytest.mark.parametrize("name", ["", ".", "..", ".ssh", "a/b", "/etc", "../ben", "a\0b", "{user}"])
def test_a_name_that_leads_elsewhere_is_no_folders(name):
    with pytest.raises(UsageError, match="cannot be the name of a folder. Sign in under another"):
        of_person(Path("/homes/{user}"), name)


def test_a_private_folder_is_its_owners_alone_with_those_above_it(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    assert [mode(folder), mode(folder.parent)] == [0o700, 0o700]
    assert private_folder(folder) == folder


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabkitError, match=r"file/a cannot be made: Not a directory\."):
        private_folder(tmp_path / "file" / "a")
    with pytest.raises(LabkitError, match=r"file cannot be made: File exists\."):
        private_folder(tmp_path / "file")


def test_a_private_file_is_its_owners_alone_also_when_it_was_not(tmp_path):
    path = tmp_path / "a.txt"
    path.touch(mode=0o644)
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_text_or_the_new_never_half(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": "0" * 5000})

    def write() -> None:
        for n in range(1, 10):
            write_json(path, {"n": str(n) * 5000})

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while writer.is_alive():
        found = read_json(path)
        assert found is not None
        seen.append(found["n"])
    writer.join()
    assert all(len(set(text)) == 1 and len(text) == 5000 for text in seen)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(LabkitError, match="could not be written"):
        write_private(tmp_path / "nowhere" / "a.txt", "new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LabkitError, match="folder could not be written: Is a directory"):
        write_private(tmp_path / "folder", "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "folder"]


def test_what_is_not_there_reads_as_none(tmp_path):
    assert read_json(tmp_path / "a.json") is None
    assert list_folder(tmp_path / "a") == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"null", b"[" * 10_000])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=f"{path} is damaged"):
        read_json(path)


def test_text_of_all_languages_is_kept(tmp_path):
    write_json(tmp_path / "a.json", {"名": "台北"})
    assert read_json(tmp_path / "a.json") == {"名": "台北"}
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"名": "台北"}
