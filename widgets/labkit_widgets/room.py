"""Where there is room to tune a base model, as the form says it."""

from collections.abc import Sequence

from labkit.models.catalogue import BaseEntry
from labkit.recipes.base import Recipe
from labkit.runs.fits import Place, what_fits, where_by_method
from labkit_widgets.fields import choices_of


def room_in_words(recipe: Recipe, base: BaseEntry, places: Sequence[Place]) -> str:
    """A sentence for each method of the recipe; empty where it does not tell."""
    fits, problem = what_fits(base, places)
    titles = choices_of(recipe.Config, "method")
    found = [
        f"{titles.get(method, method)}: {where}."
        for name, method, where in where_by_method(fits)
        if name == recipe.name
    ]
    if problem:
        found.append(f"Not known. {problem}")
    return f"Room to tune it. {' '.join(found)}" if found else ""
