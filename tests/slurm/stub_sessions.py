"""Stands in for the jobs of `fake_slurm`: says each one's port to its hub, and answers for it.

`python -m tests.slurm.stub_sessions FOLDER`, as root, where the hub's sessions would be reached.
"""

import asyncio
import json
import re
import sys
from pathlib import Path

from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

LOOK_S = 0.02
TRIES, MOST_WAIT_S = 40, 5


class Answer(web.RequestHandler):
    """To whatever is asked of any session."""

    def get(self) -> None:
        self.set_header("X-JupyterHub-Version", "6.1.1")
        self.write({"version": "stub"})


async def main(folder: Path) -> None:
    server = web.Application([(".*", Answer)]).listen(0, backlog=1024)
    port = next(iter(server._sockets.values())).getsockname()[1]
    AsyncHTTPClient.configure(None, max_clients=100)
    reports: set[asyncio.Task[None]] = set()
    with (folder / "jobs.jsonl").open() as lines:
        while True:
            line = lines.readline()
            if not line.endswith("\n"):
                assert not line, "a line is written at once"
                await asyncio.sleep(LOOK_S)
                continue
            entry = json.loads(line)
            if entry["do"] == "submit":
                task = asyncio.create_task(report(entry["script"], port))
                reports.add(task)
                task.add_done_callback(reports.discard)


async def report(script: str, port: int) -> None:
    """As the launcher does, once the hub has noted the job."""
    said = take(script)
    request = HTTPRequest(
        f"{said['JUPYTERHUB_API_URL']}/labkit/port",
        method="POST",
        headers={"Authorization": f"token {said['JUPYTERHUB_API_TOKEN']}"},
        body=json.dumps({"port": port, "nonce": said["LABKIT_SESSION_NONCE"]}),
        connect_timeout=60,  # the wait for a turn here counts as that
        request_timeout=60,
    )
    code = 0
    for tried in range(TRIES):  # as the launcher: 409 is also that the hub knows no node yet
        code = (await AsyncHTTPClient().fetch(request, raise_error=False)).code
        if code == 204:
            return
        await asyncio.sleep(min(0.2 * 1.5**tried, MOST_WAIT_S))
    print(f"The hub refuses a port: {code}.", file=sys.stderr)


def take(script: str) -> dict[str, str]:
    """The job's environment, from the file that the batch script names."""
    (file,) = re.findall(r"_slurm_job (\S+)$", script.strip())
    job = Path(file.strip("'"))
    environment = json.loads(job.read_text())["environment"]
    job.unlink()
    return environment


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
