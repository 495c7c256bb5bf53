"""Instruction tuning from the terminal, with the real scheduler, the real Ray and a random toy."""

import asyncio
import json
import subprocess
import sys

import pytest

from labkit.models.catalogue import add_model, inspect_folder
from labkit.paths import private_folder, write_json
from labkit.runs.find import create_run
from labkit.runs.folder import Run
from labkit.runs.samples import samples
from labkit.runs.spec import spec_from_flat
from labkit.runs.submit import plan_run
from labkit.settings import load_site
from tests.unit.tiny_decoder import save_tiny_decoder, write_questions

from .conftest import Lab

SETTINGS = ("--epochs=20", "--learning-rate=0.01", "--max-answer-tokens=12")
"""Enough for a toy to learn three answers by heart."""


@pytest.fixture
def toy(lab: Lab) -> Lab:
    """The lab with a random decoder as its base model 'toy', and a table of questions."""
    folder = save_tiny_decoder(lab.folder / "toy")
    add_model(lab.folder / "models", inspect_folder(folder, name="toy"))
    write_questions(lab.folder / "qa.csv")
    return lab


def start(lab: Lab, *flags: str) -> str:
    data = f"--data={lab.folder / 'qa.csv'}"
    common = ("--recipe=instruct", "--base=toy", data, "--json")
    return lab.labkit("run", "start", *common, *flags)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_whole_way(toy: Lab, method: str) -> None:
    result = json.loads(start(toy, *SETTINGS, f"--method={method}", "--wait"))
    assert result["state"] == "done"
    assert result["message"] == "Better than the base model on the held-out rows."
    evaluation = result["evaluation"]
    before = evaluation["baselines"]["the base model"]
    perplexity = result["measured"]["perplexity"]
    assert perplexity == evaluation["tuned"]["perplexity"]["value"]
    assert perplexity < before["perplexity"]["low"]
    assert [one["tuned"] for one in evaluation["compared"]] == [
        one["wanted"] for one in evaluation["compared"]
    ]
    shown = toy.labkit("run", "show", result["run"])
    assert "Side by side, on held-out questions" in shown and "perplexity" in shown
    answers = json.loads(
        toy.labkit("run", "predict", result["run"], "99: what about red?", "--json")
    )
    assert answers[0]["label"] == "stop" and answers[0]["confidence"] is None
    folder = toy.folder / "runs" / result["run"]
    open_to_others = [path for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_to_others == []
    toy.wait_until_gone()


def test_stop_saves_and_resume_goes_on_to_the_end(toy: Lab) -> None:
    flags = ("--epochs=7", "--patience=7", "--batch-size=1", "--max-answer-tokens=2")
    run = json.loads(start(toy, *flags))["run"]
    toy.wait_for_step(run, 5)
    toy.labkit("run", "stop", run)
    toy.wait_for_state(run, "stopped")
    stopped_at = toy.status(run)["step"]
    toy.labkit("run", "resume", run)
    toy.wait_for_state(run, "done", "failed")
    assert toy.status(run, 2)["state"] == "done"
    metrics = list(Run(toy.folder / "runs" / run).metrics())
    assert next(line["step"] for line in metrics if "step" in line) >= stopped_at
    assert samples(metrics)


def test_two_workers_that_share_out_the_model_end_as_one_does(
    toy: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one machine: the driver is told of two nodes of one core, and finds room for both."""
    monkeypatch.setenv("LABKIT_SITE", toy.environment["LABKIT_SITE"])
    alone = json.loads(start(toy, *SETTINGS, "--method=full", "--wait"))
    assert alone["message"] == "Better than the base model on the held-out rows."
    run = by_two_workers(toy, sharding="always")
    evaluation = run.evaluation()
    assert evaluation is not None and (run.last.folder / "log-1.txt").exists()
    one, two = alone["evaluation"]["tuned"]["loss"], evaluation["tuned"]["loss"]
    assert two["value"] == pytest.approx(one["value"], abs=1e-3)
    assert "2 × " in (run.last.folder / "card.md").read_text()
    assert "the 2 workers share them out" in run.last.log.read_text()


def by_two_workers(toy: Lab, **settings: str) -> Run:
    """A run that two workers have done, on one machine."""
    run = make_run(toy, **settings)
    driver = (sys.executable, "-m", "labkit", "run", "execute", "--num-cpus=1", "--num-gpus=0",
              "--num-nodes=2", "--accelerator=cpu", "--attempt=1", str(run.folder))  # fmt: skip
    node = toy.command("node", "--num-cpus=2", "--num-gpus=0", f"--memory-bytes={2**31}",
                       f"--rendezvous={run.last.folder / 'cluster'}",
                       f"--scratch={toy.scratch}", "--", *driver)  # fmt: skip
    done = subprocess.run(node, env=toy.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return run


def make_run(lab: Lab, **settings: str) -> Run:
    """A run folder as `run start` makes it, without its job."""
    flat = {
        "recipe": "instruct",
        "base": "toy",
        "data": lab.folder / "qa.csv",
        "method": "full",
        "epochs": 20,
        "learning_rate": 0.01,
        "max_answer_tokens": 12,
        **settings,
    }
    plan = asyncio.run(plan_run(load_site(), spec_from_flat(flat, source="test")))
    run = create_run(lab.folder / "runs", plan.spec, plan.prepared.summary)
    plan.prepared.save(private_folder(run.dataset))
    base = plan.task.base.model_dump(mode="json")
    write_json(run.folder / "run.json", {**run.record(), "base": base})
    run.new_attempt(cluster="local")
    return run
