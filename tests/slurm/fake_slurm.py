"""A Slurm that only keeps books: a folder of its commands, for more sessions than a machine holds.

Every job starts at once, on one node, and is whatever reads `jobs.jsonl` (`stub_sessions`). Each
call is a line of `calls.log`. What it prints is held against the real one by test_fake_slurm;
what it says of nodes and partitions is what the real one said.

Run as `squeue …`, `sbatch …` and so on, by any user; it needs nothing but Python's own library.
"""

import fcntl
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

NAMES = ("squeue", "sacct", "sbatch", "scancel", "scontrol", "sacctmgr")
TRIAL = "sbatch--test-only"
QUERIES = ("squeue", "sacct", "scontrol", "sacctmgr", TRIAL)
SHOWN = ("node", "partition", "reservation", "associations")
"""What `scontrol show` and `sacctmgr show` say."""
NODE = "ctl"


def make_fake_slurm(folder: Path, python: Path, shown: Mapping[str, str]) -> Path:
    """The folder of commands; `shown` is what the real ones say of `SHOWN`."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    for name in NAMES:
        script = commands / name
        script.write_text(f"#!{python} -IS\n{Path(__file__).read_text()}")
        script.chmod(0o755)
    for what, text in shown.items():
        (folder / f"{what}.txt").write_text(text)
    for name in ("jobs.jsonl", "calls.log"):
        (folder / name).touch()
        (folder / name).chmod(0o666)  # every person submits
    return commands


def calls(folder: Path) -> list[tuple[float, str]]:
    """When each command was called, and which."""
    lines = (folder / "calls.log").read_text().splitlines()
    return [(float(when), name) for when, name in (line.split() for line in lines)]


def main() -> None:
    command = Path(sys.argv[0])
    folder, given = command.parents[1], sys.argv[1:]
    with _held(folder / "calls.log") as log:
        name = TRIAL if "--test-only" in given else command.name
        log.write(f"{time.time():.3f} {name}\n")
    answer = {
        "sbatch": sbatch,
        "scancel": scancel,
        "squeue": squeue,
        "sacct": sacct,
        "scontrol": scontrol,
        "sacctmgr": sacctmgr,
    }[command.name]
    print(answer(folder, given), end="")


def sbatch(folder: Path, given: Sequence[str]) -> str:
    if "--test-only" in given:
        return ""  # "when" is not known
    options = _options(given)
    with _held(folder / "jobs.jsonl") as file:
        file.seek(0)
        job_id = 1 + sum('"submit"' in line for line in file)
        job = {
            "do": "submit",
            "id": str(job_id),
            "user": getpass.getuser(),
            "name": options["job-name"],
            "comment": options["comment"],
            "cpus": options["cpus-per-task"],
            "memory": options["mem"],
            "gres": options.get("gres", ""),
            "partition": options.get("partition", "gpu"),
            "minutes": int(options["time"]),
            "when": int(time.time()),
            "script": sys.stdin.read(),
        }
        file.write(json.dumps(job) + "\n")
    return f"{job_id}\n"


def scancel(folder: Path, given: Sequence[str]) -> str:
    with _held(folder / "jobs.jsonl") as file:
        file.write(json.dumps({"do": "cancel", "id": given[-1], "when": int(time.time())}) + "\n")
    return ""


def squeue(folder: Path, given: Sequence[str]) -> str:
    pattern = given[given.index("-o") + 1]
    running, _ = jobs_of(folder)
    return "".join(_filled(pattern, job) + "\n" for job in running.values())


def sacct(folder: Path, given: Sequence[str]) -> str:
    _, ended = jobs_of(folder)
    asked = _options(given)["jobs"].split(",")
    return "".join(
        f"{job_id}|CANCELLED by 0|0:0|{ended[job_id]}\n" for job_id in asked if job_id in ended
    )


def sacctmgr(folder: Path, given: Sequence[str]) -> str:
    """Associations: of one person, or of all."""
    lines = (folder / "associations.txt").read_text().splitlines(keepends=True)
    user = next((each.removeprefix("users=") for each in given if each.startswith("users=")), "")
    return "".join(line for line in lines if not user or line.startswith(f"{user}|"))


def scontrol(folder: Path, given: Sequence[str]) -> str:
    return (folder / f"{given[-1]}.txt").read_text()


def jobs_of(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Those that run, and when the others ended."""
    running: dict[str, dict[str, Any]] = {}
    ended: dict[str, int] = {}
    for line in (folder / "jobs.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["do"] == "submit":
            running[entry["id"]] = entry
        elif running.pop(entry["id"], None):
            ended[entry["id"]] = entry["when"]
    return running, ended


def _filled(pattern: str, job: Mapping[str, Any]) -> str:
    memory = int(job["memory"].removesuffix("M"))
    values = {
        "A": job["id"],
        "u": job["user"],
        "T": "RUNNING",
        "r": "None",
        "P": job["partition"],
        "Q": "1",
        "V": str(job["when"]),
        "S": str(job["when"]),
        "e": str(job["when"] + 60 * job["minutes"]),
        "N": NODE,
        "C": job["cpus"],
        "m": f"{memory // 1024}G" if memory % 1024 == 0 else f"{memory}M",
        "b": f"gres:{job['gres']}" if job["gres"] else "N/A",
        "k": job["comment"],
        "j": job["name"],
    }
    return re.sub("%([A-Za-z])", lambda found: values[found[1]], pattern)


def _options(given: Sequence[str]) -> dict[str, str]:
    """Of '--name=value'."""
    pairs = (option.removeprefix("--").partition("=") for option in given)
    return {name: value for name, _, value in pairs}


@contextmanager
def _held(file: Path) -> Iterator[IO[str]]:
    with open(os.open(file, os.O_RDWR | os.O_APPEND), "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield held


if __name__ == "__main__":
    main()
