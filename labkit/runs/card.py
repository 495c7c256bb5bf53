"""The card of a tuned model: what it is made of, how good it is, how it was made."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.evaluation.base import measured
from labkit.models.catalogue import BaseEntry
from labkit.runs.spec import RunSpec, spec_toml


def card(
    *,
    name: str,
    spec: RunSpec,
    base: BaseEntry,
    data: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    versions: Mapping[str, str],
    device: str,
    finished: str,
) -> str:
    """The card as Markdown. A pure function of what the run folder holds."""
    rows = data["rows"]
    labels = f"; {len(data['labels'])} labels" if "labels" in data else ""
    measures = measured(evaluation["tuned"])
    models = {"**tuned**": evaluation["tuned"], **evaluation["baselines"]}
    settings = spec_toml(spec).strip()
    # Longer than any run of backticks in it, so that nothing written there can end it:
    # https://spec.commonmark.org/0.31.2/#fenced-code-blocks
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", settings)), default=0))
    return "\n".join(
        [
            f"# {_plain(name)}",
            "",
            f"A tuned model for {spec.recipe}, made with labkit on {finished}.",
            "",
            f"**{evaluation['verdict']}**",
            "",
            "## Result on the held-out rows",
            "",
            f"{evaluation['num_rows']} rows that were not learnt from; in brackets the 95 % "
            "bootstrap interval.",
            "",
            _row("model", [measure.title for measure in measures.values()]),
            "|---" * (1 + len(measures)) + "|",
            *(_row(name, [measure.with_interval(scores[key])
                          for key, measure in measures.items()])
              for name, scores in models.items()),
            *(f"\n{_plain(sentence)}" for sentence in evaluation.get("notes", ())),
            "",
            "## Made of",
            "",
            f"- Base model: {base.name} ({_plain(base.title or base.family)}), "
            f"{base.num_parameters / 1e6:.1f} million parameters, "
            f"licence {_plain(base.licence)}",
            f"- Weights of the base model: SHA-256 `{base.weights_sha256}`",
            f"- Data: {_plain(data['file'])}, SHA-256 `{data['sha256']}`",
            *([f"- Test data: {_plain(data['test_file'])}, "
               f"SHA-256 `{data['test_sha256']}`"]
              if "test_file" in data else []),
            f"- Rows: {rows['train']} to learn from, {rows['validation']} to choose settings, "
            f"{rows['held_out']} held out{labels}",
            f"- Device: {_plain(device)}",
            f"- Versions: {', '.join(f'{key} {value}' for key, value in versions.items())}",
            "",
            "## Settings",
            "",
            f"{fence}toml",
            settings,
            fence,
            "",
            "## Use with care",
            "",
            "The figures hold for texts like those held out. Look at the answers that are called "
            "unsure, and measure again when the texts change.",
            "",
        ]
    )  # fmt: skip


def _plain(text: str) -> str:
    """A person's text as Markdown that shows it as it is, on one line and without HTML."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return re.sub(r"([\\`*_{}\[\]()<>#|!&])", r"\\\1", line)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"
