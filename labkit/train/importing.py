"""Imports of torch and transformers: seconds in which thousands of modules are made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Let Python not look for garbage while it lasts: modules stay.

    It would look through all that there is again and again, an eighth of the imports' time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
