"""Language models: our training loop beside TRL's SFTTrainer and transformers' Trainer.

`python -m tests.bench llm` is the section of `make bench`: a toy on this machine's processor,
examples of uneven length. `python -m tests.bench.llm --device cuda` measures models of real sizes
with random weights on a GPU, and needs nothing but torch, transformers and peft.
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from labkit.train.arithmetic import peak_flops
from labkit.train.decoder import Method
from tests.bench.llm_contenders import missing, on_a_gpu, on_a_processor
from tests.bench.llm_jobs import SIZES, job_of_size, job_of_toy, made_toy
from tests.bench.llm_meter import Job, Outcome, Train, outcome_of
from tests.bench.llm_tables import device_table, processor_table
from tests.bench.table import Table

METHODS: tuple[Method, ...] = ("full", "lora")
LEAST_FALL, LEAST_SHARE = 0.05, 0.75


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    """The section of `make bench`."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        base = made_toy(Path(folder))
        for method in METHODS[:1] if quick else METHODS:
            job = job_of_toy(base, method, num_examples=96 if quick else 160)
            outcomes, peak = in_turns(job, on_a_processor(job), rounds=1 if quick else 3)
            yield processor_table(job, outcomes, peak)


def in_turns(
    job: Job, sides: Mapping[str, Train], rounds: int
) -> tuple[Mapping[str, list[Outcome]], float]:
    """Each side's whole training, `rounds` times; and the most that the device's matrix products
    reached in between, in operations a second."""
    # Of peft 0.21, with transformers 5.23.
    warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is", FutureWarning)
    outcomes: dict[str, list[Outcome]] = {}
    peaks: list[float] = []
    for _ in range(rounds):
        for name, train in sides.items():
            peaks.append(peak_flops(job.loop.device, job.loop.dtype))
            try:
                outcome = outcome_of(job, train)
            except torch.OutOfMemoryError:
                print(f"  {name}: the device's memory is too small", flush=True)
                continue
            outcomes.setdefault(name, []).append(outcome)
            print(f"  {name}: {outcome.tokens_per_second:,.0f} tokens/s", flush=True)
    require_alike({name: each[-1] for name, each in outcomes.items()})
    return outcomes, max(peaks)


def require_alike(outcomes: Mapping[str, Outcome]) -> None:
    """That all began alike and have learnt: nobody is fast by doing less.

    Each loss has fallen, and most of the way of the side's that has learnt the most.
    """
    firsts = {round(outcome.first_loss, 3) for outcome in outcomes.values()}
    assert len(firsts) == 1, f"they began with other weights or examples: {firsts}"
    falls = {name: outcome.first_loss - outcome.loss for name, outcome in outcomes.items()}
    for name, fall in falls.items():
        assert fall > LEAST_FALL, f"{name} has not learnt: {falls}"
        assert fall > LEAST_SHARE * max(falls.values()), f"{name} has learnt too little: {falls}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.llm", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--size", choices=SIZES, action="append", help="'8b' and '1b' by default")
    parser.add_argument("--method", choices=METHODS, help="else what the size is made for")
    parser.add_argument("--steps", type=int, default=10, help="of each training, 2 to warm up")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device, else measured")
    parser.add_argument("--only-labkit", action="store_true", help="without the peers")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; try --device cpu --size tiny")
    print(_describe(asked.device), flush=True)
    for name in asked.size or ["8b", "1b"]:
        job = job_of_size(SIZES[name], asked.device, asked.method, asked.steps)
        sides = on_a_gpu(job)
        if asked.only_labkit:
            sides = {name: train for name, train in sides.items() if name.startswith("labkit")}
        outcomes, reached = in_turns(job, sides, rounds=1)
        peak = asked.peak * 1e12 if asked.peak else reached
        table = device_table(name, job, outcomes, peak, SIZES[name].goal)
        print(f"\n{table.as_markdown()}\n", flush=True)


def _describe(device: str) -> str:
    named = torch.cuda.get_device_name() if device == "cuda" else "a processor"
    packages = ["torch", "transformers", "peft", *([] if missing() else ["trl"])]
    return f"{named}; {', '.join(f'{name} {version(name)}' for name in packages)}"


if __name__ == "__main__":
    main()
