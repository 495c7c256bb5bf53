"""labkit in a notebook: `Studio()` is the whole way of a run, `Runs()` a table of all runs.

Forms over the same functions as the terminal and Python; what a person does in the browser
arrives as an act (`acts`), and what they see is one view (`core`). Importing it loads neither
torch nor Ray.
"""

from labkit_widgets.widget import Runs, Studio

__all__ = ["Runs", "Studio"]
