"""Python looks for garbage again once what is imported is imported, whatever came of it."""

import gc
from collections.abc import Iterator

import pytest

from labkit.importing import importing


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    if not was_enabled:
        gc.disable()


def test_it_rests_meanwhile_and_goes_on_after_it():
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_import_that_failed():
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_where_it_rested_before_it_rests_on():
    gc.disable()
    with importing():
        pass
    assert not gc.isenabled()
