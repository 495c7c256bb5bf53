"""Runs at the terminal: their list, results, log and answers, renamed and deleted."""

import io
import json
from pathlib import Path

import pytest

from labkit.runs.folder import Run, RunState, Status
from labkit.settings import Site

from .made_runs import EVALUATION, done_instruct_run, done_run, new_run


def test_results_have_plain_names_for_programs(labkit, site):
    run = done_run(site)
    for told in (labkit("run", "show", "last", "--json").json(),
                 labkit("run", "list", "--json").json()[0]):  # fmt: skip
        assert told["run"] == run.run_id
        assert (told["accuracy"], told["macro_f1"], told["state"]) == (0.8125, 0.6, "done")
    assert labkit("run", "show", "last", "--json").json()["evaluation"] == EVALUATION


def test_a_language_models_result_is_loss_perplexity_and_answers_side_by_side(labkit, site):
    done_instruct_run(site)
    told = labkit("run", "show", "last", "--json").json()
    assert told["measured"] == {"loss": 1.25, "perplexity": 3.4903}
    assert (told["loss"], told["accuracy"]) == (None, None)  # no step has said its loss
    said = labkit("run", "show", "last").out
    assert "No better than the base model" in said and "Raise --max-tokens" in said
    assert "1.250 (1.000 to 1.500)  3.49 (2.72 to 4.48)" in said
    assert "row 7" in said and "Till five." in said and "[red]Till" in said
    assert "\x1b" not in said and "\x07" not in said


