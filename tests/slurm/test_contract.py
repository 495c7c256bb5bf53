"""`slurm` keeps the contract of all schedulers, on a real cluster, as a person without rights."""

import re

from tests.slurm.cluster import SlurmCluster


def test_slurm_keeps_the_contract_of_schedulers(cluster: SlurmCluster):
    checkout = cluster.folder / "checkout"
    done = cluster.run(
        [
            *(cluster.python, "-m", "pytest", "-q", "-k", "slurm", "-p", "no:cacheprovider"),
            f"--rootdir={checkout}",
            f"--config-file={checkout / 'pyproject.toml'}",
            # In a home: /tmp is each node's own.
            f"--basetemp={cluster.home('alice') / 'contract'}",
            checkout / "tests" / "unit" / "test_plugin_contract.py",
        ],
        user="alice",
        timeout_s=120,
    )
    # All passed: none failed, and none was skipped.
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"\d+ passed, \d+ deselected in .*", last), done.stdout + done.stderr
