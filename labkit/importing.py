"""Imports of large packages, as Jupyter, torch and transformers: seconds, thousands of modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Let Python not look for garbage while it lasts: modules stay.

    It would look through all that there is again and again, a tenth of the imports' time and more.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
