"""What the hub knows of each session survives it, privately, each in its own file."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import DamagedFile
from labkit_spawners.records import SessionRecord, SessionRecords

HOSTILE = ["..", ".", "a/b", "../../etc/passwd", "%2e", "%2E%2E", "中文", "a\0b", "*", "a b", "_"]


@pytest.fixture
def records(tmp_path: Path) -> SessionRecords:
    return SessionRecords(tmp_path / "state" / "sessions")


def create(records: SessionRecords, user: str = "ana", server: str = "") -> SessionRecord:
    return records.create(
        user=user, server=server, profile="notebook", cluster="local", api_token="secret"
    )


def file_of(records: SessionRecords) -> Path:
    (file,) = records.folder.rglob("*.json")
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_record_is_read_as_it_was_written(records):
    record = records.update(create(records), job_id="7", host="node1", port=4711)
    assert (record.job_id, record.port, record.started) == ("7", 4711, False)
    assert records.get("ana", "") == record
    assert records.get("ana", "second") is None
    assert records.get("ben", "") is None


def test_each_start_has_a_nonce_of_its_own(records):
    assert create(records).nonce != create(records).nonce


def test_records_hold_tokens_so_they_are_their_owners_alone(records):
    create(records)
    file = file_of(records)
    assert mode(file) == 0o600
    assert [mode(folder) for folder in (file.parent, records.folder)] == [0o700, 0o700]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_the_folder(records, name):
    record = create(records, user=name, server=name)
    assert file_of(records).resolve().parent.parent == records.folder.resolve()
    assert records.get(name, name) == record
    assert records._file(name, name).parent == file_of(records).parent
    assert records.all() == [record]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), unique=True))
def test_no_two_people_share_a_file(names):
    records = SessionRecords(Path("/records"))
    assert len({records._file(name, "") for name in names}) == len(names)
    assert all(records._file(name, "").parent.parent == records.folder for name in names)


def test_all_are_found_and_there_may_be_none(records):
    assert records.all() == []
    assert {r.user for r in (create(records, "ana"), create(records, "ben"))} == {"ana", "ben"}
    create(records, "ben", "second")
    assert {(r.user, r.server) for r in records.all()} == {
        ("ana", ""),
        ("ben", ""),
        ("ben", "second"),
    }


def test_removing_one_start_leaves_the_one_that_took_its_place(records):
    first = create(records)
    second = create(records)
    records.remove(first)
    assert records.get("ana", "") == second
    records.remove(second)
    assert records.get("ana", "") is None
    records.remove(second)


def test_a_record_of_an_earlier_or_a_later_labkit_is_read(records):
    """After an upgrade of the hub, and after going back."""
    create(records)
    first = {"user": "ana", "server": "", "profile": "notebook", "cluster": "slurm", "nonce": "n"}
    text = json.dumps({**first, "api_token": "t", "job_id": "7", "of_a_later_labkit": [1]})
    file_of(records).write_text(text)
    record = records.get("ana", "")
    assert record is not None
    assert (record.job_id, record.nonce, record.started) == ("7", "n", False)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"user": "ana"}', '{"more": 1}'])
def test_a_damaged_record_is_named_and_hides_no_other(records, content):
    create(records)
    file = file_of(records)
    file.write_text(content)
    with pytest.raises(DamagedFile, match=r"_\.json is damaged"):
        records.get("ana", "")
    ben = create(records, "ben")
    assert records.all() == [ben]
    (sentence,) = records.damaged()
    assert str(file) in sentence
