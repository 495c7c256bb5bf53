"""`labkit-submit`: submits one session as the person that it runs as.

The hub runs it by one line of sudoers, as that person, with no arguments and an environment
of sudo's own. It reads a `SessionRequest` from standard input and builds everything else
from settings that only root can change. It never runs as root nor as a system account.
"""

import asyncio
import json
import os
import pwd
import stat
import sys
from pathlib import Path

from pydantic import ValidationError

from labkit.clusters import open_cluster
from labkit.errors import LabkitError
from labkit.paths import SETTINGS_NAME
from labkit.settings import Site, read_site
from labkit_spawners.submit import MAX_REQUEST, SessionRequest, profile_of, submit_as_self

_FIRST_PERSON = 1000
"""Ids below it are of the system (Debian's UID_MIN)."""


def main() -> int:
    try:
        job_id = _submit()
    except LabkitError as error:
        print(json.dumps({"error": str(error)}))
        return error.exit_code
    print(json.dumps({"job_id": job_id}))
    return 0


def _submit() -> str:
    if len(sys.argv) > 1:
        raise LabkitError(f"{Path(sys.argv[0]).name} takes no arguments.")
    me = become_myself()
    request = read_request(sys.stdin.buffer.read(MAX_REQUEST + 1))
    site = trusted_site()
    scheduler = open_cluster(site, profile_of(site, request).cluster)
    return asyncio.run(submit_as_self(site, scheduler, me, request))


def become_myself() -> str:
    """My name; home and name in the environment are mine and not those of who called."""
    if os.getuid() != os.geteuid() or os.getuid() < _FIRST_PERSON:
        raise LabkitError("Sessions are of people: not of root, nor of a system account.")
    me = pwd.getpwuid(os.getuid())
    os.environ.update(HOME=me.pw_dir, USER=me.pw_name, LOGNAME=me.pw_name, SHELL=me.pw_shell)
    os.umask(0o077)
    os.chdir("/")
    return me.pw_name


def read_request(text: bytes) -> SessionRequest:
    if len(text) > MAX_REQUEST:
        raise LabkitError("The request is too long.")
    try:
        return SessionRequest.model_validate_json(text)
    except ValidationError as error:
        # Not the values: the session's token is among them.
        where = ", ".join(".".join(map(str, each["loc"])) or "all" for each in error.errors())
        raise LabkitError(f"The request is not as it must be: {where}.") from None


def trusted_site() -> Site:
    """The site of this Python environment or of this machine, which only root can change."""
    places = [Path(sys.prefix) / "etc" / "labkit", Path("/etc/labkit")]
    for file in (place / SETTINGS_NAME for place in places):
        if file.is_file():
            for path in (file, *file.resolve().parents):
                _require_roots(path)
            return read_site(file)
    raise LabkitError(f"There is no {SETTINGS_NAME} in {' or '.join(map(str, places))}.")


def _require_roots(path: Path) -> None:
    found = path.stat()
    sticky = found.st_mode & stat.S_ISVTX  # as /tmp: others cannot replace what is in it
    if found.st_uid != 0 or (found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky):
        raise LabkitError(f"{path} can be changed by others than root, so it is not trusted.")


if __name__ == "__main__":
    sys.exit(main())
