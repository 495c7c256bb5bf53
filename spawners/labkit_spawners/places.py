"""Where a session could run, and what keeps it from fitting. Pure."""

from collections.abc import Sequence

from labkit.schedulers.base import SHARE, Amounts, Pool, PoolNode
from labkit.settings import Profile
from labkit_spawners.words import memory_in_words, time_in_words


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
    """What such a session would hold for itself alone there, on each of its nodes."""
    return Amounts(
        num_cpus=0 if pool.shares_cores else profile.cores,
        memory_bytes=profile.memory,
        num_gpus=profile.gpus,
    )


def room_for(profile: Profile, pool: Pool) -> int:
    """How many such sessions would start there now."""
    asked = asked_of(profile, pool)
    if profile.nodes == 1:
        return pool.room_for(asked)
    return sum(asked.within(node.free) for node in pool.nodes) // profile.nodes


def why_not(profile: Profile, pools: Sequence[Pool]) -> str:
    """What keeps the session from ever fitting, with the nearest that fits; '' where it can."""
    there = [pool for pool in pools if _has_place(profile, pool)]
    if not there:
        return f"No partition {profile.partition!r} is open now."
    with_device = pools_for(profile, there)
    if not with_device:
        return _no_device(profile, there)
    obstacles = [_obstacle(profile, pool) for pool in with_device]
    hard = [obstacle for obstacle in obstacles if obstacle]
    return max(hard)[1] if len(hard) == len(obstacles) else ""


def _no_device(profile: Profile, there: Sequence[Pool]) -> str:
    names = [pool.device_name for pool in there if pool.accelerator != "cpu"]
    where = f" in partition {profile.partition}" if profile.partition else ""
    known = ", ".join(dict.fromkeys(names))
    others = f" There: {known}." if known else ""
    return f"No {profile.device or 'GPU'}{where}.{others}"


def _obstacle(profile: Profile, pool: Pool) -> tuple[int, str] | None:
    """How far it came there, and what it met; None where nothing is in its way."""
    asked = asked_of(profile, pool)
    nodes = list(pool.nodes)
    questions = (
        ("num_gpus", lambda most: _gpus(profile, pool, nodes, most)),
        ("num_cpus", lambda most: _cores(profile, most)),
        ("memory_bytes", lambda most: _memory(profile, most)),
    )
    for passed, (kind, sentence) in enumerate(questions):
        most = max((getattr(node.total, kind) for node in nodes), default=0)
        nodes = [node for node in nodes if getattr(asked, kind) <= getattr(node.total, kind)]
        if not nodes:
            return passed, sentence(most)
    if len(nodes) < profile.nodes:
        return 3, _nodes(profile, len(nodes))
    if pool.max_walltime_s and profile.time > pool.max_walltime_s:
        return 4, (
            f"You asked for {time_in_words(profile.time)}; partition {pool.partition} allows at "
            f"most {time_in_words(pool.max_walltime_s)}."
        )
    return None


def _gpus(profile: Profile, pool: Pool, nodes: Sequence[PoolNode], most: int) -> str:
    """'You asked for 8 × h100 on one node; no node has more than 4. Choose at most 4; or …'"""
    device = "shares of a GPU" if profile.device == SHARE else f"× {profile.device or 'GPU'}"
    asked = f"You asked for {profile.gpus} {device} on one node"
    if not most:
        return f"{asked}; none has any now."
    wanted = profile.gpus * profile.nodes
    spread = next(
        (
            (count, wanted // count)
            for count in range(profile.nodes + 1, len(pool.nodes) + 1)
            if wanted % count == 0
            and sum(node.total.num_gpus >= wanted // count for node in pool.nodes) >= count
        ),
        None,
    )
    more = f"; or {spread[0]} nodes with {spread[1]} each" if spread else ""
    return f"{asked}; no node has more than {most}. Choose at most {most}{more}."


def _cores(profile: Profile, most: int) -> str:
    return _too_much(profile, f"{profile.cores} cores", str(most))


def _memory(profile: Profile, most: int) -> str:
    return _too_much(profile, f"{memory_in_words(profile.memory)} of memory", memory_in_words(most))


def _too_much(profile: Profile, asked: str, most: str) -> str:
    """'You asked for 100 TB of memory on one node; no node has more than 512 GB. Choose …'"""
    beside = f" with {profile.gpus} × {profile.device or 'GPU'}" if profile.gpus else ""
    return (
        f"You asked for {asked} on one node; no node{beside} has more than {most}. "
        f"Choose at most {most}."
    )


def _nodes(profile: Profile, most: int) -> str:
    has = "has" if most == 1 else "have"
    return (
        f"You asked for {profile.nodes} nodes; {most} {has} as much as you asked of each. "
        f"Choose at most {most}."
    )
