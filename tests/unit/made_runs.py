"""Run folders as a run leaves them, without a run."""

import json

from labkit.runs.find import create_run
from labkit.runs.folder import Run, RunState, Status
from labkit.runs.spec import spec_from_flat
from labkit.settings import Site


def new_run(site: Site, name: str = "pets", status: Status | None = None) -> Run:
    flat = {"recipe": "text-classification", "base": "thin", "data": "/d/a.csv", "name": name}
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


def done_run(site: Site, name: str = "pets") -> Run:
    run = new_run(site, name, Status(state=RunState.DONE, message="Better than all."))
    (run.last.folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    return run
