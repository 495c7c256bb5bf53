"""All runs of a site: making one, with a name of its own, and finding it again.

A run is looked for by its id, the start or end of it, its name, or 'last'. Names are unique,
so that what a person types means one run.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.naming import MAX_NAME, check_name, free_name, look_up
from labkit.paths import list_folder, private_folder, write_json, write_private
from labkit.runs.folder import Run
from labkit.runs.spec import RunSpec, spec_toml


def create_run(runs: Path, spec: RunSpec, summary: Mapping[str, Any]) -> Run:
    """A new run folder with its spec; the data is saved into it by the caller."""
    created = datetime.now(UTC)
    name = free_name(spec.name or _name_from(spec.data), _names(runs))
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:16].strip("-") or "run"
    run_id = f"{created:%Y%m%d}-{slug}-{secrets.token_hex(3)}"
    run = Run(private_folder(runs / run_id))
    record = {"name": name, "created": created.isoformat(), "data": summary}
    write_json(run.folder / "run.json", record)
    write_private(run.folder / "spec.toml", spec_toml(spec))
    return run


def rename_run(run: Run, name: str) -> None:
    """Raises UsageError where another run has that name, or it cannot be one."""
    check_name(name)
    if name in _names(run.folder.parent) - {run.name}:
        raise UsageError(f"Another run is called {name!r}. Choose another name.")
    write_json(run.folder / "run.json", {**run.record(), "name": name})


def list_runs(runs: Path) -> list[Run]:
    """All run folders, the newest first, also those that are damaged."""
    found = [Run(folder) for folder in list_folder(runs) if _is_run(folder)]
    return sorted(found, key=lambda run: run.created, reverse=True)


def find_run(runs: Path, asked: str) -> Run:
    """The run of that id, start of an id, or name; 'last' is the newest.

    Raises UsageError where none or more than one fits.
    """
    return look_up(
        asked,
        list_runs(runs),
        lambda run: (run.run_id, run.name),
        what="run",
        listing="labkit run list",
    )


def _is_run(folder: Path) -> bool:
    try:
        return any((folder / name).exists() for name in ("run.json", "spec.toml"))
    except PermissionError:
        return True  # somebody else's, which a view says


def _names(runs: Path) -> set[str]:
    return {run.name for run in list_runs(runs)}


def _name_from(data: Path) -> str:
    """A run's name from the name of its data, whatever characters that has."""
    plain = "".join(c if c.isprintable() else " " for c in data.stem).strip().lstrip("-")
    return plain.strip()[: MAX_NAME - 10].strip() or "run"
