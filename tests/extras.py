"""Each extra in a clean environment: all that it promises imports, and nothing more is needed.

Run by `make check`. Environments are made in a temporary folder and removed.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH = os.environ.get("TORCH", "torch==2.13.0").split()
EXTRAS = {"": "labkit.train", "train": ""}
"""Each extra, with the package that does not import with it alone."""

IMPORT_ALL = """
import importlib, pkgutil, sys
import labkit
left_out = sys.argv[1]
names = [m.name for m in pkgutil.walk_packages(labkit.__path__, "labkit.")
         if not m.name.endswith("__main__") and not (left_out and m.name.startswith(left_out))]
for name in names:
    importlib.import_module(name)
print(f"  {len(names)} modules import")
if left_out:
    heavy = {"torch", "ray", "transformers", "peft", "sklearn"} & set(sys.modules)
    assert not heavy, f"the core imports {heavy}"
"""


def main() -> None:
    for extra, left_out in EXTRAS.items():
        print(f"labkit[{extra}]" if extra else "labkit", flush=True)
        with tempfile.TemporaryDirectory(prefix="labkit-extra-") as folder:
            python = install(Path(folder), extra)
            subprocess.run([python, "-c", IMPORT_ALL, left_out], check=True, cwd=folder)
            subprocess.run(
                [python, "-m", "labkit", "--help"],
                check=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
            )


def install(folder: Path, extra: str) -> Path:
    """A new environment with labkit and that extra, built as a person's pip would build it."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if extra == "train":
        subprocess.run([*pip, *TORCH], check=True)
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wanted], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
