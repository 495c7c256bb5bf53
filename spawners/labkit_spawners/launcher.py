"""What a session runs: Jupyter without what it does not need, and a word to the hub.

`python -P -m labkit_spawners.launcher`, in the job that `session_job` describes. It picks a
free port, starts `jupyter labhub` on it and tells the hub, again and again until it answers,
so a hub that is down meanwhile loses nothing.
"""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from labkit.ports import free_port
from labkit_spawners.ask_hub import ask_hub, keep_certificates, trust_ours_alone
from labkit_spawners.lean import singleuser
from labkit_spawners.templates import START_NOTEBOOK, templates_folder

LISTEN_WAIT_S = 120.0
REFUSED_FOR_S = 600.0
"""How long the hub may refuse the report: while it starts again it does not know us yet."""
_NONCE = "LABKIT_SESSION_NONCE"


def main() -> None:
    url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    host = url.hostname or "127.0.0.1"
    port = free_port(host)
    os.environ["JUPYTERHUB_SERVICE_URL"] = urlunsplit(url._replace(netloc=f"{host}:{port}"))
    nonce = os.environ.pop(_NONCE)  # kernels have no use for it
    keep_certificates(os.environ)
    put_start_notebook(Path(os.environ["HOME"]))
    threading.Thread(target=announce, args=(host, port, nonce), daemon=True).start()
    serve()


def put_start_notebook(home: Path) -> None:
    """The notebook to start from, where the person has none yet."""
    notebook = home / START_NOTEBOOK
    if not notebook.exists():
        shutil.copyfile(templates_folder() / "notebooks" / START_NOTEBOOK, notebook)
        notebook.chmod(0o600)


def serve() -> None:
    """Run Jupyter's server for one person of a hub, until it ends."""
    run = server()
    sys.argv = [
        "jupyterhub-singleuser",
        f"--ServerApp.root_dir={os.environ['HOME']}",
        f"--ServerApp.allow_root={os.geteuid() == 0}",
        # Plain ZeroMQ would let others on this node read what kernels say.
        "--MappingKernelManager.transport_encryption=required",
        f"--LabApp.extra_labextensions_path={templates_folder() / 'labextensions'}",
        "--LabApp.extension_manager=readonly",  # there is no other: see `lean`
        # By itself it would run npm to ask where else servers of languages may lie.
        f"--LanguageServerManager.node_roots={[str(Path(sys.prefix) / 'lib')]}",
    ]
    run()


def server() -> Callable[[], Any]:
    """What `jupyterhub-singleuser` runs, which trusts our certificates alone."""
    run = singleuser()  # first: what is imported by then is imported with all of the hub's half
    trust_ours_alone()
    return run


def announce(host: str, port: int, nonce: str) -> None:
    """Wait until the server listens, then tell the hub, until it has heard. Ends us if it won't."""
    _wait_listening(host, port)
    wait_s, refused_since = 0.2, None
    while (status := report(port, nonce)) != 204:
        now = time.monotonic()
        if status is None:
            refused_since = None
        elif refused_since is None:
            refused_since = now
        elif now - refused_since > REFUSED_FOR_S:
            print("labkit: the hub does not know this session; it ends.", file=sys.stderr)
            os._exit(3)
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, 5.0)


def report(port: int, nonce: str) -> int | None:
    """Tell the hub the port. Its answer's status; None where it does not answer."""
    answer = ask_hub("POST", "/labkit/port", {"port": port, "nonce": nonce})
    return answer.status if answer else None


def _wait_listening(host: str, port: int) -> None:
    deadline = time.monotonic() + LISTEN_WAIT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)


if __name__ == "__main__":
    main()
