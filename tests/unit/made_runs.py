"""Run folders as a run leaves them, without a run."""

import json

from labkit.runs.find import create_run
from labkit.runs.folder import Run, RunState, Status
from labkit.runs.spec import spec_from_flat
from labkit.settings import Site


def new_run(
    site: Site,
    name: str = "pets",
    status: Status | None = None,
    recipe: str = "text-classification",
) -> Run:
    flat = {"recipe": recipe, "base": "thin", "data": "/d/a.csv", "name": name}
    run = create_run(site.runs, spec_from_flat(flat, source="test"), {})
    attempt = run.new_attempt(cluster="here")
    if status:
        attempt.write_status(status)
    return run


SCORES = {"accuracy": {"value": 0.8125, "low": 0.7, "high": 0.9},
          "macro_f1": {"value": 0.6, "low": 0.5, "high": 0.7}}  # fmt: skip
EVALUATION = {
    "num_rows": 86,
    "verdict": "Better than the instant answer on the held-out rows.",
    "tuned": SCORES,
    "baselines": {"the instant answer": SCORES},
    "gains": {"the instant answer": {"value": 0.2, "low": 0.1, "high": 0.3}},
    "confusions": [{"label": "[red]cat", "taken_for": "dog\x1b[2J", "count": 2, "share": 0.1}],
    "mistakes": [{"row": 7, "text": "a\nlong " + "text " * 99 + "\x1b]0;pwned\x07", "label": "cat",
                  "answered": "dog", "confidence": 0.99}],
}  # fmt: skip


def done_run(site: Site, name: str = "pets", accuracy: float = 0.8125) -> Run:
    run = new_run(site, name, Status(state=RunState.DONE, message="Better than all."))
    tuned = {**SCORES, "accuracy": {**SCORES["accuracy"], "value": accuracy}}
    (run.last.folder / "evaluation.json").write_text(json.dumps({**EVALUATION, "tuned": tuned}))
    return run


LOSSES = {"loss": {"value": 1.25, "low": 1.0, "high": 1.5},
          "perplexity": {"value": 3.4903, "low": 2.7183, "high": 4.4817}}  # fmt: skip
LANGUAGE_EVALUATION = {
    "num_rows": 9,
    "num_tokens": 120,
    "verdict": "No better than the base model: the difference may be chance.",
    "tuned": LOSSES,
    "baselines": {"the base model": LOSSES},
    "gains": {"the base model": {"value": 0.01, "low": -0.1, "high": 0.1}},
    "compared": [{"row": 7, "question": "Open?\x1b[2J", "wanted": "Till five.",
                  "tuned": "[red]Till\nsix.", "others": {"the base model": "\x1b]0;pwned\x07"}}],
    "notes": ["The answers of row 3 do not end. Raise max_tokens, or shorten them."],
}  # fmt: skip


def done_instruct_run(site: Site, name: str = "qa") -> Run:
    run = new_run(site, name, Status(state=RunState.DONE, message="Done."), recipe="instruct")
    (run.last.folder / "evaluation.json").write_text(json.dumps(LANGUAGE_EVALUATION))
    return run
