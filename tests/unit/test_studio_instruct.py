"""The Studio without a browser, for language models: what it asks, and what it says at once."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("anywidget")
pytest.importorskip("torch")

from labkit.cli import main as cli
from labkit.demo import SAMPLES, toy_command
from labkit.errors import LabkitError
from labkit.models.catalogue import add_model, find_model, inspect_folder
from labkit.recipes.base import Look, RowLook
from labkit.runs.spec import RunSpec, spec_from_flat
from labkit.settings import Site
from labkit_widgets import see

from .fake_page import Person
from .tiny_decoder import save_tiny_decoder, write_questions


@pytest.fixture
def add_decoder(site: Site, tmp_path: Path) -> Callable[..., Path]:
    """Put a folder that looks like a decoder's into the catalogue; made without torch."""

    def add(name: str, template: str | None = "{{ messages }}") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2,
                  "max_position_embeddings": 2048}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        save_file({"a": np.zeros((3, 4), np.float32)}, folder / "model.safetensors")
        found = inspect_folder(folder, name=name)
        add_model(site.catalogue, found.model_copy(update={"languages": ["en", "zh-Hant"]}))
        return folder

    return add


@pytest.fixture
def asker(person: Person, add_decoder: Callable[..., Path], home: Path) -> Person:
    """Somebody who has chosen the task, with a decoder and a table of questions at hand."""
    add_decoder("talker")
    write_questions(home / "qa.csv")
    person.does("choose_task", recipe="instruct")
    return person


def columns(person: Person) -> dict[str, str]:
    return {role["key"]: role["value"] for role in person.form["data"]["columns"]}


# The task.


def test_both_tasks_are_there_and_texts_with_labels_come_first(person: Person):
    task = person.form["task"]
    assert [choice["key"] for choice in task["choices"]] == ["text-classification", "instruct"]
    assert task["chosen"] == "text-classification"


def test_another_task_keeps_the_file_and_what_holds_there_too(asker: Person, home: Path):
    asker.does("choose_file", path="qa.csv")
    for key, value in {"learning_rate": "0.003", "system": "Be kind.", "memory": "4 GB"}.items():
        asker.does("set_value", key=key, value=value)
    asker.does("choose_task", recipe="text-classification")
    given = asker.core.form.given  # type: ignore[union-attr]
    assert given == {
        "recipe": "text-classification", "base": "thin", "data": str(home / "qa.csv"),
        "text": "question", "label": "answer", "learning_rate": "0.003", "memory": "4 GB",
    }  # fmt: skip
    asker.does("set_value", key="method", value="head")  # which the other does not have
    asker.does("choose_task", recipe="instruct")
    given = asker.core.form.given  # type: ignore[union-attr]
    assert given["base"] == "talker" and "method" not in given and "text" not in given
    assert asker.form["data"]["check"]["usable"]


def test_a_task_without_sample_data_offers_none(asker: Person, monkeypatch: pytest.MonkeyPatch):
    assert asker.form["sample"]
    monkeypatch.delitem(SAMPLES, "instruct")
    assert not asker.form["sample"]
    assert "no sample data for 'Answers" in asker.does("try_sample")["notice"]["text"]


# The base model.


def test_only_bases_that_fit_with_what_matters_of_them(asker: Person, add_decoder):
    add_decoder("mute", template=None)
    asker.does("go_to", step="base")
    told = {choice["key"]: choice["facts"] for choice in asker.form["base"]["choices"]}
    assert list(told) == ["mute", "talker"]
    assert told["talker"][1:] == [
        "licence unknown", "en, zh-Hant", "reads 2,048 tokens", "brings a chat template",
    ]  # fmt: skip
    assert told["mute"][-1] == "has no chat template: you will be asked for one"


