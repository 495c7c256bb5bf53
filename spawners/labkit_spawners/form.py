"""The page's choice of profiles: what each gives, and what is free now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, FileSystemLoader

from labkit.schedulers.base import Amounts, Pool
from labkit.settings import Profile, Site
from labkit.units import format_duration
from labkit_spawners.templates import templates_folder
from labkit_spawners.watch import JobWatch

SHARE = "shard"
"""Slurm's word for a part of a GPU: nobody gets one who did not ask for it."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One profile as the page shows it."""

    name: str
    title: str
    description: str
    gives: str
    free: str
    possible: bool


async def profile_form(
    site: Site, watch_of: Callable[[str], JobWatch], prefilled: str | None, notice: str = ""
) -> str:
    """The form's fields, as HTML; names and texts of the site are escaped."""
    pools: dict[str, Sequence[Pool] | None] = {}
    for profile in site.profiles.values():
        cluster, _ = site.cluster(profile.cluster)
        if cluster not in pools:
            pools[cluster] = await _capacity(watch_of(cluster))
    choices = [
        describe(name, profile, pools[site.cluster(profile.cluster)[0]])
        for name, profile in site.profiles.items()
    ]
    possible = [choice.name for choice in choices if choice.possible]
    chosen = prefilled if prefilled in possible else next(iter(possible), None)
    return _template().render(choices=choices, chosen=chosen, notice=notice)


async def _capacity(watch: JobWatch) -> Sequence[Pool] | None:
    try:
        return await watch.pools()
    except Exception:  # the page must come; it says that nothing is known
        return None


def describe(name: str, profile: Profile, pools: Sequence[Pool] | None) -> Choice:
    """What the profile gives, and how much of it is free now, in words."""
    cores = "1 core" if profile.cores == 1 else f"{profile.cores} cores"
    gives = [cores, memory_in_words(profile.memory), f"up to {time_in_words(profile.time)}"]
    if profile.gpus:
        gives.insert(0, "1 GPU" if profile.gpus == 1 else f"{profile.gpus} GPUs")
    possible, free = _free(profile, pools)
    return Choice(
        name=name,
        title=profile.title,
        description=profile.description,
        gives=" · ".join(gives),
        free=free,
        possible=possible,
    )


def _free(profile: Profile, pools: Sequence[Pool] | None) -> tuple[bool, str]:
    if pools is None:
        return True, "The scheduler does not answer now; what is free is not known."
    where = pools_for(profile, pools)
    fitting = [pool for pool in where if pool.holds(asked_of(profile, pool))]
    if not fitting:
        few = all(n.total.num_gpus < profile.gpus for pool in where for n in pool.nodes)
        return False, f"Not in this lab: it has not that {'many GPUs' if few else 'much memory'}."
    longest = max(pool.max_walltime_s or profile.time for pool in fitting)
    if longest < profile.time:
        return False, f"Not in this lab: at most {time_in_words(longest)} at a time are allowed."
    now = sum(pool.room_for(asked_of(profile, pool)) for pool in fitting)
    if not now:
        return True, "All is in use now: it would wait for its turn."
    return True, "Free now." if now == 1 else f"Free now: {now} of this kind."


def pools_for(profile: Profile, pools: Sequence[Pool]) -> list[Pool]:
    """Those where such a session may run."""
    return [pool for pool in pools if _has_place(profile, pool) and _has_device(profile, pool)]


def _has_place(profile: Profile, pool: Pool) -> bool:
    return pool.partition == profile.partition if profile.partition else pool.default


def _has_device(profile: Profile, pool: Pool) -> bool:
    if not profile.gpus:
        return pool.accelerator == "cpu"
    if profile.device:
        return pool.device_name == profile.device
    return pool.accelerator != "cpu" and pool.device_name != SHARE


def asked_of(profile: Profile, pool: Pool) -> Amounts:
    """What such a session would hold for itself alone there."""
    return Amounts(
        num_cpus=0 if pool.shares_cores else profile.cores,
        memory_bytes=profile.memory,
        num_gpus=profile.gpus,
    )


def memory_in_words(amount: int) -> str:
    """'4 GB', and '2.5 GB' only where that is what it is."""
    gigabytes = amount / 2**30
    return f"{gigabytes:.0f} GB" if gigabytes == int(gigabytes) else f"{gigabytes:.1f} GB"


def time_in_words(time_s: int) -> str:
    hours = time_s / 3600
    if hours == int(hours):
        return "1 hour" if hours == 1 else f"{hours:.0f} hours"
    return format_duration(time_s)


@cache
def _template():
    pages = Environment(
        loader=FileSystemLoader(templates_folder() / "hub"), autoescape=True, trim_blocks=True
    )
    return pages.get_template("profiles.html")
