"""One spec, four faces: the flat keys of Python and the flags, the file, the form's model."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.cli.start import flag
from labkit.errors import UsageError
from labkit.recipes import RECIPES
from labkit.resources import Resources
from labkit.runs.spec import (
    RunSpec,
    flat_keys,
    read_spec,
    read_spec_file,
    spec_flags,
    spec_from_flat,
    spec_toml,
)

LEAST = {"recipe": "text-classification", "base": "minilm", "data": "/d/a.csv"}


def spec(**given: Any) -> RunSpec:
    return spec_from_flat({**LEAST, **given}, source="the command line", shown=flag)


def from_flags(arguments: list[str]) -> RunSpec:
    """The spec of those flags, read as the terminal reads them: all values are text."""
    flat: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        if word in ("--merge-labels", "--no-merge-labels"):
            flat["merge_labels"] = word == "--merge-labels"
        else:
            flat[word.removeprefix("--").replace("-", "_")] = next(words)
    return spec_from_flat(flat, source="the command line", shown=flag)


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1).filter(
    lambda name: len(name) <= 80 and name[0] != "-" and "/" not in name and name != "last"
)
flat_specs = st.fixed_dictionaries(
    {"data": st.just("/d/a.csv")},
    optional={
        "name": names,
        "test": st.just("/d/test.csv"),
        "seed": st.integers(0, 2**31 - 1),
        "nodes": st.integers(1, 100),
        "gpus_per_node": st.integers(0, 8),
        "memory": st.integers(2**28, 2**40),
        "time": st.integers(60, 86_400),
        "text": names,
        "method": st.sampled_from(["full", "lora", "head"]),
        "epochs": st.integers(1, 200),
        "learning_rate": st.floats(1e-8, 1),
        "merge_labels": st.booleans(),
        "unsure_below": st.floats(0, 1),
    },
)


@settings(deadline=None)
@given(flat_specs)
def test_each_face_gives_the_same_spec(tmp_path_factory, flat):
    asked = spec(**flat)
    file = tmp_path_factory.getbasetemp() / "spec.toml"
    file.write_text(spec_toml(asked))
    assert read_spec(file) == asked
    assert from_flags(spec_flags(asked)) == asked


def test_the_file_has_the_recipes_keys_under_settings_and_the_machines_under_resources():
    text = spec_toml(spec(epochs=3, gpus_per_node=1))
    top, resources, own = text.split("[")
    assert 'recipe = "text-classification"' in top
    assert "gpus_per_node = 1" in resources and "epochs = 3" in own


def test_flags_say_only_what_differs_from_the_defaults():
    assert spec_flags(spec(epochs=3, merge_labels=True, time="8h")) == [
        *("--recipe", "text-classification", "--base", "minilm", "--data", "/d/a.csv"),
        *("--epochs", "3", "--merge-labels"),
    ]


def test_paths_in_a_file_are_relative_to_the_file_and_flags_to_the_folder(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    file = tmp_path / "there" / "spec.toml"
    file.write_text('recipe = "text-classification"\nbase = "b"\ndata = "a.csv"\ntest = "/t.csv"')
    monkeypatch.chdir(tmp_path / "here")
    assert read_spec(file).data == tmp_path / "there" / "a.csv"
    assert read_spec(file).test == Path("/t.csv")
    beneath = read_spec_file(file)
    laid_over = spec_from_flat({"data": "a.csv"}, source="x", beneath=beneath)
    assert laid_over.data == tmp_path / "here" / "a.csv"


def test_home_in_a_path_is_written_out(home):
    assert spec(data="~/a.csv").data == home / "a.csv"


def test_in_a_folder_that_is_gone_nothing_can_be_relative(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="The folder that you are in is gone"):
        spec()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"epochs": 0}, "--epochs: found 0; allowed is a whole number from 1 to 200."),
        ({"batch_size": "x"}, "--batch-size: found 'x'; allowed is a whole number from 1 to 4096."),
        ({"memory": "lots"}, "--memory: 'lots' is no amount of memory."),
        ({"seed": -1}, "--seed: found -1; allowed is a whole number from 0 below 2147483648."),
        ({"epoch": 3}, "--epoch: text-classification has no such key. Did you mean 'epochs'?"),
        ({"recipe": None}, "--recipe: missing. Known: 'instruct', 'text-classification'."),
        ({"data": "a\0b"}, "--data: the path holds a NUL character"),
    ],
)
def test_on_the_command_line_an_error_names_the_flag(given, line):
    with pytest.raises(UsageError) as caught:
        spec(**given)
    assert str(caught.value).startswith(f"Wrong in the command line:\n  {line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[settings]\nepochs = 0", "settings.epochs: found 0; allowed is a whole number from 1"),
        ('[resources]\ntime = "1y"', "resources.time: '1y' is no length of time."),
        ("[resources]\nmemry = 3", "resources.memry: unknown key. Did you mean 'memory'?"),
        ("epochs = 3", "epochs: belongs under [settings]."),
        ("settings = 3", "settings: found 3; allowed is a table of keys."),
        ("dtaa = 3", "dtaa: unknown key. Did you mean 'data'?"),
    ],
)
def test_in_a_file_an_error_names_the_key_path(tmp_path, text, line):
    file = tmp_path / "spec.toml"
    file.write_text('recipe = "text-classification"\nbase = "b"\ndata = "a.csv"\n' + text)
    with pytest.raises(UsageError) as caught:
        read_spec(file)
    assert str(caught.value).startswith(f"Wrong in {file}:\n  {line}")


def test_a_flag_over_a_file_is_named_as_a_flag_and_the_file_by_its_key(tmp_path):
    file = tmp_path / "spec.toml"
    file.write_text('recipe = "text-classification"\nbase = "b"\n[settings]\nepochs = 0')
    with pytest.raises(UsageError) as caught:
        spec_from_flat({"time": "1y"}, source="x", beneath=read_spec_file(file), shown=flag)
    assert "--time: '1y'" in str(caught.value)
    assert "settings.epochs: found 0" in str(caught.value)


def test_a_flag_into_a_file_whose_table_is_none_is_an_error_of_the_file():
    beneath = {**LEAST, "settings": 3}
    with pytest.raises(UsageError, match="settings: found 3; allowed is a table of keys"):
        spec_from_flat({"epochs": 3}, source="x", beneath=beneath)


def test_a_spec_of_a_newer_labkit_says_what_to_do(tmp_path):
    file = tmp_path / "spec.toml"
    file.write_text('spec_version = 2\nrecipe = "text-classification"\nnews = 1')
    with pytest.raises(UsageError, match="of a newer labkit.*is 2.*reads 1. Use a newer labkit"):
        read_spec(file)


@pytest.mark.parametrize("recipe", [None, 3, "txt"])
def test_an_unknown_recipe_lists_the_known_ones(recipe):
    with pytest.raises(UsageError, match="Known: 'instruct', 'text-classification'"):
        spec(recipe=recipe)


@pytest.mark.parametrize("name", ["hotline", "類別", "a b", "x" * 80, "1"])
def test_a_name_may_be_anything_that_fits_on_a_line(name):
    assert spec(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "-x", "--foo", "a\nb", "a\x1b[31m", "a\u202eb", "x" * 81, " a", "last"]
)
def test_a_name_that_could_pass_for_something_else_is_refused(name):
    with pytest.raises(UsageError, match="--name: .* cannot be a run's name. Allowed: 1 to 80"):
        spec(name=name)


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_keys_are_disjoint_so_that_they_can_be_flat(recipe):
    config = RECIPES.load(recipe).Config
    faces = [set(RunSpec.model_fields), set(Resources.model_fields), set(config.model_fields)]
    assert sum(map(len, faces)) == len(set.union(*faces))
    assert len(flat_keys(recipe)) == sum(map(len, faces)) - len({"resources", "settings"})
