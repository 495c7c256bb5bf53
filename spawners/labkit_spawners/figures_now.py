"""What there is now, among the figures of `/hub/metrics`: sessions, and GPUs held and in all.

Read when the page is asked for, from what the hub knows already: a scrape asks no scheduler
anything.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import REGISTRY, Collector

from labkit.schedulers.base import JobInfo, JobState, Pool, PoolNode
from labkit_spawners.places import SHARE
from labkit_spawners.records import SessionRecord
from labkit_spawners.shared import Lab, the_lab


class SessionFigures(Collector):
    """What is there now."""

    def __init__(self, lab_of: Callable[[], Lab]):
        self._lab_of = lab_of

    def describe(self) -> list[GaugeMetricFamily]:
        """Empty ones, so that registering asks for no lab."""
        return [_sessions(), _held(), *_gpus()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        lab = self._lab_of()
        sessions, held, (total, allocated) = _sessions(), _held(), _gpus()
        states = Tally((state_of(lab, record), record.profile) for record in lab.records.all())
        for (state, profile), count in states.items():
            sessions.add_metric([state, profile], count)
        for cluster, watch in lab.watches.items():
            for kind, count in gpus_held(list(watch.known_jobs.values())).items():
                held.add_metric([cluster, kind], count)
            for device, nodes in nodes_by_device(watch.known_pools).items():
                num_gpus = sum(node.total.num_gpus for node in nodes)
                free = sum(node.free.num_gpus for node in nodes)
                total.add_metric([cluster, device], num_gpus)
                allocated.add_metric([cluster, device], num_gpus - free)
        yield from (sessions, held, total, allocated)


def _sessions() -> GaugeMetricFamily:
    what = "Sessions by state (submitting, queued, starting, running) and profile."
    return GaugeMetricFamily("labkit_sessions", what, labels=["state", "profile"])


def _held() -> GaugeMetricFamily:
    what = "GPUs, or shares, that running jobs of labkit hold, by kind of job."
    return GaugeMetricFamily("labkit_gpus_held", what, labels=["cluster", "kind"])


def _gpus() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    labels = ["cluster", "device"]
    busy = "Of those, what anybody's jobs hold or what cannot be had; not how busy a GPU is."
    return (
        GaugeMetricFamily("labkit_gpus_total", "GPUs of a cluster, by device.", labels=labels),
        GaugeMetricFamily("labkit_gpus_allocated", busy, labels=labels),
    )


def state_of(lab: Lab, record: SessionRecord) -> str:
    """By the record, and by what the scheduler said last."""
    if record.started:
        return "running"
    if not record.job_id:
        return "submitting"
    watch = lab.watches.get(record.cluster)
    job = watch.known_jobs.get(record.job_id) if watch else None
    return "starting" if job and job.state is not JobState.PENDING else "queued"


def gpus_held(jobs: list[JobInfo]) -> dict[str, int]:
    """By kind of job; of those that run."""
    held: Tally[str] = Tally()
    for job in jobs:
        if job.state in (JobState.RUNNING, JobState.ENDING):
            held[job.kind] += job.resources.num_gpus * max(1, len(job.nodes))
    return dict(held)


def nodes_by_device(pools: Sequence[Pool]) -> dict[str, list[PoolNode]]:
    """Each node once for each of its devices, though it may be in several partitions."""
    found: dict[str, dict[str, PoolNode]] = {}
    for pool in pools:
        if pool.num_gpus:
            device = {"": "gpu", SHARE: "share"}.get(pool.device_name, pool.device_name)
            found.setdefault(device, {}).update({node.name: node for node in pool.nodes})
    return {device: list(nodes.values()) for device, nodes in found.items()}


def mount() -> None:
    """Put them among the hub's figures. Called once, by the module of the spawner."""
    REGISTRY.register(SessionFigures(the_lab))
