"""Whether whoever runs this could use a profile's software, as far as this machine shows.

For `labkit site check`, which asks as the person. What a node alone has, no login node sees.
"""

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Sequence

from labkit.settings import Software

_NO_MODULES = 97
_WITHIN_S = 15


async def unusable(software: Software, prologue: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    """Each key of `software` that is wrong here, and how."""
    if software.image is None:
        if software.python and (why := _why_not(str(software.python), os.X_OK)):
            yield "python", why
    else:
        for key, path, mode in (
            ("image", software.image, os.R_OK),
            ("apptainer", software.apptainer, os.X_OK),
        ):
            if why := _why_not(str(path), mode):
                yield key, why
    for name in await _lost_modules(software.modules, prologue):
        yield "modules", f"found {name!r}, which 'module load' does not find here."


def _why_not(path: str, mode: int) -> str:
    if os.path.isfile(path) and os.access(path, mode):
        return ""
    if not os.path.exists(path):
        return f"found {path!r}, which is not there, or lies where you may not look."
    may = "run" if mode == os.X_OK else "read"
    return f"found {path!r}, which is no file that you may {may}."


async def _lost_modules(names: Sequence[str], prologue: Sequence[str]) -> list[str]:
    """None where this machine has no modules: then the nodes alone know."""
    if not names:
        return []
    printed, code = await _bash("\n".join([*prologue, *modules_script(names)]))
    return printed.splitlines() if code == 0 else []


def modules_script(names: Sequence[str]) -> list[str]:
    """Print each that cannot be loaded, after those before it, as in a job."""
    loads = (
        f"module load {quoted} >/dev/null 2>&1 || echo {quoted} >&3"
        for quoted in map(shlex.quote, names)
    )
    return [f"type module >/dev/null 2>&1 || exit {_NO_MODULES}", *loads, "exit 0"]


async def _bash(script: str) -> tuple[str, int | None]:
    """What it prints on its third stream, from an empty environment, as a job's."""
    process = await asyncio.create_subprocess_exec(
        "/bin/bash",
        "-c",
        f"exec 3>&1 >/dev/null 2>&1\n{script}",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        return "", None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return printed.decode(errors="replace"), process.returncode