def test_a_list_of_runs_has_the_measures_that_its_runs_have(labkit, site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done_instruct_run(site)
    assert labkit("run", "list").out.splitlines()[0].split()[3:] == ["loss", "perplexity", "now"]
    done_run(site)
    titles = ["accuracy", "macro-F1", "loss", "perplexity", "now"]
    heading, first, second = labkit("run", "list").out.splitlines()
    assert heading.split()[3:] == titles
    assert first.split()[3:5] == ["81.2%", "60.0%"] and second.split()[3:5] == ["1.250", "3.49"]


@pytest.mark.parametrize("columns", ["80", "120", None])
def test_a_list_has_one_line_for_each_run_with_its_whole_id(labkit, site, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    runs = [
        done_run(site),
        new_run(site, "x" * 80, Status(state=RunState.FAILED, message="m " * 80)),
    ]
    lines = labkit("run", "list").out.splitlines()
    assert len(lines) == 3
    for run, line in zip(reversed(runs), lines[1:], strict=True):
        assert line.startswith(run.run_id)
    assert all(len(line) <= int(columns) for line in lines) if columns else lines[1].endswith("m")


def test_a_damaged_run_is_listed_with_the_others(labkit, site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # the file's name may be long
    good, bad = done_run(site, "good"), done_run(site, "bad")
    (bad.folder / "run.json").write_text("{")
    said = labkit("run", "list")
    assert said.code == 0
    assert good.run_id in said.out and f"{bad.folder / 'run.json'} is damaged" in said.out
    shown = labkit("run", "show", bad.run_id)
    assert shown.code == 1 and "run.json is damaged" in shown.out
    assert labkit("run", "show", bad.run_id, "--json").json()["state"] == "damaged"
    assert labkit("run", "delete", bad.run_id, "--yes").code == 0
    assert not bad.folder.exists()


def test_deleting_asks_first(labkit, site, monkeypatch):
    run = done_run(site)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody can answer
    said = labkit("run", "delete", "pets")
    assert said.code == 2 and "Add --yes" in said.err
    monkeypatch.setattr("labkit.cli.run._agreed", lambda question: False)
    assert labkit("run", "delete", "pets").err == "labkit: Nothing was deleted.\n"
    assert run.folder.exists()


def test_only_run_folders_of_the_site_are_deleted(labkit, site, tmp_path):
    run = done_run(site)
    (site.runs / "linked").symlink_to(run.folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "run.json").write_text("{}")
    assert "is a link" in labkit("run", "delete", "linked", "--yes").err
    for name in ("../precious", str(tmp_path / "precious"), ".", ""):
        assert labkit("run", "delete", name, "--yes").code == 2
    assert run.folder.exists() and (tmp_path / "precious").exists()


def test_a_run_is_renamed_and_found_again(labkit, site):
    run = done_run(site)
    assert labkit("run", "rename", "pets", "cats").code == 0
    assert labkit("run", "show", "cats", "--json").json()["run"] == run.run_id
    assert "cannot be a run's name" in labkit("run", "rename", "cats", "last").err


def test_a_done_run_is_neither_resumed_nor_stopped(labkit, site):
    done_run(site)
    assert "pets is done; there is nothing to resume" in labkit("run", "resume", "pets").err
    assert "does not run" in labkit("run", "stop", "pets").out


def test_the_log_is_printed(labkit, site):
    run = done_run(site)
    run.last.log.write_bytes(b"line\n\x1b[2J\xff\n")
    assert labkit("run", "logs", "pets").out == "line\n\\x1b[2J\ufffd\n"


# Answers.


@pytest.fixture
def tuned(site: Site, tiny_base: Path) -> Run:
    """A run that is done, with a tiny model of two labels."""
    torch = pytest.importorskip("torch")
    from labkit.train.classifier import ClassifierCard, TunedClassifier
    from labkit.train.encoder import TextClassifier, load_encoder

    run = done_run(site, "tuned")
    encoder, tokenizer = load_encoder(tiny_base)
    torch.manual_seed(0)
    card = ClassifierCard(recipe="text-classification", labels=["[red]c", "d"], max_tokens=16,
                          temperature=1.0, unsure_below=0.5)  # fmt: skip
    TunedClassifier(TextClassifier(encoder, 2).eval(), tokenizer, card, "cpu").save(
        run.last.folder / "model"
    )
    return run


def test_sentences_are_answered(labkit, tuned):
    (told,) = labkit("run", "predict", "tuned", "lamp dark", "--json").json()
    assert told["text"] == "lamp dark" and told["label"] in ("[red]c", "d")
    assert 0.5 <= told["confidence"] <= 1 and told["unsure"] is False
    shown = labkit("run", "predict", "tuned", "--", "--lamp \x1b[2J").out
    assert "--lamp \\x1b[2J" in shown
    assert "A sentence is blank" in labkit("run", "predict", "tuned", " ").err


def test_a_table_is_answered_row_by_row_and_blank_rows_stay_blank(labkit, tuned, tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,bin full\n2,\n3,road hole\n4,a,b\n")
    said = labkit("run", "predict", "tuned", "--data", "a.csv", "--out", "b.csv")
    assert "Answered 2 rows into b.csv; 0 of them unsure. 1 row without a text left" in said.out
    assert "1 row set aside" in said.err and "(rows 5)" in said.err
    rows = (tmp_path / "b.csv").read_text("utf-8-sig").splitlines()
    assert rows[0] == "id,text,answer,confidence,unsure"
    assert rows[2] == '2,"",,,'
    assert len(rows) == 4
    again = ("run", "predict", "tuned", "--data", "a.csv", "--out", "b.csv")
    assert "exists already" in labkit(*again).err
    told = labkit(*again, "--overwrite", "--json").json()
    assert (told["rows"], told["blank"], len(told["findings"])) == (3, 1, 1)


def test_a_run_that_is_not_done_answers_nothing(labkit, site):
    new_run(site, "early", Status(state=RunState.TRAINING))
    assert "early has no tuned model: it is not done" in labkit("run", "predict", "early", "x").err


# What a terminal must never be told.


def test_texts_labels_and_names_are_no_commands_to_a_terminal(labkit, site):
    done_run(site, "[red]pets")
    shown = labkit("run", "show", "last").out
    assert "[red]pets" in shown and "[red]cat" in shown and "dog\\x1b[2J" in shown
    assert "\x1b" not in shown and "\x07" not in shown
    told = labkit("run", "show", "last", "--json").out
    assert "\x1b" not in told and json.loads(told)["evaluation"] == EVALUATION
