"""Where a run may run: what a cluster has, and what of it this person may use, for the form.

Only what can be chosen is shown: on one machine nobody is asked for nodes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.clusters import open_cluster
from labkit.eventloop import finish
from labkit.place import NAMES, num_fitting, own_access, pools_for
from labkit.resources import Resources
from labkit.schedulers.base import Access, Pool
from labkit.settings import Site
from labkit.units import format_memory
from labkit_widgets.fields import form_fields
from labkit_widgets.plan_view import rough_time


@dataclass(frozen=True, kw_only=True)
class Where:
    """What one cluster said when it was asked."""

    cluster: str
    pools: Sequence[Pool]
    access: Access

    @property
    def is_one_machine(self) -> bool:
        return len({node.name for pool in self.pools for node in pool.nodes}) <= 1


def ask_where(site: Site, cluster: str | None) -> Where:
    """Raises LabkitError where there is no such cluster, or it does not answer."""
    scheduler = open_cluster(site, cluster)
    return Where(
        cluster=site.cluster(cluster)[0],
        pools=finish(scheduler.capacity()),
        access=finish(own_access(scheduler)),
    )


def where_title(where: Where | None, clusters: Sequence[str]) -> str:
    """What the part of the form is called."""
    if len(clusters) > 1 or (where and not where.is_one_machine):
        return "Where it runs: nodes, GPUs, cores, memory, time"
    return "This machine: cores, memory, time"


def where_fields(
    where: Where | None,
    clusters: Sequence[str],
    given: Mapping[str, Any],
    wrong: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """A field for each thing that can be chosen there, with what is allowed beside it.

    What was given already is shown in any case, so that nothing holds unseen.
    """
    names = {"cluster": clusters, **_named(where)}
    most = _most(where, given)
    for field in form_fields(Resources, given, wrong):
        key, is_given = field["key"], field["key"] in given
        if key in names:
            if len(names[key]) > (0 if key == "reservation" else 1) or is_given:
                yield {**field, **_choice(names[key], str(given.get(key, "")))}
        elif is_given or most.get(key) not in _OF_NO_USE.get(key, ()):
            note = f" Here: {most[key]}." if most.get(key) else ""
            yield {**field, "help": field["help"] + note}


_OF_NO_USE: Mapping[str, tuple[str | None, ...]] = {
    "nodes": (None, "1"),
    "gpus_per_node": ("none",),
}
"""With no more than that there, nobody is asked."""


def _named(where: Where | None) -> dict[str, Sequence[str]]:
    return {key: getattr(where.access, every) if where else () for key, every in NAMES.items()}


def _choice(names: Sequence[str], value: str) -> dict[str, Any]:
    """One of those names, or none; what was given stays in sight, though it is none of them."""
    shown = [*names, *([value] if value and value not in names else [])]
    choices = [{"value": name, "title": name} for name in shown]
    return {
        "kind": "choice",
        "value": value,
        "choices": [{"value": "", "title": "chosen for you"}, *choices],
    }


def _most(where: Where | None, given: Mapping[str, Any]) -> dict[str, str]:
    """The most that a run may ask of each amount, with what is chosen so far."""
    pools = pools_for(where.pools, given.get("partition")) if where else []
    nodes = [node.total for pool in pools for node in pool.nodes]
    if not nodes:
        return {}
    num_gpus = max(node.num_gpus for node in nodes)
    gpus = _whole(given.get("gpus_per_node"))
    num_nodes = max(num_fitting(pool, gpus) for pool in pools)
    times = [pool.max_walltime_s for pool in pools]
    most = {
        "nodes": f"1 to {num_nodes}{f' with {gpus} GPUs each' if gpus else ''}",
        "gpus_per_node": f"0 to {num_gpus}" if num_gpus else "none",
        "cpus_per_node": f"1 to {max(node.num_cpus for node in nodes)}",
        "memory": f"up to {format_memory(max(node.memory_bytes for node in nodes))}",
    }
    if num_nodes <= 1:
        most["nodes"] = str(num_nodes)
    longest = [time for time in times if time is not None]
    if len(longest) == len(times):
        most["time"] = f"up to {rough_time(max(longest))}"
    return most


def _whole(written: object) -> int:
    """What was typed, which may be no number yet."""
    text = str(written or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
