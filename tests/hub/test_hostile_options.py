"""Whatever is asked of a session by API, form or link, all but the schema is refused."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.settings import Profile
from labkit_spawners.options import read_options
from tests.hub.real_lab import RealLab

SHELL = st.sampled_from(["$(id)", "; reboot", "`id`", "a\nb", "--wrap=id", "../../etc", "\0", "中"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=30), SHELL)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
KEYS = st.one_of(
    st.sampled_from(
        ["profile", "memory", "gpus", "time", "account", "environment", "argv", "notebook_dir"]
    ),
    st.text(min_size=1, max_size=10),
)
OPTIONS = st.dictionaries(KEYS, VALUES, max_size=4)
KNOWN = {"notebook", "large", "impossible"}

one_hub_for_all = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def could_be_meant(options: dict[str, Any]) -> bool:
    """A known profile, and amounts that the schema allows."""
    if options.get("profile") not in (None, *KNOWN):
        return False
    try:
        read_options({**options, "profile": "notebook"}, {"notebook": Profile(title="")})
    except UsageError:
        return False
    return True


def test_the_api_refuses_all_but_the_schema(lab: RealLab):
    ana = lab.browser("ana")

    @one_hub_for_all
    @given(OPTIONS.filter(lambda options: not could_be_meant(options)))
    def ask(options: dict[str, Any]) -> None:
        answer = ana.ask("/hub/api/users/ana/server", method="POST", body=options)
        assert answer.status == 400, answer.text
        assert "Wrong in the options of the session" in answer.json()["message"]

    ask()
    assert lab.record("ana") == {} and not ana.session("ana")


def test_a_link_starts_nothing_whatever_it_says(lab: RealLab):
    from urllib.parse import urlencode

    ana = lab.browser("ana")

    @one_hub_for_all
    @given(st.dictionaries(KEYS, st.one_of(SHELL, st.text(max_size=20)), min_size=1, max_size=3))
    def visit(options: dict[str, str]) -> None:
        query = urlencode({f"opt-{key}": value for key, value in options.items()})
        answer = ana.ask(f"/hub/spawn?{query}")
        assert answer.status in (200, 400), answer.text
        assert 'id="spawn_form"' in answer.text

    visit()
    assert lab.record("ana") == {} and not ana.session("ana")


def test_an_api_body_that_is_no_object_is_refused(lab: RealLab):
    ana = lab.browser("ana")
    for body in (b"[]", b"3", b'"notebook"', b"{", b"\xff"):
        answer = ana.ask("/hub/api/users/ana/server", method="POST", body=body)
        assert answer.status == 400, (body, answer.text)
    assert lab.record("ana") == {} and not ana.session("ana")
