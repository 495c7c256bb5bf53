"""Of `labkit site check`: who may sign in, and what people's limits name."""

import grp
import os
import pwd
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from labkit.errors import did_you_mean, known_names
from labkit.schedulers.base import Finding
from labkit.settings import Site
from labkit_spawners.configure import PAM
from labkit_spawners.permission import groups_of

PASSWORDS = Path("/etc/shadow")
ACCOUNTS = Path("/etc/passwd")


def check_sign_in(site: Site, people: Sequence[str], hub_user: str) -> Iterator[Finding]:
    """Whether there are such groups, and whether these people could sign in by them."""
    hub = site.hub
    yield from _groups("hub.groups", hub.groups)
    if hub.authenticator != PAM:
        return
    for person in people:
        may = person in hub.users or not groups_of(person).isdisjoint(hub.groups)
        yield Finding(
            key=f"sign-in of {person}",
            found="allowed" if may else "not allowed",
            fix=""
            if may
            else "Neither hub.users names them nor are they in a group of hub.groups: "
            f"{known_names(hub.groups)}.",
        )
    here = [person for person in people if _has_account_here(person)]
    if here and not _may_read_passwords(hub_user):
        yield Finding(
            key="hub.authenticator",
            found=f"'pam', and the password of {', '.join(here)} lies in {PASSWORDS}",
            fix=f"The hub's user cannot read it: usermod --append --groups shadow {hub_user}. "
            "Passwords of a directory (LDAP, sssd) do not need that.",
        )


def check_limits(site: Site, known: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """`known`: all partitions, accounts, reservations and devices of the site's clusters."""
    for name, limits in site.limits.items():
        yield from _groups(f"limits.{name}.groups", limits.groups or ())
        for what, names in known.items():
            there = sorted(names)
            for given in getattr(limits, what) or ():
                if given not in there:
                    nearest = did_you_mean(given, there)
                    yield Finding(
                        key=f"limits.{name}.{what}",
                        found=repr(given),
                        fix=f"No cluster has it.{nearest} Allowed: {known_names(there)}.",
                    )


def _groups(key: str, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        try:
            grp.getgrnam(name)
        except KeyError:
            nearest = did_you_mean(name, [group.gr_name for group in grp.getgrall()])
            yield Finding(
                key=key,
                found=repr(name),
                fix=f"There is no such Unix group on this machine.{nearest}",
            )


def _has_account_here(person: str) -> bool:
    """Not of a directory in the network."""
    lines = ACCOUNTS.read_text("utf-8", "replace").splitlines()
    return any(line.startswith(f"{person}:") for line in lines)


def _may_read_passwords(user: str) -> bool:
    try:
        account, about = pwd.getpwnam(user), PASSWORDS.stat()
    except (KeyError, OSError):
        return False
    groups = os.getgrouplist(user, account.pw_gid)
    return (
        account.pw_uid == 0
        or bool(about.st_mode & 0o004)
        or (bool(about.st_mode & 0o040) and about.st_gid in groups)
    )
