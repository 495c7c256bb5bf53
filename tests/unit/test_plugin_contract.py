"""What every plug-in keeps, whoever wrote it: one section for each kind.

A new plug-in is found by its file's name and is tested here without a change.
"""

import subprocess
import sys

import pytest

from labkit.accelerators import ACCELERATORS
from labkit.accelerators.base import Accelerator
from labkit.errors import UsageError

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
        assert 0 <= reading.utilisation <= 1
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
