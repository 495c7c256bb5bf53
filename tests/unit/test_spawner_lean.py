"""A session imports Jupyter's server without the half of JupyterHub that is the hub's."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("jupyterlab")

LOOK = """
import json, sys
from labkit_spawners import launcher, lean

{before}
main = launcher.server()
heavy = ("sqlalchemy", "alembic", "jupyterhub.orm", "httpx", "jupyterlab.extensions.pypi")
imported = [name for name in heavy if name in sys.modules]
from jupyterhub import orm
from sqlalchemy.exc import SQLAlchemyError

print(json.dumps({{
    "main": main.__qualname__,
    "imported": imported,
    "real": [orm.APIToken.__tablename__, SQLAlchemyError.__module__],
}}))
"""


def look(before: str = "") -> Any:
    """What a process of its own finds, in which nothing is imported yet."""
    command = [sys.executable, "-P", "-c", LOOK.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_session_imports_neither_database_nor_client_of_pypi_but_whoever_needs_it_gets_it():
    found = look()
    assert found["main"].endswith("launch_instance") and found["imported"] == []
    assert found["real"] == ["api_tokens", "sqlalchemy.exc"]


@pytest.mark.parametrize(
    ("before", "imported"),
    [
        (
            "lean.OF_THE_HUB = (*lean.OF_THE_HUB, 'jupyterhub._version')",
            ["sqlalchemy", "alembic", "jupyterhub.orm"],
        ),
        (
            "lean.OF_PYPI = (*lean.OF_PYPI, 'jupyterlab.extensions')",
            ["httpx", "jupyterlab.extensions.pypi"],
        ),
    ],
)
def test_another_version_that_needs_more_of_it_gets_all_of_it(before: str, imported: list[str]):
    found = look(before)
    assert found["main"].endswith("launch_instance")
    assert found["imported"] == imported
