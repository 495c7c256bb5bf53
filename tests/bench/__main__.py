"""`python -m tests.bench`: speed, quality and memory beside their peers, as ratios in one run.

Sections: `start` (commands, imports, a run's first step), `lab` (from a click to one's own
Lab beside a bare hub), `slurm` (the same on a real Slurm beside plain batchspawner, and what
many sessions cost), `ray` (a private Ray cluster of four nodes beside `ray symmetric-run`, TLS,
memory, one node and two), `loop` (the training loop beside transformers' Trainer), `llm` (that
of language models beside TRL), `accuracy` (BANKING77 with the default settings). Called by
`make bench`; docs/benchmarks.md keeps what was seen.
"""

import argparse
import logging
import time

from labkit.accelerators.cpu import num_cpus
from tests.bench import accuracy, lab, llm, loop, ray, slurm, start
from tests.bench.machine import describe
from tests.bench.table import Table

SECTIONS = {
    "start": start.measure,
    "lab": lab.measure,
    "slurm": slurm.measure,
    "ray": ray.measure,
    "loop": loop.measure,
    "llm": llm.measure,
    "accuracy": accuracy.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help="; ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="fewer rows; under five minutes")
    parser.add_argument("--threads", type=int, default=num_cpus(), help="of torch")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of 'accuracy'")
    asked = parser.parse_args()
    if unknown := set(asked.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    logging.disable(logging.INFO)
    print(describe(asked.threads), flush=True)
    for name in asked.sections or SECTIONS:
        started = time.monotonic()
        for table in SECTIONS[name](quick=asked.quick, threads=asked.threads, seeds=asked.seeds):
            show(table)
        print(f"({name}: {time.monotonic() - started:.0f} s)", flush=True)


def show(table: Table) -> None:
    print(f"\n{table.as_markdown()}", flush=True)


if __name__ == "__main__":
    main()
