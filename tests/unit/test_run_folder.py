"""The run folder, and finding one among many."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import DamagedFile, LabkitError, UsageError
from labkit.runs.find import create_run, find_run, list_runs, rename_run
from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.spec import RunSpec, spec_from_flat


def spec(**given: Any) -> RunSpec:
    flat = {"recipe": "text-classification", "base": "b", "data": "/d/pets.csv", **given}
    return spec_from_flat(flat, source="test")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(runs: Path) -> Run:
    return create_run(runs, spec(name="pets"), {"rows": {}})


def test_a_new_run_holds_its_spec_for_its_owner_alone(runs):
    run = create_run(runs, spec(name="pets", epochs=3), {"file": "pets.csv"})
    assert run.spec() == spec(name="pets", epochs=3)
    assert run.record()["data"] == {"file": "pets.csv"}
    assert [
        path for path in [run.folder, *run.folder.rglob("*")] if path.stat().st_mode & 0o77
    ] == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("/d/pets.csv", "pets"),
        ("/d/類別 二.csv", "類別 二"),
        ("/d/--pets.csv", "pets"),
        ("/d/a\x1b[31m.csv", "a [31m"),
        ("/d/" + "x" * 200 + ".csv", "x" * 70),
        ("/d/last.csv", "last-2"),
        ("/d/\n.csv", "run"),
    ],
)
def test_a_run_without_a_name_is_called_after_its_data(runs, data, name):
    run = create_run(runs, spec(data=data), {})
    assert run.name == name
    assert find_run(runs, name) == run


def test_names_are_unique(runs):
    names = [create_run(runs, spec(name="pets"), {}).name for _ in range(3)]
    assert names == ["pets", "pets-2", "pets-3"]
    with pytest.raises(UsageError, match="Another run is called 'pets-2'"):
        rename_run(find_run(runs, "pets"), "pets-2")
    rename_run(find_run(runs, "pets"), "pets")
    rename_run(find_run(runs, "pets"), "cats")
    assert {run.name for run in list_runs(runs)} == {"cats", "pets-2", "pets-3"}
    with pytest.raises(UsageError, match="cannot be a run's name"):
        rename_run(find_run(runs, "cats"), "a\nb")


def test_a_run_is_found_by_id_start_end_or_name(runs):
    older, newer = (create_run(runs, spec(name=name), {}) for name in ("cats", "dogs"))
    assert find_run(runs, "last") == newer
    for asked in (older.run_id, "cats", older.run_id[:-1], older.run_id[-6:]):
        assert find_run(runs, asked) == older
    with pytest.raises(UsageError, match=f"fits 2 runs. Name one of: {newer.run_id}"):
        find_run(runs, older.run_id[:8])
    with pytest.raises(UsageError, match="No run is called 'catz'. Did you mean 'cats'?"):
        find_run(runs, "catz")
    with pytest.raises(UsageError, match="is needed"):
        find_run(runs, "")


def test_what_is_no_run_folder_is_no_run(runs, tmp_path):
    (runs / "notes").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "run.json").write_text("{}")
    assert list_runs(runs) == []
    with pytest.raises(UsageError):
        find_run(runs, "../precious")


def test_a_linked_folder_is_never_deleted(runs, run, tmp_path):
    (runs / "linked").symlink_to(run.folder)
    with pytest.raises(LabkitError, match="is a link to .* deletes no folder that lies elsewhere"):
        Run(runs / "linked").delete()
    assert run.spec()
    run.delete()
    assert not run.folder.exists()


def test_attempts_are_numbered_one_by_one(run):
    with pytest.raises(LabkitError, match="pets was never submitted. Delete it"):
        run.last  # noqa: B018
    assert run.new_attempt(cluster="here").number == 1
    second = run.new_attempt(cluster="here", resume_from="attempts/1/checkpoints/step-00000004")
    assert run.last == second
    assert [attempt.number for attempt in run.attempts()] == [1, 2]


TAKE_ONE = """
import sys; from pathlib import Path
from labkit.errors import LabkitError
from labkit.runs.folder import Run
run = Run(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
for _ in range(20):
    try:
        print(run.new_attempt(cluster="here").number)
    except LabkitError:
        pass
"""


def test_two_processes_never_take_the_same_number(run):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE_ONE, str(run.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    taken = [int(n) for process in both for n in process.communicate("\n", 30)[0].split()]
    assert len(taken) == len(set(taken)) == len(run.attempts()) >= 20


def test_the_newest_checkpoint_is_the_last_attempts(run):
    assert run.newest_checkpoint() == ""
    for name in ("attempts/1/checkpoints/step-00000009", "attempts/2/checkpoints/step-00000004",
                 "attempts/2/checkpoints/.step-00000012.partial"):  # fmt: skip
        (run.folder / name).mkdir(parents=True)
    assert run.newest_checkpoint() == "attempts/2/checkpoints/step-00000004"


def test_a_status_is_read_as_it_was_written(run):
    attempt = run.new_attempt(cluster="here")
    assert attempt.status() is None
    said = Status(state=RunState.TRAINING, step=3, num_steps=9, loss=0.5, phase="training")
    attempt.write_status(said)
    assert attempt.status() == said


def test_a_status_of_a_newer_labkit_is_read_for_what_is_known(run):
    attempt = run.new_attempt(cluster="here")
    (attempt.folder / "status.json").write_text('{"state": "done", "watts": 3}')
    found = attempt.status()
    assert found is not None and found.state is RunState.DONE


@pytest.mark.parametrize(
    "text", ["", "{}", '{"state": "flying"}', '{"state": "done", "step": "x"}']
)
def test_a_damaged_status_is_named(run, text):
    attempt = run.new_attempt(cluster="here")
    (attempt.folder / "status.json").write_text(text)
    with pytest.raises(DamagedFile, match="attempts/1/status.json is damaged"):
        attempt.status()


def test_half_a_line_of_metrics_is_left_out(run):
    attempt = run.new_attempt(cluster="here")
    assert list(run.metrics()) == []
    (attempt.folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert list(run.metrics()) == [{"step": 1}, {"step": 2}]


def test_a_run_with_a_damaged_record_is_listed_under_its_id(runs, run):
    other = create_run(runs, spec(name="cats"), {})
    for text in ("", "[]", "{}", '{"name": 3, "created": "x"}'):
        (run.folder / "run.json").write_text(text)
        assert {found.name for found in list_runs(runs)} == {"cats", run.run_id}
        with pytest.raises(DamagedFile):
            run.record()
    (run.folder / "run.json").unlink()
    assert find_run(runs, run.run_id) == run
    assert {found.folder for found in list_runs(runs)} == {run.folder, other.folder}


def test_a_model_that_is_not_there_yet_says_where_to_look(run):
    run.new_attempt(cluster="here")
    with pytest.raises(
        LabkitError, match="pets has no tuned model: it is not done. See: labkit run"
    ):
        run.model_folder()


def test_an_attempts_job_is_kept(run):
    attempt = run.new_attempt(cluster="here")
    Attempt(number=1, folder=attempt.folder, cluster="here", job_id="7").write()
    assert run.last.job_id == "7"
    kept = json.loads((attempt.folder / "attempt.json").read_text())
    (attempt.folder / "attempt.json").write_text(json.dumps({**kept, "colour": "red"}))
    assert run.last.job_id == "7"
