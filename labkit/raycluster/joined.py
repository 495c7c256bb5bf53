"""Waits until all nodes of a Ray cluster have joined: `python -m labkit.raycluster.joined N S`.

A process of its own, since only Ray itself can ask, and what watches Ray must not load it.
"""

import logging
import os
import sys
import time


def main(num_nodes: int, timeout_s: float) -> None:
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
    deadline = time.monotonic() + timeout_s
    while (joined := sum(node["Alive"] for node in ray.nodes())) < num_nodes:
        if time.monotonic() > deadline:
            sys.exit(f"{joined} of {num_nodes} nodes joined the Ray cluster in {timeout_s:g} s.")
        time.sleep(0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
