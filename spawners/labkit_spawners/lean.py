"""Jupyter's server for one person of a hub, without what only a hub or a build of Lab needs.

`jupyterhub.singleuser` logs by way of the hub's pages, and these import the hub's database: half
a second and 38 MB of each session, of which it uses nothing. JupyterLab imports a client of PyPI
for a manager of extensions that a session does not offer: a tenth of a second more.
"""

import gc
import sys
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from labkit.importing import importing

OF_THE_HUB = (
    *("jupyterhub.handlers", "jupyterhub.handlers.pages", "jupyterhub.orm", "jupyterhub.roles"),
    *("sqlalchemy", "sqlalchemy.exc"),
)
OF_PYPI = ("jupyterlab.extensions.pypi",)
NOT_NEEDED = ("rfc3987_syntax", "rfc3986_validator", "isoduration", "aiodns")
"""Who would import them does without where they are not installed.

The first three check formats of text, which nothing but the ids of Jupyter's own schemas has; the
first takes a second (https://github.com/jupyter-server/jupyter_server/issues/1559). Without the
last, aiohttp finds hosts as the rest of the machine does.
"""


def singleuser() -> Callable[[], Any]:
    """What `jupyterhub-singleuser` runs."""
    with importing():
        main = _imported()
        gc.freeze()  # nor is it looked through later
    return main


def _imported() -> Callable[[], Any]:
    sys.modules.update(dict.fromkeys(NOT_NEEDED))  # type: ignore[arg-type]
    from jupyterlab import commands

    # At its import JupyterLab asks Node.js for a registry that only a build of it needs: 0.3 s.
    commands._yarn_config = lambda logger: {"yarn config": {}, "npm config": {}}
    _import_without(OF_PYPI, "jupyterlab.labapp")
    return _import_without(OF_THE_HUB, "jupyterhub.singleuser").main


def _import_without(names: Sequence[str], module: str) -> ModuleType:
    """Import a module that finds those empty; with all of them where it uses more of them."""
    before = set(sys.modules)
    try:
        with _left_out(names):
            return import_module(module)
    except Exception:  # another version
        package = module.partition(".")[0]
        for name in sys.modules.keys() - before:
            if name.partition(".")[0] == package:
                del sys.modules[name]
        return import_module(module)


@contextmanager
def _left_out(names: Sequence[str]) -> Iterator[None]:
    """Let modules be empty for those that are imported meanwhile; afterwards they are as ever."""
    put = {name: _Empty(name) for name in names if name not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


class _Empty(ModuleType):
    """Whatever is asked of it is a class of which nothing is an instance."""

    __path__: MutableSequence[str] = []

    def __getattr__(self, name: str) -> type[Exception]:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})
