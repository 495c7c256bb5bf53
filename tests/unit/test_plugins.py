"""Errors with suggestions, and plug-ins found by file name and by entry point."""

from importlib.metadata import EntryPoint

import pytest

from labkit import plugins
from labkit.errors import LabkitError, UsageError, did_you_mean, known_names
from labkit.plugins import Plugins
from labkit.recipes import RECIPES


def test_the_nearest_known_name_is_suggested():
    assert did_you_mean("epoch", ["epochs", "seed"]) == " Did you mean 'epochs'?"
    assert did_you_mean("xyz", ["epochs", "seed"]) == ""
    assert did_you_mean("epochs", []) == ""


def test_known_names_are_listed():
    assert known_names(["a", "b"]) == "'a', 'b'"
    assert known_names([]) == "none"


def test_wrong_usage_and_failed_work_have_their_own_exit_codes():
    assert (UsageError("").exit_code, LabkitError("").exit_code) == (2, 1)


def test_modules_are_plugins_but_for_the_base_and_private_ones():
    assert "text-classification" in RECIPES.names()
    assert not {"base", "__init__"} & set(RECIPES.names())


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError) as caught:
        RECIPES.load("text-clasification")
    assert str(caught.value) == (
        "No recipe is called 'text-clasification'. Did you mean 'text-classification'? "
        "Known: 'instruct', 'text-classification'."
    )


def test_a_plugin_from_outside_is_found_by_its_entry_point(monkeypatch):
    entry = EntryPoint("sorting", "labkit.units:parse_memory", "labkit.recipes")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry])
    plugins._loaders.cache_clear()
    try:
        found: Plugins = Plugins(package="labkit.recipes", constant="RECIPE", kind="recipe")
        assert found.names() == ["instruct", "sorting", "text-classification"]
        assert found.load("sorting")("1 KB") == 1024
        assert found.all()["text-classification"].name == "text-classification"
    finally:
        plugins._loaders.cache_clear()
