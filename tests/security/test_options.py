"""Whatever is asked of a session, by whatever door, reaches no job but as what the site offers.

200 requests in `make test`, 10,000 in `make soak`.
"""

import json
import re
import sqlite3
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub.real_lab import Answer, Browser
from tests.security.hostile import requests, server_names, short_requests, text_requests
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

REFUSED = "Wrong in the options of the session"


@pytest.fixture(scope="module")
def alice(lab: SlurmLab) -> Browser:
    browser = lab.browser("alice")
    browser.ask("/hub/spawn")
    # A server that never ran, with options that the hub keeps for it.
    browser.ask("/hub/api/users/alice/servers/stored", method="POST", body={"profile": "gpu"})
    wait_for(lambda: lab.record("alice", "stored").get("job_id"), "its job")
    browser.ask("/hub/api/users/alice/servers/stored", method="DELETE", body={})
    wait_for(lambda: lab.queue("JobId") == [] and lab.record("alice", "stored") == {}, "its end")
    return browser


def by_api(alice: Browser, options: Any) -> Answer:
    return alice.ask("/hub/api/users/alice/server", method="POST", body=options)


def by_api_of_today(alice: Browser, options: Any) -> Answer:
    body = {"user_options": options, "display_name": "x"}
    return alice.ask("/hub/api/users/alice/servers/another", method="POST", body=body)


def by_what_is_kept(alice: Browser, options: Any) -> Answer:
    """Kept first, which takes anything, then started without a word."""
    path = "/hub/api/users/alice/servers/stored"
    kept = alice.ask(path, method="PATCH", body={"user_options": options})
    if kept.status != 200:
        return kept
    return alice.ask(path, method="POST", body=b"{}")


def by_form(alice: Browser, options: dict[str, str]) -> Answer:
    return alice.ask("/hub/spawn/alice/by-form", form=options)


def by_link(alice: Browser, options: dict[str, str]) -> Answer:
    query = urlencode({f"opt-{key}": value for key, value in options.items()})
    return alice.ask(f"/hub/spawn/alice/by-link?{query}")


def by_name(alice: Browser, name: str) -> Answer:
    path = f"/hub/api/users/alice/servers/{quote(name, safe='')}"
    return alice.ask(path, method="POST", body={"profile": "notebook"})


DOORS = st.one_of(
    st.tuples(st.sampled_from([by_api, by_api_of_today, by_what_is_kept]), requests),
    st.tuples(st.just(by_form), text_requests),
    st.tuples(st.just(by_link), short_requests),
    st.tuples(st.just(by_name), server_names),
)
many = settings(
    max_examples=max(200, settings().max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def test_nothing_that_is_not_offered_is_taken(lab: SlurmLab, alice: Browser):
    tried: set[str] = set()

    @many
    @given(DOORS)
    def attempt(through: tuple[Any, Any]) -> None:
        door, asked = through
        answer = door(alice, asked)
        tried.add(door.__name__)
        if door is by_link:  # it is shown, in a form that is to be sent by hand
            said = {200: "has chosen for you", 400: REFUSED}
            assert said[answer.status] in answer.text and 'id="spawn_form"' in answer.text
        elif door is by_name:
            assert answer.status in (400, 404) and answer.json()["message"], (asked, answer)
        else:
            assert answer.status == 400, (door, asked, answer)
            assert REFUSED in answer.text, answer.text
            assert len(answer.text) < 50_000, "a sentence, not what was sent"

    attempt()
    assert len(tried) == 6
    assert lab.queue("JobId") == []
    assert not list((lab.state / "sessions").glob("*/*.json"))


SCRIPT = """\
#!/bin/bash
umask 077
exec {python} -P -m labkit.schedulers._slurm_job {home}/.labkit/sessions/.{server}-HEX.job
"""
FIELDS = {
    "Partition": "gpu",
    "Account": "lab",
    "TimeLimit": "01:00:00",
    "JobName": "labkit-session",
    "Command": "(null)",
    "TresPerNode": "gres:gpu:h100:2",
}
ALL_BY_HAND = {
    "profile": "gpu",
    "device": "h100",
    "gpus": 2,
    "nodes": 1,
    "cores": 3,
    "memory": "2 GB",
    "time": "1h",
    "partition": "gpu",
    "account": "lab",
}


@pytest.mark.parametrize("door", [by_api_of_today, by_what_is_kept, by_form])
def test_what_is_offered_reaches_the_job_as_numbers_and_names(
    lab: SlurmLab, alice: Browser, door: Any
):
    server = {by_api_of_today: "another", by_what_is_kept: "stored", by_form: "by-form"}[door]
    if door is by_form:
        answer = by_form(alice, {key: str(value) for key, value in ALL_BY_HAND.items()})
    else:
        answer = door(alice, ALL_BY_HAND)
    assert answer.status in (200, 201, 202), answer.text
    job = wait_for(lambda: lab.record("alice", server).get("job_id"), "the job")
    cluster = lab.cluster
    script = cluster.output(["scontrol", "write", "batch_script", job, "-"])
    expected = SCRIPT.format(python=cluster.python, home=cluster.home("alice"), server=server)
    assert re.sub(r"-[0-9a-f]{16}\.job", "-HEX.job", script) == expected.strip()
    shown = cluster.output(["scontrol", "--oneliner", "show", "job", job])
    fields = dict(re.findall(r"(\S+?)=(\S*)", shown))
    fields["TresPerNode"] = fields["TresPerNode"].replace("gres/", "gres:")  # as newer ones have it
    assert FIELDS.items() <= fields.items(), shown
    assert "TRES=cpu=3,mem=2G,node=1," in shown  # of newer ones what it asks: ReqTRES
    assert re.fullmatch(r"labkit:session:[\w-]{16,64}", fields["Comment"])
    alice.ask(f"/hub/api/users/alice/servers/{server}", method="DELETE", body={})
    wait_for(lambda: lab.queue("JobId") == [], "its end")
    wait_for(lambda: lab.record("alice", server) == {}, "the end of its record")


EVIL = {"profile": "$(id)", "partition": "gpu\n#SBATCH --uid=0", "cores": "1;id"}


def test_what_is_restored_is_read_like_all_else(lab: SlurmLab, alice: Browser):
    """As if somebody had changed what the hub keeps: its database, and its records."""
    database = lab.state / "hub" / "jupyterhub.sqlite"
    with sqlite3.connect(database, timeout=30) as rows:
        changed = rows.execute(
            "update spawners set user_options = ?, state = ? where name = 'stored'",
            (json.dumps(EVIL), json.dumps({"job_id": "1; id", "profile": "$(id)"})),
        )
    assert changed.rowcount == 1
    record = {
        "user": "alice", "server": "", "profile": "$(id)", "cluster": "slurm", "nonce": "$(id)",
        "api_token": "$(id)", "job_id": "1 --wrap=id", "options": EVIL,
    }  # fmt: skip
    file = lab.state / "sessions" / "alice" / "_.json"
    file.write_text(json.dumps(record))
    lab.cluster.output(["chown", "-R", "hub:", file.parent, database])

    lab.kill_hub()
    try:
        answer = alice.ask("/hub/api/users/alice/servers/stored", method="POST", body=b"{}")
        assert answer.status == 400 and REFUSED in answer.text, answer.text
        # What was starting when the hub ended is asked for again, by itself.
        log = lab.state / "hub" / "hub.log"
        wait_for(lambda: "labkit: alice/: the hub said 400." in log.read_text(), "its refusal")
        assert lab.queue("JobId") == []
    finally:
        file.unlink(missing_ok=True)
        lab.kill_hub()