def test_where_there_is_room_stands_below_each_base(
    asker: Person, add_decoder: Callable[..., Path], site: Site
):
    """The profile “Notebook” gives 4 GB, this machine 64; of 200 million weights all is 4.8."""
    entry = find_model(site.catalogue, "talker")
    large = {"name": "large", "num_parameters": 200_000_000, "hidden_size": 64}
    add_model(site.catalogue, entry.model_copy(update=large))
    (add_decoder("odd") / "config.json").unlink()
    asker.does("go_to", step="base")
    room = {choice["key"]: choice["room"] for choice in asker.form["base"]["choices"]}
    assert room["large"] == (
        "Room to tune it. Small adapters in it (lora): everywhere. Small adapters, the model in 4 "
        "bits (qlora): everywhere. The whole model: “This machine”."
    )
    assert room["odd"].startswith("Room to tune it. Not known.")
    assert "config.json" in room["odd"]
    asker.does("choose_task", recipe="text-classification")
    (thin,) = asker.form["base"]["choices"]
    assert thin["room"] == (
        "Room to tune it. The whole model (best): everywhere. Small adapters in it (lora): "
        "everywhere. Its last layer (quickest): everywhere."
    )


def test_a_base_without_a_template_asks_for_one_at_once(asker: Person, add_decoder, home: Path):
    add_decoder("mute", template=None)
    (home / "mine.jinja").write_text("{{ messages }}")
    asker.does("choose_file", path="qa.csv")
    asker.does("go_to", step="base")
    form = asker.does("choose_base", base="mute")["form"]
    (field,) = form["base"]["needed"]
    assert field["key"] == "template" and field["kind"] == "file"
    assert "brings no chat template" in field["wrong"]
    assert [choice["value"] for choice in field["choices"]] == ["plain", "~/mine.jinja"]
    assert form["steps"][1]["state"] == "wrong"
    assert form["start"]["problem"] == field["wrong"] and not form["start"]["ready"]
    for template in ("plain", "~/mine.jinja"):
        form = asker.does("set_value", key="template", value=template)["form"]
        assert form["base"]["needed"][0]["wrong"] == ""
        assert form["steps"][1]["state"] == "done"
        assert asker.does("go_to", step="start")["form"]["start"]["ready"]
    form = asker.does("set_value", key="template", value="nowhere.jinja")["form"]
    assert "There is no chat template 'nowhere.jinja'" in form["start"]["problem"]
    form = asker.does("choose_base", base="talker")["form"]  # which has its own again
    assert form["base"]["needed"] == [] and "template" not in asker.core.form.given  # type: ignore[union-attr]


def test_one_click_leads_to_the_start_with_the_sample_of_the_task(asker: Person):
    form = asker.does("try_sample")["form"]
    assert form["step"] == "start" and form["start"]["ready"]
    assert form["data"]["data"]["path"] == "~/labkit/samples/questions.csv"
    assert form["start"]["check"]["findings"] == []


def test_without_a_fitting_base_the_step_says_what_to_do(person: Person, site: Site):
    person.does("choose_task", recipe="instruct")
    form = person.does("try_sample")["form"]
    assert form["step"] == "base" and form["base"]["choices"] == []
    assert form["base"]["catalogue"] == str(site.catalogue)
    assert form["base"]["toy"] == "labkit models toy"
    person.does("choose_task", recipe="text-classification")
    assert person.form["base"]["toy"] == ""


def test_a_site_with_a_sign_in_of_its_own_names_no_toy(site: Site):
    hub = site.hub.model_copy(update={"authenticator": "pam"})
    assert toy_command(site, "instruct") == "labkit models toy"
    assert toy_command(site.model_copy(update={"hub": hub}), "instruct") == ""


# The data.


def test_questions_and_answers_are_guessed_and_checked(asker: Person):
    data = asker.does("choose_file", path="qa.csv")["form"]["data"]
    assert columns(asker) == {"question": "question", "answer": "answer", "input": "",
                              "messages": ""}  # fmt: skip
    assert {role["key"] for role in data["columns"] if role["optional"]} == {"input", "messages"}
    assert data["check"]["usable"] and data["check"]["labels"] == []
    assert sum(part["rows"] for part in data["check"]["parts"]) == 60
    assert "question" in data["help"]


