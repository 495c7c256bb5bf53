"""The command `labkit`: its groups of verbs, and the edge where errors become sentences.

Groups are imported when they are used, so that `labkit --help` stays quick.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from labkit.cli.safe_text import printable
from labkit.errors import LabkitError
from labkit.version import __version__

app = App(
    name="labkit",
    help="A self-service AI lab: tune local foundation models on your own data.",
    version=__version__,
    default_parameter=Parameter(show_default=False),  # "[default: False]" beside each switch
    help_format="plaintext",  # Markdown would take a fifth of the time of `labkit --help`
    result_action="return_int_as_exit_code_else_zero",
    suppress_keyboard_interrupt=False,
)
app.command("labkit.cli.run:app", name="run", help="Start runs, follow them, use their models.")
app.command("labkit.cli.ray:app", name="ray", help="Any Ray script, on a private Ray cluster.")
app.command("labkit.cli.data:app", name="data", help="Look at your data before you use it.")
app.command("labkit.cli.models:app", name="models", help="The base models of this site.")
app.command("labkit.cli.recipes:recipes", name="recipes", help="The ways to tune a model.")
app.command("labkit.cli.doctor:doctor", name="doctor", help="What this machine can do.")
app.command("labkit.cli.lab:lab", name="lab", help="Open the lab in the browser.")
app.command("labkit.cli.site:app", name="site", help="Settings of this site; a demo site.")
app.command("labkit.cli.node:node", name="node", show=False)
app.command("labkit.cli.node:sweep", name="sweep", show=False)
app.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 fine, 1 the work failed or the data cannot be used, 2 wrong usage."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8
    try:
        code = app(arguments, exit_on_error=False) or 0
        sys.stdout.flush()
        return code
    except CycloptsError:
        return 2  # Cyclopts has said what is wrong.
    except LabkitError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted.", 130)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; nothing is left to say to them.
        # Python would still flush what is left at its end, and say that this failed:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from labkit.failure import in_words

        sentence = in_words(error)
        return _say(sentence, 1) if sentence else _fault(error)


def _say(sentence: str, code: int) -> int:
    print(f"labkit: {printable(sentence)}", file=sys.stderr)
    return code


def _fault(error: Exception) -> int:
    from labkit.failure import keep_details

    details = keep_details(error)
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return _say(
        f"failed ({what}). This is a fault of labkit; the details are in {details}.",
        1,
    )
