"""What the pages tell people to copy is what labkit takes."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from traitlets.config import Config

from labkit.runs.spec import read_spec
from labkit.settings import Site, read_site
from labkit_spawners.configure import configure

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: str) -> list[str]:
    """The TOML that a page shows, as it stands there."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def is_spec(block: str) -> bool:
    return "spec_version" in block


def added(keys: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The one with the other laid over it, table by table."""
    both = {k: added(keys[k], v) for k, v in more.items() if isinstance(keys.get(k), dict)}
    return {**keys, **more, **both}


def site_of(page: str, folder: Path) -> Site:
    """All settings of a page, one after the other, as whoever follows it ends with them."""
    whole: dict[str, Any] = {}
    for block in blocks(page):
        whole = whole if is_spec(block) else added(whole, tomllib.loads(block))
    file = folder / "labkit.toml"
    file.write_text(tomlkit.dumps(whole))
    return read_site(file)


@pytest.mark.parametrize("page", ["guide.md", "slurm.md"])
def test_whoever_copies_a_pages_settings_has_a_site(page, tmp_path):
    site = site_of(page, tmp_path)
    configure(Config(), site)
    assert len(site.profiles) >= 2


def test_every_block_of_settings_is_toml():
    assert sum(len(blocks(page.name)) for page in PAGES) >= 8
    for page in PAGES:
        for block in blocks(page.name):
            assert tomllib.loads(block), page


def test_the_spec_of_the_guide_is_one(tmp_path):
    (spec,) = [block for block in blocks("guide.md") if is_spec(block)]
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\n")
    (tmp_path / "spec.toml").write_text(spec)
    assert read_spec(tmp_path / "spec.toml").data == tmp_path / "train.csv"
