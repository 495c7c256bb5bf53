"""`labkit site check` on a machine of one's own: the scheduler `local`, and what is wrong."""

from pathlib import Path

USERS = """
[hub]
users = ["ana"]
"""


def add(site, text: str) -> None:
    file = Path(site.settings)
    file.write_text(file.read_text() + text)


def test_a_site_that_is_right(labkit, site):
    add(site, USERS)
    said = labkit("site", "check")
    assert said.code == 0, said
    assert "✓ profiles.notebook: on the cluster 'here'" in said.out


def test_a_profile_that_never_fits_and_one_of_no_cluster(labkit, site):
    add(
        site,
        f"""{USERS}
[profiles.big]
title = "Too big"
gpus = 3

[profiles.lost]
title = "Lost"
cluster = "there"
""",
    )
    said = labkit("site", "check", "--json")
    assert said.code == 1
    wrong = {each["key"]: each["fix"] for each in said.json()["findings"] if each["fix"]}
    assert wrong.keys() == {"profiles.big", "profiles.lost.cluster"}
    assert "3 GPUs" in wrong["profiles.big"] and "Allowed: 'here'" in wrong["profiles.lost.cluster"]


def test_limits_that_name_what_is_not_there(labkit, site):
    add(site, f'{USERS}\n[limits.few]\ngroups = ["nobody-is-here"]\ndevices = ["h100"]\n')
    said = labkit("site", "check", "--json")
    assert said.code == 1
    wrong = {each["key"]: each["fix"] for each in said.json()["findings"] if each["fix"]}
    assert wrong.keys() == {"limits.few.groups", "limits.few.devices"}
    assert wrong["limits.few.devices"] == "No cluster has it. Allowed: none."


def test_a_type_of_device_that_is_not_there_is_told_and_harms_nothing(labkit, site):
    add(site, f'{USERS}\n[clusters.here.devices]\nh100 = {{ memory = "80 GB" }}\n')
    said = labkit("site", "check")
    assert said.code == 0, said
    assert "! clusters.here.devices.h100: no node has it" in said.out and "There: none." in said.out


def test_a_lab_that_would_not_start(labkit, site):
    said = labkit("site", "check")
    assert said.code == 1
    assert "✗ hub: the lab would not start" in said.out and "nobody could sign in" in said.out


def test_a_cluster_whose_keys_are_wrong(labkit, site):
    file = Path(site.settings)
    file.write_text(file.read_text().replace("num_cpus = 2", "num_cpu = 2") + USERS)
    said = labkit("site", "check")
    assert said.code == 1 and "Did you mean 'num_cpus'?" in said.out


def test_settings_that_cannot_be_read_are_wrong_usage(labkit, site):
    add(site, "[hub")
    said = labkit("site", "check")
    assert said.code == 2 and "is not valid TOML" in said.err


def test_people_who_are_not_there(labkit, site):
    said = labkit("site", "check", "--user", "nobody-of-that-name")
    assert said.code == 2 and "has no user" in said.err
