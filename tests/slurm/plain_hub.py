"""A hub of JupyterHub's own on the test cluster, with the spawner that a test wants to look at.

Either `batchspawner.SlurmSpawner` as its authors ship it, or ours; everything else is the same.
"""

import secrets
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.hub.real_lab import Answer, Browser, free_ports
from tests.slurm.cluster import SlurmCluster, inner
from tests.slurm.slurm_lab import PEOPLE, SlurmLab, write_as_root
from tests.waiting import wait_for

CONFIG = """
from labkit_spawners.proxy import installed_at, node

c = get_config()
proxy = installed_at() / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://{address}:{internal}"
c.JupyterHub.db_url = "sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = [node(), str(proxy)]
c.ConfigurableHTTPProxy.should_start = True
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = {password!r}
c.Authenticator.allowed_users = {people!r}
c.JupyterHub.log_level = "DEBUG"
c.JupyterHub.default_url = "/hub/home"  # signing in starts nothing
c.Spawner.default_url = "/lab"
c.Spawner.poll_interval = 2
"""
OURS = """
c.JupyterHub.spawner_class = "labkit"
"""
BATCHSPAWNER = """
c.JupyterHub.spawner_class = "batchspawner.SlurmSpawner"
c.Spawner.cmd = ["{bin}/jupyterhub-singleuser"]
c.SlurmSpawner.batchspawner_singleuser_cmd = "{bin}/batchspawner-singleuser"
c.SlurmSpawner.req_partition = "gpu"
c.SlurmSpawner.req_runtime = "1:00:00"
c.SlurmSpawner.req_nprocs = "{cores}"
c.SlurmSpawner.req_memory = "{memory}"
c.SlurmSpawner.req_gres = "{gres}"
"""
SUDOERS = (
    "hub ALL=(%labkit-users) NOPASSWD:SETENV: /usr/bin/sbatch, /usr/bin/squeue, /usr/bin/scancel\n"
)
"""Of batchspawner's documentation; for this cluster, whose people are nobody's."""

WHOLE = {"cores": 16, "memory": "32G", "gres": "gpu:1g.10gb:7"}
"""As the profile `whole` of SlurmLab."""
SMALL = {"cores": 1, "memory": "2G", "gres": ""}
"""As its profile `notebook`."""
PROFILES = {"notebook": SMALL, "whole": WHOLE}


class PlainHub:
    """It starts sessions of one profile of SlurmLab's."""

    def __init__(
        self,
        cluster: SlurmCluster,
        *,
        ours: bool,
        profile: str,
        before: str = "",
        more: str = "",
        people: Collection[str] = PEOPLE,
        name: str = "",
    ):
        """`before` and `more` are lines of its configuration, around those that all have."""
        self.cluster, self.ours, self.profile = cluster, ours, profile
        name = name or ("ours" if ours else "batchspawner")
        self.folder = cluster.home("hub") / name
        cluster.output(["mkdir", "-p", self.folder], user="hub")
        self.log = cluster.folder / "log" / f"hub-{name}.out"
        self.password = secrets.token_hex(16)
        port, internal, proxy = free_ports(3)
        self.base = f"http://127.0.0.1:{port}"
        if ours:
            SlurmLab(cluster)  # its labkit.toml and sudoers
        else:
            write_as_root(cluster.folder / "etc" / "sudoers.d" / "plain", SUDOERS, 0o440)
        config = CONFIG.format(
            port=port,
            internal=internal,
            proxy=proxy,
            address=cluster.hub_address,
            folder=self.folder,
            password=self.password,
            people=set(people),
        )
        theirs = BATCHSPAWNER.format(bin=cluster.python.parent, **PROFILES.get(profile, SMALL))
        write_as_root(self._config, before + config + (OURS if ours else theirs) + more, 0o644)
        self._running = ExitStack()

    @property
    def _config(self) -> Path:
        return self.folder / "jupyterhub_config.py"

    @contextmanager
    def running(self) -> Iterator["PlainHub"]:
        try:
            self._start()
            yield self
        finally:
            self._running.close()
            self.cluster.cancel_all()
            shutil.rmtree(self.folder)

    def _start(self) -> None:
        command = [self.cluster.python, "-m", "jupyterhub", "-f", self._config]
        self.process: subprocess.Popen[bytes] = self._running.enter_context(
            self.cluster.popen(command, user="hub", log=self.log)
        )
        wait_for(Browser(self.base).ready, "the hub", seen=self.log.read_text)

    def kill_and_start(self) -> None:
        """kill -9, and start it again."""
        inner(self.process).kill()
        self.process.wait(30)
        self._start()

    def browser(self, name: str) -> Browser:
        """One that is signed in."""
        browser = Browser(self.base)
        assert browser.sign_in(name, self.password).status == 200
        return browser

    def ask_for_session(self, browser: Browser, name: str, server: str = "") -> Answer:
        body = {"profile": self.profile} if self.ours else {}
        path = f"servers/{server}" if server else "server"
        return browser.ask(f"/hub/api/users/{name}/{path}", method="POST", body=body)

    def log_end(self) -> str:
        return self.log.read_text()[-6000:]

    def jobs(self, user: str) -> dict[str, str]:
        """The state of each job of that person."""
        query = ["squeue", "--noheader", f"--user={user}", "--format=%A %T"]
        return dict(line.split() for line in self.cluster.output(query).splitlines())
