"""A hub's API on loopback, for what asks it over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast


class FakeHub(HTTPServer):
    """Answers with the next of `answers`; with `at_last` after the last of them."""

    def __init__(self, at_last: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.at_last = at_last
        self.heard: list[tuple[str, str | None, dict]] = []
        """Path, Authorization and body of each request."""
        self.says: dict[str, Any] = {"/hub/api/labkit/mend": {"taken_up": []}}
        """What is answered with 200 and this, by path."""

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hub/api"


@contextmanager
def fake_hub(at_last: int = 204) -> Iterator[FakeHub]:
    with FakeHub(at_last) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200 if self.path == "/hub/health" else 404)

    def do_POST(self) -> None:
        hub = cast(FakeHub, self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        hub.heard.append((self.path, self.headers["Authorization"], body))
        if self.path in hub.says:
            return self._answer(200, json.dumps(hub.says[self.path]).encode())
        self._answer(hub.answers.pop(0) if hub.answers else hub.at_last)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
