"""Memory of the training process, kept for the next step instead of given back.

glibc hands every block above 128 KiB to 32 MiB back to the system when it is freed. A step
on a processor frees and asks for hundreds of them: 21,000 to 28,000 page faults, a tenth to a
fifth of its time.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt's parameters; see its manual page."""
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""glibc refuses more (HEAP_MAX_SIZE / 2)."""


def keep_freed_memory() -> None:
    """For this whole process, so only for one that trains. Without glibc nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_TRIM_THRESHOLD, 2**30)
    mallopt(_TOP_PAD, 2 * _LARGEST_MMAP_THRESHOLD)
