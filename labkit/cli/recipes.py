"""`labkit recipes`: the ways to tune a model."""

from labkit.cli.output import AsJson, print_json, print_table
from labkit.recipes import RECIPES


def recipes(*, json: AsJson = False) -> None:
    """The ways to tune a model."""
    found = RECIPES.all()
    if json:
        print_json(
            [
                {
                    "name": name,
                    "title": recipe.title,
                    "summary": recipe.summary,
                    "settings": recipe.Config.model_json_schema(),
                }
                for name, recipe in found.items()
            ]
        )
    else:
        rows = [(name, recipe.summary) for name, recipe in found.items()]
        print_table(["recipe", "what for"], rows, rest="what for")