def test_columns_can_be_chosen_otherwise_and_left_out_again(asker: Person, home: Path):
    lines = [f"what is {n}?,about {n},it is {n}" for n in range(40)]
    (home / "i.csv").write_text("\n".join(["instruction,input,output", *lines]))
    asker.does("choose_file", path="i.csv")
    guessed = {"question": "instruction", "answer": "output", "input": "input", "messages": ""}
    assert columns(asker) == guessed
    asker.does("set_value", key="input", value="")
    assert columns(asker) == {**guessed, "input": ""}
    asker.does("set_value", key="answer", value="instruction")
    assert "cannot both be" in asker.form["data"]["problem"]
    asker.does("choose_file", path="qa.csv")  # which has no such columns
    assert columns(asker)["question"] == "question" and asker.form["data"]["check"]["usable"]


def test_whole_conversations_leave_nothing_else_to_ask(asker: Person, home: Path):
    talks = [
        {"messages": [{"role": "user", "content": f"what is {n}?"},
                      {"role": "assistant", "content": f"it is {n}"}]}
        for n in range(40)
    ]  # fmt: skip
    talks.append({"messages": [{"role": "user", "content": "and?"}]})
    (home / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    data = asker.does("choose_file", path="talks.jsonl")["form"]["data"]
    assert columns(asker) == {"messages": "messages"}
    (finding,) = data["check"]["findings"]
    assert (finding["rows"], finding["message"]) == ("Rows 41.", "1 row left out: no answer.")
    asker.does("set_value", key="messages", value="")
    assert list(columns(asker)) == ["question", "answer", "input", "messages"]
    assert "no column 'question'" in asker.form["data"]["problem"]


# A row as the model would see it.

LOOK = Look(text="<b>ask</b> say it now", learnt=[(11, 21)], cut_at=17, num_tokens=21, num_learnt=6,
            num_cut=4)  # fmt: skip


def test_a_row_is_shown_in_pieces(asker: Person, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[RunSpec, int]] = []

    def look(spec: RunSpec, row: int) -> dict[int, RowLook]:
        asked.append((spec, row))
        return {n: RowLook(row=n, looks=[LOOK], note="") for n in (row, row + 1)}

    monkeypatch.setattr("labkit_widgets.form.see_rows", look)
    box = asker.does("choose_file", path="qa.csv")["form"]["data"]["see"]
    assert (box["first"], box["last"], box["row"], box["looks"]) == (2, 61, "2", [])
    box = asker.does("see", row="7")["form"]["data"]["see"]
    assert asked == [(asker.core.form.spec(), 7)]  # type: ignore[union-attr]
    assert (box["row"], box["problem"]) == ("7", "")
    (shown,) = box["looks"]
    assert shown == {
        "pieces": [
            {"kind": "read", "text": "<b>ask</b> "},
            {"kind": "learnt", "text": "say it"},
            {"kind": "cut", "text": " now"},
        ],
        "tokens": 21, "learnt": 6, "cut": 4,
    }  # fmt: skip
    assert asker.does("see", row="8")["form"]["data"]["see"]["looks"] == [shown]
    assert len(asked) == 1  # the next row was known
    box = asker.does("set_value", key="system", value="Be kind.")["form"]["data"]["see"]
    assert (box["row"], box["looks"]) == ("8", [])  # they were of another text
    box = asker.does("try_sample")["form"]["data"]["see"]
    assert (box["row"], box["last"]) == ("2", 121)


def test_why_a_row_cannot_be_shown_stands_in_the_box(asker: Person, add_decoder, monkeypatch):
    def refuse(spec: RunSpec, row: int) -> dict[int, RowLook]:
        raise LabkitError("Not now.")

    monkeypatch.setattr("labkit_widgets.form.see_rows", refuse)
    asker.does("choose_file", path="qa.csv")
    for row, why in {"99": "Not now.", "x": "'x' is no row's number", "": "'' is no"}.items():
        sees = asker.does("see", row=row)
        box = sees["form"]["data"]["see"]
        assert why in box["problem"] and box["row"] == (row or "2") and sees["notice"] is None
    add_decoder("mute", template=None)
    asker.does("go_to", step="base")
    asker.does("choose_base", base="mute")
    assert "no chat template" in asker.does("see", row="7")["form"]["data"]["see"]["problem"]


def test_a_recipe_of_whole_rows_has_no_such_box(person: Person, mine: Path):
    assert person.does("choose_file", path=mine.name)["form"]["data"]["see"] is None


def test_the_terminals_own_look_is_what_is_shown(site: Site, home: Path, tmp_path: Path):
    add_model(site.catalogue, inspect_folder(save_tiny_decoder(tmp_path / "toy"), name="toy"))
    keys = {"recipe": "instruct", "base": "toy", "data": str(write_questions(home / "qa.csv", 9))}
    found = see.see_rows(spec_from_flat(keys, source="test"), 7)
    assert list(found) == list(range(2, 22))
    (look,) = found[3].looks
    assert look.pieces == [
        ("read", "<|user|>1: what about green?<|assistant|>"),
        ("learnt", "go<|end|>"),
    ]
    assert (found[3].note, found[11].note) == ("", "qa.csv has no usable row 11.")
    spec = spec_from_flat({**keys, "question": "nothing"}, source="test")
    with pytest.raises(LabkitError, match=r"^qa\.csv has no column 'nothing'"):
        see.see_rows(spec, 7)


# Settings and code.


def test_three_settings_are_in_sight(asker: Person):
    settings = asker.form["settings"]
    assert [f["key"] for f in settings["sight"]] == ["method", "epochs", "learning_rate"]
    kinds = {f["key"]: f["kind"] for f in settings["more"]}
    assert (kinds["template"], kinds["system"], kinds["merge"]) == ("file", "long", "switch")
    assert {f["key"] for f in settings["more"]}.isdisjoint({"question", "messages"})


def test_a_method_says_what_it_lacks_before_the_start(
    asker: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    asker.does("choose_file", path="qa.csv")
    titles = {c["value"]: c["title"] for c in asker.form["settings"]["sight"][0]["choices"]}
    assert titles["qlora"] == "Small adapters, the model in 4 bits (qlora)"
    start = asker.does("set_value", key="method", value="qlora")["form"]["start"]
    assert "pip install 'labkit[qlora]'" in start["problem"] and not start["ready"]
    start = asker.does("set_value", key="method", value="lora")["form"]["start"]
    assert start["problem"] == "" and start["ready"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"template": "plain", "system": "Be 'kind'.\nBe -- brief.", "epochs": "2", "merge": True}],
)
def test_cell_and_command_mean_the_same_run(
    asker: Person, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    from labkit.api import Task
    from labkit_widgets import Studio

    asker.does("choose_file", path="qa.csv")
    for key, value in changes.items():
        asker.does("set_value", key=key, value=value)
    wanted = asker.core.form.spec()  # type: ignore[union-attr]
    code = asker.form["code"]
    assert code["cell"].startswith("from labkit import Instruct\n")
    monkeypatch.setattr(Task, "run", lambda task: task)
    made: dict[str, Any] = {}
    exec(code["cell"], made)
    assert made["run"].spec == wanted
    studio = made["run"].form()
    assert isinstance(studio, Studio) and studio._core.form
    assert studio._core.form.spec() == wanted
    studio.close()
    words = shlex.split(code["command"].replace("\\\n", " "))
    assert cli.main([*words[1:], "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert spec_from_flat({}, source="test", beneath=said["spec"]) == wanted
