"""Sessions with modules and in an image, on the real cluster.

Neither Apptainer nor environment modules are here: a stand-in of the first checks its arguments
and runs the rest in this machine's Python, and a line of the prologue defines `module`.
"""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab, write_as_root
from tests.waiting import wait_for

APPTAINER = """\
#!/bin/bash
# As `apptainer exec --cleanenv`: an empty environment but for what is handed in.
[ "$1 $2" = "exec --cleanenv" ] || { echo "wrong: $*" >&2; exit 2; }
shift 2
while [[ $1 == --* ]]; do shift; done
[ "$1" = /opt/images/lab.sif ] || { echo "wrong image: $*" >&2; exit 2; }
shift
handed=()
while IFS= read -r -d '' pair; do
  [[ $pair == APPTAINERENV_* ]] && handed+=("${pair#APPTAINERENV_}")
done < <(env -0)
exec env -i HOME="$HOME" PATH=/usr/bin:/bin IN_IMAGE=yes "${handed[@]}" "$@"
"""


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    apptainer = cluster.folder / "apptainer"
    write_as_root(apptainer, APPTAINER, 0o755)
    prologue = "module() { [ $2 != lost ] && export LOADED=$2; }"
    lab = SlurmLab(
        cluster,
        f"""
[profiles.contained]
title = "In an image"
cores = 1
memory = "2 GB"
software.image = "/opt/images/lab.sif"
software.apptainer = "{apptainer}"
software.python = "{cluster.python}"
software.modules = ["cuda/12.4"]

[profiles.lost]
title = "With a module that is not there"
cores = 1
memory = "2 GB"
software.modules = ["lost"]
""",
        cluster_settings=f"prologue = ['{prologue}']",
    )
    with lab.running():
        yield lab


def test_a_session_in_an_image(lab: SlurmLab):
    alice = lab.browser("alice")
    alice.ask("/hub/spawn")
    alice.ask("/hub/spawn", form={"profile": "contained"})
    log = lab.cluster.home("alice") / ".labkit" / "sessions" / "_.log"
    wait_for(lambda: alice.session("alice").get("ready"), "the session", seen=log.read_text)
    assert alice.ask("/user/alice/lab").status == 200
    node, token = lab.record("alice")["host"], lab.record("alice")["api_token"]
    find = ["pgrep", "--uid=alice", "--full", "labkit_spawners.launcher"]
    pid = lab.cluster.run(find, node=node).stdout.split()[0]
    seen = lab.cluster.run(["cat", f"/proc/{pid}/environ"], node=node).stdout
    assert "IN_IMAGE=yes" in seen and f"JUPYTERHUB_API_TOKEN={token}" in seen
    assert "LOADED" not in seen  # of this side of the image
    assert token not in lab.cluster.run(["ps", "-ef"], node=node).stdout
    alice.stop_session("alice")


def test_a_module_that_is_not_there_is_said_in_the_log(lab: SlurmLab):
    bob = lab.browser("bob")
    log = lab.cluster.home("bob") / ".labkit" / "sessions" / "_.log"
    before = log.read_text() if log.exists() else ""  # of bob's earlier sessions

    def written() -> str:
        return log.read_text().removeprefix(before) if log.exists() else ""

    bob.ask("/hub/api/users/bob/server", method="POST", body={"profile": "lost"})
    said = "labkit: the module lost could not be loaded."
    wait_for(lambda: said in written(), "the sentence", seen=lab.hub_log)
    wait_for(lambda: not bob.session("bob"), "the session's end")
    assert written().count(said) == 1 and "Serving notebooks" not in written()
