"""`labkit lab`: one for each site, on ports that are free, with a password of its own."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import LabkitError, UsageError
from labkit.ports import free_port
from labkit.settings import Hub, Site
from labkit_spawners import lab as lab_module
from labkit_spawners.lab import (
    MAX_DEATHS,
    Child,
    _answers,
    _children,
    _end,
    _only_one,
    _require_free_ports,
    _welcome,
    hub_config,
    run_lab,
)
from tests.unit.fake_hub import fake_hub


def with_hub(site: Site, **hub) -> Site:
    return site.model_copy(update={"hub": Hub(users=["ana", "ben"], **hub)})


@pytest.fixture
def folder(site: Site) -> Path:
    folder = site.state / "hub"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def children(site, folder, monkeypatch) -> list[Child]:
    monkeypatch.setattr(lab_module, "proxy_command", lambda hub: ["proxy"])
    return _children(with_hub(site), folder)


@pytest.mark.parametrize("key", ["port", "internal_port", "proxy_port"])
def test_a_port_that_is_taken_is_named_by_its_key(site, key):
    ports = {name: free_port("127.0.0.1") for name in ("port", "internal_port", "proxy_port")}
    _require_free_ports(with_hub(site, **ports))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[key]))
        taken.listen()
        with pytest.raises(UsageError) as caught:
            _require_free_ports(with_hub(site, **ports))
    assert f"Port {ports[key]} of 127.0.0.1 cannot be had" in str(caught.value)
    assert f"set another {key} under [hub] in {site.settings}" in str(caught.value)


def test_a_second_lab_on_the_site_is_refused(site, folder):
    with _only_one(folder, site):
        with pytest.raises(UsageError, match="is open already, at http://127.0.0.1:8000. End"):
            with _only_one(folder, site):
                pass
        assert (folder / "lock").stat().st_mode & 0o777 == 0o600
    with _only_one(folder, site):
        pass


def test_the_password_is_easy_to_type_and_private(children, site, folder):
    file = folder / "password"
    letters = "[abcdefghjkmnpqrstuvwxyz23456789]{4}"
    assert re.fullmatch(f"{letters}-{letters}-{letters}\n", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    said = file.read_text()
    _children(with_hub(site), folder)
    assert file.read_text() == said


def test_hub_and_proxy_share_a_secret_that_is_new_each_time(children, site, folder):
    secret = "CONFIGPROXY_AUTH_TOKEN"
    proxy, hub = children
    assert proxy.environment[secret] == hub.environment[secret]
    assert len(proxy.environment[secret]) == 64
    assert not any(proxy.environment[secret] in part for c in children for part in c.command)
    assert _children(with_hub(site), folder)[0].environment[secret] != proxy.environment[secret]


def test_the_hub_finds_its_site_and_nothing_of_the_terminals(site, folder, monkeypatch):
    monkeypatch.setattr(lab_module, "proxy_command", lambda hub: ["proxy"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    _, hub = _children(with_hub(site), folder)
    assert hub.environment["LABKIT_SITE"] == site.settings
    assert "AWS_SECRET_ACCESS_KEY" not in hub.environment
    assert hub.command[-1] == str(hub_config()) and hub_config().is_file()


def test_who_opens_the_lab_is_told_where_and_how(children, site, folder):
    password = (folder / "password").read_text().strip()
    assert _welcome(with_hub(site, port=9000), folder).splitlines() == [
        "The lab is open: http://127.0.0.1:9000",
        f"Sign in as ana or ben with the password {password}",
        "Ctrl-C ends it: runs save a checkpoint first.",
    ]
    others = _welcome(with_hub(site, authenticator="pam", address="::1"), folder)
    assert password not in others and "http://[::1]:8000" in others


@pytest.fixture
def hub_port() -> Iterator[int]:
    with fake_hub() as hub:
        yield hub.server_port


def test_the_lab_is_up_when_its_hub_answers(site, hub_port):
    assert _answers(with_hub(site, port=hub_port))
    assert not _answers(with_hub(site, port=free_port("127.0.0.1")))
    assert not _answers(with_hub(site, port=free_port("127.0.0.1"), address="::1"))


def test_a_proxy_of_the_machines_network_is_not_asked(site, hub_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # urlopen keeps what it made of the environment at its first use.
    monkeypatch.setattr("urllib.request._opener", None)
    assert _answers(with_hub(site, port=hub_port))


def test_an_unsafe_site_is_refused_before_anything_is_made(site):
    with pytest.raises(UsageError, match="only 127.0.0.1 is allowed"):
        run_lab(with_hub(site, address="0.0.0.0"), print)
    assert not (site.state / "hub").exists()


def test_a_child_that_ends_again_and_again_is_given_up(tmp_path):
    child = Child("hub", ["/bin/true"], tmp_path / "hub.log", {})
    for _ in range(MAX_DEATHS):
        child.start_again()
        assert child.process and child.process.wait(10) == 0
        assert child.ended
    with pytest.raises(LabkitError, match="The hub ends again and again. Its log: .*hub.log"):
        child.start_again()


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[list[Child]]:
    """In place of proxy and hub."""
    found = [Child(name, ["/bin/sleep", "60"], tmp_path / "log", {}) for name in ("proxy", "hub")]
    for child in found:
        child.start()
    yield found
    for child in found:
        if child.process and not child.ended:
            child.process.kill()
            child.process.wait()


@pytest.mark.parametrize("jobs", [True, False])
def test_ctrl_c_ends_the_demos_jobs_and_a_failure_does_not(site, sleepers, monkeypatch, jobs):
    asked = []

    async def end_jobs(site, say):
        asked.append([child.name for child in sleepers if not child.ended])

    monkeypatch.setattr(lab_module, "_end_jobs", end_jobs)
    _end(with_hub(site), sleepers, print, jobs=jobs)
    # The hub ends first, so that nothing starts meanwhile; the proxy last.
    assert asked == ([["proxy"]] if jobs else [])
    assert all(child.ended for child in sleepers)


def test_a_second_ctrl_c_leaves_the_jobs_but_neither_hub_nor_proxy(site, sleepers, monkeypatch):
    ended = lab_module._end_child
    interrupts = [KeyboardInterrupt()]

    def interrupted(child: Child) -> None:
        if interrupts:
            raise interrupts.pop()
        ended(child)

    said = []
    monkeypatch.setattr(lab_module, "_end_child", interrupted)
    _end(with_hub(site), sleepers, said.append, jobs=True)
    assert said == ["Left the jobs to end by themselves."]
    assert all(child.ended for child in sleepers)


def test_what_a_killed_lab_left_is_remembered_and_ended(folder, sleepers):
    lab_module._remember(folder, sleepers)
    assert json.loads((folder / "processes.json").read_text()).keys() == {"proxy", "hub"}
    reaper = threading.Thread(target=lambda: [c.process.wait() for c in sleepers if c.process])
    reaper.start()
    lab_module._end_leftovers(folder)
    reaper.join(10)
    assert all(child.ended for child in sleepers)
    lab_module._end_leftovers(folder)
