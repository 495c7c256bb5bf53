"""`labkit doctor`: what this machine can do, what is missing, and how to get it."""

import asyncio
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from labkit.accelerators import ACCELERATORS
from labkit.cli.output import AsJson, print_finding, print_json
from labkit.clusters import open_cluster
from labkit.models.catalogue import list_models
from labkit.raycluster.job import RAY_MEMORY_BYTES
from labkit.schedulers.base import Pool
from labkit.settings import Site, load_site
from labkit.units import format_memory
from labkit.version import __version__

LEARNER_BYTES = RAY_MEMORY_BYTES + 2 * 2**30
"""What one run of a small encoder holds, Ray included (docs/benchmarks.md)."""
SESSION_BYTES = 400 * 2**20
"""What one learner's notebook holds: server and one kernel (docs/benchmarks.md)."""
MIN_SHM_BYTES = 256 * 2**20
MIN_DISK_BYTES = 5 * 2**30
_LAB = ("jupyterhub", "batchspawner", "jupyterlab", "anywidget")
_TRAIN = ("torch", "transformers", "peft", "ray", "scikit-learn")
_QLORA = ("bitsandbytes", "accelerate")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that was looked at."""

    what: str
    found: str
    fix: str = ""
    """What to do about it; empty where all is well."""
    needed: bool = True
    """Whether runs fail without it."""


def doctor(*, json: AsJson = False) -> int:
    """What this machine can do, how many runs fit, what is missing and how to get it."""
    site = load_site()
    pools = asyncio.run(open_cluster(site).capacity())
    lines = [*_software(), *_devices(), *_room(site, pools), *_site(site)]
    well = not any(line.fix and line.needed for line in lines)
    if json:
        print_json({"well": well, "lines": [asdict(line) for line in lines], **_fits(pools)})
    else:
        for line in lines:
            print_finding(line.what, line.found, line.fix, needed=line.needed)
    return 0 if well else 1


def _software() -> Iterator[Line]:
    yield Line(what="labkit", found=f"{__version__} on Python {sys.version.split()[0]}")
    yield _packages("tuning here", _TRAIN, "train", needed=True)
    yield _packages("tuning in 4 bits", _QLORA, "qlora", needed=False)
    yield _packages("the lab in the browser", _LAB, "hub,lab", needed=False)
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = shutil.which("g++")
    lacking = [name for name, there in (("g++", compiler), ("python3-dev", headers.exists()))
               if not there]  # fmt: skip
    yield Line(
        what="torch.compile",
        found="can compile" if not lacking else f"missing {' and '.join(lacking)}",
        fix=f"Optional, for speed: apt install {' '.join(lacking)}" if lacking else "",
        needed=False,
    )


def _packages(what: str, names: Sequence[str], extra: str, *, needed: bool) -> Line:
    found, missing = [], []
    for package in names:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    return Line(
        what=what,
        found=", ".join(found) if not missing else f"missing {', '.join(missing)}",
        fix=f"Install it with: pip install 'labkit[{extra}]'" if missing else "",
        needed=needed,
    )


def _devices() -> Iterator[Line]:
    for accelerator in ACCELERATORS.all().values():
        for device in accelerator.devices():
            memory = f"{format_memory(device.free_bytes)} of {format_memory(device.memory_bytes)}"
            yield Line(what=accelerator.title, found=f"{device.name}, {memory} free")
        if missing := accelerator.missing():
            yield Line(what=accelerator.title, found="not usable", fix=missing, needed=False)


def _room(site: Site, pools: Sequence[Pool]) -> Iterator[Line]:
    fits = _fits(pools)
    yield Line(
        what="fits now",
        found=f"{fits['runs_that_fit']} runs by memory, or {fits['learners_that_fit']} learners",
        fix="" if fits["runs_that_fit"] else "End a run or a session, or wait for one.",
        needed=False,
    )
    for what, path in (("runs", site.runs), ("scratch", site.scratch)):
        free = shutil.disk_usage(_existing(path)).free
        low = free < MIN_DISK_BYTES
        yield Line(
            what=f"disk for {what}",
            found=f"{format_memory(free)} left at {path}",
            fix=f"Free some, or set {what!r} to a larger disk in labkit.toml." if low else "",
        )
    shared = shutil.disk_usage("/dev/shm").free
    yield Line(
        what="shared memory",
        found=f"{format_memory(shared)} left at /dev/shm",
        fix="Ray needs some: in a container, give it --shm-size=1g."
        if shared < MIN_SHM_BYTES
        else "",
    )


def _fits(pools: Sequence[Pool]) -> dict[str, Any]:
    free = max(node.free.memory_bytes for pool in pools for node in pool.nodes)
    return {
        "runs_that_fit": free // LEARNER_BYTES,
        "learners_that_fit": free // SESSION_BYTES,
    }


def _site(site: Site) -> Iterator[Line]:
    yield Line(what="site", found=f"{site.name}, from {site.settings}")
    models = list_models(site.catalogue)
    yield Line(
        what="base models",
        found=", ".join(models.entries) or f"none in {site.catalogue}",
        fix="" if models.entries else "Add a folder of weights with: labkit models add PATH",
    )
    for sentence in models.broken.values():
        yield Line(what="base models", found="a broken entry", fix=sentence, needed=False)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
