"""`labkit node` as tests start it, and what it leaves."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit.processes import all_processes, environment_value

ASK = """
import json, os, ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
print(json.dumps({"cpus": ray.cluster_resources()["CPU"], "address": os.environ["RAY_ADDRESS"],
                  "answer": ray.get(ray.remote(lambda: 42).remote())}), flush=True)
"""
HOLD = ASK + "\nimport sys\nsys.stdin.read() if False else __import__('signal').pause()\n"


def start_node(
    folder: Path, code: str, name: str = "a", more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """`labkit node` with a Python program as its command; its processes carry a mark."""
    amounts = ["--num-cpus=2", "--num-gpus=0", f"--memory-bytes={2**30}"]
    places = [f"--rendezvous={folder / name}", f"--scratch={folder}"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "labkit",
            "node",
            *amounts,
            *places,
            *more,
            "--",
            sys.executable,
            "-c",
            code,
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LABKIT_TEST_NODE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_of(folder: Path) -> list[int]:
    return [p for p in all_processes() if environment_value(p, "LABKIT_TEST_NODE") == str(folder)]
