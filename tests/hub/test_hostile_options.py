"""Whatever is asked of a session by API, form or link, all but the schema is refused.

As in `tests/security`, but on the scheduler `local`, which needs no root.
"""

from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings

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
    @given(short_requests)
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
