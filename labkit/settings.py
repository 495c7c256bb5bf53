"""`labkit.toml` to a typed `Site`.

Every process reads it on its own; none changes it. What belongs to a scheduler is kept as
it was written and read by that scheduler (`labkit.schedulers.open_cluster`).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from labkit.errors import UsageError, known_names
from labkit.parsing import MemoryBytes, Seconds, parse, read_toml
from labkit.paths import of_this_person, private_folder, read_json, settings_file, write_json

BUILT_IN = "the built-in settings"
# Its length is bounded beside it: to count so many of Unicode's letters, Rust builds for 10 ms.
NAME = r"^[\w.-]*$"

_ALLOWED = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"]

Folder = Annotated[Path, AfterValidator(of_this_person)]


class _Part(BaseModel):
    # Defaults are validated too, so that '~' is written out when a site is read, not on import.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )


def _plain_place(path: Path) -> Path:
    """Raises ValueError for a path that Apptainer would read as something else."""
    if not path.is_absolute() or any(letter in str(path) for letter in ":,\n\0"):
        raise ValueError(f"found '{path}'; allowed is a path from '/' on, without ':' and ','.")
    return path


class Environment(_Part):
    """What a job finds in its environment, which otherwise is empty."""

    allow: list[str] = Field(default_factory=lambda: list(_ALLOWED))
    """Names of variables that a job inherits from whoever submits it."""
    set: dict[str, str] = Field(default_factory=dict)
    """Variables with their values, for every job."""


class DeviceType(_Part):
    """What one device of a type has, for saying which models fit on it."""

    memory: MemoryBytes | None = Field(default=None, ge=2**28)
    """Memory of one device, of one slice of it or of one share, as in '80 GB'."""
    bfloat16: bool = True
    """Whether it computes in bfloat16, as NVIDIA's do from Ampere (A100) on."""


class Cluster(BaseModel):
    """One scheduler; its own keys are kept in `model_extra` and read by the scheduler."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    scheduler: str = "local"
    """The scheduler's name: 'local' or 'slurm'."""
    devices: dict[str, DeviceType] = Field(default_factory=dict)
    """Its types of device, as the cluster names them; 'shard' is one share of a GPU."""


Module = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.+/-]*$", max_length=100)]
Place = Annotated[Path, AfterValidator(_plain_place)]


class Software(_Part):
    """In what sessions run on a cluster: modules, another Python, or an image."""

    modules: list[Module] = Field(default_factory=list)
    """Modules to load, as in 'cuda/12.4'; runs get the cluster's too."""
    python: Place | None = None
    """The Python of sessions, with labkit[lab] in it: of a venv, or within the image."""
    image: Place | None = None
    """An Apptainer image that sessions run in, as in '/opt/images/lab.sif'."""
    apptainer: Place = Path("/usr/bin/apptainer")
    """The command, where it lies on the nodes."""
    bind: list[Place] = Field(default_factory=list)
    """Folders that are seen within the image, besides the person's home."""


class Profile(_Part):
    """What a session gets, in plain words: one choice of the page that starts sessions."""

    title: str
    """What a person picks, as in 'Notebook'."""
    description: str = ""
    """For whom it is, in a sentence."""
    cluster: str | None = None
    """The cluster that the session runs on; the site's first where it is left out."""
    nodes: int = Field(default=1, ge=1, le=10_000)
    """Nodes; all amounts are those of each."""
    cores: int = Field(default=2, ge=1, le=4096)
    """Cores; on this machine sessions share them."""
    memory: MemoryBytes = Field(default=4 * 2**30, ge=2**28)
    """Memory, as in '4 GB'; a session that holds more is ended."""
    gpus: int = Field(default=0, ge=0, le=64)
    """GPUs, or shares of one, for the session alone."""
    device: str = Field(default="", pattern=NAME, max_length=64)
    """The type of GPU as the cluster names it, 'shard' for shares; left out, whichever is free."""
    partition: str = Field(default="", pattern=NAME, max_length=64)
    """The cluster's partition; left out, that of its other jobs."""
    account: str = Field(default="", pattern=NAME, max_length=64)
    """The account that pays; left out, the person's own."""
    reservation: str = Field(default="", pattern=NAME, max_length=64)
    """The cluster's reservation that it runs in, as for a class."""
    time: Seconds = Field(default=8 * 3600, ge=60, le=30 * 86400)
    """The longest that the session may last, as in '8h'."""
    software: Software | None = None
    """In what it runs; left out, as the cluster's own key of that name says."""
    extend: Seconds = Field(default=0, ge=0, le=30 * 86400)
    """How much longer each press of 'Extend' makes a session, as in '2h'; 0: it keeps its end."""
    longest: Seconds | None = Field(default=None, ge=60, le=60 * 86400)
    """The longest that a session may last with all its extensions, as in '12h'."""

    @model_validator(mode="after")
    def _extends_to_something(self) -> Self:
        if self.extend and (self.longest is None or self.longest <= self.time):
            raise ValueError(
                "extend needs longest, above time: how long the session may last in all, as in "
                "extend = '2h', longest = '12h'."
            )
        return self


class Limits(_Part):
    """The most that a session of some people may be; what is left out has no limit."""

    groups: list[str] | None = None
    """The Unix groups whose people they are; everybody where it is left out."""
    gpus: int | None = Field(default=None, ge=0)
    """Whole GPUs, on all nodes of the session together, as cores and memory are."""
    shares: int | None = Field(default=None, ge=0)
    """Shares of GPUs."""
    cores: int | None = Field(default=None, ge=1)
    memory: MemoryBytes | None = Field(default=None, ge=2**28)
    nodes: int | None = Field(default=None, ge=1)
    time: Seconds | None = Field(default=None, ge=60)
    """The longest that a session may last, as in '2h'."""
    profiles: list[str] | None = None
    """The profiles that they may choose from."""
    devices: list[str] | None = None
    """The types of device that they may name."""
    partitions: list[str] | None = None
    """The partitions that they may name, of those that the cluster lets them use."""
    accounts: list[str] | None = None
    reservations: list[str] | None = None
    advanced: bool = True
    """Whether they may ask for other amounts than those of a profile."""


