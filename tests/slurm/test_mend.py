"""What a killed hub left is found and mended; nothing else is touched."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.faulty_commands import FaultyCommands
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def commands(cluster: SlurmCluster) -> FaultyCommands:
    return FaultyCommands(cluster)


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster, commands: FaultyCommands) -> Iterator[SlurmLab]:
    lab = SlurmLab(cluster, cluster_settings=commands.setting, hub_settings="mend_every = 3")
    with lab.running():
        yield lab


def test_a_job_that_a_killed_hub_did_not_live_to_note_is_taken_up(
    lab: SlurmLab, commands: FaultyCommands
):
    alice = lab.browser("alice")
    with commands.wrong("sbatch", "answers-late"):
        alice.ask_for_session()
        wait_for(lambda: lab.queue("JobId"), "the job in the queue")
        ((job_id,),) = lab.queue("JobId")
        before = lab.record("alice")
        assert before["job_id"] == ""
        lab.kill_hub()
    wait_for(lambda: alice.session("alice").get("ready"), "the session", seen=lab.hub_log)
    now = lab.record("alice")
    assert (now["job_id"], now["nonce"]) == (job_id, before["nonce"])
    assert alice.ask("/user/alice/lab").status == 200
    assert len(lab.queue("JobId")) == 1
    alice.stop_session("alice")
