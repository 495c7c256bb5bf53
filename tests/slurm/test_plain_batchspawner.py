"""What people miss in batchspawner, tried on the same hub and cluster with its class and with ours.

Each test says what either does, so that none passes because it looks at nothing.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.plain_hub import PlainHub
from tests.waiting import wait_for

START_TIMEOUT_S = 10
"""Enough for a session that finds its node free, on a machine with other tests."""
OPERATORS, STRANGERS = secrets.token_hex(16), secrets.token_hex(16)
FIGURES = f"""
c.JupyterHub.services = [
    {{"name": "prometheus", "api_token": "{OPERATORS}"}},
    {{"name": "stranger", "api_token": "{STRANGERS}"}},
]
role = {{"name": "prometheus", "scopes": ["read:metrics"], "services": ["prometheus"]}}
c.JupyterHub.load_roles = [role]
"""
"""As docs/slurm.md has it."""
FORM = """
c.Spawner.options_form = '<input name="partition">'
c.Spawner.options_from_form = lambda form: {name: values[0] for name, values in form.items()}
"""
"""A site that asks for something; ours brings its own."""
MUNGE = Path("/run/munge/munge.socket.2")


@pytest.fixture(scope="module", params=[False, True], ids=["batchspawner", "ours"])
def hub(cluster: SlurmCluster, request: pytest.FixtureRequest) -> Iterator[PlainHub]:
    """One that starts sessions which have a node for themselves."""
    more = (
        f"c.Spawner.start_timeout = {START_TIMEOUT_S}\n"
        "c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 0}\n" + FIGURES
    )
    if not request.param:
        more += FORM
    with PlainHub(cluster, ours=request.param, profile="whole", more=more).running() as hub:
        yield hub


@pytest.fixture
def bob(hub: PlainHub) -> Iterator[Browser]:
    """Who has no session, before and after."""
    browser = hub.browser("bob")
    yield browser
    hub.cluster.cancel_all()
    wait_for(lambda: not browser.session("bob"), "the end of bob's session", seen=hub.log_end)


@contextmanager
def taken(hub: PlainHub) -> Iterator[None]:
    """Somebody else has the one node that those sessions need."""
    job = ["sbatch", "--parsable", "--gres=gpu:1g.10gb:7", "--cpus-per-task=16", "--wrap=sleep 600"]
    job_id = hub.cluster.output(job, user="carol")
    wait_for(lambda: hub.jobs("carol").get(job_id) == "RUNNING", "the node to be taken")
    yield
    hub.cluster.cancel_all()


@contextmanager
def bob_waits(hub: PlainHub, bob: Browser) -> Iterator[None]:
    with taken(hub):
        answer = hub.ask_for_session(bob, "bob")
        assert answer.status in (201, 202), answer.text
        wait_for(lambda: list(hub.jobs("bob").values()) == ["PENDING"], "bob's job")
        yield


def test_an_operators_token_reads_the_figures(hub: PlainHub):
    """On either hub: JupyterHub's own figures, and ours, since labkit is installed there."""
    prometheus = Browser(hub.base)
    answer = prometheus.ask("/hub/metrics", token=OPERATORS)
    assert answer.status == 200 and "jupyterhub_total_users" in answer.text
    for figure in ("labkit_sessions", "labkit_gpus_total", "labkit_scheduler_call_seconds"):
        assert f"# HELP {figure} " in answer.text, figure
    for path in ("/hub/api/users", "/hub/api/labkit/session", "/hub/api/proxy"):
        assert prometheus.ask(path, token=OPERATORS).status == 403, path
    assert prometheus.ask("/hub/metrics", token=STRANGERS).status == 403
    assert prometheus.ask("/hub/metrics").status == 403


def figure(hub: PlainHub, name: str, label: str) -> float:
    """Of the hub's page for Prometheus; the sum of all lines with that label."""
    text = Browser(hub.base).ask("/hub/metrics", token=OPERATORS).text
    lines = re.findall(rf"^{name}{{.*{label}.*}} (\S+)$", text, re.MULTILINE)
    assert lines, f"no {name} with {label}"
    return sum(map(float, lines))


def is_starting(browser: Browser) -> bool:
    return browser.session("bob").get("pending") == "spawn"


