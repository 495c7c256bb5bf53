"""`labkit-submit`, the one thing that the hub may do as others: all that it must refuse."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import LabkitError
from labkit_spawners.submit import MAX_REQUEST
from labkit_spawners.submit_helper import read_request
from tests.security.hostile import TEXTS, hostile_text, requests
from tests.slurm.slurm_lab import SlurmLab

TOKEN = "the-token-of-a-session"
GOOD = {
    "options": {"profile": "notebook"},
    "server": "",
    "nonce": "n" * 22,
    "environment": {"JUPYTERHUB_API_TOKEN": TOKEN},
}
AS_ALICE = ["sudo", "-n", "-u", "alice", "--"]


def helper(lab: SlurmLab) -> str:
    return str(lab.cluster.python.parent / "labkit-submit")


def refusal(done: Any) -> str:
    """What it said; it started nothing, and kept the token to itself."""
    assert done.returncode != 0, done.stdout
    assert TOKEN not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return json.loads(done.stdout)["error"] if done.stdout else done.stderr


HOSTILE = {
    "no JSON": ("{" * 500, "not as it must be"),
    "another type": (json.dumps([GOOD]), "not as it must be"),
    "nothing": ("", "not as it must be"),
    "a NUL": (json.dumps(GOOD) + "\0", "not as it must be"),
    "1 MB": (json.dumps({**GOOD, "server": "x" * 1_000_000}), "too long"),
    "no profile": (json.dumps({**GOOD, "options": {"profile": "root"}}), "Allowed: 'notebook'"),
    "a command": (json.dumps({**GOOD, "argv": ["id"]}), "argv"),
    "another's partition": (
        json.dumps({**GOOD, "options": {"profile": "notebook", "partition": "nowhere"}}),
        "Wrong in the options of the session",
    ),
    "a variable of its own": (
        json.dumps({**GOOD, "environment": {"LD_PRELOAD": "/tmp/evil.so"}}),
        "environment",
    ),
    "a path as a name": (json.dumps({**GOOD, "server": "../../.bashrc"}), "server"),
    "certificates that are text": (
        json.dumps({**GOOD, "certificates": {"key": "$(id)", "certificate": "", "trusted": ""}}),
        "certificates.key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_from_the_hub_only_a_request_is_taken(lab: SlurmLab, name: str):
    text, said = HOSTILE[name]
    done = lab.cluster.run([*AS_ALICE, helper(lab)], user="hub", input=text)
    assert said in refusal(done)


def refused_callers(lab: SlurmLab) -> dict[str, tuple[str | None, list[str], str]]:
    run, sudo = helper(lab), "sudo"
    return {
        "as root": (None, [run], "not of root"),
        "as the hub itself": ("hub", [run], "nor of a system account"),
        "as root by sudo": ("hub", [sudo, "-n", "-u", "root", "--", run], "password is required"),
        "as slurm by sudo": ("hub", [sudo, "-n", "-u", "slurm", "--", run], "password is required"),
        "with an argument": ("hub", [*AS_ALICE, run, "--site=/tmp/x"], "password is required"),
        "with a variable": (
            "hub",
            [sudo, "-n", "-u", "alice", "LABKIT_SITE=/tmp/x", run],
            "not allowed to set the following environment variables",
        ),
        "a shell": ("hub", [*AS_ALICE, "/bin/sh", "-c", "id"], "password is required"),
        "its Python": ("hub", [*AS_ALICE, str(lab.cluster.python), run], "password is required"),
        "bob for alice": ("bob", [*AS_ALICE, run], "password is required"),
    }


def test_nobody_else_may_and_nothing_besides(lab: SlurmLab):
    for name, (user, command, said) in refused_callers(lab).items():
        done = lab.cluster.run(command, user=user, input=json.dumps(GOOD))
        assert done.returncode != 0 and said in done.stdout + done.stderr, (name, done)


def test_what_the_caller_has_set_changes_nothing(lab: SlurmLab):
    """sudo drops the hub's variables, and the site is looked for where root alone may write."""
    evil = lab.cluster.folder / "evil"  # which all may read
    evil.mkdir(exist_ok=True)
    (evil / "labkit.toml").write_text("[profiles.root]\ntitle = 'x'\n")
    (evil / "labkit.py").write_text("raise SystemExit('evil code ran')")
    doctored = {
        "LABKIT_SITE": str(evil / "labkit.toml"),
        "XDG_CONFIG_HOME": str(evil),
        "PYTHONPATH": str(evil),
        "HOME": str(evil),
        "PATH": f"{evil}:{os.defpath}",
        "SLURM_CONF": "/dev/null",
    }
    asked = json.dumps({**GOOD, "options": {"profile": "root"}})
    done = lab.cluster.run([*AS_ALICE, helper(lab)], user="hub", input=asked, environment=doctored)
    assert "Allowed: 'notebook'" in refusal(done)
    assert lab.queue("JobId") == []


def spoil(lab: SlurmLab) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each way in which others than root could change the settings, and how to undo it."""
    file, folder = lab.settings, lab.settings.parent
    return {
        "all may write": (lambda: file.chmod(0o666), lambda: file.chmod(0o644)),
        "a group may": (lambda: file.chmod(0o664), lambda: file.chmod(0o644)),
        "the hub's": (lambda: os.chown(file, 950, 950), lambda: os.chown(file, 0, 0)),
        "its folder": (lambda: folder.chmod(0o777), lambda: folder.chmod(0o755)),
    }


def test_settings_that_others_can_change_are_not_believed(lab: SlurmLab):
    for name, (change, undo) in spoil(lab).items():
        change()
        try:
            done = lab.cluster.run([*AS_ALICE, helper(lab)], user="hub", input=json.dumps(GOOD))
        finally:
            undo()
        assert "can be changed by others than root" in refusal(done), name
    assert lab.queue("JobId") == []


ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(TEXTS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)
BAD_PARTS = st.one_of(
    st.tuples(st.just("options"), st.one_of(requests, ANY_JSON.filter(lambda v: v != {}))),
    st.tuples(st.sampled_from(["server", "nonce"]), st.sampled_from(TEXTS)),
    st.tuples(st.just("environment"), st.dictionaries(hostile_text, ANY_JSON, min_size=1)),
    st.tuples(st.just("certificates"), ANY_JSON.filter(lambda v: v is not None)),
    st.tuples(st.text().filter(lambda key: key not in {*GOOD, "certificates"}), ANY_JSON),
)  # fmt: skip


@settings(max_examples=max(200, settings().max_examples))
@given(
    st.one_of(st.binary(max_size=200), st.builds(lambda bad: {**GOOD, bad[0]: bad[1]}, BAD_PARTS))
)
def test_a_request_is_read_or_refused_and_never_in_between(request: bytes | dict[str, Any]):
    """Its reader alone, which is quick; a name that is well formed is the cluster's to judge."""
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    try:
        found = read_request(text)
    except LabkitError as error:
        assert TOKEN not in str(error) and len(str(error)) < MAX_REQUEST
        return
    assert isinstance(request, dict)
    options = found.options.model_dump(exclude_none=True)
    assert all(str(value).replace("-", "").replace("_", "").replace(".", "").isalnum()
               for key, value in options.items() if key != "profile"), options  # fmt: skip
