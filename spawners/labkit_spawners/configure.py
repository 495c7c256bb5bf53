"""From a site to JupyterHub's configuration: a pure function, tried on a bare `Config()`.

`jupyterhub_config.py` calls it and nothing else; what a site wants otherwise, it sets after.
"""

import ipaddress
import sys
from typing import Any

from labkit.errors import UsageError
from labkit.settings import Hub, Site
from labkit_spawners.certificates import authority_files, hub_names
from labkit_spawners.resume_service import RESUME_SERVICE
from labkit_spawners.templates import START_NOTEBOOK, templates_folder

DEMO, PAM = "demo", "pam"


def configure(c: Any, site: Site) -> None:
    """Set all that labkit needs on `c`. Raises UsageError where the site would be unsafe."""
    refuse_unsafe(site)
    _hub(c, site)
    _sign_in(c, site)
    _sessions(c, site)
    _pages(c, site)


def refuse_unsafe(site: Site) -> None:
    """Raises UsageError where nobody could get in, or others than those who should.

    The scheduler `local` runs everybody as the hub's own Unix user: so only the demo's users,
    from this machine, unless the site trusts everyone.
    """
    _refuse_sign_in_of_nobody(site)
    local = [name for name, cluster in site.clusters.items() if cluster.scheduler == "local"]
    if len(local) < len(site.clusters):
        _refuse_unsafe_cluster(site)
    if not local or site.hub.trust_everyone:
        return
    reasons = []
    if site.hub.authenticator != DEMO:
        reasons.append(f"hub.authenticator = {site.hub.authenticator!r}: only 'demo' is allowed")
    if not _is_loopback(site.hub.address):
        reasons.append(f"hub.address = {site.hub.address!r}: only 127.0.0.1 is allowed")
    if reasons:
        raise UsageError(
            f"Wrong in {site.settings}:\n"
            + "".join(f"  {reason}\n" for reason in reasons)
            + f"The cluster {local[0]!r} is 'local', where everybody is one Unix user and could "
            "read everybody's files. If all who sign in may, set trust_everyone = true under [hub]."
        )


def _refuse_sign_in_of_nobody(site: Site) -> None:
    hub, wrong = site.hub, ""
    if hub.groups and hub.authenticator != PAM:
        wrong = f"hub.groups: {hub.authenticator!r} knows no Unix groups. Only 'pam' does."
    elif hub.authenticator == DEMO and not hub.users:
        wrong = (
            "hub.users: nobody could sign in to the demo. Name who may, as in "
            "users = ['ana', 'ben'] under [hub]."
        )
    elif hub.authenticator == PAM and not (hub.users or hub.groups):
        wrong = (
            "hub.groups: nobody could sign in. Name the Unix groups whose members may, as in "
            "groups = ['labkit-users'] under [hub], or people, as in users = ['ana', 'ben']."
        )
    if wrong:
        raise UsageError(f"Wrong in {site.settings}:\n  {wrong}")


