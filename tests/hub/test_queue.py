"""Sessions that wait in the queue, and the hub that is killed meanwhile."""

from collections.abc import Iterator

import pytest

from tests.hub.real_lab import RealLab, real_lab
from tests.waiting import wait_for

ONE_AT_A_TIME = """
[clusters.local]
memory = "5 GB"
"""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    """A lab with room for one session."""
    with real_lab(RealLab(tmp_path_factory.mktemp("narrow"), ONE_AT_A_TIME)) as lab:
        yield lab


def test_a_session_that_waits_says_where_it_is_and_outlives_the_hub(narrow: RealLab):
    ana, ben = narrow.browser("ana"), narrow.browser("ben")
    ana.start_session("ana")
    assert "All is in use now." in ben.ask("/hub/spawn").text
    ben.ask_for_session()
    job = wait_for(lambda: narrow.record("ben").get("job_id"), "the job")
    token = narrow.record("ben")["api_token"]

    narrow.kill("hub")
    pending = wait_for(lambda: ben.session("ben").get("pending"), "the start to be taken up")
    assert pending == "spawn"
    assert ana.ask("/user/ana/lab").status == 200

    ana.stop_session("ana")
    wait_for(lambda: ben.session("ben").get("ready"), "the session")
    assert (narrow.record("ben")["job_id"], narrow.record("ben")["api_token"]) == (job, token)
    assert ben.ask("/user/ben/lab").status == 200
    ben.stop_session("ben")


def test_a_session_that_waits_can_be_taken_back(narrow: RealLab):
    ana, ben = narrow.browser("ana"), narrow.browser("ben")
    ana.start_session("ana")
    ben.ask_for_session()
    job = wait_for(lambda: narrow.record("ben").get("job_id"), "the job")
    ben.stop_session("ben")
    wait_for(lambda: narrow.record("ben") == {}, "the record's end")
    ana.stop_session("ana")
    # There is room now, and what was taken back does not start; a new one does.
    ben.start_session("ben")
    assert narrow.record("ben")["job_id"] != job
    ben.stop_session("ben")
