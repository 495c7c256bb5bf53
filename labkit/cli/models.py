"""`labkit models …`: the catalogue of base models."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from labkit.cli.output import AsJson, console, print_json, table
from labkit.models.catalogue import add_model, inspect_folder, list_models
from labkit.settings import load_site
from labkit.units import format_memory

app = App(name="models", help="The base models of this site.")


@app.default
def list_(*, json: AsJson = False) -> None:
    """The base models of this site, with licence and languages."""
    entries = list_models(load_site().catalogue)
    if json:
        print_json([entry.model_dump(mode="json") for entry in entries.values()])
    elif not entries:
        print("No base models yet. Add a folder of weights with: labkit models add PATH")
    else:
        console().print(
            table(
                ["name", "family", "parameters", "size", "licence", "languages", "recipes"],
                [
                    (
                        entry.name,
                        entry.family,
                        f"{entry.num_parameters / 1e6:.1f} M",
                        format_memory(entry.weights_bytes),
                        entry.licence,
                        ", ".join(entry.languages),
                        ", ".join(entry.tasks),
                    )
                    for entry in entries.values()
                ],
            )
        )


@app.command
def add(
    path: Annotated[Path, Parameter(help="The folder with config.json, tokenizer and weights.")],
    *,
    name: Annotated[str | None, Parameter(help="What it is called in specs.")] = None,
    title: Annotated[str, Parameter(help="What it is called on pages.")] = "",
    licence: Annotated[str, Parameter(help="Its licence, as an SPDX identifier.")] = "unknown",
    languages: Annotated[
        str, Parameter(help="The languages it was trained on, as in 'en,zh-Hant'.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Put a folder of weights into the catalogue. Nothing is copied or run."""
    found = inspect_folder(path, name=name)
    known = [language.strip() for language in languages.split(",") if language.strip()]
    entry = found.model_copy(update={"title": title, "licence": licence, "languages": known})
    file = add_model(load_site().catalogue, entry)
    if json:
        print_json(entry.model_dump(mode="json"))
    else:
        print(f"Added {entry.name} ({entry.num_parameters / 1e6:.1f} M parameters) as {file}.")
