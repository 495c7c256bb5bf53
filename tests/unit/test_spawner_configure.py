"""From a site to the hub's configuration: pure, and refused where it would be unsafe."""

import builtins
import grp
import json
import pwd
import re
import sys
from pathlib import Path

import pytest
from jupyterhub.auth import PAMAuthenticator
from traitlets.config import Config

from labkit.errors import UsageError
from labkit.settings import Cluster, Hub, Site
from labkit_spawners.configure import configure, refuse_unsafe, url_of


def site_of(*schedulers: str, **hub) -> Site:
    clusters = {f"c-{name}": Cluster(scheduler=name) for name in schedulers or ("local",)}
    hub = {"users": ["ana", "ben"], **hub}
    return Site(
        name="City lab", state=Path("/lab/state"), clusters=clusters, hub=Hub(**hub)
    ).model_copy(update={"settings": "/lab/labkit.toml"})


def configured(site: Site) -> Config:
    c = Config()
    configure(c, site)
    return c


def test_who_listens_where():
    c = configured(site_of(port=9000, internal_port=9081, proxy_port=9001))
    assert c.JupyterHub.bind_url == "http://127.0.0.1:9000"
    assert c.JupyterHub.hub_bind_url == "http://127.0.0.1:9081"
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:9001"
    assert configured(site_of(address="::1")).JupyterHub.bind_url == "http://[::1]:8000"


def test_tls_between_them_is_on_where_sessions_run_on_other_machines():
    assert "internal_ssl" not in configured(site_of()).JupyterHub
    pam = {"authenticator": "pam", "internal_address": "192.0.2.8"}
    c = configured(site_of("slurm", **pam))
    assert c.JupyterHub.internal_ssl is True
    assert c.JupyterHub.hub_bind_url == "https://192.0.2.8:8081"
    assert c.ConfigurableHTTPProxy.api_url == "https://127.0.0.1:8001"
    assert c.JupyterHub.trusted_alt_names == ["IP:192.0.2.8"]
    files = c.JupyterHub.external_ssl_authorities["notebooks-ca"]
    assert files["key"] == "/lab/state/hub/certificates/notebooks-ca.key"
    off = configured(site_of("slurm", internal_ssl=False, **pam))
    assert off.JupyterHub.hub_bind_url == "http://192.0.2.8:8081"
    assert configured(site_of(internal_ssl=True)).JupyterHub.internal_ssl is True


def test_people_have_names_of_their_own():
    assert "subdomain_host" not in configured(site_of()).JupyterHub
    site = site_of(subdomain_host="https://lab.example.org", internal_ssl=True)
    c = configured(site)
    assert c.JupyterHub.subdomain_host == "https://lab.example.org"
    assert c.JupyterHub.cookie_host_prefix_enabled is True
    assert c.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert c.JupyterHub.trusted_alt_names == ["IP:127.0.0.1", "DNS:*.lab.example.org"]
    assert url_of(site.hub) == "https://lab.example.org"


@pytest.mark.parametrize(
    "host", ["lab.example.org", "http://lab.example.org", "https://lab", "https://lab.example.org/"]
)
def test_a_wrong_host_of_subdomains_is_refused(host):
    with pytest.raises(ValueError, match="subdomain_host"):
        Hub(subdomain_host=host)


def test_sessions_are_jobs_and_outlive_hub_and_proxy():
    c = configured(site_of())
    assert c.JupyterHub.spawner_class == "labkit_spawners.spawner.GpuSpawner"
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False
    assert c.ConfigurableHTTPProxy.should_start is False


def test_those_who_wait_in_the_queue_keep_nobody_else_out():
    c = configured(site_of())
    assert c.JupyterHub.concurrent_spawn_limit == 0
    assert c.JupyterHub.tornado_settings == {"slow_spawn_timeout": 0}


def test_the_service_that_resumes_may_start_servers_and_nothing_more():
    c = configured(site_of())
    (service,) = c.JupyterHub.services
    assert service["command"] == [sys.executable, "-P", "-m", "labkit_spawners.resume_service"]
    assert service["environment"] == {"LABKIT_SITE": "/lab/labkit.toml"}
    (role,) = c.JupyterHub.load_roles
    assert role["scopes"] == ["servers", "read:users:name"]
    assert role["services"] == [service["name"]]


def test_the_demos_users_are_told_that_they_share_a_password():
    c = configured(site_of())
    assert c.JupyterHub.authenticator_class.endswith("DemoAuthenticator")
    assert c.DemoAuthenticator.password_file == "/lab/state/hub/password"
    assert c.Authenticator.allowed_users == {"ana", "ben"}
    assert c.JupyterHub.template_vars == {"site_name": "City lab", "demo_users": ["ana", "ben"]}


def test_another_authenticator_says_itself_who_may_sign_in():
    c = configured(site_of(authenticator="our.own.Class", users=[], trust_everyone=True))
    assert c.JupyterHub.authenticator_class == "our.own.Class"
    assert "allowed_users" not in c.Authenticator and "DemoAuthenticator" not in c
    assert c.JupyterHub.template_vars["demo_users"] == []


