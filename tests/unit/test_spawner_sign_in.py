"""The demo's password: from a file, for its users alone, and slow to guess."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from traitlets.config import Config

from labkit_spawners import sign_in
from labkit_spawners.sign_in import FORGET_AFTER_S, FREE_TRIES, MAX_WAIT_S, DemoAuthenticator

PASSWORD = "abcd-efgh-jkmn"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each sign-in was made to wait; no time passes."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(sign_in, "asyncio", SimpleNamespace(sleep=sleep))
    return waits


@pytest.fixture
def demo(tmp_path: Path, waits) -> DemoAuthenticator:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    file = str(tmp_path / "password")
    return DemoAuthenticator(
        config=Config(DemoAuthenticator={"password_file": file}), allowed_users={"ana"}
    )


def try_in(demo: DemoAuthenticator, password: str, name: str = "ana"):
    return asyncio.run(demo.authenticate(None, {"username": name, "password": password}))


def test_the_password_is_the_files(demo):
    found = try_in(demo, PASSWORD)
    assert found is not None and found["name"] == "ana"
    assert try_in(demo, f"{PASSWORD}\n") is None


def test_nobody_is_an_admin(demo):
    found = try_in(demo, PASSWORD)
    assert found is not None and found["admin"] is False
    assert demo.admin_users == set() and demo.admin_password is None


def test_others_than_the_demos_users_stay_out(demo):
    assert demo.check_allowed("ana", None)
    assert not demo.check_allowed("mallory", None)


@pytest.mark.parametrize("password", ["", "wrong", "密碼", "\ud800", "\0", "x" * 1_000_000])
def test_a_wrong_password_is_wrong_whatever_it_is(demo, password):
    assert try_in(demo, password) is None


def test_after_wrong_passwords_each_try_waits_longer(demo, waits):
    for _ in range(12):
        try_in(demo, "wrong")
    assert waits[:FREE_TRIES] == [0.0] * FREE_TRIES
    assert waits == sorted(waits)
    assert waits[FREE_TRIES] > 0 and waits[-1] == MAX_WAIT_S


def test_another_name_does_not_help(demo, waits):
    for number in range(10):
        try_in(demo, "wrong", f"guess{number}")
    assert waits[-1] == MAX_WAIT_S


def test_the_right_password_lets_in_after_its_wait_and_all_is_well_again(demo, waits):
    for _ in range(5):
        try_in(demo, "wrong")
    assert try_in(demo, PASSWORD) is not None
    assert waits[-1] > 0
    try_in(demo, PASSWORD)
    assert waits[-1] == 0


def test_wrong_passwords_are_forgotten_in_time(demo, waits, monkeypatch):
    for _ in range(10):
        try_in(demo, "wrong")
    later = sign_in.time.monotonic() + FORGET_AFTER_S + 1
    monkeypatch.setattr(sign_in, "time", SimpleNamespace(monotonic=lambda: later))
    try_in(demo, "wrong")
    assert waits[-1] == 0
