"""What can be done with the token of a session: to be that session, and nothing more."""

import json

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

PORT = "/hub/api/labkit/port"
SCOPES = [
    "access:servers!server=alice/",
    "read:users:activity!user=alice",
    "read:users:groups!user=alice",
    "read:users:name!user=alice",
    "users:activity!user=alice",
]
"""JupyterHub's own for a session: to know who comes, if it is its person, and to say 'in use'."""


@pytest.fixture(scope="module")
def sessions(lab: SlurmLab) -> dict[str, dict]:
    """The records of alice's and bob's, which run; their tokens are in them."""
    for name in ("alice", "bob"):
        browser = lab.browser(name)
        browser.ask("/hub/spawn")
        assert browser.ask("/hub/spawn", form={"profile": "share"}).status == 200
        wait_for(lambda n=name, b=browser: b.session(n).get("ready"), f"{name}'s session")
    return {name: lab.record(name) for name in ("alice", "bob")}


@pytest.fixture
def nobody(lab: SlurmLab) -> Browser:
    """Without cookies."""
    return Browser(lab.base)


def test_its_scopes_are_the_narrowest(nobody: Browser, sessions: dict[str, dict]):
    me = nobody.ask("/hub/api/user", token=sessions["alice"]["api_token"]).json()
    assert sorted(me["scopes"]) == SCOPES


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/hub/api/users", None),
        ("GET", "/hub/api/users/bob", None),
        ("GET", "/hub/api/proxy", None),
        ("GET", "/hub/api/services", None),
        ("POST", "/hub/api/users/alice/server", {"profile": "notebook"}),
        ("POST", "/hub/api/users/alice/servers/second", {"profile": "notebook"}),
        ("DELETE", "/hub/api/users/alice/server", {}),
        ("PATCH", "/hub/api/users/alice/servers/second", {"user_options": {}}),
        ("POST", "/hub/api/users/alice/tokens", {}),
        ("GET", "/hub/api/users/alice/tokens", None),
        ("POST", "/hub/api/users/bob/activity", {"last_activity": "2030-01-01T00:00:00Z"}),
        ("POST", "/hub/api/shutdown", {}),
        ("GET", "/user/bob/api/contents", None),
        ("POST", "/hub/api/batchspawner", {"port": 22}),
    ],
)
def test_it_opens_nothing_else(
    nobody: Browser, sessions: dict[str, dict], method: str, path: str, body: dict | None
):
    answer = nobody.ask(path, method=method, body=body, token=sessions["alice"]["api_token"])
    assert answer.status in (403, 404), (path, answer)


def test_it_may_say_its_own_port_and_nothing_more(
    lab: SlurmLab, nobody: Browser, sessions: dict[str, dict]
):
    alice, bob = sessions["alice"], sessions["bob"]
    own = {"port": alice["port"], "nonce": alice["nonce"]}

    def say(said: object, record: dict = alice) -> int:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return nobody.ask(PORT, method="POST", body=body, token=record["api_token"]).status

    assert say(own) == 204, "again, as where the answer was lost"
    assert say({**own, "port": 22}) == 409
    assert say({**own, "port": bob["port"]}) == 409
    assert say({**own, "nonce": bob["nonce"]}) == 409
    assert say(own, bob) == 409
    for more in ("ip", "host", "cmd", "user", "state", "job_id", "__init__"):
        assert say({**own, more: "x"}) == 400, more
    for wrong in (0, -1, 65536, 2**64, "22", 22.0, True, None, [22], {"port": 22}, "$(id)"):
        assert say({**own, "port": wrong}) == 400, wrong
    for wrong in (None, 7, ["x"], True):
        assert say({**own, "nonce": wrong}) == 400, wrong
    for wrong in (b"", b"[]", b"{" * 190, b"\xff", b" " * 10_000, b'{"port": NaN, "nonce": "x"}'):
        assert say(wrong) == 400, wrong
    assert nobody.ask(PORT, method="POST", body=own).status == 403, "without a token"
    assert lab.browser("alice").ask(PORT, method="POST", body=own).status == 403, "by a browser"
    assert nobody.ask(PORT, token=alice["api_token"]).status in (404, 405), "by a GET"
    assert [lab.record(name)["port"] for name in sessions] == [alice["port"], bob["port"]]


