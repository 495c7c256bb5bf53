"""`labkit lab`: the lab in the browser, on this machine."""

from typing import Annotated

from cyclopts import Parameter

from labkit.cli.output import say
from labkit.errors import LabkitError
from labkit.settings import load_site


def lab(
    *,
    install_proxy: Annotated[
        bool, Parameter(negative=(), help="Only install the proxy, from npm by its lock file.")
    ] = False,
) -> int:
    """Open the lab for browsers, until Ctrl-C."""
    try:
        from labkit_spawners.lab import run_lab
        from labkit_spawners.proxy import install_proxy as install
    except ModuleNotFoundError as error:
        raise LabkitError(
            f"This needs {error.name}. Get it with: pip install 'labkit[hub,lab]'"
        ) from error
    if install_proxy:
        say(f"The proxy is installed in {install()}")
        return 0
    return run_lab(load_site(), say)
