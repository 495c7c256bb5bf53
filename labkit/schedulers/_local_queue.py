"""Which waiting job of the `local` scheduler starts next, and when, and why not yet.

Pure: rows in, decisions out. Times are seconds since the epoch. First come, first served:
a job that does not fit yet keeps what it needs, and later ones start from what is left
besides. So a small job passes a big one only where it does not delay it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.schedulers.base import Amounts, JobKind, JobSpec
from labkit.units import format_memory

_FORECAST_JOBS = 100
"""How far down the queue starts are foreseen: the work grows with the square of it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is to lease."""

    num_cpus: int
    memory_bytes: int
    cpu_name: str = "CPU"
    accelerator: str = "cpu"
    """The kind of its GPUs; 'cpu' without any."""
    gpus: tuple[tuple[int, str], ...] = ()
    """Index and name of each GPU."""

    @property
    def amounts(self) -> Amounts:
        return Amounts(
            num_cpus=self.num_cpus, memory_bytes=self.memory_bytes, num_gpus=len(self.gpus)
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """A job that waits."""

    job_id: str
    needs: Amounts
    walltime_s: int


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What a job holds until it ends, at the latest at `until`."""

    job_id: str
    needs: Amounts
    gpus: tuple[int, ...]
    until: float


def needs(spec: JobSpec) -> Amounts:
    """What the job is given for itself alone. Sessions share cores: most of them mostly wait."""
    return Amounts(
        num_cpus=0 if spec.kind is JobKind.SESSION else spec.resources.num_cpus,
        memory_bytes=spec.resources.memory_bytes,
        num_gpus=spec.resources.num_gpus,
    )


def refusal(spec: JobSpec, machine: Machine) -> str | None:
    """Why the job can never run on this machine, with what to do; None where it can."""
    asked = spec.resources
    if asked.num_nodes > 1:
        return f"{asked.num_nodes} nodes asked; this cluster is one machine. Ask for one node."
    if asked.num_gpus and asked.accelerator != machine.accelerator:
        return (
            f"{_gpus(asked.num_gpus)} of the kind {asked.accelerator!r} asked; this machine has "
            f"{_kind(machine)}. Ask for what it has, or choose another cluster."
        )
    amounts = needs(spec)
    if amounts.within(machine.amounts):
        return None
    return f"{_all(amounts)} asked; this machine has {_all(machine.amounts)}. Ask for less."


def choose(
    waiting: Sequence[Request], held: Sequence[Lease], machine: Machine, now: float
) -> list[Lease]:
    """What starts now, in the order of the queue."""
    free, free_gpus, starts = free_amounts(held, machine), _free_gpus(held, machine), []
    for request in waiting:
        if not request.needs.within(machine.amounts):
            continue  # the machine was made smaller: nothing is kept for what cannot come
        if request.needs.within(free):
            count = request.needs.num_gpus
            gpus, free_gpus = free_gpus[:count], free_gpus[count:]
            starts.append(_lease(request, gpus, now))
        free = free.less(request.needs)
    return starts


def forecast(
    waiting: Sequence[Request], held: Sequence[Lease], machine: Machine, now: float
) -> dict[str, float]:
    """When each job starts at the latest, by its id, if every job uses its whole walltime.

    Without those far down the queue, and those that cannot start.
    """
    waiting, held, starts = list(waiting[:_FORECAST_JOBS]), list(held), {}
    while True:
        begun = choose(waiting, held, machine, now)
        starts |= {lease.job_id: now for lease in begun}
        waiting = [request for request in waiting if request.job_id not in starts]
        held += begun
        if not waiting or not held:
            return starts
        now = max(now, min(lease.until for lease in held))
        held = [lease for lease in held if lease.until > now]


def reasons(waiting: Sequence[Request], held: Sequence[Lease], machine: Machine) -> dict[str, str]:
    """Why each waiting job waits, in plain words, by its id."""
    free, found = free_amounts(held, machine), {}
    for place, request in enumerate(waiting):
        if request.needs.within(machine.amounts):
            found[request.job_id] = _reason(request.needs, free, machine, len(held), place)
            free = free.less(request.needs)
        else:
            found[request.job_id] = (
                f"It cannot start: this machine now has {_all(machine.amounts)}, and it asks for "
                "more. Cancel it and ask for less."
            )
    return found


def free_amounts(held: Iterable[Lease], machine: Machine) -> Amounts:
    held = list(held)
    free = machine.amounts
    for lease in held:
        free = free.less(lease.needs)
    # Counted by the devices themselves: one that is leased may have left the machine.
    num_gpus = len(_free_gpus(held, machine))
    return Amounts(num_cpus=free.num_cpus, memory_bytes=free.memory_bytes, num_gpus=num_gpus)


def _free_gpus(held: Iterable[Lease], machine: Machine) -> tuple[int, ...]:
    leased = {index for lease in held for index in lease.gpus}
    return tuple(index for index, _ in machine.gpus if index not in leased)


def _lease(request: Request, gpus: tuple[int, ...], now: float) -> Lease:
    until = now + request.walltime_s
    return Lease(job_id=request.job_id, needs=request.needs, gpus=gpus, until=until)


def _reason(asked: Amounts, free: Amounts, machine: Machine, running: int, before: int) -> str:
    there = machine.amounts
    amounts = [
        ("GPUs", asked.num_gpus, free.num_gpus, there.num_gpus, str),
        ("cores", asked.num_cpus, free.num_cpus, there.num_cpus, str),
        ("memory", asked.memory_bytes, free.memory_bytes, there.memory_bytes, format_memory),
    ]
    lacking = [
        f"{what} ({shown(need)} asked, {shown(left)} of {shown(total)} free for it)"
        for what, need, left, total, shown in amounts
        if need > left
    ]
    if not lacking:
        return "It is about to start."
    queue = f"; {_jobs(before)} before it" if before else ""
    return f"Waiting for {' and '.join(lacking)}. {_jobs(running)} running{queue}."


def _jobs(count: int) -> str:
    return f"{count} job is" if count == 1 else f"{count} jobs are"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _cores(count: int) -> str:
    return f"{count} core" if count == 1 else f"{count} cores"


def _kind(machine: Machine) -> str:
    return f"GPUs of the kind {machine.accelerator!r}" if machine.gpus else "no GPU"


def _all(amounts: Amounts) -> str:
    memory = f"{format_memory(amounts.memory_bytes)} of memory"
    cores = _cores(amounts.num_cpus) if amounts.num_cpus else ""
    gpus = _gpus(amounts.num_gpus) if amounts.num_gpus else ""
    return " and ".join(filter(None, [", ".join(filter(None, [cores, gpus])), memory]))
