"""labkit: a Jupyter-centric self-service AI lab, from a laptop to a supercomputer.

Importing it costs nothing: the recipes that Python code starts from
(`from labkit import TextClassification`) are found on first use.
"""

from labkit.version import __version__ as __version__


def __getattr__(name: str) -> object:
    # Classes only: Python asks here first for a module in `from labkit import settings`.
    if not name[:1].isupper():
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    from labkit.api import task_class

    return task_class(name)
