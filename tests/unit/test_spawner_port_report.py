"""One route takes the port; batchspawner's, which trusts its caller, reaches none of ours."""

import importlib
import json
from types import SimpleNamespace
from unittest.mock import AsyncMock, patch

import batchspawner.api
import pytest
from batchspawner import SlurmSpawner
from batchspawner.api import BatchSpawnerAPIHandler
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.apihandlers import default_handlers
from tornado.web import HTTPError

from labkit_spawners import port_report
from labkit_spawners.port_report import (
    BATCHSPAWNERS,
    MAX_BODY,
    PATH,
    BatchspawnersHandler,
    PortReportHandler,
)
from labkit_spawners.spawner import GpuSpawner


def routes(path: str) -> list[type]:
    return [handler[1] for handler in default_handlers if handler[0] == path]


def test_each_route_is_there_once_and_is_ours():
    assert routes(BATCHSPAWNERS) == [BatchspawnersHandler]
    assert routes(PATH) == [PortReportHandler]


def test_also_when_it_is_mounted_again():
    port_report.mount()
    port_report.mount()
    assert routes(PATH) == [PortReportHandler]


def test_also_when_batchspawner_was_imported_anew():
    port_report.mount()  # which puts it last, behind what other tests mounted
    before = list(default_handlers)
    importlib.reload(batchspawner.api)
    assert len(routes(BATCHSPAWNERS)) == 2  # what importing it does
    port_report.mount()
    assert default_handlers == before


async def prepared(spawner_class: type, token: str, spawner: object) -> int:
    """What batchspawner's route answers before it does anything; 0 where it goes on."""
    handler = BatchspawnersHandler.__new__(BatchspawnersHandler)
    handler.application = SimpleNamespace(settings={"spawner_class": spawner_class})  # type: ignore
    handler.get_auth_token = lambda: token  # type: ignore[method-assign]
    user = SimpleNamespace(spawners={"": spawner})
    handler.get_current_user_token = lambda: user  # type: ignore[method-assign]
    with patch.object(BatchSpawnerAPIHandler, "prepare", AsyncMock()):
        try:
            await handler.prepare()
        except HTTPError as error:
            return error.status_code
    return 0


async def test_batchspawners_route_is_for_batchspawners_own_sessions_alone():
    ours, other = SpawnerOfTest("t1"), SimpleNamespace(api_token="t1")
    assert await prepared(SlurmSpawner, "t1", other) == 0
    assert await prepared(GpuSpawner, "t1", ours) == 404
    assert await prepared(GpuSpawner, "a person's own token", ours) == 404
    # Where a spawner that chooses among others has chosen ours.
    assert await prepared(SlurmSpawner, "t1", ours) == 404


class SpawnerOfTest:
    """Takes one port with one nonce."""

    def __init__(self, api_token: str):
        self.api_token, self.port = api_token, 0

    async def locate(self) -> None: ...

    async def is_own_port(self, port: int) -> bool:
        return port != 22

    def port_reported(self, port: int, nonce: str) -> bool:
        self.port = port if nonce == "n" else 0
        return nonce == "n"


class Request:
    """A handler's request, without a hub around it."""

    def __init__(self, body: bytes, *, token: str | None, spawners=None):
        self.handler = PortReportHandler.__new__(PortReportHandler)
        self.handler.request = SimpleNamespace(body=body)  # type: ignore[assignment]
        user = None if spawners is None else SimpleNamespace(spawners=spawners)
        self.handler.get_auth_token = lambda: token  # type: ignore[method-assign]
        self.handler.get_current_user_token = lambda: user  # type: ignore[method-assign]
        self.handler.set_status = self.answered  # type: ignore[method-assign]
        self.status = 0

    def answered(self, status_code: int, reason: str | None = None) -> None:
        self.status = status_code

    async def post(self) -> int:
        try:
            await self.handler.post()
        except HTTPError as error:
            return error.status_code
        return self.status


def said(port: object = 4711, nonce: object = "n", **more: object) -> bytes:
    return json.dumps({"port": port, "nonce": nonce, **more}).encode()


async def test_a_session_says_its_port_with_its_own_token():
    first, second = SpawnerOfTest("t1"), SpawnerOfTest("t2")
    spawners = {"": first, "second": second, "other": SimpleNamespace(api_token="t3")}
    assert await Request(said(), token="t2", spawners=spawners).post() == 204
    assert (first.port, second.port) == (0, 4711)


@pytest.mark.parametrize("token", [None, "", "t3", "a person's own token"])
async def test_no_other_token_will_do(token):
    spawners = {"": SpawnerOfTest("t1"), "other": SimpleNamespace(api_token="t3")}
    assert await Request(said(), token=token, spawners=spawners).post() == 403
    # A token of a service, or of nobody.
    assert await Request(said(), token="t1").post() == 403


async def test_a_session_that_was_replaced_is_told():
    spawners = {"": SpawnerOfTest("t1")}
    assert await Request(said(nonce="old"), token="t1", spawners=spawners).post() == 409


async def test_a_port_where_another_listens_is_refused():
    spawner = SpawnerOfTest("t1")
    assert await Request(said(port=22), token="t1", spawners={"": spawner}).post() == 409
    assert spawner.port == 0


BODIES = [
    b"",
    b"{",
    b"\xff",
    b"[]",
    b"4711",
    b"null",
    b"[" * 150,
    said(port="4711"),
    said(port=4711.0),
    said(port=True),
    said(port=0),
    said(port=65536),
    said(port=-1),
    said(nonce=None),
    said(nonce=["n"]),
    said(ip="10.0.0.1"),
    said(nonce="n" * MAX_BODY),
    b'{"port": 4711}',
]


async def refused(body: bytes) -> bool:
    spawner = SpawnerOfTest("t1")
    status = await Request(body, token="t1", spawners={"": spawner}).post()
    return status == 400 and spawner.port == 0


@pytest.mark.parametrize("body", BODIES)
async def test_all_but_one_whole_number_and_the_nonce_is_refused(body):
    assert await refused(body)


@given(st.binary(max_size=MAX_BODY + 50))
async def test_no_bytes_do_more(body):
    assert await refused(body)