def test_the_queue_counts_as_the_start_or_not(hub: PlainHub, bob: Browser):
    asked = time.monotonic()
    with bob_waits(hub, bob):
        if hub.ours:
            wait_for(lambda: time.monotonic() - asked > 2 * START_TIMEOUT_S, "that time to pass")
            assert is_starting(bob)
            assert list(hub.jobs("bob").values()) == ["PENDING"]
        else:
            wait_for(lambda: not is_starting(bob), "the hub to give up", 3 * START_TIMEOUT_S)
            wait_for(
                lambda: hub.jobs("bob") == {},
                "the job to be taken out of the queue", 60, seen=hub.log_end,
            )  # fmt: skip


def test_a_link_starts_a_session_or_fills_in_the_form(hub: PlainHub, bob: Browser):
    with taken(hub):
        option = "profile=whole" if hub.ours else "partition=gpu"
        page = bob.ask(f"/hub/spawn/bob?opt-{option}")
        if hub.ours:
            assert page.status == 200 and "has chosen for you" in page.text
            assert hub.jobs("bob") == {} and not bob.session("bob")
        else:
            wait_for(lambda: list(hub.jobs("bob").values()) == ["PENDING"], "bob's job")


def test_who_waits_is_told_why_or_not(hub: PlainHub, bob: Browser):
    with bob_waits(hub, bob):
        events = bob.events("/hub/api/users/bob/server/progress")
        told = next(event["message"] for event in events if "wait" in event["message"].lower()
                    or "queue" in event["message"])  # fmt: skip
    if hub.ours:
        assert re.search(r"\bplace 1\b|\bnext\b", told, re.IGNORECASE)
    else:
        assert told == "Pending in queue..."


def test_a_hub_that_is_killed_forgets_who_waits_or_not(hub: PlainHub, bob: Browser):
    with bob_waits(hub, bob):
        before = set(hub.jobs("bob"))
        if hub.ours:  # what it did not live to note is the affair of `test_mend`
            wait_for(
                lambda: f"Submitted bob as job {min(before)}" in hub.log.read_text(), "its note"
            )
        hub.kill_and_start()
        hub.ask_for_session(bob, "bob")
        if hub.ours:
            wait_for(
                lambda: f"Adopting job {min(before)} of bob" in hub.log.read_text(), "the adoption"
            )
            assert is_starting(bob) and set(hub.jobs("bob")) == before
        else:
            # The first one would run, and be paid for, without anybody's knowledge.
            wait_for(lambda: len(hub.jobs("bob")) == 2, "a second job")


def test_an_error_of_squeue_ends_a_session_or_not(hub: PlainHub, bob: Browser):
    hub.ask_for_session(bob, "bob")
    wait_for(lambda: bob.session("bob").get("ready"), "the session")
    if hub.ours:
        running = {"labkit_sessions": 'state="running"', "labkit_gpus_held": 'kind="session"'}
        assert [figure(hub, name, label) for name, label in running.items()] == [1.0, 7.0]
    silent = "The scheduler does not answer about"
    before = hub.log.read_text().count(silent)
    aside = MUNGE.with_name("aside")
    hub.cluster.output(["mv", MUNGE, aside])  # as while munge is started again
    try:
        if hub.ours:
            wait_for(lambda: hub.log.read_text().count(silent) > before, "a question in vain")
        else:
            wait_for(lambda: not bob.session("bob"), "the session to be dropped")
    finally:
        hub.cluster.output(["mv", aside, MUNGE])
    assert list(hub.jobs("bob").values()) == ["RUNNING"]
    if hub.ours:
        assert bob.session("bob")["ready"] and bob.ask("/user/bob/lab").status == 200


def test_the_log_of_a_hub_that_debugs_holds_sessions_secrets_or_not(hub: PlainHub, bob: Browser):
    with bob_waits(hub, bob):
        said = hub.log.read_text()
        assert "Calling Spawner.start for bob" in said, "the log is at its level DEBUG"
        assert ("'JUPYTERHUB_API_TOKEN': '" in said) is not hub.ours
        if hub.ours:
            (record,) = (hub.cluster.home("hub") / ".local/state/labkit/sessions/bob").glob(
                "*.json"
            )
            assert json.loads(record.read_text())["api_token"] not in said
