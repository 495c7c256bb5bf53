"""The Python of the test cluster's jobs: a venv that people can read, made by cluster.sh as root.

Run as `PYTHON job_python.py LAB` by the bound Python `LAB/python/bin/pythonX.Y`. The packages are
those of the bound venv `LAB/packages`, the project's code is that of the bound checkout
`LAB/checkout`; only the venv's own folders are made here.
"""

import site
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

SCRIPT = """\
#!{python}
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({call}())
"""


def make_venv(lab: Path) -> None:
    """Make `lab/venv`, with the console scripts of everything that is installed."""
    venv.create(lab / "venv", symlinks=True, with_pip=False)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = lab / "packages" / "lib" / version / "site-packages"
    code = [lab / "checkout" / folder for folder in ("", "spawners", "widgets")]
    lines = [*map(str, code), f"import site; site.addsitedir({str(packages)!r})"]
    own = lab / "venv" / "lib" / version / "site-packages"
    (own / "labkit-test-cluster.pth").write_text("\n".join(lines) + "\n")

    site.addsitedir(str(packages))
    for entry in entry_points(group="console_scripts"):
        script = lab / "venv" / "bin" / entry.name
        first, python = entry.attr.split(".")[0], lab / "venv" / "bin" / "python"
        text = SCRIPT.format(python=python, module=entry.module, first=first, call=entry.attr)
        script.write_text(text)
        script.chmod(0o755)

    # Jupyter looks for its pages and its settings below sys.prefix.
    (lab / "venv" / "share").symlink_to(lab / "packages" / "share")
    (lab / "venv" / "etc" / "labkit").mkdir(parents=True)
    (lab / "venv" / "etc" / "jupyter").symlink_to(lab / "packages" / "etc" / "jupyter")


if __name__ == "__main__":
    make_venv(Path(sys.argv[1]))
