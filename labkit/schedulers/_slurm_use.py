"""What jobs used, from `sacct`. Pure.

The line of a job has no energy where its steps are counted, so that is summed over the steps.
The step 'extern' is left out: it is there beside the others, on the same nodes.
https://slurm.schedmd.com/sacct.html
"""

import re
from collections import defaultdict
from collections.abc import Mapping

from labkit.schedulers.base import JobUse

FIELDS = "JobIDRaw,ElapsedRaw,TimelimitRaw,AllocTRES,ReqTRES,TotalCPU,ConsumedEnergyRaw"
_LARGEST_J = 2**60
"""Above it is one of Slurm's marks for a value that it does not have."""


def parse_used(text: str) -> dict[str, JobUse]:
    """Of `sacct --parsable2 --duplicates` with those fields: a job that was started again has
    a line for each start."""
    lines: dict[str, list[list[str]]] = defaultdict(list)
    energy_j: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 7:
            continue  # cut off
        job_id, _, step = fields[0].partition(".")
        if not step:
            lines[job_id].append(fields)
        elif step != "extern":
            energy_j[job_id] += _joules(fields[6])
    return {job_id: _used(job_id, starts, energy_j[job_id]) for job_id, starts in lines.items()}


def _used(job_id: str, starts: list[list[str]], energy_j: float) -> JobUse:
    asked = {"gpu": 0.0, "cpu": 0.0}
    held, busy = dict(asked), 0.0
    for _, elapsed, limit, allocated, requested, total_cpu, _ in starts:
        for kind, count in _counts(allocated or requested).items():
            asked[kind] += count * 60 * _number(limit)
            held[kind] += count * _number(elapsed)
        busy += seconds(total_cpu)
    return JobUse(
        job_id=job_id,
        gpu_s_asked=asked["gpu"],
        gpu_s_held=held["gpu"],
        core_s_asked=asked["cpu"],
        core_s_held=held["cpu"],
        # Slurm counts processes only where it is told to (JobAcctGatherType): else it says 0.
        core_s_busy=busy or None,
        energy_j=energy_j or None,
    )


def _counts(tres: str) -> Mapping[str, int]:
    """Of 'billing=4,cpu=4,gres/gpu:h100=2,gres/gpu=2,mem=8G,node=2'."""
    amounts = dict(re.findall(r"([^,=]+)=(\d+)", tres))
    return {"gpu": int(amounts.get("gres/gpu", 0)), "cpu": int(amounts.get("cpu", 0))}


def seconds(text: str) -> float:
    """Of '1-02:03:04', '02:03:04' and '03:04.567' (man sacct, TotalCPU)."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + (float(part) if re.fullmatch(r"\d+(\.\d+)?", part) else 0)
    return total + 86400 * _number(days)


def _number(text: str) -> int:
    """0 for what is none, such as a limit that is 'UNLIMITED'."""
    return int(text) if text.isdecimal() else 0


def _joules(text: str) -> int:
    found = _number(text)
    return found if found < _LARGEST_J else 0
