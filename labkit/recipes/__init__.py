"""Ways to tune a base model. A recipe is one file; it imports torch inside functions only."""

from labkit.plugins import Plugins
from labkit.recipes.base import Recipe

FIRST = "text-classification"
"""What a form begins with."""

RECIPES = Plugins[Recipe](package="labkit.recipes", constant="RECIPE", kind="recipe")
