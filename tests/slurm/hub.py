"""`make slurm-hub`: the lab on the test cluster, to look at in a browser until Ctrl-C.

A cluster that is up already is used, and left up; its jobs are ended with the lab.
"""

import signal
import sys

from tests.slurm.cluster import SCRIPT, SlurmCluster, why_not
from tests.slurm.slurm_lab import PEOPLE, SlurmLab


def main() -> None:
    if reason := why_not():
        sys.exit(reason)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    cluster = SlurmCluster()
    where = cluster.held() if cluster.is_up() else cluster.running()
    try:
        print("Starting Slurm and the lab …", flush=True)
        with where:
            show(cluster)
    except KeyboardInterrupt:
        print("Ended.", flush=True)


def show(cluster: SlurmCluster) -> None:
    """Run the lab until it ends or is interrupted."""
    with SlurmLab(cluster).running() as lab:
        print(
            f"The lab is open: {lab.base}\n"
            f"Sign in as {' or '.join(PEOPLE)} with the password {lab.password}\n"
            f"Its logs: {lab.log} and {lab.state / 'hub'}\n"
            f"Slurm: {SCRIPT} exec -- squeue\n"
            "Ctrl-C ends it and all jobs.",
            flush=True,
        )
        lab.process.wait()
        sys.exit(f"The lab has ended by itself: {lab.log.read_text()}")


if __name__ == "__main__":
    main()
