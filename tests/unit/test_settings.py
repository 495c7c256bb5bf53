"""`labkit.toml` to a typed site; each wrong key is named by its path."""

import tomllib
from pathlib import Path

import pytest

from labkit.clusters import open_cluster
from labkit.errors import LabkitError, UsageError
from labkit.settings import (
    BUILT_IN,
    DeviceType,
    Environment,
    Hub,
    Limits,
    Profile,
    Site,
    Software,
    claim_folders,
    load_site,
    read_site,
)


def read(folder: Path, text: str) -> Site:
    (folder / "labkit.toml").write_text(text)
    return read_site(folder / "labkit.toml")


EVERY_KEY = """\
name = "City lab"
runs = "runs"
state = "/var/lib/labkit"
catalogue = "~/models"
scratch = "/scratch"
network = "ib0"
ray_tls = false

[environment]
allow = ["HOME", "LAB_COLOUR"]
set = {LANG = "C.UTF-8"}

[clusters.here]
num_cpus = 3
memory = "2 GB"
num_gpus = 0

[clusters.there]
scheduler = "local"

[clusters.there.devices]
h100 = {memory = "80 GB"}
v100 = {memory = "32 GB", bfloat16 = false}

[hub]
address = "0.0.0.0"
port = 9000
internal_port = 9081
internal_address = "192.0.2.8"
proxy_port = 9001
authenticator = "pam"
users = ["ana", "ben"]
groups = ["lab"]
homes = "homes"
queue_timeout = "2d"
starting_timeout = "5m"
mend_every = "10m"
internal_ssl = true
subdomain_host = "https://lab.example.org"
trust_everyone = true

[limits.students]
groups = ["students"]
gpus = 1
shares = 4
cores = 8
memory = "32 GB"
nodes = 1
time = "4h"
profiles = ["small", "gpu"]
devices = ["h100"]
partitions = ["gpu"]
accounts = ["class"]
reservations = ["class-7"]
advanced = false

[profiles.small]
title = "Small"

[profiles.gpu]
title = "One GPU"
description = "To try a model by hand."
cluster = "there"
cores = 8
memory = "32 GB"
gpus = 1
device = "h100"
nodes = 2
time = "4h"
partition = "gpu"
account = "p123"
reservation = "class-7"
extend = "2h"
longest = "12h"

[profiles.gpu.software]
modules = ["cuda/12.4"]
python = "/opt/lab/bin/python"
image = "/opt/images/lab.sif"
apptainer = "/opt/bin/apptainer"
bind = ["/data"]
"""


def test_every_key_is_read(home, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_COLOUR", "green")
    monkeypatch.setenv("LAB_TOKEN", "secret")
    site = read(tmp_path, EVERY_KEY)
    assert site.name == "City lab"
    assert site.runs == tmp_path / "runs"
    assert site.state == Path("/var/lib/labkit")
    assert site.catalogue == home / "models"
    assert site.scratch == Path("/scratch")
    assert list(site.clusters) == ["here", "there"]
    assert site.clusters["here"].model_extra == {"num_cpus": 3, "memory": "2 GB", "num_gpus": 0}
    assert site.settings == str(tmp_path / "labkit.toml")
    assert site.hub == Hub(
        address="0.0.0.0",
        port=9000,
        internal_port=9081,
        internal_address="192.0.2.8",
        proxy_port=9001,
        authenticator="pam",
        users=["ana", "ben"],
        groups=["lab"],
        homes=tmp_path / "homes",
        queue_timeout=2 * 86400,
        starting_timeout=300,
        mend_every=600,
        internal_ssl=True,
        subdomain_host="https://lab.example.org",
        trust_everyone=True,
    )
    assert site.profiles == {
        "small": Profile(title="Small"),
        "gpu": Profile(
            title="One GPU",
            description="To try a model by hand.",
            cluster="there",
            cores=8,
            memory=32 * 2**30,
            gpus=1,
            nodes=2,
            device="h100",
            time=4 * 3600,
            partition="gpu",
            account="p123",
            reservation="class-7",
            extend=2 * 3600,
            longest=12 * 3600,
            software=Software(
                modules=["cuda/12.4"],
                python=Path("/opt/lab/bin/python"),
                image=Path("/opt/images/lab.sif"),
                apptainer=Path("/opt/bin/apptainer"),
                bind=[Path("/data")],
            ),
        ),
    }
    assert site.job_environment() == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LAB_COLOUR": "green",
        "LANG": "C.UTF-8",
    }


def test_the_example_has_every_key():
    given = tomllib.loads(EVERY_KEY)
    assert given.keys() == Site.model_fields.keys() - {"settings"}
    assert given["environment"].keys() == Environment.model_fields.keys()
    assert given["clusters"]["there"]["devices"]["v100"].keys() == DeviceType.model_fields.keys()
    assert given["hub"].keys() == Hub.model_fields.keys()
    assert given["limits"]["students"].keys() == Limits.model_fields.keys()
    assert given["profiles"]["gpu"].keys() == Profile.model_fields.keys()
    assert given["profiles"]["gpu"]["software"].keys() == Software.model_fields.keys()


def test_limits_name_profiles_that_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"limits.all.profiles: found 'x'. Allowed: 'notebook'."):
        read(tmp_path, '[limits.all]\nprofiles = ["notebook", "x"]')


