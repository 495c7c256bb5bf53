"""Slurm's reasons why a job waits, in plain words.

The list of reasons: https://slurm.schedmd.com/job_reason_codes.html
"""

_NEVER = {
    "PartitionTimeLimit": "It asks for more time than its partition allows. Ask for less time.",
    "PartitionNodeLimit": "It asks for more nodes than its partition has. Ask for fewer.",
    "PartitionInactive": "Its partition is closed. Choose another, or ask your operator.",
    "PartitionDown": "Its partition is closed. Choose another, or ask your operator.",
    "AccountNotAllowed": "Its account may not use that partition. Choose another account.",
    "QOSNotAllowed": "Its quality of service may not use that partition.",
    "BadConstraints": "No node is as it asks. Choose another kind of device, or ask for less.",
    "ReqNodeNotAvail": "The nodes it asks for are down or reserved.",
    "DependencyNeverSatisfied": "A job that it waits for has failed, so it never starts.",
    "ReservationDeleted": "Its reservation is gone. Start it without one.",
    "InvalidAccount": "Its account is not known any more. Ask your operator.",
    "InvalidQOS": "Its quality of service is not known any more. Ask your operator.",
    "JobHeldUser": "It is held by you. Release it, or start anew.",
    "JobHeldAdmin": "An operator holds it. Ask them.",
    "launch_failed_requeued_held": "It failed to start and is held. Start anew.",
}

_NOW = {
    "None": "It is about to be looked at.",
    "Priority": "Others are before it.",
    "Resources": "It is next, and waits until what it asks for is free.",
    "BeginTime": "It starts at a set time.",
    "Dependency": "It waits for another job.",
    "Licenses": "It waits for a licence.",
    "Reservation": "It waits for its reservation to begin.",
    "NodeDown": "Its node is down; it waits for another.",
    "Prolog": "Its node is being prepared.",
    "Cleaning": "What an earlier start of it left is being cleaned up.",
    "JobArrayTaskLimit": "Enough of its array runs already.",
    "SchedDefer": "Slurm looks at it a little later.",
}

_SUBJECTS = {
    "GRES": "GPUs",
    "CPU": "cores",
    "Mem": "memory",
    "Node": "nodes",
    "Jobs": "jobs at a time",
    "Submit": "waiting jobs",
    "Wall": "time",
    "Billing": "units",
    "Energy": "energy",
}


_PASSES = {"ReqNodeNotAvail"}
"""Of those of `_NEVER`, what may change by itself."""


def in_words(reason: str) -> str:
    """One or two sentences for Slurm's word."""
    reason = _word(reason)
    return _NEVER.get(reason) or _NOW.get(reason) or _limit(reason) or f"Slurm says: {reason}."


def is_stuck(reason: str) -> bool:
    """Whether the job will not start unless somebody changes something."""
    reason = _word(reason)
    if _owner(reason):
        return _is_used_up(reason) or _is_per_job(reason)
    return reason in _NEVER and reason not in _PASSES


def waits_in_turn(reason: str) -> bool:
    return _word(reason) in ("Priority", "Resources")


def _word(reason: str) -> str:
    """Without the nodes that follow it: 'ReqNodeNotAvail, UnavailableNodes:n4'."""
    return reason.strip("()").partition(",")[0]


def _owner(reason: str) -> str | None:
    whose = {"Assoc": "your project", "QOS": "this kind of job"}
    return next((words for start, words in whose.items() if reason.startswith(start)), None)


def _is_used_up(reason: str) -> bool:
    """Hours; those of running jobs ('GRESRunMinutes') come back."""
    return reason.removesuffix("Limit").endswith("Minutes") and "Run" not in reason


def _is_per_job(reason: str) -> bool:
    return "PerJob" in reason or "MaxWall" in reason or reason.startswith(("QOSMin", "AssocMin"))


def _limit(reason: str) -> str:
    """Of the many limits of an account (Assoc) and a quality of service (QOS)."""
    owner = _owner(reason)
    what = next((words for key, words in _SUBJECTS.items() if key in reason), None)
    if owner is None or what is None:
        return ""
    if _is_used_up(reason) and "PerJob" not in reason:
        what = what.removesuffix("s")
        return (
            f"What is left of the {what} hours of {owner} is less than it asks for. Ask for less "
            "time or fewer devices, or ask your operator for more hours."
        )
    if reason.startswith(("QOSMin", "AssocMin")):
        return f"It asks for fewer {what} than {owner} must. Ask for more, or choose another."
    if _is_per_job(reason):
        return f"It asks for more {what} than {owner} may have in one job. Ask for less."
    return (
        f"{owner.capitalize()} holds as many {what} as it may; it waits until some are given back."
    )