def _refuse_unsafe_cluster(site: Site) -> None:
    """Where sessions run on other machines, as the Unix users that people are."""
    hub = site.hub
    if _is_loopback(hub.internal_address):
        raise UsageError(
            f"Wrong in {site.settings}:\n  hub.internal_address: sessions on a cluster's nodes "
            f"cannot reach {hub.internal_address}. Name this machine's address in their network."
        )
    if hub.authenticator == DEMO and not _is_loopback(hub.address):
        raise UsageError(
            f"Wrong in {site.settings}:\n  hub.authenticator: the demo's one password would open "
            "the accounts of all its users to whoever knows it. Name another, as in 'pam', or "
            "keep hub.address = '127.0.0.1'."
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _hub(c: Any, site: Site) -> None:
    hub, state = site.hub, site.state / "hub"
    c.JupyterHub.bind_url = listening_url_of(hub)
    c.JupyterHub.hub_bind_url = internal_url_of(site)
    c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
    c.JupyterHub.upgrade_db = True  # after an upgrade of JupyterHub; it keeps a copy beside it
    c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
    c.ConfigurableHTTPProxy.api_url = f"{_internal_scheme(site)}://127.0.0.1:{hub.proxy_port}"
    c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")
    # The proxy outlives the hub, and so do sessions: `labkit lab` starts the proxy.
    c.ConfigurableHTTPProxy.should_start = False
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    # With this the hub looks at the proxy's routes: those that a proxy lost when it started
    # again come back within seconds.
    c.JupyterHub.last_activity_interval = 5
    if hub.subdomain_host:
        c.JupyterHub.subdomain_host = hub.subdomain_host
        # A page may set cookies for all names above its own, but none with this prefix.
        c.JupyterHub.cookie_host_prefix_enabled = True
    if site.internal_ssl:
        c.JupyterHub.internal_ssl = True
        c.JupyterHub.external_ssl_authorities = authority_files(site)
        c.JupyterHub.trusted_alt_names = hub_names(hub)
        # What JupyterHub makes of its own with them: new at each start, so it never ends.
        c.JupyterHub.internal_certs_location = str(state / "internal-ssl")
        c.JupyterHub.recreate_internal_certs = True


def url_of(hub: Hub) -> str:
    """What a person types into the browser."""
    return hub.subdomain_host or listening_url_of(hub)


def listening_url_of(hub: Hub) -> str:
    """Where the proxy listens, for browsers or for the web server in front of it."""
    return f"http://{_in_url(hub.address)}:{hub.port}"


def internal_url_of(site: Site) -> str:
    """Where the proxy and the sessions reach the hub."""
    address = f"{_in_url(site.hub.internal_address)}:{site.hub.internal_port}"
    return f"{_internal_scheme(site)}://{address}"


def _internal_scheme(site: Site) -> str:
    return "https" if site.internal_ssl else "http"


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _sign_in(c: Any, site: Site) -> None:
    hub: Hub = site.hub
    if hub.authenticator == DEMO:
        c.JupyterHub.authenticator_class = "labkit_spawners.sign_in.DemoAuthenticator"
        c.DemoAuthenticator.password_file = str(site.state / "hub" / "password")
    else:
        c.JupyterHub.authenticator_class = hub.authenticator
    if hub.users or hub.authenticator == DEMO:
        c.Authenticator.allowed_users = set(hub.users)
    if hub.authenticator == PAM:
        c.PAMAuthenticator.allowed_groups = set(hub.groups)


def _sessions(c: Any, site: Site) -> None:
    c.JupyterHub.spawner_class = "labkit_spawners.spawner.GpuSpawner"
    c.Spawner.default_url = f"/lab/tree/{START_NOTEBOOK}"
    c.GpuSpawner.queue_timeout_s = site.hub.queue_timeout or 0
    c.GpuSpawner.starting_timeout_s = site.hub.starting_timeout
    c.Spawner.poll_interval = 5  # one question to the scheduler serves all sessions
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.named_server_limit_per_user = 5
    # Both count sessions that wait in the queue, and would refuse the rest.
    c.JupyterHub.concurrent_spawn_limit = 0
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.JupyterHub.services = [
        {
            "name": RESUME_SERVICE,
            "command": [sys.executable, "-P", "-m", "labkit_spawners.resume_service"],
            "environment": {"LABKIT_SITE": site.settings},
        }
    ]
    c.JupyterHub.load_roles = [
        {
            "name": RESUME_SERVICE,
            "scopes": ["servers", "read:users:name"],
            "services": [RESUME_SERVICE],
        }
    ]


def _pages(c: Any, site: Site) -> None:
    c.JupyterHub.template_paths = [str(templates_folder() / "hub")]
    c.JupyterHub.template_vars = {
        "site_name": site.name,
        "demo_users": site.hub.users if site.hub.authenticator == DEMO else [],
    }
