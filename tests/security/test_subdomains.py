"""Each person's pages on a name of their own, behind a web server, in a real browser."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import need_chromium
from tests.hub.person import OpenLab, chromium
from tests.hub.real_lab import Browser, RealLab, free_ports, real_lab
from tests.security.front import DOMAIN, web_server
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

EVIL = Path(__file__).parent / "evil.html"


@contextmanager
def browsers() -> Iterator[Callable[[], Any]]:
    """What opens a new browser's window, without cookies."""
    need_chromium()
    with chromium() as browser:

        def window() -> Any:
            context = browser.new_context(ignore_https_errors=True)
            context.set_default_timeout(60_000)
            return context.new_page()

        yield window


def sign_in_and_start(page: Any, lab: OpenLab, base: str, name: str) -> None:
    page.goto(base)
    page.locator("#username_input").fill(name)
    page.locator("#password_input").fill(lab.password)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Start a session").wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/user/**/lab/**")
    page.get_by_text("| Idle").wait_for()


def serve_evil(lab: RealLab, name: str) -> None:
    """That person's session serves the page to whoever asks, as they may set it up."""
    settings = lab.folder / "homes" / name / ".jupyter" / "jupyter_server_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"ServerApp": {"extra_static_paths": [str(EVIL.parent)]}}))


def attack(ana: Any, ben: Any, hub: str, of: Callable[[str], str]) -> dict[str, str]:
    """What ben's page gets when ana, who is signed in, looks at it."""
    ben.goto(f"{hub}/hub/home")
    token = ben.evaluate("document.cookie.match('_xsrf=([^;]*)')[1]")
    ana.goto(f"{of('ben')}/static/evil.html")
    assert ana.title() == "A page of another person's"
    return ana.evaluate("(all) => attack(...all)", [hub, "ana", of("ana"), token])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealLab, str]]:
    """With names for people, and TLS between hub, proxy and sessions."""
    folder = tmp_path_factory.mktemp("subdomains")
    (port,) = free_ports(1)
    base = f"https://{DOMAIN}:{port}"
    of_hub = f'internal_ssl = true\nsubdomain_host = "{base}"\n'
    with real_lab(RealLab(folder, of_hub=of_hub)) as lab:
        wait_for(lambda: f"The lab is open: {base}\n" in lab.said(), "its address", seen=lab.said)
        with web_server(folder, port, behind=urlsplit(lab.base).port or 0):
            yield lab, base


def test_a_persons_page_cannot_act_as_another(lab: tuple[RealLab, str]):
    lab_of_names, base = lab
    serve_evil(lab_of_names, "ben")

    def of(name: str) -> str:
        return f"{base.replace(DOMAIN, f'{name}.{DOMAIN}')}/user/{name}"

    with browsers() as window:
        ana, ben = window(), window()
        for name, page in (("ana", ana), ("ben", ben)):
            sign_in_and_start(page, lab_of_names, base, name)
            assert page.url.startswith(f"{of(name)}/lab/tree/")
        got = attack(ana, ben, base, of)
        assert len(got) == 5 and not any(got.values()), got
        records = (lab_of_names.folder / "state" / "sessions" / "ana").glob("*.json")
        assert [file.name for file in records] == ["_.json"], "the form started a session"

        # TLS within is no hindrance: whoever has no certificate is not even connected, ...
        with pytest.raises(OSError, match="alert|reset|EOF"):
            knock(lab_of_names.record("ana")["port"])
        # ... and what is killed finds all again.
        for name in ("hub", "proxy"):
            lab_of_names.kill(name)
            wait_for(lambda: ana.goto(f"{of('ana')}/lab").status == 200, "ana's session")


def test_sessions_on_nodes_have_names_of_their_own(cluster: SlurmCluster, tmp_path: Path):
    """There a certificate holds the nodes' names and the person's, and the proxy asks for his."""
    (port,) = free_ports(1)
    base = f"https://{DOMAIN}:{port}"
    lab = SlurmLab(cluster, hub_settings=f'subdomain_host = "{base}"')
    with (
        lab.running(),
        web_server(tmp_path, port, behind=lab.port),
        browsers() as window,
    ):
        alice = window()
        sign_in_and_start(alice, lab, base, "alice")
        own = base.replace(DOMAIN, f"alice.{DOMAIN}")
        assert alice.url.startswith(f"{own}/user/alice/lab/tree/")
        assert lab.queue("UserName", "State") == [["alice", "RUNNING"]]
        lab.kill_hub()
        wait_for(lambda: alice.goto(f"{own}/user/alice/lab").status == 200, "alice's session")


def knock(port: int) -> bytes:
    """What a session says to somebody on its machine who has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(100)


def test_on_one_name_it_can(tmp_path: Path, pytestconfig: pytest.Config):
    """Which is why there are subdomains; and how we know that the attack is one."""
    if not pytestconfig.getoption("--soak"):
        pytest.skip("the control of the test above; it is in make soak")
    with real_lab(RealLab(tmp_path)) as lab, browsers() as window:
        serve_evil(lab, "ben")

        def of(name: str) -> str:
            return f"{lab.base}/user/{name}"

        ana, ben = window(), window()
        for name, page in (("ana", ana), ("ben", ben)):
            sign_in_and_start(page, lab, lab.base, name)
        got = attack(ana, ben, lab.base, of)
        own = Browser(lab.base).ask("/hub/api/user", token=got["a token of the victim's"])
        assert own.json()["name"] == "ana"
        assert "Start here.ipynb" in got["the victim's files"]
