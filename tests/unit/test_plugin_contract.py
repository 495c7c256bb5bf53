"""What every plug-in keeps, whoever wrote it: one section for each kind.

A new plug-in is found by its file's name and is tested here without a change.
"""

import asyncio
import inspect
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from labkit.accelerators import ACCELERATORS
from labkit.accelerators.base import Accelerator
from labkit.data.load import load_table
from labkit.errors import LabkitError, UsageError
from labkit.models.catalogue import TASK_BY_FAMILY
from labkit.parsing import allowed
from labkit.recipes import RECIPES
from labkit.recipes.base import Recipe
from labkit.resources import Resources
from labkit.runs.spec import RunSpec
from labkit.schedulers import SCHEDULERS
from labkit.schedulers.base import (
    JobEnd,
    JobKind,
    JobResources,
    JobSpec,
    Outcome,
    Scheduler,
    SchedulerPlugin,
)

# torch and the like would make the hub and the command line slow to start.
HEAVY = {"torch", "ray", "transformers", "panel", "ipywidgets"}


def heavy_modules_after(statement: str) -> set[str]:
    """Which heavy modules a fresh Python has imported after that statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return HEAVY & set(done.stdout.split())


# Accelerators.


@pytest.fixture(params=ACCELERATORS.names())
def accelerator_name(request) -> str:
    return request.param


@pytest.fixture
def accelerator(accelerator_name: str) -> Accelerator:
    return ACCELERATORS.load(accelerator_name)


def test_an_accelerator_is_named_after_its_file(accelerator, accelerator_name):
    assert accelerator.kind == accelerator_name
    assert accelerator.title
    assert accelerator.torch_device.isidentifier()


def test_devices_are_distinct_and_stay_the_same(accelerator):
    devices = accelerator.devices()
    for device in devices:
        assert device.index >= 0
        assert device.name and device.identifier
        assert 0 <= device.free_bytes <= device.memory_bytes
        assert device.memory_bytes > 0
    assert len({device.index for device in devices}) == len(devices)
    identifiers = [device.identifier for device in devices]
    assert len(set(identifiers)) == len(devices)
    assert [device.identifier for device in accelerator.devices()] == identifiers


def test_what_is_missing_is_said_in_sentences(accelerator):
    missing = accelerator.missing()
    assert missing is None or missing.endswith(".")


def test_an_environment_is_text_and_the_same_each_time(accelerator):
    for indices in ([], [0], [0, 3]):
        environment = accelerator.visible_environment(indices)
        assert all(isinstance(text, str) for item in environment.items() for text in item)
        assert environment == accelerator.visible_environment(indices)


def test_each_device_gives_one_reading_in_the_order_asked(accelerator):
    indices = [device.index for device in reversed(accelerator.devices())]
    readings = accelerator.meter(indices)
    assert [reading.index for reading in readings] == indices
    for reading in readings:
        assert reading.utilisation is None or 0 <= reading.utilisation <= 1
        assert reading.memory_used_bytes >= 0
        assert reading.power_w is None or reading.power_w >= 0


def test_no_device_asked_is_no_reading(accelerator):
    assert list(accelerator.meter([])) == []


def test_an_accelerator_is_light_to_ask(accelerator_name):
    assert not heavy_modules_after(
        "from labkit.accelerators import ACCELERATORS\n"
        f"ACCELERATORS.load({accelerator_name!r}).devices()"
    )


def test_an_unknown_accelerator_names_the_known_ones():
    with pytest.raises(UsageError, match="Did you mean 'nvidia'.*'cpu', 'nvidia'"):
        ACCELERATORS.load("nvida")


# Recipes.


@pytest.fixture(params=RECIPES.names())
def recipe_name(request) -> str:
    return request.param


@pytest.fixture
def recipe(recipe_name: str) -> Recipe:
    return RECIPES.load(recipe_name)


def test_a_recipe_is_named_after_its_file_and_says_what_it_is_for(recipe, recipe_name):
    assert recipe.name == recipe_name
    assert recipe.title
    assert recipe.summary.endswith(".") and recipe.examples.endswith(".")
    assert recipe.validates


@pytest.mark.parametrize("header", ["a", "text,label", "question,answer,input", "messages"])
def test_a_recipe_guesses_columns_of_any_table(recipe, tmp_path, header):
    (tmp_path / "a.csv").write_text(f"{header}\n{header}\n")
    guessed = recipe.guess_columns(load_table(tmp_path / "a.csv"))
    fields = recipe.Config.model_fields
    assert all(fields[key].json_schema_extra["column"] for key in guessed)
    assert set(guessed.values()) <= set(header.split(","))
    assert len(set(guessed.values())) == len(guessed)


def test_a_recipes_settings_are_light_to_read(recipe_name):
    assert not heavy_modules_after(
        f"from labkit.recipes import RECIPES\nRECIPES.load({recipe_name!r}).Config()"
    )


def test_every_setting_has_a_default_and_a_description(recipe):
    check_described(recipe.Config)
    assert recipe.Config().model_dump() == recipe.Config.model_validate({}).model_dump()


def test_settings_refuse_what_they_do_not_know_and_do_not_change(recipe):
    with pytest.raises(ValidationError):
        recipe.Config(no_such_setting=1)
    with pytest.raises(ValidationError):
        setattr(recipe.Config(), next(iter(recipe.Config.model_fields)), None)


def test_settings_are_not_called_as_the_runs_or_the_machines(recipe):
    """On the command line and in Python they stand side by side."""
    others = RunSpec.model_fields.keys() | Resources.model_fields.keys()
    assert not recipe.Config.model_fields.keys() & (others | {"wait", "dry_run", "json", "file"})


def test_a_recipe_has_every_step(recipe):
    steps = [name for name, step in vars(Recipe).items() if callable(step) and name[0] != "_"]
    assert {"prepare", "estimate", "train", "evaluate", "predict"} <= set(steps)
    for name in set(steps) - {"Config"}:
        wanted = list(inspect.signature(getattr(Recipe, name)).parameters)[1:]
        assert list(inspect.signature(getattr(recipe, name)).parameters) == wanted, name


def test_a_recipe_has_a_base_model_to_tune(recipe_name):
    assert recipe_name in TASK_BY_FAMILY.values()


def check_described(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert not field.is_required(), name
        assert field.description and field.description.endswith("."), name
        assert allowed(field), name


# Schedulers.


@pytest.fixture(params=SCHEDULERS.names())
def scheduler_name(request) -> str:
    return request.param


@pytest.fixture
def scheduler_plugin(scheduler_name: str) -> SchedulerPlugin:
    return SCHEDULERS.load(scheduler_name)


@pytest.fixture
async def scheduler(scheduler_name, scheduler_plugin, tmp_path) -> AsyncIterator[Scheduler]:
    """As it is without settings, in a folder of its own. What is left at the end is ended.

    What drives a cluster is tested here where there is one: `tests/slurm` brings one up.
    """
    (tmp_path / "state").mkdir(mode=0o700)
    scheduler = scheduler_plugin.open(scheduler_plugin.Settings(), tmp_path / "state")
    try:
        await scheduler.jobs()
    except LabkitError as error:
        if scheduler_name == "local":
            raise
        pytest.skip(str(error))
    yield scheduler
    for job_id in await scheduler.jobs():
        await scheduler.cancel(job_id)
    await until_ended(scheduler, list(await scheduler.jobs()))


def job(folder: Path, *argv: str, num_cpus: int = 1, memory_bytes: int = 2**26) -> JobSpec:
    return JobSpec(
        name="contract",
        kind=JobKind.RUN,
        argv=argv,
        folder=folder,
        log=folder / "log.txt",
        resources=JobResources(num_cpus=num_cpus, memory_bytes=memory_bytes),
        walltime_s=600,
        environment={"PATH": "/usr/bin:/bin", "COLOUR": "green"},
        grace_s=0,
    )


async def until_ended(scheduler: Scheduler, job_ids: list[str]) -> dict[str, JobEnd]:
    deadline = time.monotonic() + 30
    while len(found := await scheduler.ended(job_ids)) < len(job_ids):
        assert time.monotonic() < deadline, "a job did not end"
        await asyncio.sleep(0.05)
    return dict(found)


def test_every_setting_of_a_scheduler_has_a_description(scheduler_plugin):
    check_described(scheduler_plugin.Settings)
    with pytest.raises(ValidationError):
        scheduler_plugin.Settings(no_such_setting=1)


def test_a_scheduler_is_light_to_ask(scheduler_name):
    assert not heavy_modules_after(
        f"from labkit.schedulers import SCHEDULERS\nSCHEDULERS.load({scheduler_name!r}).Settings()"
    )


async def test_a_job_is_known_until_it_has_ended_and_how(scheduler, tmp_path, monkeypatch):
    monkeypatch.setenv("OF_WHO_SUBMITS", "secret")
    says = "echo $COLOUR $OF_WHO_SUBMITS; exit 3"
    job_id = await scheduler.submit(job(tmp_path, "sh", "-c", says))
    ends = await until_ended(scheduler, [job_id])
    assert job_id not in await scheduler.jobs()
    assert (ends[job_id].outcome, ends[job_id].exit_code) == (Outcome.FAILED, 3)
    # The environment that was given, nothing of who submits, and a log for its owner alone.
    assert (tmp_path / "log.txt").read_text() == "green\n"
    assert (tmp_path / "log.txt").stat().st_mode & 0o77 == 0


async def test_a_job_that_is_cancelled_was_cancelled(scheduler, tmp_path):
    job_id = await scheduler.submit(job(tmp_path, "sleep", "60"))
    info = (await scheduler.jobs())[job_id]
    assert (info.name, info.kind) == ("contract", JobKind.RUN)
    assert await scheduler.ended([job_id]) == {}
    await scheduler.cancel(job_id)
    await scheduler.cancel(job_id)
    ends = await until_ended(scheduler, [job_id])
    assert ends[job_id].outcome is Outcome.CANCELLED


async def test_absence_is_not_an_end(scheduler):
    assert await scheduler.ended(["never-heard-of", "12345678"]) == {}
    await scheduler.cancel("never-heard-of")


async def test_what_can_never_fit_is_refused_at_once(scheduler, tmp_path):
    for asked in ({"num_cpus": 100_000}, {"memory_bytes": 2**60}):
        with pytest.raises(UsageError, match="asked"):
            await scheduler.submit(job(tmp_path, "true", **asked))
        with pytest.raises(UsageError, match="asked"):
            await scheduler.expected_start(job(tmp_path, "true", **asked))
    assert await scheduler.jobs() == {}


async def test_what_is_free_is_never_more_than_what_there_is(scheduler):
    pools = await scheduler.capacity()
    assert pools
    for pool in pools:
        assert pool.nodes
        for node in pool.nodes:
            assert node.free.within(node.total)
