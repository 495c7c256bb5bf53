"""Jupyter's server for one person of a hub, without what only a hub or a build of Lab needs.

`jupyterhub.singleuser` logs by way of the hub's pages, and these import the hub's database: half
a second and 38 MB of each session, of which it uses nothing.
"""

import gc
import sys
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OF_THE_HUB = (
    *("jupyterhub.handlers", "jupyterhub.handlers.pages", "jupyterhub.orm", "jupyterhub.roles"),
    *("sqlalchemy", "sqlalchemy.exc"),
)


def singleuser() -> Callable[[], Any]:
    """What `jupyterhub-singleuser` runs."""
    gc.disable()  # all that is imported stays: to look through it again and again takes a tenth
    try:
        return _imported()
    finally:
        gc.freeze()
        gc.enable()


def _imported() -> Callable[[], Any]:
    # Its import takes a second, for a check that falls back to another way:
    # https://github.com/jupyter-server/jupyter_server/issues/1559
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    from jupyterlab import commands

    # At its import JupyterLab asks Node.js for a registry that only a build of it needs: 0.3 s.
    commands._yarn_config = lambda logger: {"yarn config": {}, "npm config": {}}
    try:
        with _left_out(OF_THE_HUB):
            from jupyterhub.singleuser import main
    except Exception:  # another JupyterHub, which uses more of it: then all of it
        for name in [name for name in sys.modules if name.partition(".")[0] == "jupyterhub"]:
            del sys.modules[name]
        from jupyterhub.singleuser import main
    return main


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
