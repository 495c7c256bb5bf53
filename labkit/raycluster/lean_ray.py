"""`python -m labkit.raycluster.lean_ray start …`: `ray start` without what serves others.

Where grpcio is installed Ray starts a server for clients elsewhere and more of its dashboard's
agents: a process, 60 MB and a port that no run needs. This process is told that grpcio is not
installed; those that it starts find it.
"""

import sys
from typing import Any


def main() -> None:
    modules: dict[str, Any] = sys.modules
    modules["grpc"] = None
    from ray.scripts.scripts import main as ray

    ray()


if __name__ == "__main__":
    main()
