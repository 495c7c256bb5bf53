"""Somebody on a node where another's Ray runs, who knows every port of it and every file."""

import json
import re
from pathlib import Path

from tests.ray import doors
from tests.slurm.cluster import SlurmCluster


def knocks(cluster: SlurmCluster, node: str, *, user: str) -> dict[str, str]:
    """What each port of Ray's on the node says to that person; see `doors.knock`.

    Not those of training processes, some of which gloo opens: it has no secret.
    """
    listening = cluster.run(["ss", "-Hltnp"], node=node).stdout
    found = re.findall(r"(\S+):(\d+)\s+\S+\s+users:\(\(\"(?!slurm|srun|ray::work)", listening)
    own = json.loads(cluster.run(["ip", "-json", "-4", "address"], node=node).stdout)
    (address,) = [a["local"] for i in own if i["ifname"] != "lo" for a in i["addr_info"]]
    addresses = [
        f"{'127.0.0.1' if '127.0.0.1' in host else address}:{port}" for host, port in found
    ]
    code = Path(doors.__file__).read_text()
    done = cluster.run([cluster.python, "-c", code, *addresses], user=user, node=node)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def readable(cluster: SlurmCluster, node: str, *, of: str, by: str) -> str:
    """The files and folders of one person in /tmp and shared memory that another could open."""
    find = ["find", "/tmp", "/dev/shm", "-mindepth", "1", "-user", of]
    opens = ["(", "-readable", "-o", "-writable", "-o", "-type", "d", "-executable", ")"]
    return cluster.run([*find, *opens], user=by, node=node).stdout


def gets_nowhere(cluster: SlurmCluster, node: str, *, of: str, by: str) -> dict[str, str]:
    """That each port of Ray's on the node refuses `by`, and no file of the other's is open to
    them; what the ports said."""
    said = knocks(cluster, node, user=by)
    assert set(said.values()) <= {"refused", "401", "405"} and "refused" in said.values(), said
    assert readable(cluster, node, of=of, by=by) == ""
    return said
