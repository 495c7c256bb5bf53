"""What Slurm prints, read without believing what the owners of jobs write into it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.schedulers._slurm_nodes import Partition, parse_nodes, parse_partitions, pools
from labkit.schedulers._slurm_reasons import in_words, is_stuck
from labkit.schedulers._slurm_view import (
    devices_of,
    expand_hosts,
    parse_ends,
    parse_queue,
    places,
    queue_format,
)
from labkit.schedulers.base import JobKind, JobState, Outcome

MARK = "6d61726b"
GB = 2**30


def record(job_id="7", name="labkit-session", comment="labkit:session:t", **changes) -> str:
    """One job as `squeue` prints it in our format."""
    values = {
        "%A": job_id, "%u": "alice", "%T": "RUNNING", "%r": "None", "%P": "gpu", "%Q": "10",
        "%V": "1000", "%S": "2000", "%e": "3000", "%N": "n1", "%C": "2", "%m": "4G",
        "%b": "gres:gpu:h100:2", "%k": comment, "%j": name,
    }  # fmt: skip
    text = queue_format(MARK)
    for key, value in {**values, **changes}.items():
        text = text.replace(key, value, 1)
    return text + "\n"


def test_a_job_that_runs():
    (job,) = parse_queue(record(), MARK)
    info = job.info
    assert (info.job_id, info.user, info.tag, info.kind) == ("7", "alice", "t", JobKind.SESSION)
    assert (info.state, info.nodes) == (JobState.RUNNING, ("n1",))
    assert info.started == datetime.fromtimestamp(2000, UTC)
    assert info.deadline == datetime.fromtimestamp(3000, UTC)
    assert (info.resources.num_gpus, info.resources.memory_bytes) == (2, 4 * GB)


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("gres:gpu:h100:2", 2),  # as 22.05 prints it
        ("gres/gpu:h100:2", 2),  # as later ones write TRES
        ("gres/gpu:1g.10gb=7", 7),
        ("gres/shard:4", 4),
        ("gres:gpu", 1),
        ("N/A", 0),
        ("", 0),
    ],
)
def test_devices_as_either_version_writes_them(gres, count):
    (job,) = parse_queue(record(**{"%b": gres}), MARK)
    assert job.info.resources.num_gpus == count


def test_a_state_that_is_new_to_us_is_unknown_and_ends_nothing():
    (job,) = parse_queue(record(**{"%T": "EXPEDITING"}), MARK)
    assert job.info.state is JobState.UNKNOWN
    assert list(parse_ends("7|EXPEDITING|0:0|3000")) == []


def test_a_job_that_waits_says_why_and_when():
    (job,) = parse_queue(record(**{"%T": "PENDING", "%r": "Resources", "%N": ""}), MARK)
    assert job.info.reason == "It is next, and waits until what it asks for is free."
    assert job.info.expected_start == datetime.fromtimestamp(2000, UTC)
    assert (job.info.started, job.info.nodes) == (None, ())


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_what_an_owner_writes_changes_nothing_about_another_job(name, comment):
    forged = f"x\n{record(job_id='7', **{'%N': 'evil'}).replace(MARK, '0' * 8)}{name}"
    text = record(job_id="6", name=forged, comment=comment) + record()
    found = {job.info.job_id: job.info for job in parse_queue(text, MARK)}
    assert found.keys() == {"6", "7"}
    assert found["7"].nodes == ("n1",)


def test_a_record_that_was_cut_off_is_left_out():
    whole = record(job_id="6") + record(job_id="7")
    for end in range(len(record()), len(whole) - 2):
        assert [job.info.job_id for job in parse_queue(whole[:end], MARK)] == ["6"]


def test_places_are_by_priority_then_by_time_in_each_partition():
    waits = {"%T": "PENDING"}
    text = (
        record("1", **waits)
        + record("2", **waits, **{"%Q": "99"})
        + record("3", **waits, **{"%V": "900"})
        + record("4", **waits, **{"%P": "debug"})
        + record("5")
    )
    found = places(parse_queue(text, MARK))
    assert {job: place.number for job, place in found.items()} == {"2": 1, "3": 2, "1": 3, "4": 1}


def test_only_those_who_want_the_same_are_before():
    """By priority: an h100 of bob's, an a100, a share, any GPU of carol's, cores, then ours."""

    def waits(job_id: str, priority: int, gres: str, user: str) -> str:
        values = {"%T": "PENDING", "%Q": str(priority), "%b": gres, "%u": user}
        return record(job_id, **values)

    text = (
        waits("1", 9, "gres:gpu:h100:1", "bob")
        + waits("2", 8, "gres:gpu:a100:1", "dan")
        + waits("3", 7, "gres:shard:1", "eve")
        + waits("4", 6, "gres:gpu:2", "carol")
        + waits("5", 5, "N/A", "fay")
        + waits("6", 4, "gres/gpu:h100:1", "alice")
        + waits("7", 3, "gres:shard:2", "alice")
        + waits("8", 2, "gres:gpu:1", "alice")
        + waits("9", 1, "N/A", "alice")
    )
    found = places(parse_queue(text, MARK))
    before = {job: (place.number, place.people_before) for job, place in found.items()}
    # Of the first: bob's and carol's. Of any GPU: bob's, dan's, carol's and an own one.
    assert (before["6"], before["7"]) == ((3, 2), (2, 1))
    assert (before["8"], before["9"]) == ((5, 3), (9, 5))


@pytest.mark.parametrize(
    ("gres", "device", "count"),
    [
        ("gres:gpu:h100:2", "h100", 2),
        ("gres/gpu:h100:2", "h100", 2),
        ("gres:gpu:1g.10gb:7", "1g.10gb", 7),
        ("gres:gpu:2", "", 2),
        ("gres/gpu=2", "", 2),
        ("gres:gpu", "", 1),
        ("gres:shard:4", "shard", 4),
        ("gres:gpu:h100:1,gpu:a100:1", "", 2),
        ("N/A", "", 0),
    ],
)
def test_devices_of_a_job(gres, device, count):
    assert devices_of(gres) == (device, count)


def test_what_a_job_waits_for_in_its_turn():
    def waits_for(reason: str, gres: str) -> str:
        text = record(**{"%T": "PENDING", "%r": reason, "%b": gres})
        return parse_queue(text, MARK)[0].info.waits_for

    assert waits_for("Priority", "gres:gpu:h100:1") == "a free h100"
    assert waits_for("Resources", "gres:gpu:h100:2") == "2 free h100"
    assert waits_for("Resources", "gres:shard:1") == "a free share of a GPU"
    assert waits_for("Resources", "N/A") == "free cores and memory"
    assert waits_for("QOSGrpGRES", "gres:gpu:h100:1") == ""


@pytest.mark.parametrize(
    ("reason", "stuck"),
    [
        ("PartitionTimeLimit", True),
        ("(BadConstraints)", True),
        ("PartitionDown", True),
        ("QOSGrpGRESMinutes", True),
        ("AssocGrpCPUMinutesLimit", True),
        ("QOSMaxGRESPerJob", True),
        ("AssocMaxWallDurationPerJobLimit", True),
        ("QOSMinGRES", True),
        ("QOSGrpGRESRunMinutes", False),
        ("QOSMaxGRESPerUser", False),
        ("AssocGrpGRES", False),
        ("ReqNodeNotAvail, UnavailableNodes:n4", False),
        ("Resources", False),
        ("SomethingNew", False),
    ],
)
def test_what_never_starts_as_it_is(reason, stuck):
    assert is_stuck(reason) is stuck


@pytest.mark.parametrize(
    ("line", "outcome", "code"),
    [
        ("7|COMPLETED|0:0|1000", Outcome.COMPLETED, 0),
        ("7|FAILED|3:0|1000", Outcome.FAILED, 3),
        ("7|CANCELLED by 2001|0:15|1000", Outcome.CANCELLED, 143),
        ("7|TIMEOUT|0:0|1000", Outcome.TIMEOUT, 0),
        ("7|OUT_OF_MEMORY|0:125|1000", Outcome.OUT_OF_MEMORY, 253),
        ("7|NODE_FAIL|0:0|1000", Outcome.LOST, 0),
        ("7|PREEMPTED||1000", Outcome.CANCELLED, None),
    ],
)
def test_an_end_and_its_exit_code(line, outcome, code):
    (end,) = parse_ends(line)
    assert (end.job_id, end.outcome, end.exit_code) == ("7", outcome, code)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7|RUNNING|0:0|Unknown",
        "7|PENDING|0:0|Unknown",
        "7|COMPL",
        "7|REQUEUED|0:0|1",
        "7|FAILED|0:0|Unknown",  # of a job that ended with 3 before its beginning was written
    ],
)
def test_what_is_no_end(line):
    assert list(parse_ends(line)) == []


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("n1", ["n1"]),
        ("n1,gpu-07", ["n1", "gpu-07"]),
        ("n[1-3,07]", ["n1", "n2", "n3", "n07"]),
        ("a[09-10],b", ["a09", "a10", "b"]),
    ],
)
def test_hosts(text, hosts):
    assert expand_hosts(text) == hosts


NODE = (
    "NodeName=n3 Arch=x86_64 CPUAlloc={cpus} CPUTot=16 Gres=gpu:a100:2,shard:a100:16 "
    "OS=Linux 6.1 #1 SMP RealMemory=64000 AllocMem=0 State={state} Partitions=gpu,debug "
    "CfgTRES=cpu=16,gres/gpu=2 AllocTRES={held} Comment=State=IDLE"
)
PARTITIONS = parse_partitions(
    "PartitionName=gpu AllowGroups=ALL Default=YES MaxTime=1-12:00:00 State=UP\n"
    "PartitionName=debug AllowGroups=ALL Default=NO MaxTime=UNLIMITED State=UP\n"
    "PartitionName=old AllowGroups=ALL Default=NO MaxTime=30:00 State=DOWN\n"
)


def free(held: str = "", state: str = "MIXED", cpus: int = 0) -> dict[str, int]:
    """Free devices by type, and free cores under ''."""
    found = pools(parse_nodes(NODE.format(held=held, state=state, cpus=cpus)), PARTITIONS, {})
    of_gpu = [pool for pool in found if pool.partition == "gpu"]
    cores = {pool.device_name: pool.nodes[0].free.num_cpus for pool in of_gpu}[""]
    return {"": cores, **{p.device_name: p.free_gpus for p in of_gpu if p.device_name}}


def test_partitions_with_their_limits():
    assert PARTITIONS == {
        "gpu": Partition(name="gpu", default=True, max_walltime_s=36 * 3600),
        "debug": Partition(name="debug", default=False, max_walltime_s=None),
    }


def test_what_is_free_of_devices_and_their_shares():
    assert free() == {"": 16, "a100": 2, "shard": 16}
    assert free("cpu=2,gres/gpu=1,gres/gpu:a100=1", cpus=2) == {"": 14, "a100": 1, "shard": 8}
    # A GPU of which a share is held is not to be had whole.
    assert free("cpu=1,gres/shard=3", cpus=1) == {"": 15, "a100": 1, "shard": 13}


@pytest.mark.parametrize("state", ["DOWN*", "IDLE+DRAIN", "MIXED*", "DOWN+NOT_RESPONDING"])
def test_a_node_that_takes_no_jobs_has_nothing_free(state):
    assert free(state=state) == {"": 0, "a100": 0, "shard": 0}


@pytest.mark.parametrize("state", ["IDLE", "IDLE+PLANNED", "MIXED+PLANNED", "IDLE+CLOUD"])
def test_a_node_that_takes_jobs(state):
    assert free(state=state) == {"": 16, "a100": 2, "shard": 16}


def test_sites_choose_where_jobs_go_that_name_no_partition():
    found = pools(parse_nodes(NODE.format(held="", state="IDLE", cpus=0)), PARTITIONS, {}, "debug")
    assert {pool.partition for pool in found if pool.default} == {"debug"}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("(Priority)", "Others are before it."),
        ("PartitionTimeLimit", "It asks for more time than its partition allows. Ask for less"),
        ("QOSGrpGRESMinutes", "What is left of the GPU hours of this kind of job"),
        ("AssocGrpGRES", "Your project holds as many GPUs as it may"),
        ("QOSMaxWallDurationPerJobLimit", "more time than this kind of job may have"),
        ("SomethingNew", "Slurm says: SomethingNew."),
    ],
)
def test_reasons_in_words(reason, words):
    assert words in in_words(reason)
