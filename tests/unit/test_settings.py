"""`labkit.toml` to a typed site; each wrong key is named by its path."""

from pathlib import Path

import pytest

from labkit.clusters import open_cluster
from labkit.errors import LabkitError, UsageError
from labkit.settings import BUILT_IN, Site, claim_folders, load_site, read_site


def read(folder: Path, text: str) -> Site:
    (folder / "labkit.toml").write_text(text)
    return read_site(folder / "labkit.toml")


EVERY_KEY = """\
name = "City lab"
runs = "runs"
state = "/var/lib/labkit"
catalogue = "~/models"
scratch = "/scratch"

[environment]
allow = ["HOME", "LAB_COLOUR"]
set = {LANG = "C.UTF-8"}

[clusters.here]
num_cpus = 3
memory = "2 GB"
num_gpus = 0

[clusters.there]
scheduler = "local"
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
    assert site.job_environment() == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LAB_COLOUR": "green",
        "LANG": "C.UTF-8",
    }


def test_the_example_has_every_key():
    named = [line.split(" = ")[0].strip("[]") for line in EVERY_KEY.splitlines()]
    assert {name.split(".")[0] for name in named} >= Site.model_fields.keys() - {"settings"}


def test_without_settings_there_is_a_site_of_ones_own(home):
    site = Site()
    assert site.settings == BUILT_IN
    assert site.runs == home / "labkit" / "runs"
    assert site.cluster(None)[0] == "local"


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
