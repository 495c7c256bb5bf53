"""The Studio without a browser: from the task to the start, code, files and uploads."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from labkit.cli import main as cli
from labkit.models.catalogue import BaseEntry
from labkit.runs.spec import spec_from_flat
from labkit.settings import Site
from labkit_widgets.code import cell, command

from .fake_page import Person

# The journey.


def test_one_click_leads_to_the_start_with_the_sample(person: Person, home: Path):
    form = person.does("try_sample")["form"]
    assert form["step"] == "start"
    assert form["start"]["ready"] and form["start"]["problem"] == ""
    assert form["data"]["data"]["path"] == "~/labkit/samples/hotline.csv"
    sample = home / "labkit/samples/hotline.csv"
    assert sample.stat().st_mode & 0o777 == 0o600
    columns = {role["key"]: role["value"] for role in form["data"]["columns"]}
    assert columns == {"text": "text", "label": "category"}
    assert {fact["title"] for fact in form["start"]["check"]["facts"]} >= {"Takes", "Starts"}


def test_without_a_base_model_the_sample_leads_to_what_to_do(site: Site, home: Path):
    form = Person().does("try_sample")["form"]
    assert form["step"] == "base"
    assert form["base"]["choices"] == []
    assert form["base"]["catalogue"] == str(site.catalogue)


def test_a_table_of_ones_own_is_shown_guessed_and_checked(person: Person, mine: Path):
    form = person.does("go_to", step="data")["form"]
    assert [entry["name"] for entry in form["data"]["listing"]["entries"]] == [mine.name]
    data = person.does("choose_file", path=mine.name)["form"]["data"]
    assert data["data"]["name"] == mine.name
    assert data["preview"]["rows"][0]["number"] == 2
    assert data["preview"]["rows"][0]["cells"][0].startswith("text 0")
    assert data["check"]["usable"]
    assert sum(part["rows"] for part in data["check"]["parts"]) == 60
    assert {item["label"] for item in data["check"]["labels"]} == {"c", "d"}


def test_findings_are_said_with_row_numbers_and_the_forms_own_names(person: Person, home: Path):
    rows = [f"text {n},{'Cat' if n % 2 else 'dog'}" for n in range(60)]
    (home / "a.csv").write_text("text,label\n" + "\n".join([*rows, "once more,cat", ",dog"]))
    check = person.does("choose_file", path="a.csv")["form"]["data"]["check"]
    told = {found["message"]: found for found in check["findings"]}
    blank = next(found for said, found in told.items() if "no text" in said)
    assert blank["rows"] == "Rows 63."
    assert any("“Merge labels”" in found["fix"] for found in told.values())


def test_a_table_that_cannot_be_read_is_said_and_another_can_be_chosen(person: Person, home: Path):
    (home / "empty.csv").write_text("")
    data = person.does("choose_file", path="empty.csv")["form"]["data"]
    assert "is empty" in data["problem"]
    assert not person.form["start"]["ready"]
    data = person.does("drop_file")["form"]["data"]
    assert data["data"] is None and data["problem"] == ""


def test_a_wrong_column_is_said_and_mended(person: Person, mine: Path):
    person.does("choose_file", path=mine.name)
    problem = person.does("set_value", key="label", value="text")["form"]["data"]["problem"]
    assert "cannot both be" in problem
    data = person.does("set_value", key="label", value="label")["form"]["data"]
    assert data["problem"] == "" and data["check"]["usable"]


def test_wrong_settings_say_what_is_allowed_beside_the_field(person: Person, mine: Path):
    person.does("choose_file", path=mine.name)
    form = person.does("set_value", key="epochs", value="0")["form"]
    (epochs,) = [f for f in form["settings"]["sight"] if f["key"] == "epochs"]
    assert epochs["wrong"] == "found '0'; allowed is a whole number from 1 to 200."
    assert not person.does("go_to", step="start")["form"]["start"]["ready"]
    form = person.does("set_value", key="epochs", value="")["form"]
    assert form["start"]["ready"]


def test_every_setting_of_the_recipe_is_in_the_form_once(person: Person):
    form = person.form
    config = set(person.core.form.config.model_fields)  # type: ignore[union-attr]
    shown = [f["key"] for part in ("sight", "more") for f in form["settings"][part]]
    assert sorted(shown) == sorted(config - {"text", "label"})
    assert [f["key"] for f in form["settings"]["sight"]] == ["method", "epochs", "learning_rate"]
    assert all(f["help"] for f in form["settings"]["more"])


def test_a_test_file_is_optional(person: Person, mine: Path, home: Path):
    person.does("choose_file", path=mine.name)
    (home / "test.csv").write_text("text,label\na new cat,c\na new dog,d\n")
    data = person.does("choose_file", path="test.csv", role="test")["form"]["data"]
    assert data["test"]["name"] == "test.csv"
    assert data["check"]["parts"][2]["rows"] == 2
    data = person.does("drop_file", role="test")["form"]["data"]
    assert data["test"] is None and data["check"]["parts"][2]["rows"] > 2


def test_choosing_a_task_turns_no_page(person: Person):
    assert person.does("choose_task", recipe="text-classification")["form"]["step"] == "task"


def test_a_file_that_arrives_late_finds_the_folder_listed(person: Person, mine: Path):
    person.core.form.take_file(mine, "data")  # type: ignore[union-attr]
    assert person.form["step"] == "data"
    assert [entry["name"] for entry in person.form["data"]["listing"]["entries"]] == [mine.name]


# Code.


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": "7", "learning_rate": "0.001", "merge_labels": True},
        {"name": "it's a 'name' 表", "memory": "4 GB", "time": "45m", "seed": "3"},
        {"cluster": "here", "nodes": "1", "cpus_per_node": "2"},
    ],
)
def test_cell_and_command_mean_the_same_run(
    person: Person, mine: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    person.does("choose_file", path=mine.name)
    for key, value in changes.items():
        person.does("set_value", key=key, value=value)
    wanted = person.core.form.spec()  # type: ignore[union-attr]
    code = person.form["code"]
    assert cell(wanted) == code["cell"] and command(wanted) == code["command"]

    from labkit.api import Task

    monkeypatch.setattr(Task, "run", lambda task: task)
    made: dict[str, Any] = {}
    exec(code["cell"], made)
    assert made["run"].spec == wanted

    words = shlex.split(code["command"].replace("\\\n", " "))
    assert words[:3] == ["labkit", "run", "start"]
    assert cli.main([*words[1:], "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert spec_from_flat({}, source="test", beneath=said["spec"]) == wanted


def test_only_what_differs_from_the_defaults_is_in_the_code(person: Person, mine: Path):
    person.does("choose_file", path=mine.name)
    person.does("set_value", key="memory", value="4 GB")
    assert person.form["code"]["cell"].splitlines() == [
        "from labkit import TextClassification",
        "",
        "run = TextClassification(",
        "    base='thin',",
        '    data="~/my table\'s 表格.csv",',
        "    memory='4 GB',",
        ").run()",
    ]


def test_a_cell_opens_as_a_form_again(site: Site, base: BaseEntry, mine: Path):
    from labkit.api import task_class
    from labkit_widgets import Studio

    task = task_class("TextClassification")(base="thin", data=str(mine), epochs=7)
    for studio in (task.form(), Studio(task), Studio(base="thin", data=str(mine), epochs=7)):
        assert studio._core.form and studio._core.form.spec() == task.spec
        studio.close()


def test_an_unknown_key_of_a_cell_is_said(site: Site, base: BaseEntry, mine: Path, person: Person):
    person.core.fill({"data": str(mine), "epoch": 7})
    assert "'epoch'" in person.sees["notice"]["text"]
    assert person.form["data"]["data"]["name"] == mine.name


# Files and uploads.


@pytest.mark.parametrize("path", ["../x.csv", "/etc/passwd", "a/../../x.csv", "\0.csv"])
def test_no_path_leads_out_of_the_home_folder(person: Person, path: str):
    for do in ("choose_file", "open_folder"):
        assert "home folder" in person.does(do, path=path)["notice"]["text"]


def test_hidden_files_and_other_kinds_are_not_shown(person: Person, home: Path):
    for name in (".hidden.csv", "notes.docx", "b.CSV"):
        (home / name).write_text("x")
    (home / "folder").mkdir()
    entries = person.does("go_to", step="data")["form"]["data"]["listing"]["entries"]
    assert [entry["name"] for entry in entries] == ["folder", "b.CSV"]
    listing = person.does("open_folder", path="folder")["form"]["data"]["listing"]
    assert listing["entries"] == [] and listing["parents"][0]["name"] == "folder"


def begin(person: Person, name: str, content: bytes, root: Path) -> dict[str, Any]:
    person.does("hello", root=str(root))
    person.does("upload", name=name, size=len(content), page="p")
    return person.sent[-1]["upload"]


def test_an_upload_takes_a_new_name_and_is_then_the_data(person: Person, home: Path, pets: Path):
    content = pets.read_bytes()
    for name in ('我的 "data" it\'s.csv', '我的 "data" it\'s (2).csv'):
        place = begin(person, '我的 "data" it\'s.csv', content, home)
        assert place["url"] == f"labkit/uploads/{name}"
        file = home / place["url"]
        assert file.read_text() == place["secret"]
        file.write_bytes(content)
        form = person.does("uploaded", ticket=place["ticket"])["form"]
        assert form["data"]["data"]["name"] == name
        assert form["data"]["check"]["usable"]
        assert file.stat().st_mode & 0o777 == 0o600


def test_an_upload_to_a_server_with_another_root_is_refused(person: Person, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    person.does("hello", root=str(elsewhere))
    told = person.does("upload", name="a.csv", size=3, page="p")["notice"]["text"]
    assert str(elsewhere) in told and "Nothing was uploaded" in told
    assert person.sent == []


def test_the_servers_root_may_lie_above_the_home(person: Person, home: Path):
    assert begin(person, "a.csv", b"x", home.parent)["url"] == "home/labkit/uploads/a.csv"


def test_an_upload_that_is_cut_short_or_given_up_leaves_nothing(person: Person, home: Path):
    place = begin(person, "a.csv", b"0123456789", home)
    assert "arrived" in person.does("uploaded", ticket=place["ticket"])["notice"]["text"]
    place = begin(person, "a.csv", b"0123456789", home)
    told = person.does("upload_failed", ticket=place["ticket"], why="the network went.")["notice"]
    assert told["text"] == "a.csv could not be uploaded: the network went."
    assert list((home / "labkit/uploads").iterdir()) == []
    assert "not known" in person.does("uploaded", ticket="nonsense")["notice"]["text"]


def test_only_tables_are_uploaded(person: Person, home: Path):
    person.does("hello", root=str(home))
    assert "no table" in person.does("upload", name="a.exe", size=3, page="p")["notice"]["text"]
