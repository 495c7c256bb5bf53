"""Slurm's commands with a wrapper before each, which a test can tell to misbehave."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.slurm.cluster import SlurmCluster

NAMES = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr")
WRAPPER = """\
#!/bin/bash
# The file `fault` beside this says what is wrong with it; without the file, nothing is.
name=${0##*/} fault=${0%/*}/$name.fault
echo >>"${0%/*}/$name.calls"
[ -e "$fault" ] || exec /usr/bin/$name "$@"
read -r what <"$fault"
case $what in
  fails) echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1 ;;
  is-cut) /usr/bin/$name "$@" | head -c 200 ;; # and looks like success
  prints-nothing) ;;
  is-slow) until [ ! -e "$fault" ]; do sleep 0.05; done; exec /usr/bin/$name "$@" ;;
  answers-late) printed=$(/usr/bin/$name "$@"); until [ ! -e "$fault" ]; do sleep 0.05; done
    echo "$printed" ;;
esac
"""


class FaultyCommands:
    """A folder for the key `commands` of a cluster."""

    def __init__(self, cluster: SlurmCluster):
        self.folder = cluster.folder / "commands"
        self.folder.mkdir(exist_ok=True)
        for name in NAMES:
            wrapper = self.folder / name
            wrapper.write_text(WRAPPER)
            wrapper.chmod(0o755)
            calls = self.folder / f"{name}.calls"
            calls.write_text("")
            calls.chmod(0o666)

    @property
    def setting(self) -> str:
        return f'commands = "{self.folder}"'

    @contextmanager
    def wrong(self, name: str, what: str) -> Iterator[None]:
        """That command 'fails', 'is-cut', 'prints-nothing', 'is-slow' or 'answers-late'."""
        fault = self.folder / f"{name}.fault"
        fault.write_text(f"{what}\n")
        try:
            yield
        finally:
            fault.unlink()

    def calls(self, name: str) -> int:
        """How often it was run."""
        return len((self.folder / f"{name}.calls").read_text())
