"""Whatever a person asks, the job is the launcher in their own home, and no text of theirs."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.schedulers.base import JobKind, JobSpec
from labkit.settings import Profile, Site
from labkit_spawners.launcher import put_start_notebook
from labkit_spawners.options import parse_options
from labkit_spawners.session_job import NONCE, home_of, session_job
from labkit_spawners.tags import tag_of
from labkit_spawners.templates import START_NOTEBOOK
from tests.unit.fake_lab import GB, PROFILES, FakeScheduler, fake_lab, spawner_of

MARK = "written by a person; $(id)"
HOSTILE_PROFILES = {
    "notebook": Profile(title=MARK, description=MARK),
    MARK: Profile(title=MARK, description=MARK, cores=8, memory=2 * GB, time=3600),
}
ARGV = [sys.executable, "-P", "-m", "labkit_spawners.launcher"]


def job_of(site: Site, options: object, environment=None, person="ana") -> JobSpec:
    _, profile = parse_options(options, HOSTILE_PROFILES)
    return session_job(
        site,
        profile,
        person=person,
        environment=environment or {"JUPYTERHUB_API_TOKEN": "t"},
        server="",
        nonce="n",
    )


def homes(site: Site) -> Site:
    hub = site.hub.model_copy(update={"homes": site.state / "homes"})
    return site.model_copy(update={"hub": hub})


def test_a_job_is_the_launcher_with_what_the_profile_gives(site):
    job = job_of(homes(site), {"profile": MARK})
    assert (job.argv, job.kind) == (ARGV, JobKind.SESSION)
    assert (job.resources.num_cpus, job.resources.memory_bytes) == (8, 2 * GB)
    assert job.walltime_s == 3600
    assert job.folder == site.state / "homes" / "ana"


def test_no_options_change_the_job(site):
    site = homes(site)
    plain = job_of(site, {})
    keys = st.one_of(st.sampled_from(["profile", "argv", "cmd", "environment"]), st.text())
    values = st.one_of(st.sampled_from(list(HOSTILE_PROFILES)), st.text(), st.lists(st.text()))

    @given(st.dictionaries(keys, values, max_size=2))
    def ask(options):
        try:
            job = job_of(site, options)
        except UsageError:
            return
        assert (job.argv, job.folder) == (ARGV, plain.folder)
        assert job.environment == plain.environment
        assert MARK not in repr((job.argv, job.name, job.environment))

    ask()


def test_a_job_finds_what_the_hub_says_and_nothing_else_of_the_hubs(site, monkeypatch):
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret")
    said = {
        "JUPYTERHUB_API_TOKEN": "t",
        "JPY_API_TOKEN": "t",
        "CONFIGPROXY_AUTH_TOKEN": "secret",
        "LD_PRELOAD": "evil.so",
    }
    environment = job_of(homes(site), {}, said).environment
    assert environment["JUPYTERHUB_API_TOKEN"] == environment["JPY_API_TOKEN"] == "t"
    assert environment["HOME"] == str(site.state / "homes" / "ana")
    assert (environment["USER"], environment[NONCE]) == ("ana", "n")
    assert environment["LABKIT_SITE"] == site.settings
    assert not {"CONFIGPROXY_AUTH_TOKEN", "LD_PRELOAD"} & environment.keys()


def test_a_site_of_ones_own_names_no_settings(home, tmp_path):
    site = Site(state=tmp_path)
    assert "LABKIT_SITE" not in job_of(site, {}).environment
    assert job_of(site, {}).folder == home


def test_a_home_is_private_with_a_notebook_that_is_not_replaced(site):
    home = home_of(homes(site), "ana")
    assert home.stat().st_mode & 0o777 == 0o700
    put_start_notebook(home)
    notebook = home / START_NOTEBOOK
    assert notebook.stat().st_mode & 0o777 == 0o600
    notebook.write_text("mine")
    put_start_notebook(home)
    assert notebook.read_text() == "mine"


def test_what_a_scheduler_shows_of_the_nonce_is_not_the_nonce(site):
    job = job_of(site, {})
    assert job.tag == tag_of("n")
    assert job.environment[NONCE] == "n" not in job.tag


@pytest.mark.parametrize("name", ["..", "a/b", "", ".ssh", "{user}", "a\0b"])
def test_a_name_that_leads_elsewhere_has_no_home(site, name):
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        home_of(homes(site), name)


async def test_the_spawner_submits_that_job(site):
    scheduler = FakeScheduler()
    spawner = spawner_of(fake_lab(homes(site), scheduler, PROFILES))
    spawner.user_options = {"profile": "large"}
    spawner.environment = {"PATH": "/evil", "PYTHONPATH": "/evil"}
    await spawner._submit(spawner._new_record())
    (job,) = scheduler.submitted
    assert job.argv == ARGV
    assert job.resources.memory_bytes == PROFILES["large"].memory
    assert job.environment["JUPYTERHUB_USER"] == "ana"
    assert "/evil" not in job.environment.values()