class Hub(_Part):
    """Where the lab listens, who may sign in, and where people's homes are."""

    address: str = "127.0.0.1"
    """The address that browsers reach; loopback alone unless it is changed."""
    port: int = Field(default=8000, ge=1, le=65535)
    """The port that browsers reach."""
    internal_port: int = Field(default=8081, ge=1, le=65535)
    """The hub's own port, for the proxy and the sessions."""
    internal_address: str = "127.0.0.1"
    """The hub's own address; with a cluster, that of this machine in the nodes' network."""
    proxy_port: int = Field(default=8001, ge=1, le=65535)
    """The port on which the hub tells the proxy its routes; loopback alone."""
    subdomain_host: str = Field(
        default="", pattern=r"^(https://([a-z0-9-]+\.)+[a-z0-9-]+(:\d{1,5})?)?$"
    )
    """Where browsers reach it, 'https://lab.example.org', with each person's pages on a name below
    it, as alice.lab.example.org; left out, all are on one name."""
    authenticator: str = "demo"
    """'demo', or how JupyterHub names its authenticator: 'pam', 'package.module.Class'."""
    users: list[str] = Field(default_factory=list)
    """Who may sign in. An authenticator of your own may know others itself."""
    groups: list[str] = Field(default_factory=list)
    """Unix groups whose members may sign in, too; with 'pam' alone."""
    mend_every: Seconds = Field(default=120, ge=1, le=86400)
    """How often the hub looks for jobs that it lost sight of, as after a crash."""
    homes: Folder | None = None
    """The folder of people's homes, by name; their own homes where it is left out."""
    queue_timeout: Seconds | None = Field(default=None, ge=1)
    """How long a session may wait in the queue, as in '2d'; as long as it takes where left out."""
    starting_timeout: Seconds = Field(default=180, ge=10, le=86400)
    """How long a session may take from the start of its job to its first answer."""
    trust_everyone: bool = False
    """Let `local` serve others than the demo's users: all would be one Unix user."""
    internal_ssl: bool | None = None
    """TLS between hub, proxy and sessions; left out, where sessions run on other machines."""


class Site(_Part):
    """One deployment of labkit."""

    name: str = "labkit"
    """What the site is called on its pages."""
    runs: Folder = Path("~/labkit/runs")
    """Where a person's run folders go; on a shared file system where there are several nodes.

    '{user}' in it becomes the person's name.
    """
    state: Folder = Path("~/.local/state/labkit")
    """Where schedulers keep what they know; on a local disk."""
    catalogue: Folder = Path("~/labkit/models")
    """The folder of the catalogue of base models."""
    scratch: Folder = Path("/tmp")
    """A node's own disk for Ray's sockets and spilled objects; a short path."""
    network: str = Field(default="", pattern=r"^[\w.:-]*$", max_length=15)
    """The network interface by which nodes of one job reach each other, as in 'ib0'; left out, the
    one that their host names lead to."""
    ray_tls: bool = True
    """Whether Ray's channels between the nodes of a job are encrypted. The token is always on."""
    environment: Environment = Environment()
    clusters: dict[str, Cluster] = Field(default_factory=lambda: {"local": Cluster()}, min_length=1)
    """The clusters by name; the first is the one that is used where none is named."""
    hub: Hub = Hub()
    profiles: dict[str, Profile] = Field(
        default_factory=lambda: {"notebook": Profile(title="Notebook")}, min_length=1
    )
    """What a session can be, by name; the first is chosen where a person chooses none."""
    limits: dict[str, Limits] = Field(default_factory=dict)
    """What people may ask of a session; the first whose groups a person is in holds for them."""

    settings: str = Field(default=BUILT_IN, exclude=True)
    """The file that this came from. Not a key of `labkit.toml`."""

    def cluster(self, name: str | None) -> tuple[str, Cluster]:
        """The named cluster, or the first. Raises UsageError with the known names."""
        name = name or next(iter(self.clusters))
        if name not in self.clusters:
            known = ", ".join(self.clusters)
            raise UsageError(f"No cluster is called {name!r} in {self.settings}. Known: {known}.")
        return name, self.clusters[name]

    @property
    def internal_ssl(self) -> bool:
        """Whether hub, proxy and sessions speak TLS with each other, and with nobody else."""
        if self.hub.internal_ssl is not None:
            return self.hub.internal_ssl
        return any(cluster.scheduler != "local" for cluster in self.clusters.values())

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
    _require_known_profiles(site, path)
    folders = {
        key: path.parent / getattr(site, key) for key in ("runs", "state", "catalogue", "scratch")
    }
    homes = site.hub.homes and path.parent / site.hub.homes
    hub = site.hub.model_copy(update={"homes": homes})
    return site.model_copy(update={**folders, "hub": hub, "settings": str(path)})


def _require_known_profiles(site: Site, path: Path) -> None:
    for name, limits in site.limits.items():
        for profile in limits.profiles or ():
            if profile not in site.profiles:
                raise UsageError(
                    f"Wrong in {path}:\n  limits.{name}.profiles: found {profile!r}. Allowed: "
                    f"{known_names(site.profiles)}."
                )


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
