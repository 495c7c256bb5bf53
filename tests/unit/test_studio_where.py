"""Where a run runs, chosen in the form: on one machine, and on a cluster of the test's own."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anywidget")

from labkit.errors import LabkitError
from labkit.runs import submit
from labkit.runs.spec import spec_flags, spec_from_flat, spec_toml
from labkit.schedulers.base import SHARE, Access, Amounts, Pool, PoolNode
from labkit_widgets import where

from .fake_lab import FakeScheduler
from .fake_page import Person

GB = 2**30


def pool(
    partition: str, num_nodes: int, num_gpus: int = 0, device: str = "", **others: Any
) -> Pool:
    amounts = Amounts(num_cpus=32, memory_bytes=128 * GB, num_gpus=num_gpus)
    nodes = [PoolNode(name=f"n{n}", total=amounts, free=amounts) for n in range(num_nodes)]
    kind = "nvidia" if device else "cpu"
    return Pool(partition=partition, accelerator=kind, device_name=device, nodes=nodes, **others)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    """Four nodes, two of them with GPUs, and a partition for short jobs."""
    scheduler = FakeScheduler()
    scheduler.pools = [
        pool("gpu", 4, max_walltime_s=86400),
        pool("gpu", 2, 4, "h100", max_walltime_s=86400),
        pool("gpu", 2, 16, SHARE, max_walltime_s=86400),
        pool("debug", 1, default=False, max_walltime_s=1800),
    ]
    scheduler.allowed = Access(partitions=["gpu", "debug"], accounts=["p123", "p124"])
    for module in (where, submit):
        monkeypatch.setattr(module, "open_cluster", lambda *_: scheduler)
    return scheduler


def machine(person: Person) -> dict[str, dict[str, Any]]:
    settings = person.does("go_to", step="settings")["form"]["settings"]
    assert settings["problem"] == ""
    return {field["key"]: field for field in settings["machine"]}


def test_on_one_machine_nobody_is_asked_for_nodes(person: Person):
    assert list(machine(person)) == ["cpus_per_node", "memory", "time"]
    settings = person.form["settings"]
    assert settings["machine_title"] == "This machine: cores, memory, time"


def test_on_a_cluster_one_picks_among_what_there_is(person: Person, cluster: FakeScheduler):
    fields = machine(person)
    assert person.form["settings"]["machine_title"].startswith("Where it runs: nodes, GPUs")
    assert "reservation" not in fields and "cluster" not in fields  # there is nothing to choose
    assert fields["nodes"]["help"] == "How many nodes. Here: 1 to 4."
    assert fields["gpus_per_node"]["help"].endswith("Here: 0 to 4.")
    assert fields["time"]["help"].endswith("Here: up to 24 h.")
    choices = [choice["value"] for choice in fields["partition"]["choices"]]
    assert choices == ["", "gpu", "debug"]
    assert [choice["title"] for choice in fields["account"]["choices"]][1:] == ["p123", "p124"]


def test_what_is_allowed_follows_what_is_chosen(person: Person, cluster: FakeScheduler):
    person.does("set_value", key="gpus_per_node", value="2")
    assert machine(person)["nodes"]["help"].endswith("Here: 1 to 2 with 2 GPUs each.")
    person.does("set_value", key="gpus_per_node", value="")
    person.does("set_value", key="partition", value="debug")
    fields = machine(person)
    assert fields["partition"]["value"] == "debug"
    assert "nodes" not in fields and "gpus_per_node" not in fields
    assert fields["time"]["help"].endswith("Here: up to 30 minutes.")


def test_what_is_given_is_shown_though_it_cannot_be(person: Person, cluster: FakeScheduler):
    for key, value in {"nodes": "9", "reservation": "class", "account": "p9"}.items():
        person.does("set_value", key=key, value=value)
    fields = machine(person)
    assert [fields[key]["value"] for key in ("nodes", "reservation", "account")] == [
        "9", "class", "p9",
    ]  # fmt: skip


def test_more_than_there_is_is_said_with_what_there_is(
    person: Person, cluster: FakeScheduler, mine: Path
):
    person.does("choose_file", path=mine.name)
    person.does("set_value", key="gpus_per_node", value="8")
    start = person.does("go_to", step="start")["form"]["start"]
    assert not start["ready"]
    assert start["problem"] == (
        "8 GPUs asked on each node; the cluster 'here' has 4. Set “GPUs per node” to 4 or fewer."
    )


def test_a_run_on_two_nodes_is_told_of_and_is_the_commands_and_the_files(
    person: Person, cluster: FakeScheduler, mine: Path
):
    person.does("choose_file", path=mine.name)
    chosen = {"nodes": "2", "gpus_per_node": "4", "partition": "gpu", "account": "p124"}
    for key, value in chosen.items():
        person.does("set_value", key=key, value=value)
    start = person.does("go_to", step="start")["form"]["start"]
    facts = {fact["title"]: fact for fact in start["check"]["facts"]}
    assert facts["Runs on"]["value"] == "2 nodes of here"
    assert facts["Runs on"]["details"] == "partition gpu, account p124"
    assert facts["Processor"]["value"] == "32 cores and 4 GPUs on each node"

    spec = person.core.form.spec()  # type: ignore[union-attr]
    flags = dict(zip(*[iter(spec_flags(spec))] * 2, strict=True))
    keys = {flag.removeprefix("--").replace("-", "_"): value for flag, value in flags.items()}
    assert spec_toml(spec_from_flat(keys, source="the command line")) == spec_toml(spec)
    for flag in ("--nodes 2", "--gpus-per-node 4", "--partition gpu", "--account p124"):
        assert flag in person.form["code"]["command"]

    assert start["ready"]
    person.does("start")
    (job,) = cluster.submitted
    assert (job.resources.num_nodes, job.resources.num_gpus) == (2, 4)
    assert (job.partition, job.account) == ("gpu", "p124")


def test_a_cluster_that_does_not_answer_is_told_of(person: Person, cluster: FakeScheduler):
    cluster.fault = LabkitError("Slurm's scontrol failed: no answer within 10 s.")
    settings = person.does("go_to", step="settings")["form"]["settings"]
    assert settings["problem"] == "Slurm's scontrol failed: no answer within 10 s."
    shown = [field["key"] for field in settings["machine"]]
    assert shown == ["gpus_per_node", "cpus_per_node", "memory", "time"]
