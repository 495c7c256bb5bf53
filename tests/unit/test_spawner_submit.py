"""What the hub may ask in a person's name, and whom the helper believes."""

import asyncio
import getpass
import json
import os
import pwd
import sys
from pathlib import Path

import pytest

from labkit.errors import LabkitError, UsageError
from labkit.schedulers._slurm_submit import arguments, gres, refusal, script
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.settings import Cluster, Site
from labkit_spawners import submit
from labkit_spawners.session_job import unix_home
from labkit_spawners.submit import MAX_REQUEST, _answer, as_the_hub, submit_as_self
from labkit_spawners.submit_helper import (
    become_myself,
    main,
    read_request,
    trusted_site,
)
from tests.unit.fake_lab import FakeScheduler, fake_lab

SECRET = "token-nobody-may-read"
GOOD = {
    "options": {"profile": "notebook"},
    "server": "",
    "nonce": "n" * 22,
    "environment": {"JUPYTERHUB_API_TOKEN": SECRET, "JPY_API_TOKEN": SECRET},
}


def text(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_request_is_read():
    request = read_request(text())
    assert request.options.profile == "notebook"
    assert request.environment["JUPYTERHUB_API_TOKEN"] == SECRET


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ["sh"]},
        {"options": {"profile": "notebook", "cores": 0}},
        {"options": {"profile": "notebook", "cores": "4"}},
        {"options": {"profile": "notebook", "account": "--wrap=id"}},
        {"options": {"profile": "notebook", "argv": ["sh"]}},
        {"options": None},
        {"server": "../../etc"},
        {"server": "a\nb"},
        {"nonce": "$(id)"},
        {"nonce": "short"},
        {"environment": {"LD_PRELOAD": "evil.so"}},
        {"environment": {"JUPYTERHUB_X\nPATH": "evil"}},
        {"environment": {"JUPYTERHUB_API_TOKEN": f"{SECRET}\0"}},
        {"environment": {"JUPYTERHUB_API_TOKEN": 7}},
        {"environment": [SECRET]},
    ],
)
def test_a_request_that_is_not_as_it_must_be_is_refused_without_its_secrets(changes):
    with pytest.raises(LabkitError, match="not as it must be") as caught:
        read_request(text(**changes))
    assert SECRET not in str(caught.value)


async def test_a_request_that_only_asks_starts_nothing(site):
    scheduler = FakeScheduler()
    lab = fake_lab(site, scheduler)
    request = read_request(text(check_only=True))
    assert await submit_as_self(lab.site, scheduler, "ana", request) == ""
    assert scheduler.submitted == []


@pytest.mark.parametrize("junk", [b"", b"[]", b"\xff\xfe", b"{" * 5000])
def test_junk_is_refused(junk):
    with pytest.raises(LabkitError, match="not as it must be"):
        read_request(junk)


def test_a_long_request_is_refused_unread():
    with pytest.raises(LabkitError, match="too long"):
        read_request(b" " * (MAX_REQUEST + 1))


