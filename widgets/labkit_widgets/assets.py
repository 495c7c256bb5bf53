"""The front end: plain JavaScript and CSS, one purpose a file, joined without a build step.

The files share one scope and have no imports, so that they make one ES module when joined.
"""

from importlib.resources import files

SCRIPTS = (
    "dom", "focus", "press", "server", "parts", "files", "steps", "chart", "progress", "talk",
    "result", "runs", "spoken", "notice", "app",
)  # fmt: skip
STYLES = ("theme", "layout", "pages")


def script() -> str:
    return "\n".join(_read(f"{name}.js") for name in SCRIPTS)


def style() -> str:
    return "\n".join(_read(f"{name}.css") for name in STYLES)


def _read(name: str) -> str:
    return files("labkit_widgets").joinpath("static", name).read_text("utf-8")
