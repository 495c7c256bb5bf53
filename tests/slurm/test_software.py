"""Sessions with modules and in an image, on the real cluster.

Environment modules are real. So is Apptainer where the cluster's Debian has it (`make other-slurm
SUITE=sid`); else a stand-in checks its arguments and runs the rest in this machine's Python.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab, write_as_root
from tests.waiting import wait_for

STAND_IN = """\
#!/bin/bash
# As `apptainer exec --cleanenv`: an empty environment but for what is handed in.
[ "$1 $2" = "exec --cleanenv" ] || { echo "wrong: $*" >&2; exit 2; }
shift 2
while [[ $1 == --* ]]; do shift; done
[ -r "$1" ] || { echo "no such image: $*" >&2; exit 2; }
image=$1; shift
handed=()
while IFS= read -r -d '' pair; do
  [[ $pair == APPTAINERENV_* ]] && handed+=("${pair#APPTAINERENV_}")
done < <(env -0)
exec env -i HOME="$HOME" PATH=/usr/bin:/bin APPTAINER_CONTAINER="$image" "${handed[@]}" "$@"
"""

IMAGE = """\
set -e
mkdir -p "$1/box"
cd "$1/box"
mkdir -p usr etc proc sys dev tmp root home var run
ln -s usr/bin usr/lib usr/lib64 .
apptainer build "$1/lab.sif" . 2>&1
"""
"""Has nothing in it: the site binds the machine's own folders."""


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    folder = cluster.folder / "software"
    write_as_root(
        folder / "modules" / "cuda" / "12.4", "#%Module\nsetenv LOADED cuda/12.4\n", 0o644
    )
    apptainer, image = apptainer_of(cluster, folder)
    lab = SlurmLab(
        cluster,
        f"""
[profiles.contained]
title = "In an image"
cores = 1
memory = "2 GB"
software.image = "{image}"
software.apptainer = "{apptainer}"
software.bind = ["/usr", "/etc", "{cluster.folder}"]
software.python = "{cluster.python}"
software.modules = ["cuda/12.4"]

[profiles.loaded]
title = "With a module"
cores = 1
memory = "2 GB"
software.modules = ["cuda/12.4"]

[profiles.lost]
title = "With a module that is not there"
cores = 1
memory = "2 GB"
software.modules = ["lost"]
""",
        cluster_settings=(
            f"prologue = ['source /etc/profile.d/modules.sh', 'module use {folder}/modules']"
        ),
    )
    with lab.running():
        yield lab


def apptainer_of(cluster: SlurmCluster, folder: Path) -> tuple[Path, Path]:
    """The command and an image."""
    image = folder / "lab.sif"
    if cluster.run(["apptainer", "--version"]).returncode == 0:
        cluster.output(["bash", "-c", IMAGE, "bash", folder])
        return Path("/usr/bin/apptainer"), image
    image.touch()
    write_as_root(folder / "apptainer", STAND_IN, 0o755)
    return folder / "apptainer", image


def test_a_session_in_an_image(lab: SlurmLab):
    with session(lab, "alice", "contained") as seen:
        image = lab.cluster.folder / "software" / "lab.sif"
        assert f"APPTAINER_CONTAINER={image}" in seen
        assert not any(pair.startswith("LOADED=") for pair in seen)  # of this side of the image


def test_a_session_with_a_module(lab: SlurmLab):
    with session(lab, "bob", "loaded") as seen:
        assert "LOADED=cuda/12.4" in seen


@contextmanager
def session(lab: SlurmLab, name: str, profile: str) -> Iterator[Sequence[str]]:
    """The environment that it runs in, whose token is nowhere to be seen."""
    browser = lab.browser(name)
    browser.ask("/hub/spawn")
    browser.ask("/hub/spawn", form={"profile": profile})
    log = lab.cluster.home(name) / ".labkit" / "sessions" / "_.log"
    wait_for(lambda: browser.session(name).get("ready"), "the session", seen=log.read_text)
    assert browser.ask(f"/user/{name}/lab").status == 200
    node, token = lab.record(name)["host"], lab.record(name)["api_token"]
    find = ["pgrep", f"--uid={name}", "--full", "labkit_spawners.launcher"]
    pid = lab.cluster.run(find, node=node).stdout.split()[-1]
    seen = lab.cluster.run(["cat", f"/proc/{pid}/environ"], node=node).stdout.split("\0")
    assert f"JUPYTERHUB_API_TOKEN={token}" in seen
    assert token not in lab.cluster.run(["ps", "-ef"], node=node).stdout
    yield seen
    browser.stop_session(name)
    wait_for(lambda: not browser.session(name), "the session's end")


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