def test_pam_lets_in_those_who_are_named_and_members_of_the_groups():
    root = grp.getgrgid(pwd.getpwnam("root").pw_gid).gr_name
    named = site_of(authenticator="pam", users=["ana"], trust_everyone=True)
    members = site_of(authenticator="pam", users=[], groups=[root], trust_everyone=True)

    def may_sign_in(site: Site, *people: str) -> set[str]:
        authenticator = PAMAuthenticator(config=configured(site))
        return {name for name in people if authenticator.check_allowed(name)}

    assert may_sign_in(members, "root", "daemon") == {"root"}
    assert may_sign_in(named, "ana", "root", "daemon") == {"ana"}


@pytest.mark.parametrize(
    ("hub", "words"),
    [
        ({"authenticator": "pam", "users": []}, "hub.groups: nobody could sign in."),
        ({"authenticator": "demo", "users": []}, "hub.users: nobody could sign in to the demo"),
        ({"authenticator": "demo", "groups": ["x"]}, "hub.groups: 'demo' knows no Unix groups"),
    ],
)
def test_a_lab_that_nobody_could_sign_in_to(hub, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        refuse_unsafe(site_of(**hub))


def test_it_reads_and_writes_nothing(monkeypatch):
    opened = []

    def note(*arguments, **_):
        opened.append(arguments)
        raise OSError("no file is needed")

    for owner, name in ((builtins, "open"), (Path, "open"), (Path, "mkdir"), (Path, "write_text")):
        monkeypatch.setattr(owner, name, note)
    assert configured(site_of()).JupyterHub.bind_url
    assert opened == []


def test_every_value_is_plain_and_none_is_a_secret(monkeypatch):
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "s3cret")
    shown = json.dumps(configured(site_of()), default=sorted)
    assert "s3cret" not in shown and "token" not in shown.lower()


def test_all_templates_are_there():
    (folder,) = configured(site_of()).JupyterHub.template_paths
    assert (Path(folder) / "page.html").is_file()


ON_NODES = {"internal_address": "192.0.2.8"}
DEMO, PAM = {"authenticator": "demo"}, {"authenticator": "pam"}
SAFE_ADDRESSES = ("127.0.0.1", "127.0.0.2", "::1", "localhost")
OPEN_ADDRESSES = ("0.0.0.0", "::", "192.0.2.7", "lab.example.org", "")


def is_allowed(site: Site) -> bool:
    try:
        refuse_unsafe(site)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("address", SAFE_ADDRESSES)
def test_the_demo_on_this_machine_is_safe(address):
    assert is_allowed(site_of(address=address, **DEMO))


@pytest.mark.parametrize("address", OPEN_ADDRESSES)
def test_local_is_refused_to_other_machines(address):
    with pytest.raises(UsageError, match=r"hub\.address = .*: only 127\.0\.0\.1 is allowed"):
        refuse_unsafe(site_of(address=address, **DEMO))


@pytest.mark.parametrize("address", SAFE_ADDRESSES)
def test_local_is_refused_to_other_people(address):
    with pytest.raises(UsageError, match="hub.authenticator = 'pam': only 'demo'") as caught:
        refuse_unsafe(site_of(address=address, **PAM))
    assert "hub.address" not in str(caught.value)
    assert "'c-local' is 'local', where everybody is one Unix user" in str(caught.value)
    assert "trust_everyone = true under [hub]" in str(caught.value)


def test_both_reasons_are_said_at_once():
    with pytest.raises(UsageError) as caught:
        configure(Config(), site_of(address="0.0.0.0", **PAM))
    assert "hub.address" in str(caught.value) and "hub.authenticator" in str(caught.value)


def test_one_local_cluster_among_others_is_enough():
    with pytest.raises(UsageError, match="'c-local' is 'local'"):
        refuse_unsafe(site_of("slurm", "local", **PAM, **ON_NODES))


@pytest.mark.parametrize("address", [*SAFE_ADDRESSES, *OPEN_ADDRESSES])
@pytest.mark.parametrize("who", [DEMO, PAM])
def test_a_site_that_trusts_everyone_may(address, who):
    assert is_allowed(site_of(address=address, trust_everyone=True, **who))
    assert is_allowed(site_of(address=address, **who)) == (
        who is DEMO and address in SAFE_ADDRESSES
    )


@pytest.mark.parametrize("address", OPEN_ADDRESSES)
def test_a_scheduler_with_users_of_its_own_may(address):
    assert is_allowed(site_of("slurm", address=address, **PAM, **ON_NODES))
    assert not is_allowed(site_of("local", address=address, **PAM, **ON_NODES))


def test_nodes_must_reach_the_hub():
    with pytest.raises(UsageError, match=r"hub\.internal_address: .* cannot reach 127\.0\.0\.1"):
        refuse_unsafe(site_of("slurm", **PAM))


def test_the_demos_password_opens_no_accounts_to_other_machines():
    assert is_allowed(site_of("slurm", **DEMO, **ON_NODES))
    with pytest.raises(UsageError, match="would open the accounts of all its users"):
        refuse_unsafe(site_of("slurm", address="0.0.0.0", **DEMO, **ON_NODES))


def test_a_demo_without_users_is_refused():
    with pytest.raises(UsageError, match="hub.users: nobody could sign in"):
        refuse_unsafe(site_of(users=[]))


def test_the_address_is_one_that_a_browser_takes():
    assert url_of(Hub(address="::1", port=80)) == "http://[::1]:80"
    assert url_of(Hub(address="localhost")) == "http://localhost:8000"
