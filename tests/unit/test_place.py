"""Where a run will run, against what the cluster has and what the person may use."""

import os
import re
from typing import Any

import pytest

from labkit.errors import LabkitError, UsageError
from labkit.place import cores_of, fitting_pool, own_groups, require_access
from labkit.resources import Resources
from labkit.schedulers.base import SHARE, Access, Amounts, Pool, PoolNode

GB = 2**30
MINE = Access(partitions=["gpu", "debug"], accounts=["p123", "p124"])


def pool(partition: str, gpus: list[int], device: str = "", **others: Any) -> Pool:
    """One node for each number of GPUs; the first has the most cores."""
    nodes = [
        PoolNode(name=f"n{n}", total=amounts, free=amounts)
        for n, num_gpus in enumerate(gpus)
        for amounts in [Amounts(num_cpus=64 - n, memory_bytes=GB, num_gpus=num_gpus)]
    ]
    kind = "nvidia" if device else "cpu"
    return Pool(partition=partition, accelerator=kind, device_name=device, nodes=nodes, **others)


NANO4 = [
    pool("gpu", [0] * 4),
    pool("gpu", [4, 4, 2], "h100"),
    pool("gpu", [8], "a100"),
    pool("gpu", [16], SHARE),
    pool("debug", [0], default=False),
    pool("debug", [2], "h100", default=False),
]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({}, ""),
        ({"nodes": 4}, ""),
        ({"gpus_per_node": 1}, "h100"),
        ({"gpus_per_node": 4, "nodes": 2}, "h100"),
        ({"gpus_per_node": 5}, "a100"),
        ({"gpus_per_node": 2, "partition": "debug"}, "h100"),
    ],
)
def test_the_first_kind_of_node_of_which_there_are_enough(asked, kind):
    found = fitting_pool(NANO4, Resources(**asked), "nano4")
    assert (found.partition, found.device_name) == (asked.get("partition", "gpu"), kind)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"gpus_per_node": 9}, "9 GPUs asked on each node; the cluster 'nano4' has 8. "
         "Set gpus_per_node to 8 or fewer."),
        ({"gpus_per_node": 4, "partition": "debug"}, "4 GPUs asked on each node; the partition "
         "'debug' of the cluster 'nano4' has 2. Set gpus_per_node to 2 or fewer."),
        ({"nodes": 5}, "5 nodes asked; the cluster 'nano4' has 4 such nodes. "
         "Set nodes to 4 or fewer."),
        ({"nodes": 3, "gpus_per_node": 4}, "3 nodes with 4 GPUs each asked; the cluster 'nano4' "
         "has 2 such nodes. Set nodes to 2 or fewer."),
        ({"nodes": 2, "gpus_per_node": 8}, "2 nodes with 8 GPUs each asked; the cluster 'nano4' "
         "has one such node. Leave nodes out."),
    ],
)  # fmt: skip
def test_what_the_cluster_does_not_have_is_said_with_what_it_has(asked, sentence):
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}$"):
        fitting_pool(NANO4, Resources(**asked), "nano4")


def test_a_partition_that_closed_meanwhile():
    with pytest.raises(LabkitError, match="No node of the partition 'night' of .* is open now"):
        fitting_pool(NANO4, Resources(partition="night"), "nano4")


def test_where_no_partition_is_the_default_any_will_do():
    debug = NANO4[4:]
    assert fitting_pool(debug, Resources(gpus_per_node=1), "nano4") is debug[1]


def test_cores_are_those_that_as_many_nodes_have():
    assert cores_of(NANO4[0], Resources()) == 64
    assert cores_of(NANO4[0], Resources(nodes=3)) == 62
    assert cores_of(NANO4[1], Resources(nodes=2, gpus_per_node=4)) == 63


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"account": "q123"}, "account 'q123' asked; on the cluster 'nano4' you may use 'p123', "
         "'p124'. Did you mean 'p123'? Set account to one of them, or leave it out."),
        ({"partition": "huge"}, "partition 'huge' asked; on the cluster 'nano4' you may use "
         "'gpu', 'debug'. Set partition to one of them, or leave it out."),
        ({"reservation": "class"}, "reservation 'class' asked; the cluster 'nano4' has no "
         "reservations for you to choose from. Leave reservation out."),
    ],
)  # fmt: skip
def test_what_one_may_not_name_is_said_with_what_one_may(asked, sentence):
    assert refusal(MINE, Resources(**asked)) == sentence
    also = Access(**{f"{key}s": [name] for key, name in asked.items()})
    assert refusal(also, Resources(**asked)) == ""


def refusal(access: Access, asked: Resources) -> str:
    """What is said to who may name no more than that; '' where all is well."""
    try:
        require_access(access, asked, "nano4")
    except UsageError as error:
        return str(error)
    return ""


def test_a_group_without_a_name_admits_to_nothing(monkeypatch):
    named = own_groups()
    nameless = 2**31 - 7
    monkeypatch.setattr(os, "getgroups", lambda: [nameless])
    assert own_groups() <= named
