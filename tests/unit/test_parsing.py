"""From what was written to typed values: every error names key, found and allowed."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from labkit.errors import UsageError
from labkit.parsing import MemoryBytes, Seconds, allowed, field_at, parse, read_toml


class Oven(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    degrees: int = Field(ge=20, le=300)
    """How hot."""
    weight: Annotated[float, Field(gt=0, lt=5)] = 1
    mode: Literal["top", "fan"] | None = None
    time: Seconds = 60
    memory: MemoryBytes | None = None
    light: bool = False
    recipe: Path | None = None


class Kitchen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    oven: Oven = Oven(degrees=20)
    ovens: dict[str, Oven] = Field(default_factory=dict)
    cooks: list[str] = Field(default_factory=list, min_length=1)
    prices: dict[str, float] = {}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"degrees": 10}, "degrees: found 10; allowed is a whole number from 20 to 300."),
        ({"degrees": "hot"}, "degrees: found 'hot'; allowed is a whole number from 20 to 300."),
        ({"degrees": 20, "weight": 9}, "weight: found 9; allowed is a number above 0 below 5."),
        ({"degrees": 20, "mode": "grill"}, "mode: found 'grill'; allowed is one of 'top', 'fan'."),
        ({"degrees": 20, "light": "x"}, "light: found 'x'; allowed is true or false."),
        ({"degrees": 20, "recipe": 3}, "recipe: found 3; allowed is a file or folder."),
        ({"degrees": 20, "time": "soon"}, "time: 'soon' is no length of time."),
        ({"degrees": 20, "memory": "lots"}, "memory: 'lots' is no amount of memory."),
        ({}, "degrees: missing. How hot."),
        ({"degrees": 20, "lihgt": True}, "lihgt: unknown key. Did you mean 'light'? Known:"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_what_was_found_and_what_is_allowed(given, line):
    with pytest.raises(UsageError) as caught:
        parse(Oven, given, source="oven.toml")
    header, found = str(caught.value).split("\n")
    assert header == "Wrong in oven.toml:"
    assert found.strip().startswith(line)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"oven": {"degrees": 1}}, "oven.degrees: found 1; allowed is a whole number from 20"),
        ({"oven": 3}, "oven: found 3; allowed is a table of keys."),
        ({"ovens": {"left": {"degrees": 1}}}, "ovens.left.degrees: found 1; allowed is a whole"),
        ({"ovens": {"left": {"degrees": 20, "mod": 1}}}, "ovens.left.mod: unknown key. Did you"),
        ({"ovens": {"left": 3}}, "ovens.left: found 3; allowed is a table of keys."),
        ({"cooks": 3}, "cooks: found 3; allowed is a list with at least 1 in it."),
        ({"cooks": []}, "cooks: found []; allowed is a list with at least 1 in it."),
        ({"cooks": ["a", 3]}, "cooks.1: found 3; allowed is text."),
        ({"prices": 3}, "prices: found 3; allowed is a table."),
        ({"prices": {"soup": "x"}}, "prices.soup: found 'x'; allowed is a number."),
    ],
)
def test_inner_keys_are_named_by_their_path(given, line):
    with pytest.raises(UsageError) as caught:
        parse(Kitchen, given, source="x")
    assert str(caught.value).split("\n")[1].strip().startswith(line)


def test_every_wrong_key_has_a_line_of_its_own():
    with pytest.raises(UsageError) as caught:
        parse(Oven, {"degrees": 1, "weight": 9, "x": 1}, source="x")
    assert len(str(caught.value).split("\n")) == 4


def test_the_key_is_shown_as_the_person_wrote_it():
    with pytest.raises(UsageError, match="--degrees: found"):
        parse(Oven, {"degrees": 1}, source="x", shown=lambda key: f"--{key}")


def test_lists_in_lists_by_the_thousand_are_an_error_like_others():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="degrees: found a list that is too deep; allowed is"):
        parse(Oven, {"degrees": deep}, source="x")


def test_a_long_value_is_shown_cut():
    with pytest.raises(UsageError) as caught:
        parse(Oven, {"degrees": "x" * 500}, source="x")
    assert len(str(caught.value)) < 200


def test_values_are_read_as_people_write_them():
    oven = parse(Oven, {"degrees": 20, "time": "1h30m", "memory": "2 GB"}, source="x")
    assert (oven.time, oven.memory) == (5400, 2 * 2**30)


def test_what_a_key_path_leads_to():
    field = field_at(Kitchen, ["ovens", "left", "degrees"])
    assert field is not None and allowed(field) == "a whole number from 20 to 300"
    assert field_at(Kitchen, ["oven", "nothing"]) is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"= 3", "is not valid TOML"),
        (b'a = "\xff"', "is not UTF-8 text. Save it as UTF-8."),
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path, content, sentence):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_toml(path)
    assert str(path) in str(caught.value)


def test_a_mark_at_the_start_of_a_file_is_no_error(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 3")
    assert read_toml(path) == {"a": 3}
