"""What runs cost: GPU-hours and core-hours asked, held and busy, and energy. Known, or None.

What was asked and held is the scheduler's word (`sacct`, or the table of `local`), and so is
what its own meters count. What the devices were busy with, the training processes metered.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from labkit.clusters import open_cluster
from labkit.errors import LabkitError
from labkit.runs.folder import Attempt, Run
from labkit.runs.meter import Use, read_uses
from labkit.schedulers.base import JobUse, KeepsAccounts
from labkit.settings import Site

_HOUR = 3600
_J_IN_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Each figure is None where it is not known; it is 0 only where it is nothing."""

    gpu_hours_asked: float | None = None
    gpu_hours_held: float | None = None
    gpu_hours_busy: float | None = None
    core_hours_asked: float | None = None
    core_hours_held: float | None = None
    core_hours_busy: float | None = None
    kwh: float | None = None


FIGURES = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """What one run cost in all its attempts."""

    run: Run
    cluster: str
    """Of its last attempt; '' for one that was never submitted."""
    cost: Cost
    problem: str = ""
    """Why not more is known, in words; empty where nothing went wrong."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": self.run.run_id,
            "name": self.run.name,
            "cluster": self.cluster,
            **vars(self.cost),
            "problem": self.problem,
        }


async def cost_of_runs(site: Site, runs: Sequence[Run]) -> list[RunCost]:
    """One question to each cluster for all of them; what cannot be asked is not known."""
    attempts, problems = {}, {}
    for run in runs:
        try:
            attempts[run.run_id] = [each for each in run.attempts() if each.job_id]
        except LabkitError as error:
            attempts[run.run_id], problems[run.run_id] = [], str(error)
    used, silent = await _ask(site, [one for those in attempts.values() for one in those])
    return [
        _run_cost(run, attempts[run.run_id], used, problems.get(run.run_id, ""), silent)
        for run in runs
    ]


_Key = tuple[str, str]
"""A cluster and the id of one of its jobs."""


async def _ask(
    site: Site, attempts: Collection[Attempt]
) -> tuple[dict[_Key, JobUse], dict[str, str]]:
    """What jobs used, and the clusters that did not say, with why."""
    used: dict[_Key, JobUse] = {}
    silent: dict[str, str] = {}
    for cluster in {attempt.cluster for attempt in attempts}:
        ids = {attempt.job_id for attempt in attempts if attempt.cluster == cluster}
        try:
            scheduler = open_cluster(site, cluster)
            found = await scheduler.used(ids) if isinstance(scheduler, KeepsAccounts) else {}
        except LabkitError as error:
            silent[cluster] = str(error)
            continue
        used |= {(cluster, job_id): use for job_id, use in found.items()}
    return used, silent


def _run_cost(
    run: Run,
    attempts: Sequence[Attempt],
    used: Mapping[_Key, JobUse],
    problem: str,
    silent: Mapping[str, str],
) -> RunCost:
    jobs = list(dict.fromkeys((attempt.cluster, attempt.job_id) for attempt in attempts))
    try:
        metered = [read_uses(attempt.folder) for attempt in attempts]
    except LabkitError as error:
        metered, problem = [[] for _ in attempts], problem or str(error)
    why = [silent[cluster] for cluster, _ in jobs if cluster in silent]
    return RunCost(
        run=run,
        cluster=attempts[-1].cluster if attempts else "",
        cost=cost([used.get(job) for job in jobs], metered),
        problem=problem or next(iter(why), ""),
    )


def cost(jobs: Sequence[JobUse | None], metered: Sequence[Sequence[Use]]) -> Cost:
    """Of one run: its jobs, as far as they are known, and what each attempt metered. Pure."""
    gpu_s_held = _sum(job and job.gpu_s_held for job in jobs)
    uses = [use for attempt in metered for use in attempt]
    complete = bool(metered) and all(metered)
    core_s_busy = _sum(job and job.core_s_busy for job in jobs)
    if core_s_busy is None and complete:
        core_s_busy = _sum(use.core_s_busy for use in uses)
    gpu_s_busy = _sum(use.device_s_busy for use in uses) if complete else None
    energy_j = _sum(job and job.energy_j for job in jobs)
    if energy_j is None and complete:
        energy_j = _sum(use.energy_j for use in uses)
    return Cost(
        gpu_hours_asked=_in(_HOUR, _sum(job and job.gpu_s_asked for job in jobs)),
        gpu_hours_held=_in(_HOUR, gpu_s_held),
        gpu_hours_busy=0.0 if gpu_s_held == 0 else _in(_HOUR, gpu_s_busy),
        core_hours_asked=_in(_HOUR, _sum(job and job.core_s_asked for job in jobs)),
        core_hours_held=_in(_HOUR, _sum(job and job.core_s_held for job in jobs)),
        core_hours_busy=_in(_HOUR, core_s_busy),
        kwh=_in(_J_IN_KWH, energy_j),
    )


def _sum(parts: Iterable[float | None]) -> float | None:
    """Not known where one of them is not, or where there is none."""
    known = list(parts)
    return sum(part for part in known if part is not None) if _all_known(known) else None


def _all_known(parts: Sequence[float | None]) -> bool:
    return bool(parts) and all(part is not None for part in parts)


def _in(unit: float, amount: float | None) -> float | None:
    return None if amount is None else amount / unit


@dataclass(frozen=True, kw_only=True)
class ClusterCost:
    """The runs of one cluster together, as far as each is known."""

    cluster: str
    num_runs: int
    cost: Cost
    """Of those whose figure is known; None where none is."""
    num_unknown: Mapping[str, int]
    """Of each figure, for how many runs it is not known."""

    def to_dict(self) -> dict[str, Any]:
        return {"cluster": self.cluster, "runs": self.num_runs, **vars(self.cost),
                "not_known_of": dict(self.num_unknown)}  # fmt: skip


def by_cluster(costs: Sequence[RunCost]) -> list[ClusterCost]:
    return [
        _together(cluster, [each.cost for each in costs if each.cluster == cluster])
        for cluster in dict.fromkeys(each.cluster for each in costs if each.cluster)
    ]


def _together(cluster: str, costs: Sequence[Cost]) -> ClusterCost:
    known = {
        figure: [value for one in costs if (value := getattr(one, figure)) is not None]
        for figure in FIGURES
    }
    return ClusterCost(
        cluster=cluster,
        num_runs=len(costs),
        cost=Cost(**{figure: sum(found) if found else None for figure, found in known.items()}),
        num_unknown={figure: len(costs) - len(found) for figure, found in known.items()},
    )


def in_words(amount: float | None, unit: str = "") -> str:
    """'12.5', '0.004', 'not known': a small amount is never shown as nothing."""
    if amount is None:
        return "not known"
    small = f"{amount:.2g}" if amount >= 0.0001 or not amount else "below 0.0001"
    return f"{amount:,.1f} {unit}".rstrip() if amount >= 10 else f"{small} {unit}".rstrip()


def cost_line(cost: Cost) -> str:
    """What a run held, for one line: GPU-hours where it had GPUs, else core-hours."""
    on_gpus = cost.gpu_hours_held != 0
    held, busy = (
        (cost.gpu_hours_held, cost.gpu_hours_busy)
        if on_gpus
        else (cost.core_hours_held, cost.core_hours_busy)
    )
    unit = "GPU-hours" if on_gpus else "core-hours"
    energy = "energy not known" if cost.kwh is None else f"{in_words(cost.kwh)} kWh"
    if held is None:
        return f"{unit} not known, {energy}"
    return f"{in_words(held)} {unit} held, busy {in_words(busy)}; {energy}"