def test_a_wrong_limit_is_named_by_its_path(tmp_path):
    with pytest.raises(UsageError, match="limits.all.memory: .*Write it as '8 GB'"):
        read(tmp_path, '[limits.all]\nmemory = "much"')
    with pytest.raises(UsageError, match="limits.all.gpu: unknown key. Did you mean 'gpus'?"):
        read(tmp_path, "[limits.all]\ngpu = 1")


@pytest.mark.parametrize("longest", ["", 'longest = "8h"'])
def test_an_extension_leads_to_something(tmp_path, longest):
    profile = f'[profiles.a]\ntitle = "A"\ntime = "8h"\nextend = "2h"\n{longest}\n'
    with pytest.raises(UsageError, match="profiles.a: extend needs longest, above time"):
        read(tmp_path, profile)


def test_without_settings_there_is_a_site_of_ones_own(home):
    site = Site()
    assert site.settings == BUILT_IN
    assert site.runs == home / "labkit" / "runs"
    assert site.cluster(None)[0] == "local"
    assert (site.hub.address, site.hub.authenticator) == ("127.0.0.1", "demo")
    assert not site.hub.trust_everyone
    assert list(site.profiles) == ["notebook"]


def test_a_folder_may_be_each_persons_own(home, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ana")
    site = read(tmp_path, 'runs = "runs/{user}"\ncatalogue = "/shared/{user}/models"')
    assert site.runs == tmp_path / "runs" / "ana"
    assert site.catalogue == Path("/shared/ana/models")


def test_a_person_whose_name_leads_elsewhere_has_no_such_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "../ben")
    with pytest.raises(UsageError, match=r"runs: '\.\./ben' cannot be the name of a folder"):
        read(tmp_path, 'runs = "runs/{user}"')


def test_the_site_in_force_is_the_named_one(site, tmp_path):
    assert load_site().settings == str(tmp_path / "labkit.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('nmae = "x"', "nmae: unknown key. Did you mean 'name'?"),
        ("runs = 4", "runs: found 4; allowed is a file or folder."),
        ('settings = "x"', "settings: unknown key."),
        ("clusters = {}", "clusters: found {}; allowed is a table of keys with at least 1"),
        ("[clusters]\nx = 3", "clusters.x: found 3; allowed is a table of keys."),
        ("[clusters.x]\nscheduler = 3", "clusters.x.scheduler: found 3; allowed is text."),
        ("[environment]\nallow = [3]", "environment.allow.0: found 3; allowed is text."),
        ("[hub]\nport = 0", "hub.port: found 0; allowed is a whole number from 1 to 65535."),
        ("[hub]\nadress = 'x'", "hub.adress: unknown key. Did you mean 'address'?"),
        ("[hub]\nusers = 'ana'", "hub.users: found 'ana'; allowed is a list."),
        ("[profiles]", "profiles: found {}; allowed is a table of keys with at least 1"),
        ("[profiles.x]", "profiles.x.title: missing. What a person picks"),
        ("[profiles.x]\ntitle = 'x'\ncores = 0", "profiles.x.cores: found 0; allowed is a whole"),
        ("[profiles.x]\ntitle = 'x'\nmemory = 'lots'", "profiles.x.memory: 'lots' is no amount"),
        ("[profiles.x]\ntitle = 'x'\ntime = 'now'", "profiles.x.time: 'now' is no length of"),
    ],
)
def test_a_wrong_key_is_named_with_the_file(tmp_path, text, line):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"Wrong in {tmp_path / 'labkit.toml'}:\n  {line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('memory = "lots"', "clusters.x.memory: 'lots' is no amount of memory."),
        ("num_cpu = 3", "clusters.x.num_cpu: unknown key. Did you mean 'num_cpus'?"),
        ('scheduler = "slrum"', "clusters.x.scheduler: No scheduler is called 'slrum'."),
    ],
)
def test_what_belongs_to_a_scheduler_is_named_by_its_path_too(tmp_path, text, line):
    site = read(tmp_path, f'state = "state"\n[clusters.x]\n{text}')
    with pytest.raises(UsageError) as caught:
        open_cluster(site)
    assert str(caught.value).startswith(f"Wrong in {tmp_path / 'labkit.toml'}:\n  {line}")


def test_an_unknown_cluster_lists_the_known_ones(site):
    with pytest.raises(UsageError, match=r"No cluster is called 'x' in .*labkit.toml. Known: here"):
        site.cluster("x")


def test_two_sites_on_one_folder_are_refused(site, tmp_path):
    claim_folders(site)
    (tmp_path / "two").mkdir()
    two = read(tmp_path / "two", f'runs = "{site.runs}"\nstate = "state"')
    with pytest.raises(LabkitError) as caught:
        claim_folders(two)
    assert str(caught.value) == (
        f"The folder {site.runs} belongs to the site of {site.settings}; {two.settings} names it "
        "too. Give one of them another folder under the key 'runs'."
    )


def test_a_folder_of_a_site_that_is_gone_may_be_taken_over(site, tmp_path):
    claim_folders(site)
    Path(site.settings).rename(tmp_path / "renamed.toml")
    claim_folders(read_site(tmp_path / "renamed.toml"))
    assert "renamed.toml" in (site.runs / ".site.json").read_text()


def test_a_state_folder_of_another_person_is_refused(site, monkeypatch):
    # The tests may run as root, whom no mode keeps out.
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    with pytest.raises(LabkitError, match=r"state/here is another person's.*LABKIT_SITE"):
        open_cluster(site)
