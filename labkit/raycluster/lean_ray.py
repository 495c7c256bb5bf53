"""`ray start` without a dashboard's agents and Ray's client server: `python -m` this `start …`.

Ray starts them wherever grpcio is installed: a process, 60 MB and a port that nobody here needs.
This process is told that it is not; those that it starts find it.
"""

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
modules["grpc"] = None

from ray.scripts.scripts import main  # noqa: E402

main()
