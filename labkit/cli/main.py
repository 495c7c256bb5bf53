"""The command `labkit`: its groups of verbs, and the edge where errors become sentences.

Groups are imported when they are used, so that `labkit --help` stays quick.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from labkit.errors import LabkitError
from labkit.version import __version__

app = App(
    name="labkit",
    help="A self-service AI lab: tune local foundation models on your own data.",
    version=__version__,
    result_action="return_int_as_exit_code_else_zero",
)
app.command("labkit.cli.run:app", name="run", help="Start runs, follow them, use their models.")
app.command("labkit.cli.data:app", name="data", help="Look at your data before you use it.")
app.command("labkit.cli.models:app", name="models", help="The base models of this site.")
app.command("labkit.cli.recipes:recipes", name="recipes", help="The ways to tune a model.")
app.command("labkit.cli.doctor:doctor", name="doctor", help="What this machine can do.")
app.command("labkit.cli.site:app", name="site", help="Settings of this site; a demo site.")
app.command("labkit.cli.node:node", name="node", show=False)
app.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 fine, 1 the work failed or the data cannot be used, 2 wrong usage."""
    try:
        return app(arguments, exit_on_error=False) or 0
    except CycloptsError:
        return 2  # Cyclopts has said what is wrong.
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nlabkit: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; nothing is left to say to them.
        sys.stdout = None
        return 0
    except Exception as error:
        from labkit.cli.failure import keep_details

        details = keep_details()
        print(
            f"labkit: failed ({type(error).__name__}: {error}). "
            f"This is a fault of labkit; the details are in {details}.",
            file=sys.stderr,
        )
        return 1
