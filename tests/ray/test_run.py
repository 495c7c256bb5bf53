"""Runs from the terminal, with the real scheduler, the real Ray and the real base model."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.waiting import wait_for

from .conftest import HOTLINE, Lab

LONG = ("--base=tiny", "--epochs=200", "--patience=200", "--batch-size=2")
"""Minutes, if it is let run to its end."""


def no_network() -> tuple[str, ...]:
    """A prefix that runs a command where there is no network but loopback, if that is allowed."""
    prefix = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c",
              'ip link set lo up && exec "$@"', "sh")  # fmt: skip
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, timeout=10)
    except FileNotFoundError:
        return ()
    return prefix if tried.returncode == 0 else ()


def test_the_whole_way_without_a_network(lab: Lab) -> None:
    prefix = no_network()
    if not prefix:
        pytest.skip("no network namespace may be made here")
    mine = lab.folder / "mine.csv"
    mine.write_bytes(HOTLINE.read_bytes())
    run = lab.start("--base=minilm", "--method=head", "--epochs=3", data=mine, prefix=prefix)
    mine.unlink()  # it is the person's, and may go while the run goes on
    result = lab.wait_for_end(run)
    assert result["state"] == "done"
    assert result["accuracy"] > 0.4
    assert 0 < result["macro_f1"] <= 1
    check_result(lab, run)
    check_prediction(lab, run)
    lab.wait_until_gone()


def check_result(lab: Lab, run: str) -> None:
    """The folder holds what it should, for its owner's eyes alone."""
    folder = lab.folder / "runs" / run
    attempt = folder / "attempts" / "1"
    evaluation = json.loads((attempt / "evaluation.json").read_text())
    assert set(evaluation["baselines"]) == {"the most frequent label", "the instant answer"}
    assert evaluation["num_rows"] == evaluation_rows(folder)
    tuned = evaluation["tuned"]["accuracy"]
    assert tuned["low"] <= tuned["value"] <= tuned["high"]
    card = (attempt / "card.md").read_text()
    assert "Apache-2.0" in card or "licence unknown" in card
    assert "SHA-256" in card and evaluation["verdict"] in card
    open_to_others = [path for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_to_others == []
    kinds = {path.suffix for path in (attempt / "model").iterdir()}
    assert ".safetensors" in kinds and not kinds & {".bin", ".pt", ".pkl"}


def evaluation_rows(folder: Path) -> int:
    return json.loads((folder / "run.json").read_text())["data"]["rows"]["held_out"]


def check_prediction(lab: Lab, run: str) -> None:
    answers = json.loads(
        lab.labkit("run", "predict", run, "The street lamp is dark at night", "--json")
    )
    assert answers[0]["label"] == "street-lighting"
    assert 0 < answers[0]["confidence"] <= 1
    out = lab.folder / "labelled.csv"
    lab.labkit(
        "run", "predict", run, f"--data={HOTLINE.parent / 'new_messages.csv'}", f"--out={out}"
    )
    with out.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {"text", "answer", "confidence", "unsure"} == set(rows[0])


def test_stop_saves_and_resume_goes_on(lab: Lab, soak_round: int) -> None:
    run = lab.start(*LONG)
    lab.wait_for_step(run, 5)
    lab.labkit("run", "stop", run)
    lab.wait_for_state(run, "stopped")
    assert "labkit run resume" in lab.show(run)["message"]
    stopped_at = lab.status(run)["step"]
    checkpoints = list((lab.folder / "runs" / run / "attempts/1/checkpoints").iterdir())
    assert checkpoints
    lab.labkit("run", "resume", run)
    # Not by its status, which says from the start how far the checkpoint is.
    metrics = lab.folder / "runs" / run / "attempts/2/metrics.jsonl"
    wait_for(lambda: metrics.exists() and "\n" in metrics.read_text(), "its first step")
    assert json.loads(metrics.read_text().splitlines()[0])["step"] >= stopped_at
    lab.labkit("run", "stop", run)
    lab.wait_for_state(run, "stopped")
    lab.wait_until_gone()


def test_kill_9_of_worker_head_and_job_in_turn(lab: Lab, soak_round: int) -> None:
    run = lab.start(*LONG)
    lab.wait_for_step(run, 25)
    before = lab.status(run)["step"]
    lab.kill("ray::work")
    wait_for(lambda: lab.processes("ray::work"), "a new worker", 60)
    lab.wait_for_step(run, before + 1)
    assert lab.show(run)["state"] == "training"

    lab.kill("gcs_server")
    lab.wait_for_state(run, "failed")
    assert (
        "labkit run resume" in json.loads(lab.labkit_any("run", "show", run, "--json"))["message"]
    )
    lab.wait_until_gone()

    lab.labkit("run", "resume", run)
    lab.wait_for_step(run, 1, attempt=2)
    lab.kill_supervisor()  # the job is then asked to end, and may still save its work
    lab.wait_for_state(run, "stopped", "failed")
    assert (
        "labkit run resume" in json.loads(lab.labkit_any("run", "show", run, "--json"))["message"]
    )
    wait_for(lambda: not lab.processes(), "every process to end", 30, lab.leftovers)

    lab.labkit("run", "resume", run)
    lab.wait_for_step(run, 1, attempt=3)
    assert lab.leftovers_of_the_dead() == []
    lab.labkit("run", "stop", run)
    lab.wait_for_state(run, "stopped")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_no_training_and_is_said(lab: Lab) -> None:
    runs = lab.folder / "runs"
    runs.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m,mode=0700", "tmpfs", str(runs)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        run = lab.start("--base=tiny", "--epochs=1")
        lab.wait_for_state(run, "failed")
        message = json.loads(lab.labkit_any("run", "show", run, "--json"))["message"]
        assert "free" in message and "labkit run delete" in message and "resume" in message
        assert lab.status(run)["step"] > 20
    finally:
        subprocess.run(["umount", "-l", str(runs)], check=True)