ROUTES = [("GET", ""), ("POST", "/extend"), ("POST", "/give-back")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_session_is_told_of_itself_alone_and_says_nothing(
    lab: SlurmLab, nobody: Browser, sessions: dict[str, dict], method: str, route: str
):
    """Time left, more of it, its end: no body names another's session, no other token opens it."""
    path = f"/hub/api/labkit/session{route}"
    before, ids = lab.queue("JobId", "EndTime"), [each["job_id"] for each in sessions.values()]
    owners = lab.browser("bob")
    body = {"note": "of bob's own", "expires_in": 600}
    bobs = owners.ask("/hub/api/users/bob/tokens", method="POST", body=body).json()["token"]
    for token in ("", "guessed", bobs, sessions["alice"]["nonce"]):
        assert nobody.ask(path, method=method, token=token).status == 403, token
    assert owners.ask(path, method=method).status == 403, "by a browser"
    attacks: list[object] = [
        *({key: sessions["bob"][key]} for key in ("user", "server", "job_id", "nonce")),
        *({"seconds": wrong} for wrong in (-1, 2**64, "1", None, [], {})),
        *([], "bob", 7, True, b"{", b"\xff", b"{" * 9_000, b" " * 100_000),
    ]
    for attack in attacks:
        answer = nobody.ask(path, method=method, body=attack, token=sessions["alice"]["api_token"])
        assert answer.status == 400 and "the body must be empty" in answer.text, (attack, answer)
    for query in ("?user=bob", f"?job_id={ids[1]}"):
        token = sessions["alice"]["api_token"]
        other = "POST" if method == "GET" else "GET"
        assert nobody.ask(path + query, method=other, token=token).status in (404, 405), query
    assert lab.queue("JobId", "EndTime") == before and len(before) >= len(ids)
    assert all(lab.record(name) == sessions[name] for name in sessions)


def test_each_session_hears_of_its_own(nobody: Browser, sessions: dict[str, dict]):
    path = "/hub/api/labkit/session?user=bob&server=&job_id=1"
    answer = nobody.ask(path, token=sessions["alice"]["api_token"])
    assert answer.status == 200 and answer.json()["nodes"] == [sessions["alice"]["host"]], answer
    refused = nobody.ask(
        "/hub/api/labkit/session/extend", method="POST", token=sessions["alice"]["api_token"]
    )
    assert refused.status == 409 and "keep their end" in refused.text, "its profile has no more"


def test_a_session_that_starts_may_not_say_anothers_port(
    lab: SlurmLab, nobody: Browser, sessions: dict[str, dict]
):
    """Nor one where nothing listens: the hub looks whether its certificate is shown there."""
    # Another session of bob's, whose Jupyter never listens.
    settings = lab.cluster.home("bob") / ".jupyter" / "jupyter_server_config.py"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("import signal\nsignal.pause()\n")
    lab.cluster.output(["chown", "-R", "bob:", settings.parent])
    bob = lab.browser("bob")
    path = "/hub/api/users/bob/servers/never"
    assert bob.ask(path, method="POST", body={"profile": "share"}).status == 202
    try:
        job = wait_for(lambda: lab.record("bob", "never").get("job_id"), "its job")
        wait_for(lambda: [job, "RUNNING"] in lab.queue("JobId", "State"), "its start")
        record = lab.record("bob", "never")
        for port in (sessions["alice"]["port"], sessions["bob"]["port"], 1, 22):
            body = {"port": port, "nonce": record["nonce"]}
            answer = nobody.ask(PORT, method="POST", body=body, token=record["api_token"])
            assert answer.status == 409 and "certificate" in answer.text, (port, answer)
        assert lab.record("bob", "never")["port"] == 0
    finally:
        settings.unlink()
        bob.ask(path, method="DELETE", body={})
        wait_for(lambda: "never" not in str(bob.sessions("bob")) or
                 not bob.sessions("bob")["never"]["pending"], "its end")  # fmt: skip


def test_a_page_elsewhere_starts_nothing(lab: SlurmLab):
    """Cookies come with what another site has a browser send; the hub's secret token does not."""
    alice = lab.browser("alice")
    elsewhere = {"Origin": "https://evil.example.org", "Referer": "https://evil.example.org/x",
                 "Sec-Fetch-Site": "cross-site"}  # fmt: skip
    link = {**elsewhere, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path in ("/hub/spawn/alice/evil?opt-profile=gpu", "/hub/spawn/alice/evil?profile=gpu"):
        assert 'id="spawn_form"' in alice.ask(path, headers=link).text
    sent = "application/x-www-form-urlencoded"
    for path in ("/hub/spawn/alice/evil", "/hub/api/users/alice/servers/evil"):
        for xsrf in (b"", b"&_xsrf=guessed"):
            answer = alice.post_form(
                path, b"profile=notebook" + xsrf, {**link, "Content-Type": sent}
            )
            assert answer.status == 403, (path, answer)
    assert "evil" not in alice.sessions("alice") and lab.record("alice", "evil") == {}


def test_who_one_is_says_the_sign_in_alone(lab: SlurmLab):
    """bob's cookies, token or name open nothing of alice's."""
    bob = lab.browser("bob")
    token = bob.ask("/hub/api/users/bob/tokens", method="POST", body={}).json()["token"]
    for path, method in (
        ("/hub/api/users/alice", "GET"),
        ("/hub/api/users/alice/server", "POST"),
        ("/hub/api/users/alice/server", "DELETE"),
        ("/hub/api/users/alice/servers/x", "POST"),
        ("/hub/api/users/alice/server/progress", "GET"),
        ("/hub/api/users/alice/tokens", "POST"),
        ("/hub/spawn/alice", "GET"),
        ("/user/alice/lab", "GET"),
    ):
        for own in (None, token):
            answer = bob.ask(path, method=method, body=None if method == "GET" else {}, token=own)
            assert answer.status in (403, 404), (path, method, answer)
