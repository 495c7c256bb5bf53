"""The page's choice of profiles: what each gives, what is free now, and when it would start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader

from labkit.schedulers.base import Pool
from labkit.settings import Profile, Site
from labkit_spawners.advanced import fields
from labkit_spawners.offers import Offers, View
from labkit_spawners.permission import over_amounts
from labkit_spawners.places import SHARE, pools_for, room_for, why_not
from labkit_spawners.templates import templates_folder
from labkit_spawners.words import memory_in_words, start_in_words, time_in_words


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One profile as the page shows it."""

    name: str
    title: str
    description: str
    gives: str
    free: str
    start: str
    """When it would start, in words of this machine's clock."""
    start_at: str
    """The same as an ISO date, for the browser's clock; '' where no clock is shown."""
    possible: bool
    values: Mapping[str, str]
    """What each field is where it is left empty."""


async def profile_form(
    offers: Offers, person: str, prefilled: Mapping[str, Any], notice: str = ""
) -> str:
    """The form's fields, as HTML; names and texts of the site are escaped."""
    view = await offers.look(person)
    choices = choices_of(offers.site, view)
    possible = [choice.name for choice in choices if choice.possible]
    asked = prefilled.get("profile")
    return _template().render(
        choices=choices,
        chosen=asked if asked in possible else next(iter(possible), None),
        notice=notice,
        known=known_in_words(view),
        names_known=None not in view.access.values(),
        fields=fields(offers, view, prefilled),
        opened=any(value for key, value in prefilled.items() if key != "profile"),
    )


def choices_of(site: Site, view: View) -> list[Choice]:
    """The profiles that this person may choose from."""
    now = datetime.now().astimezone()
    return [
        describe(name, profile, view, site.cluster(profile.cluster)[0], now)
        for name, profile in site.profiles.items()
        if view.limits.profiles is None or name in view.limits.profiles
    ]


def known_in_words(view: View) -> str:
    """How old what the page shows is; '' where it is new."""
    then = f"{view.known_at.astimezone():%H:%M}" if view.known_at else ""
    if view.silent:
        known = f"this was so at {then}" if then else "what is free is not known"
        return f"The scheduler does not answer now; {known}."
    return f"This was so at {then}; the scheduler is being asked anew." if then else ""


def describe(name: str, profile: Profile, view: View, cluster: str, now: datetime) -> Choice:
    """What the profile gives, how much of it is free now, and when it would start, in words."""
    possible, free = how_much_is_free(profile, view.pools.get(cluster))
    over = next(over_amounts(view.limits_name, view.limits, profile), None)
    if over:
        possible, free = False, f"Not for you: {over[1]}"
    start = view.starts.get(name)
    words = ""
    if possible and view.pools.get(cluster) is not None:
        words = "now" if name not in view.starts else "not known yet"
        words = start_in_words(start, now) if start else words
    return Choice(
        name=name,
        title=profile.title,
        description=profile.description,
        gives=gives_in_words(profile),
        free=free,
        start=words,
        start_at=start.isoformat() if start and words != "now" else "",
        possible=possible,
        values=values_in_words(profile),
    )


def gives_in_words(profile: Profile) -> str:
    """'2 × h100 · 4 cores · 16 GB · up to 4 hours'."""
    cores = "1 core" if profile.cores == 1 else f"{profile.cores} cores"
    gives = [cores, memory_in_words(profile.memory), f"up to {time_in_words(profile.time)}"]
    if profile.gpus:
        gives.insert(0, devices_in_words(profile))
    if profile.nodes > 1:
        gives.insert(0, f"{profile.nodes} nodes, each with")
    return " · ".join(gives).replace("with · ", "with ")


def devices_in_words(profile: Profile) -> str:
    count = profile.gpus
    if profile.device == SHARE:
        return "1 share of a GPU" if count == 1 else f"{count} shares of a GPU"
    if profile.device:
        return f"{count} × {profile.device}"
    return "1 GPU" if count == 1 else f"{count} GPUs"


def values_in_words(profile: Profile) -> dict[str, str]:
    """What the fields would say, were the profile written into them."""
    return {
        "device": profile.device,
        "gpus": str(profile.gpus),
        "nodes": str(profile.nodes),
        "cores": str(profile.cores),
        "memory": memory_in_words(profile.memory),
        "time": time_in_words(profile.time),
    }


def how_much_is_free(profile: Profile, pools: Sequence[Pool] | None) -> tuple[bool, str]:
    """Whether it can be had here, and how much of it is free now."""
    if pools is None:
        return True, "What is free is not known yet."
    if why := why_not(profile, pools):
        return False, f"Not in this lab: {why}"
    where = pools_for(profile, pools)
    now = sum(room_for(profile, pool) for pool in where)
    if not profile.gpus:
        return True, f"Free now: {now} of this kind." if now else "All is in use now."
    free, total = (sum(getattr(pool, key) for pool in where) for key in ("free_gpus", "num_gpus"))
    device = {"": "GPUs", SHARE: "shares"}.get(profile.device, profile.device)
    words = f"{free or 'None'} of {total} {device} free now."
    return True, words if now or not free else f"{words} It needs more, or more beside them."


@cache
def _template():
    pages = Environment(
        loader=FileSystemLoader(templates_folder() / "hub"), autoescape=True, trim_blocks=True
    )
    return pages.get_template("profiles.html")
