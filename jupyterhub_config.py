"""JupyterHub's configuration of this labkit: all of it from the site's labkit.toml."""

from labkit.settings import load_site
from labkit_spawners.configure import configure

configure(get_config(), load_site())  # noqa: F821  # type: ignore[name-defined]
