"""`labkit.toml` to a typed `Site`.

Every process reads it on its own; none changes it. What belongs to a scheduler is kept as
it was written and read by that scheduler (`labkit.schedulers.open_cluster`).
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from labkit.errors import UsageError
from labkit.parsing import parse, read_toml
from labkit.paths import from_home, private_folder, read_json, settings_file, write_json

BUILT_IN = "the built-in settings"

_ALLOWED = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"]

Folder = Annotated[Path, AfterValidator(from_home)]


class _Part(BaseModel):
    # Defaults are validated too, so that '~' is written out when a site is read, not on import.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )


class Environment(_Part):
    """What a job finds in its environment, which otherwise is empty."""

    allow: list[str] = Field(default_factory=lambda: list(_ALLOWED))
    """Names of variables that a job inherits from whoever submits it."""
    set: dict[str, str] = Field(default_factory=dict)
    """Variables with their values, for every job."""


class Cluster(BaseModel):
    """One scheduler; its own keys are kept in `model_extra` and read by the scheduler."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    scheduler: str = "local"
    """The scheduler's name: 'local'."""


class Site(_Part):
    """One deployment of labkit."""

    name: str = "labkit"
    """What the site is called on its pages."""
    runs: Folder = Path("~/labkit/runs")
    """Where run folders go; on a shared file system where there are several nodes."""
    state: Folder = Path("~/.local/state/labkit")
    """Where schedulers keep what they know; on a local disk."""
    catalogue: Folder = Path("~/labkit/models")
    """The folder of the catalogue of base models."""
    scratch: Folder = Path("/tmp")
    """A node's own disk for Ray's sockets and spilled objects; a short path."""
    environment: Environment = Environment()
    clusters: dict[str, Cluster] = Field(default_factory=lambda: {"local": Cluster()}, min_length=1)
    """The clusters by name; the first is the one that is used where none is named."""

    settings: str = Field(default=BUILT_IN, exclude=True)
    """The file that this came from. Not a key of `labkit.toml`."""

    def cluster(self, name: str | None) -> tuple[str, Cluster]:
        """The named cluster, or the first. Raises UsageError with the known names."""
        name = name or next(iter(self.clusters))
        if name not in self.clusters:
            known = ", ".join(self.clusters)
            raise UsageError(f"No cluster is called {name!r} in {self.settings}. Known: {known}.")
        return name, self.clusters[name]

    def job_environment(self) -> dict[str, str]:
        """What a job of this site finds: the allow-list of ours, then what the site sets."""
        inherited = {k: os.environ[k] for k in self.environment.allow if k in os.environ}
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", **inherited, **self.environment.set}


def load_site() -> Site:
    """The site that this process belongs to. Raises UsageError naming file and key path."""
    path = settings_file()
    return read_site(path) if path else Site()


def read_site(path: Path) -> Site:
    """The site that `path` describes; its relative folders are relative to the file."""
    path = path.resolve()
    given = read_toml(path)
    if "settings" in given:
        raise UsageError(f"Wrong in {path}:\n  settings: unknown key.")
    site = parse(Site, given, source=str(path))
    folders = {
        key: path.parent / getattr(site, key) for key in ("runs", "state", "catalogue", "scratch")
    }
    return site.model_copy(update={**folders, "settings": str(path)})


def claim_folders(site: Site) -> None:
    """Make the site's folders, and hold them against a second site.

    Raises UsageError when another site, whose settings still exist, has one of them.
    """
    for key in ("runs", "state"):
        _claim(site, key, private_folder(getattr(site, key)))


def _claim(site: Site, key: str, folder: Path) -> None:
    mark = folder / ".site.json"
    owner: dict[str, Any] = read_json(mark) or {}
    held_by = owner.get("settings", site.settings)
    if held_by not in (site.settings, BUILT_IN) and Path(held_by).exists():
        raise UsageError(
            f"The folder {folder} belongs to the site of {held_by}; {site.settings} names it too. "
            f"Give one of them another folder under the key {key!r}."
        )
    if owner.get("settings") != site.settings:
        write_json(mark, {"settings": site.settings})
