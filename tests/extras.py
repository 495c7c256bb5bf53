"""Each extra in a clean environment: all that it promises imports, and nothing more is needed.

Run by `make check`. Environments are made in a temporary folder and removed.
"""

import os
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH = os.environ.get("TORCH", "torch==2.13.0").split()
_OF_TRAIN = ("torch", "ray", "transformers", "peft", "sklearn")
_OF_LAB = ("ipywidgets", "anywidget", "jupyterlab")
_OF_HUB = ("batchspawner", "sqlalchemy")
_OF_SESSIONS = "labkit_spawners.session_server"
"""An extension of Jupyter's server, in sessions alone, which have the extra lab too."""


@dataclass(frozen=True)
class Promise:
    """What imports with an extra alone."""

    packages: tuple[str, ...]
    left_out: str = ""
    """The modules in them that do not, by how their names begin."""
    never: tuple[str, ...] = ()
    """What is not imported by any of it."""


EXTRAS = {
    "": Promise(("labkit",), "labkit.train", (*_OF_TRAIN, *_OF_LAB, *_OF_HUB)),
    "hub": Promise(
        ("labkit", "labkit_spawners"), f"labkit.train {_OF_SESSIONS}", (*_OF_TRAIN, *_OF_LAB)
    ),
    "lab": Promise(("labkit", "labkit_widgets"), "labkit.train", (*_OF_TRAIN, *_OF_HUB)),
    "ray": Promise(("labkit",), "labkit.train", ("torch", "transformers", "peft", "sklearn")),
    "train": Promise(("labkit",)),
}

IMPORT_ALL = """
import importlib, pkgutil, sys
packages, left_out, never = (argument.split() for argument in sys.argv[1:])
names = [m.name for package in packages
         for m in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
         if not m.name.endswith("__main__") and not m.name.startswith(tuple(left_out))]
for name in names:
    importlib.import_module(name)
print(f"  {len(names)} modules import")
heavy = set(never) & set(sys.modules)
assert not heavy, f"{packages} import {heavy}"
"""

# What lies beside the packages, in the wheel's place for it and not in the checkout.
FILES_OF_HUB = """
import sys
from labkit_spawners.form import _template
from labkit_spawners.lab import hub_config
from labkit_spawners.proxy import lock_file
from labkit_spawners.templates import templates_folder
pages = templates_folder()
for file in (hub_config(), lock_file(), lock_file().with_name("package.json"),
             pages / "hub" / "profiles.html", pages / "notebooks" / "Start here.ipynb",
             pages / "session" / "labconfig" / "default_setting_overrides.json",
             pages / "session" / "jupyter_server_config.d" / "labkit.json",
             pages / "proxy" / "503.html",
             pages / "labextensions" / "labkit-session" / "package.json",
             lock_file().parents[2] / "sudoers"):
    assert file.is_file() and file.is_relative_to(sys.prefix), file
assert "What do you need?" in _template().render(choices=[], fields=[], notice="", known="")
print("  pages and files are where the wheel puts them")
"""


def main() -> None:
    # The largest first, since two are made at a time.
    with ThreadPoolExecutor(2) as pool:
        for said in pool.map(keeps, reversed(EXTRAS)):
            print(said, flush=True)


def keeps(extra: str) -> str:
    """What its modules said. Raises CalledProcessError where the promise is not kept."""
    promise = EXTRAS[extra]
    with tempfile.TemporaryDirectory(prefix="labkit-extra-") as folder:
        python = install(Path(folder), extra)

        def run(*arguments: str) -> str:
            command = [python, *arguments]
            return subprocess.run(
                command, check=True, cwd=folder, stdout=subprocess.PIPE, text=True
            ).stdout

        run("-m", "labkit", "--help")
        packages = [" ".join(promise.packages), promise.left_out, " ".join(promise.never)]
        said = run("-c", IMPORT_ALL, *packages)
        if extra == "hub":
            said += run("-c", FILES_OF_HUB)
        return f"labkit[{extra}]\n{said}" if extra else f"labkit\n{said}"


def install(folder: Path, extra: str) -> Path:
    """A new environment with labkit and that extra, built as a person's pip would build it."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # Most of what pip would compile is never imported.
    quiet = ["--quiet", "--disable-pip-version-check"]
    pip = [python, "-m", "pip", "install", "--no-compile", *quiet]
    if extra == "train":
        subprocess.run([*pip, *TORCH], check=True)
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wanted], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
