"""A job's tag tells of which hub it is, and a job is believed only as a whole."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit_spawners.records import SessionRecord
from labkit_spawners.session_job import tag_of
from labkit_spawners.submit import SessionRequest
from labkit_spawners.tags import SessionTags, is_job_of
from tests.unit.fake_lab import job_info

HERE = "10.0.0.1:8081"


@pytest.fixture
def tags(tmp_path) -> SessionTags:
    return SessionTags(tmp_path / "sessions" / ".secret", HERE)


def test_a_tag_is_known_again_by_the_hub_that_issued_it(tags, tmp_path):
    nonce = tags.new_nonce()
    assert nonce != tags.new_nonce()
    assert SessionTags(tmp_path / "sessions" / ".secret", HERE).issued(tag_of(nonce))


def test_what_is_shown_of_a_nonce_is_not_the_nonce(tags):
    nonce = tags.new_nonce()
    assert nonce not in tag_of(nonce) and len(nonce) - len(tag_of(nonce)) >= 20
    assert tag_of("an earlier labkit's nonce") != "an earlier labkit's nonce"


def test_the_helper_takes_the_nonce(tags):
    request = {"options": {"profile": "x"}, "server": "", "environment": {}}
    nonce = tags.new_nonce()
    assert SessionRequest.model_validate({**request, "nonce": nonce}).nonce == nonce


def test_another_hub_and_a_copy_of_this_one_have_not_issued_it(tags, tmp_path):
    tag = tag_of(tags.new_nonce())
    assert not SessionTags(tmp_path / "other" / ".secret", HERE).issued(tag)
    assert not SessionTags(tmp_path / "sessions" / ".secret", "10.0.0.2:8081").issued(tag)
    # Nor one of an earlier labkit, which had no seal.
    assert not tags.issued(tag_of("n" * 22))


@given(st.text())
def test_nobody_else_makes_a_tag(tmp_path_factory, text):
    tags = SessionTags(tmp_path_factory.getbasetemp() / ".secret", HERE)
    assert not tags.issued(text)


def test_the_secret_is_the_hubs_alone_and_never_empty(tmp_path):
    file = tmp_path / "sessions" / ".secret"
    SessionTags(file, HERE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"")  # as a disk that was full leaves it
    SessionTags(file, HERE)
    assert len(file.read_bytes()) == 32


def test_a_job_is_a_records_by_owner_and_tag(tags):
    record = SessionRecord(
        user="ana", server="", profile="p", cluster="c", nonce=tags.new_nonce(), api_token=""
    )
    tag = tag_of(record.nonce)
    assert is_job_of(record, job_info(tag=tag, user="ana"), as_hub=False)
    assert is_job_of(record, job_info(tag=tag, user=""), as_hub=True)
    assert not is_job_of(record, job_info(tag=tag, user="mallory"), as_hub=False)
    assert not is_job_of(record, job_info(tag=tag_of(tags.new_nonce()), user="ana"), as_hub=False)
