"""The command line, in this process: what it prints, and how it ends."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.cli.safe_text import on_one_line, printable, printable_json
from labkit.cli.start import as_flags
from labkit.runs.folder import Run, RunState, Status
from labkit.settings import Site

from .made_runs import EVALUATION, done_instruct_run, done_run, new_run


def start(data: Path, *flags: str) -> list[str]:
    required = ["--recipe", "text-classification", "--base", "thin", "--data", str(data)]
    return ["run", "start", *required, *flags]


# How it ends: 0 fine, 1 the work failed or the data cannot be used, 2 wrong usage.


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["run", "start", "--help"], 0),
        (["run", "list"], 0),
        (["models"], 0),
        (["recipes"], 0),
        (["site"], 0),
        (["data", "check", "pets.csv"], 0),
        (["data", "check", "one.csv"], 1),
        (["data", "check", "nowhere.csv"], 1),
        (["data", "check", "pets.csv", "--text", "txt"], 2),
        (["models", "add", "nowhere"], 1),
        (["nonsense"], 2),
        (["run", "show", "nothing"], 2),
        (["run", "start", "--epoch", "3"], 2),
        (["run", "start"], 2),
        (["run", "start", "nowhere.toml"], 2),
        (["run", "predict", "last"], 2),
    ],
)
def test_exit_codes(labkit, pets, write_csv, arguments, code):
    write_csv("one.csv", [(f"text {n}", "same") for n in range(40)])
    said = labkit(*arguments)
    assert said.code == code, said
    assert bool(said.err) == (code != 0 and arguments[:3] != ["data", "check", "one.csv"])


@pytest.mark.parametrize(
    ("flags", "columns"),
    [
        ([], ("said", "kind")),
        (["--text", "said"], ("said", "kind")),
        (["--label", "said"], ("kind", "said")),
        (["--label", "who"], ("said", "who")),
    ],
)
def test_columns_that_are_not_named_are_guessed(labkit, tmp_path, flags, columns):
    rows = [f"a longer text number {n},{'ab'[n % 2]},{'cde'[n % 3]}" for n in range(40)]
    (tmp_path / "named.csv").write_text("said,kind,who\n" + "\n".join(rows))
    found = labkit("data", "check", "named.csv", "--json", *flags).json()
    assert (found["text"], found["label"]) == columns


def test_a_dry_run_prints_all_and_starts_nothing(labkit, site, base, pets):
    said = labkit(*start(pets, "--epochs", "3", "--dry-run"))
    assert said.code == 0, said
    for part in ("epochs = 3", "to learn from", "memory", "2 cores", "starts  at once"):
        assert part in said.out
    assert not site.runs.exists()


def test_a_dry_run_as_json_holds_the_spec_and_the_command_to_start_it(labkit, base, pets):
    told = labkit(*start(pets, "--epochs", "3", "--dry-run", "--json")).json()
    assert told["spec"]["settings"]["epochs"] == 3
    assert told["usable"] is True and told["estimate"]["duration_s"] > 0
    assert told["command"][:3] == ["labkit", "run", "start"]
    again = labkit(*told["command"][1:], "--dry-run", "--json").json()
    assert again["spec"] == told["spec"]


def test_a_dry_run_of_unusable_data_fails(labkit, base, write_csv):
    data = write_csv("one.csv", [(f"text {n}", "same") for n in range(40)])
    said = labkit(*start(data, "--dry-run"))
    assert said.code == 1 and "All rows have the label 'same'" in said.out


def test_findings_name_flags(labkit, base, write_csv):
    rows = [(f"text {n}", ["cat", "dog", "Cat", "dog"][n % 4]) for n in range(80)]
    said = labkit(*start(write_csv("a.csv", rows), "--dry-run"))
    assert "Merge them (--merge-labels)" in said.out
    merged = labkit(*start(write_csv("a.csv", rows), "--dry-run", "--merge-labels"))
    assert "Merge them" not in merged.out


def test_keys_become_flags_but_not_in_paths_and_key_paths():
    sentence = "Halve batch_size in /d/batch_size.csv (settings.batch_size, 'batch_size')."
    assert as_flags(sentence) == sentence.replace("batch_size", "--batch-size", 1)


def test_flags_are_laid_over_a_file(labkit, base, pets, tmp_path):
    (tmp_path / "spec.toml").write_text(
        'recipe = "text-classification"\nbase = "thin"\ndata = "pets.csv"\n[settings]\nepochs = 3'
    )
    told = labkit("run", "start", "spec.toml", "--seed", "7", "--dry-run", "--json").json()
    assert (told["spec"]["settings"]["epochs"], told["spec"]["seed"]) == (3, 7)
    said = labkit("run", "start", "spec.toml", "--epochs", "0", "--dry-run")
    assert "Wrong in spec.toml and the command line:\n  --epochs: found '0'" in said.err


# Runs.


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


def test_what_has_power_over_a_terminal_is_written_out():
    assert printable("a\x1b[31m\x9b\r\x00\u202e\udcff\n\tb") == (
        "a\\x1b[31m\\x9b\\x0d\\x00\\u202e\\udcff\n\tb"
    )
    assert printable("貓 👩\u200d🔬 é") == "貓 👩\u200d🔬 é"
    assert json.loads(printable_json(json.dumps("\x9b\u202e\x7f", ensure_ascii=False))) == (
        "\x9b\u202e\x7f"
    )
    assert on_one_line(" a\n b\tc ", 4) == "a b…"


# Faults.


def test_a_fault_of_ours_shows_a_sentence_and_keeps_the_details(labkit, home, monkeypatch):
    def fail() -> None:
        raise RuntimeError("the\nroof is \x1b[31mon fire")

    monkeypatch.setattr("labkit.cli.site.load_site", fail)
    said = labkit("site")
    assert said.code == 1
    assert said.err.startswith("labkit: failed (RuntimeError: the). This is a fault of labkit;")
    (details,) = (home / ".state" / "labkit" / "failures").iterdir()
    assert str(details) in said.err
    assert "roof is" in details.read_text() and details.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "labkit: interrupted."),
        (OSError(28, "No space left", "/d/a"), 1, "labkit: the disk is full (/d/a). Free some"),
        (ModuleNotFoundError(name="torch"), 1, "this needs torch. Get it with: pip install"),
    ],
)
def test_what_happens_to_everybody_has_its_own_sentence(labkit, monkeypatch, error, code, sentence):
    def fail() -> None:
        raise error

    monkeypatch.setattr("labkit.cli.site.load_site", fail)
    said = labkit("site")
    assert said.code == code and sentence in said.err


def test_a_reader_that_goes_away_is_no_failure(site):
    """As in `labkit recipes --json | head -1`."""
    command = subprocess.Popen(
        [sys.executable, "-c", "import sys; from labkit.cli.main import main; sys.stdin.read(); "
         "sys.exit(main(['recipes', '--json']))"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdin and command.stdout and command.stderr
    command.stdout.close()
    command.stdin.close()
    assert command.stderr.read() == b""
    assert command.wait(30) == 0
    command.stderr.close()


def test_help_needs_none_of_what_is_slow_to_import():
    code = (
        "import sys; import labkit.cli.main as cli; "
        "assert cli.main(['--help']) == 0; print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "tune local foundation models" in done.stdout
    heavy = {"pydantic", "polars", "torch", "ray", "transformers", "numpy", "safetensors"}
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize("command", ["run start", "run predict", "run logs", "models add"])
def test_help_says_what_a_value_is(command, capsys):
    from labkit.cli.main import app

    app([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert " STR" not in said and "[default" not in said
    if command == "run start":
        for wanted in ("--test PATH", "--seed NUMBER", "--memory SIZE", "--method CHOICE"):
            assert wanted in said


# The rest of the verbs.


def test_a_base_model_is_added_and_listed(labkit, base_folder):
    said = labkit("models", "add", base_folder, "--name", "thin", "--languages", "en, zh-Hant")
    assert said.code == 0 and "Added thin" in said.out
    (told,) = labkit("models", "--json").json()
    assert (told["name"], told["languages"]) == ("thin", ["en", "zh-Hant"])
    (base_folder / "model.safetensors").unlink()
    assert "missing" in labkit("models").out


def test_a_decoder_is_for_instruct_and_says_whether_it_has_a_template(labkit, base_folder, pets):
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2}
    (base_folder / "config.json").write_text(json.dumps(config))
    assert labkit("models", "add", base_folder, "--name", "small").code == 0
    (told,) = labkit("models", "--json").json()
    assert (told["tasks"], told["chat_template"]) == (["instruct"], False)
    (base_folder / "chat_template.jinja").write_text("{{ messages }}")
    assert labkit("models", "--json").json()[0]["chat_template"] is True
    (base_folder / "chat_template.jinja").write_bytes(b"\xff")
    assert "none" in labkit("models").out
    asked = ["--recipe", "text-classification", "--base", "small", "--data", str(pets)]
    refused = labkit("run", "start", *asked, "--dry-run")
    assert refused.code == 2 and "text-classification cannot tune 'small'" in refused.err


def test_a_base_model_takes_no_others_place_unasked(labkit, base_folder, tmp_path):
    labkit("models", "add", base_folder)
    other = shutil.copytree(base_folder, tmp_path / "elsewhere" / base_folder.name)
    said = labkit("models", "add", other)
    assert said.code == 2 and "is called 'weights' already" in said.err
    assert labkit("models", "add", other, "--name", "weights").code == 0


def test_a_check_tells_all_there_is_to_know(labkit, pets):
    told = labkit("data", "check", pets, "--json").json()
    assert (told["rows"], told["columns"], told["usable"]) == (60, ["text", "label"], True)
    assert told["findings"] == []


def test_recipes_tell_their_settings(labkit):
    told = {recipe["name"]: recipe for recipe in labkit("recipes", "--json").json()}
    assert {"text-classification", "instruct"} <= told.keys()
    assert all("epochs" in recipe["settings"]["properties"] for recipe in told.values())


def test_the_site_says_where_its_settings_come_from(labkit, site, tmp_path):
    told = labkit("site", "--json").json()
    assert told["settings"] == str(tmp_path / "labkit.toml")
    assert told["runs"] == str(site.runs)


def test_the_doctor_looks_at_machine_and_site(labkit, base):
    told = labkit("doctor", "--json").json()
    found = {line["what"]: line for line in told["lines"]}
    assert found["base models"]["found"] == "thin"
    assert found["CPU"]["found"].endswith("free")
    assert told["runs_that_fit"] > 0
    assert "✓ base models: thin" in labkit("doctor").out
