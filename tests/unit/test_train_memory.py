"""Freed memory stays with the training process."""

import platform
import resource
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
from labkit.train.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
blocks = lambda: [bytearray(b"1") * 4_000_000 for _ in range(4)]
blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    command = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_blocks_are_used_again_without_page_faults():
    pages = 10 * 4 * 4_000_000 // resource.getpagesize()
    assert page_faults("kept") < pages / 20
    assert page_faults("given back") > pages / 20
