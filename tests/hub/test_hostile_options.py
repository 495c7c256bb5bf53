"""Whatever is asked of a session by API, form or link, all but the schema is refused.

As in `tests/security`, but on the scheduler `local`, which needs no root.
"""

import re
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, example, given, settings

from tests.hub.real_lab import RealLab
from tests.security.hostile import requests, short_requests

one_hub_for_all = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_api_refuses_all_but_the_schema(lab: RealLab):
    ana = lab.browser("ana")

    @one_hub_for_all
    @given(requests)
    def ask(options: dict[str, Any]) -> None:
        answer = ana.ask("/hub/api/users/ana/server", method="POST", body=options)
        assert answer.status == 400, answer.text
        assert "Wrong in the options of the session" in answer.json()["message"]

    ask()
    assert lab.record("ana") == {} and not ana.session("ana")


def test_a_link_starts_nothing_whatever_it_says(lab: RealLab):
    ana = lab.browser("ana")

    @one_hub_for_all
    @example({"partition": "nowhere"})
    @example({"profile": "notebook", "partition": "nowhere;id"})
    @given(short_requests)
    def visit(options: dict[str, str]) -> None:
        query = urlencode({f"opt-{key}": value for key, value in options.items()})
        answer = ana.ask(f"/hub/spawn?{query}")
        assert 'id="spawn_form"' in answer.text
        if all(is_possible(key, str(value)) for key, value in options.items()):
            assert answer.status == 200 and "The link has chosen for you" in answer.text
            assert re.search(r'value="notebook"[^>]*\schecked\b', answer.text), answer.text
        else:
            assert answer.status == 400, (options, answer.text)
            assert "Wrong in the options of the session" in answer.text

    visit()
    assert lab.record("ana") == {} and not ana.session("ana")


def is_possible(key: str, value: str) -> bool:
    """A profile that there is, or what a cluster may have a partition or an account called.

    Whether it has is asked when the button is pressed. No amount can be meant by those texts.
    """
    if key == "profile":
        return value == "notebook"
    names = ("device", "partition", "account", "reservation")
    return key in names and bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value.strip()))


def test_an_api_body_that_is_no_object_is_refused(lab: RealLab):
    ana = lab.browser("ana")
    for body in (b"[]", b"3", b'"notebook"', b"{", b"\xff"):
        answer = ana.ask("/hub/api/users/ana/server", method="POST", body=body)
        assert answer.status == 400, (body, answer.text)
    assert lab.record("ana") == {} and not ana.session("ana")
