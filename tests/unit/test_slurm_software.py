"""In what a session runs: the argument list that its settings make, and what is handed in."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from labkit.schedulers._slurm_job import handed_into_image
from labkit.schedulers._slurm_software import command, in_image, module_lines
from labkit.schedulers._slurm_software_check import unusable
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.settings import Software

SECRET = "token-nobody-may-read"
JOB = JobSpec(
    name="labkit-session",
    kind=JobKind.SESSION,
    argv=["/opt/labkit/bin/python", "-P", "-m", "labkit_spawners.launcher"],
    folder=Path("/home/alice"),
    log=Path("/home/alice/log"),
    resources=JobResources(num_cpus=1, memory_bytes=2**30, num_gpus=1, accelerator="nvidia"),
    walltime_s=60,
    environment={
        "JUPYTERHUB_API_TOKEN": SECRET,
        "LABKIT_SITE": "/opt/labkit/etc/labkit/labkit.toml",
        "PATH": "/opt/labkit/bin",
    },
)
IMAGE = Software(image=Path("/opt/images/lab.sif"), bind=[Path("/data")])


def test_nothing_said_changes_nothing():
    assert command(Software(), JOB) == JOB.argv
    assert module_lines(Software()) == []


def test_another_python():
    other = Software(python=Path("/opt/other/bin/python"))
    assert command(other, JOB) == ["/opt/other/bin/python", *JOB.argv[1:]]


def test_an_image():
    assert command(IMAGE, JOB) == [
        *("/usr/bin/apptainer", "exec", "--cleanenv", "--nv"),
        *("--bind=/data", "--bind=/home/alice"),
        "--bind=/opt/labkit/etc/labkit/labkit.toml:/opt/labkit/etc/labkit/labkit.toml:ro",
        "--pwd=/home/alice",
        *("/opt/images/lab.sif", "python3", "-P", "-m", "labkit_spawners.launcher"),
    ]
    without = replace(JOB, resources=JobResources(num_cpus=1, memory_bytes=2**30))
    assert "--nv" not in command(IMAGE, without)


def test_no_secret_is_on_the_command_line():
    assert SECRET not in " ".join(command(IMAGE, JOB))
    handed = handed_into_image(
        {**JOB.environment, "CUDA_VISIBLE_DEVICES": "2", "SLURM_JOB_ID": "7", "LD_PRELOAD": "x"},
        dict(JOB.environment),
    )
    assert handed == {
        "APPTAINERENV_JUPYTERHUB_API_TOKEN": SECRET,
        "APPTAINERENV_LABKIT_SITE": "/opt/labkit/etc/labkit/labkit.toml",
        "APPTAINERENV_CUDA_VISIBLE_DEVICES": "2",
        "APPTAINERENV_SLURM_JOB_ID": "7",
    }


def test_runs_have_the_modules_but_keep_their_python():
    run = replace(JOB, kind=JobKind.RUN)
    assert command(IMAGE, run) == run.argv and not in_image(IMAGE, run)


def test_a_module_that_cannot_be_loaded_ends_the_job():
    (line,) = module_lines(Software(modules=["cuda/12.4"]))
    assert line.startswith("module load cuda/12.4 || {") and "exit 1" in line


@pytest.mark.parametrize(
    "wrong",
    [
        {"modules": ["cuda; rm -rf ~"]},
        {"modules": ["-f"]},
        {"modules": ["a'b"]},
        {"python": "venv/bin/python"},
        {"image": "docker://somewhere/else"},
        {"bind": ["/data:/etc:rw"]},
    ],
)
def test_what_is_no_name_or_path_is_refused(wrong):
    with pytest.raises(ValidationError):
        Software.model_validate(wrong)


MODULES = ["module() { [ $2 != lost ]; }"]


async def wrong(software: Software, prologue: list[str] = MODULES) -> dict[str, str]:
    return {key: why async for key, why in unusable(software, prologue)}


async def test_software_that_may_be_used_is_no_finding(tmp_path):
    image = tmp_path / "lab.sif"
    image.touch()
    there = Software(image=image, apptainer=Path("/bin/true"), modules=["cuda/12.4", "gcc"])
    assert await wrong(there) == {}
    assert await wrong(Software(python=Path(sys.executable))) == await wrong(Software()) == {}


async def test_software_that_may_not_be_used_is_named_by_its_key(tmp_path):
    plain = tmp_path / "python"
    plain.touch(mode=0o600)
    found = await wrong(Software(python=plain, modules=["gcc", "lost"]))
    assert found.keys() == {"python", "modules"}
    assert "no file that you may run" in found["python"] and "'lost'" in found["modules"]
    found = await wrong(Software(image=tmp_path / "x.sif", apptainer=tmp_path / "apptainer"))
    assert found.keys() == {"image", "apptainer"} and "is not there" in found["image"]
    assert "read" in (await wrong(Software(image=tmp_path)))["image"]


async def test_modules_are_not_tried_where_there_are_none():
    assert await wrong(Software(modules=["lost"]), ["unset -f module"]) == {}