@pytest.mark.parametrize("uid", [0, 1, 999])
def test_sessions_are_not_of_system_accounts(uid, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(LabkitError, match="not of root, nor of a system account"):
        become_myself()


def test_nor_of_two_users_at_once(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 2001)
    monkeypatch.setattr(os, "geteuid", lambda: 2002)
    with pytest.raises(LabkitError, match="Sessions are of people"):
        become_myself()


def test_an_argument_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["labkit-submit", "--site=/tmp/evil.toml"])
    assert main() == 1
    assert "takes no arguments" in json.loads(capsys.readouterr().out)["error"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of this Python environment, which belong to whoever runs the tests."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    file = tmp_path / "etc" / "labkit" / "labkit.toml"
    file.parent.mkdir(parents=True)
    file.write_text('name = "trusted"')
    return file


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make what only root can change")
def test_settings_that_only_root_can_change_are_believed(settings, monkeypatch):
    monkeypatch.setenv("LABKIT_SITE", "/tmp/evil.toml")
    assert trusted_site().name == "trusted"


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_settings_that_others_can_write_are_not_believed(settings, mode):
    settings.chmod(mode)
    with pytest.raises(LabkitError, match="can be changed by others than root"):
        trusted_site()


def test_nor_are_those_in_a_folder_that_others_can_write(settings):
    settings.parent.chmod(0o777)
    with pytest.raises(LabkitError, match="can be changed by others than root"):
        trusted_site()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_nor_are_those_of_another_user(settings):
    os.chown(settings, 2001, 2001)
    with pytest.raises(LabkitError, match="can be changed by others than root"):
        trusted_site()


def test_who_submits_as_whom():
    site = Site(clusters={"here": Cluster(), "there": Cluster(scheduler="slurm")})
    assert as_the_hub(site, "here", "somebody")
    assert as_the_hub(site, "there", getpass.getuser())
    assert not as_the_hub(site, "there", "somebody")


@pytest.mark.parametrize("name", ["nobody-of-that-name", "-u", "", "root\0", "#0"])
def test_only_users_of_the_cluster_have_a_home_there(name):
    with pytest.raises(UsageError, match="has no user"):
        unix_home(name)
    assert unix_home(getpass.getuser()) == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_the_helpers_answer():
    assert _answer(b'{"job_id": "7"}', b"") == "7"
    with pytest.raises(LabkitError, match="^no such thing$"):
        _answer(b'{"error": "no such thing"}', b"")
    with pytest.raises(LabkitError, match="could not be submitted in your name.*not allowed"):
        _answer(b"", b"hub is not allowed to run that")


def job(**changes) -> JobSpec:
    given = {
        "name": "labkit-session",
        "kind": JobKind.SESSION,
        "argv": ["python"],
        "folder": Path("/home/alice"),
        "log": Path("/home/al%ice/a b'\n.log"),
        "resources": JobResources(
            num_cpus=2, memory_bytes=2**30 + 1, num_gpus=2, accelerator="nvidia", device="h100"
        ),
        "walltime_s": 3601,
        "tag": "t",
    }
    return JobSpec(**{**given, **changes})


def test_what_sbatch_is_given():
    given = arguments(job(partition="gpu", account="p1", reservation="class"))
    assert {
        "--export=NIL",
        "--no-requeue",
        "--cpus-per-task=2",
        "--mem=1025M",
        "--time=61",
        "--gres=gpu:h100:2",
        "--comment=labkit:session:t",
        "--partition=gpu",
        "--account=p1",
        "--reservation=class",
        "--output=/home/al%%ice/a b'\n.log",
    } <= set(given)
    assert not [option for option in arguments(job()) if option.startswith("--partition")]
    assert all(option.startswith("--") for option in given)


def test_nodes_that_talk_with_each_other_are_one_persons_unless_the_site_shares_them():
    assert "--exclusive=user" in arguments(job(others=["node"]))
    assert "--exclusive=user" not in arguments(job(others=["node"]), share_nodes=True)
    assert "--exclusive=user" not in arguments(job())


def test_a_run_is_warned_before_its_time_is_over_and_a_session_has_all_of_its_time():
    def signals(kind: JobKind) -> list[str]:
        return [o for o in arguments(job(kind=kind)) if o.startswith("--signal")]

    assert signals(JobKind.RUN) == ["--signal=B:TERM@30"]
    assert signals(JobKind.SESSION) == []


def test_a_device_a_share_and_any_device():
    assert (gres("h100", 1), gres("shard", 2)) == ("gpu:h100:1", "shard:2")
    assert gres("", 1) == gres("gpu", 1) == "gpu:1"


def test_the_script_quotes_paths():
    lines = script(["module load cuda"], "/opt/py thon", Path("/home/$(id)/j'.job")).splitlines()
    assert lines[:3] == ["#!/bin/bash", "umask 077", "module load cuda"]
    assert lines[3] == (
        "exec '/opt/py thon' -P -m labkit.schedulers._slurm_job '/home/$(id)/j'\"'\"'.job'"
    )


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Requested time limit is invalid (missing or exceeds some limit)", "so much time"),
        ("Requested node configuration is not available", "No node of the cluster has as much"),
        ("Memory specification can not be satisfied", "No node of the cluster has as much"),
        ("More processors requested than permitted", "No node of the cluster has as much"),
        ("Invalid account or account/partition combination specified", "That account is not"),
        ("invalid partition specified: foo", "no such partition"),
        ("Job violates accounting/QOS policy (job submit limit)", "more than your limits"),
    ],
)
def test_refusals_in_words(said, advice):
    error = refusal(job(), f"sbatch: error: Batch job submission failed: {said}")
    assert error is not None
    assert "1 node with 2 cores, 1.0 GB, 2 × h100 for 1 h 00 min asked." in str(error)
    assert advice in str(error)


def test_a_fault_of_slurms_is_no_refusal():
    assert refusal(job(), "Unable to contact slurm controller (connect failure)") is None


async def test_a_helper_that_does_not_answer_is_told_of_though_it_may_not_be_ended(monkeypatch):
    """`sudo` is root's: the hub may not end it."""
    asked: list[asyncio.subprocess.Process] = []

    def refuse(process: asyncio.subprocess.Process) -> None:
        asked.append(process)
        raise PermissionError

    monkeypatch.setattr(asyncio.subprocess.Process, "kill", refuse)
    monkeypatch.setattr(submit, "_ANSWER_WITHIN_S", 0.1)
    request = read_request(text())
    with pytest.raises(LabkitError, match="no answer in time"):
        await submit.ask_helper([sys.executable, "-c", "import time; time.sleep(60)"], request)
    (process,) = asked
    process.terminate()
    await process.wait()
