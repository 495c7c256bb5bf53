"""`labkit models …`: the catalogue of base models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from labkit.cli.output import AsJson, print_fields, print_json, print_table, say
from labkit.errors import UsageError
from labkit.models.catalogue import (
    BaseEntry,
    add_model,
    find_model,
    inspect_folder,
    list_models,
)
from labkit.models.chat_templates import own_template
from labkit.runs.fits import Place, places_of, what_fits, where_by_method
from labkit.settings import load_site
from labkit.units import format_memory

MAX_STEPS = 100_000
app = App(name="models", help="The base models of this site.")


@app.default
def list_(*, json: AsJson = False) -> None:
    """The base models of this site, with licence, languages and where there is room to tune them.

    A run takes GPUs and memory of its own: a place is a profile's amounts, or this machine.
    """
    site = load_site()
    found, places = list_models(site.catalogue), places_of(site)
    for sentence in found.broken.values():
        say(sentence, to_stderr=True)
    entries = found.entries.values()
    if json:
        print_json([_told(entry, places) for entry in entries])
    elif not entries:
        say("No base models yet. Add a folder of weights with: labkit models add PATH")
    else:
        rows = [{"name": entry.name, **_facts(entry)} for entry in entries]
        print_table([*rows[0]], [[*row.values()] for row in rows], rest="recipes")
        say("\nRoom to tune them", style="bold")
        print_fields({entry.name: _room(entry, places) for entry in entries})


@app.command
def show(
    name: Annotated[str, Parameter(help="What it is called in specs.")], *, json: AsJson = False
) -> None:
    """One base model in full, with what each way to tune it takes and where there is room."""
    site = load_site()
    entry, places = find_model(site.catalogue, name), places_of(site)
    if json:
        print_json(_told(entry, places))
        return
    fits, problem = what_fits(entry, places)
    print_fields(
        {
            "name": entry.name,
            "title": entry.title,
            **_facts(entry),
            "path": entry.path,
            "SHA-256": entry.weights_sha256,
            **({"room to tune it": f"not known. {problem}"} if problem else {}),
        }
    )
    if fits:
        say("\nRoom to tune it, on each device", style="bold")
        words = {True: "yes", False: "no", None: "not known"}
        rows = [
            (fit.method, format_memory(fit.memory_bytes), fit.place.title,
             "not known" if fit.place.room_bytes is None else format_memory(fit.place.room_bytes),
             words[fit.fits])
            for fit in fits
        ]  # fmt: skip
        print_table(["method", "takes", "place", "has for it", "fits"], rows, rest="place")


def _told(entry: BaseEntry, places: Sequence[Place]) -> dict[str, Any]:
    fits, problem = what_fits(entry, places)
    return {
        **entry.model_dump(mode="json"),
        "chat_template": _has_template(entry),
        "fits": [fit.to_dict() for fit in fits],
        "fits_problem": problem,
    }


def _room(entry: BaseEntry, places: Sequence[Place]) -> str:
    fits, problem = what_fits(entry, places)
    said = " · ".join(f"{method}: {where}" for _, method, where in where_by_method(fits))
    return said or (problem and "not known")


def _facts(entry: BaseEntry) -> dict[str, str]:
    return {
        "family": entry.family,
        "parameters": f"{entry.num_parameters / 1e6:.1f} M",
        "size": format_memory(entry.weights_bytes) if entry.weights_bytes else "missing",
        "reads": f"{entry.max_tokens} tokens",
        "template": {None: "", True: "own", False: "none"}[_has_template(entry)],
        "licence": entry.licence,
        "languages": ", ".join(entry.languages),
        "recipes": ", ".join(entry.tasks),
    }


def _has_template(entry: BaseEntry) -> bool | None:
    """Whether it brings a chat template; None where it is not one to converse."""
    if "instruct" not in entry.tasks:
        return None
    try:
        return own_template(entry.path) is not None
    except UsageError:  # who tunes it is told what is wrong
        return False


@app.command
def toy(
    *,
    steps: Annotated[
        int | None, Parameter(help="How long it learns. Default: about a minute on two cores.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a toy language model and put it into the catalogue: to try things out, not to use."""
    from labkit.demo import toy_model

    if steps is not None and not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"{steps} steps asked; allowed is a number from 1 to {MAX_STEPS:,}.")
    say("Making a toy language model: about a minute on two cores …", to_stderr=True)
    made = toy_model.add_toy(load_site().catalogue, num_steps=steps or toy_model.NUM_STEPS)
    if json:
        print_json({**made.entry.model_dump(mode="json"), "loss": made.loss})
    else:
        say(
            f"Added {made.entry.name} ({made.entry.title}) in {made.seconds:.0f} s. Its loss fell "
            f"from {made.first_loss:.1f} to {made.loss:.1f} nats a token."
        )


@app.command
def add(
    path: Annotated[Path, Parameter(help="The folder with config.json, tokenizer and weights.")],
    *,
    name: Annotated[
        str | None, Parameter(metavar="TEXT", help="What it is called in specs.")
    ] = None,
    title: Annotated[str, Parameter(metavar="TEXT", help="What it is called on pages.")] = "",
    licence: Annotated[
        str, Parameter(metavar="TEXT", help="Its licence, as an SPDX identifier. Default: unknown.")
    ] = "unknown",
    languages: Annotated[
        str, Parameter(metavar="TEXT", help="The languages it was trained on, as in 'en,zh-Hant'.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Put a folder of weights into the catalogue. Nothing is copied or run."""
    found = inspect_folder(path, name=name)
    catalogue = load_site().catalogue
    older = list_models(catalogue).entries.get(found.name)
    if older and older.path != found.path and not name:
        raise UsageError(
            f"A base model is called {found.name!r} already; its weights are at {older.path}. "
            f"Give this one another name with --name, or take its place with --name {found.name}"
        )
    known = [language.strip() for language in languages.split(",") if language.strip()]
    entry = found.model_copy(update={"title": title, "licence": licence, "languages": known})
    file = add_model(catalogue, entry)
    if json:
        print_json(entry.model_dump(mode="json"))
    else:
        say(f"Added {entry.name} ({entry.num_parameters / 1e6:.1f} M parameters) as {file}.")
