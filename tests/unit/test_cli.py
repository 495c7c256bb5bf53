"""The command line, in this process: what it prints, and how it ends."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.cli.safe_text import on_one_line, printable, printable_json
from labkit.cli.start import as_flags


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
