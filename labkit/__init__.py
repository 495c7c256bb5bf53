"""labkit: a Jupyter-centric self-service AI lab, from a laptop to a supercomputer.

Importing it costs nothing: the recipes that Python code starts from
(`from labkit import TextClassification`) are found on first use.
"""

from labkit.version import __version__ as __version__


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(name)
    from labkit import api

    return api.task_class(name)
