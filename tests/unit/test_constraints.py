"""What constraints.txt pins can be installed with the oldest Python that pyproject.toml allows.

pip on a newer Python takes, without a word, a version that the oldest cannot have: on Debian 12's
3.11.2 it then looks for others that go together, on and on.
"""

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def test_what_is_pinned_is_for_the_oldest_python_too():
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = allowed.removeprefix(">=") + ".0"
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(pin.split("==")[0]) for pin in pins}
    asked = {
        found.name: str(found.metadata.json.get("requires_python", ""))
        for found in importlib.metadata.distributions()
        if canonicalize_name(found.name) in pinned
    }
    assert len(asked) > 100
    refusing = {name: it for name, it in asked.items() if not SpecifierSet(it).contains(oldest)}
    assert refusing == {}
