"""In JupyterLab: what a person is told where their notebook's Python ends under them."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.processes import environment_value
from tests.browser.conftest import need_chromium
from tests.hub.person import Person, chromium, person_at
from tests.hub.real_lab import RealLab

CGROUPS = Path("/sys/fs/cgroup")
LIMIT = 1500 * 10**6
"""Bytes: more than a session and its form take, less than its profile gives."""
HUNGRY = "kept = list(b'x' * 10**8 for _ in range(30))"
CELLS = ("from labkit_widgets import Studio\n\nStudio()", "")
LOST = "The notebook's kernel was restarted or has ended, so this form does nothing any more."


@pytest.fixture(scope="module")
def ana(lab: RealLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """At a notebook with a form, with an empty cell below."""
    need_chromium()
    shots = Path(os.environ.get("LABKIT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    cells = [{"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": source, "outputs": [],
              "execution_count": None} for n, source in enumerate(CELLS)]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    with chromium() as browser:
        ana = person_at(browser, lab, shots, "ana")
        ana.page.goto(f"{lab.base}/hub/login")
        ana.page.locator("#username_input").fill("ana")
        ana.page.locator("#password_input").fill(lab.password)
        ana.page.keyboard.press("Enter")
        ana.page.get_by_role("button", name="Start", exact=True).click()
        ana.be_in_the_session()
        (lab.folder / "homes" / "ana" / "form.ipynb").write_text(json.dumps(notebook))
        ana.open("lab/workspaces/own/tree/form.ipynb?reset")
        yield ana


def run_the_form(ana: Person) -> None:
    ana.page.locator(".jp-CodeCell .cm-content").first.click()
    ana.page.keyboard.press("Control+Enter")
    ana.button("Try with sample data").wait_for(timeout=60_000)
    ana.page.locator(".labkit .lk-kernel").wait_for(state="detached")
    assert ana.page.locator(".labkit").get_by_text(LOST).count() == 0


def run_in_the_last_cell(ana: Person, code: str) -> None:
    ana.page.locator(".jp-CodeCell .cm-content").last.click()
    ana.page.keyboard.press("Control+a")
    ana.page.keyboard.insert_text(code)
    ana.page.keyboard.press("Control+Enter")


def alert(ana: Person, words: str):
    return ana.page.get_by_role("alert").filter(has_text=words)


def test_a_form_whose_kernel_was_restarted_says_what_to_do(ana: Person):
    run_the_form(ana)
    ana.page.get_by_role("menuitem", name="Kernel", exact=True).click()
    ana.page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    ana.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    ana.see(LOST)
    ana.shoot("kernel-1-restarted")
    assert alert(ana, "Python").count() == 0  # as the person wished it
    run_the_form(ana)


def test_a_kernel_that_was_killed_is_told_of(ana: Person):
    run_the_form(ana)
    run_in_the_last_cell(ana, "import os; os.kill(os.getpid(), 9)")
    alert(ana, "Python was ended by force").wait_for()
    ana.see(LOST)
    ana.shoot("kernel-2-killed")
    assert alert(ana, "memory ran out").count() == 0
    close_the_dialog(ana)
    run_the_form(ana)


@pytest.fixture
def little_memory(lab: RealLab) -> Iterator[None]:
    """Linux gives the session's processes no more than LIMIT from here on."""
    versions = {CGROUPS / "memory": "memory.limit_in_bytes", CGROUPS: "memory.max"}
    for root, limit in versions.items():
        group = root / f"labkit-{secrets.token_hex(4)}"
        try:
            group.mkdir()
            with (group / limit).open("r+") as file:  # there is none where the group is no cgroup
                file.write(str(LIMIT))
            break
        except OSError:
            if group.exists():
                group.rmdir()
    else:
        pytest.skip("No cgroup with a limit of memory can be made here.")
    ours = [pid for pid in lab.processes() if environment_value(pid, "JUPYTERHUB_SERVICE_PREFIX")]
    for pid in ours:
        (group / "cgroup.procs").write_text(str(pid))
    yield
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (root / "cgroup.procs").write_text(pid)
    group.rmdir()


def test_a_kernel_that_memory_ended_is_told_of_as_such(ana: Person, little_memory: None):
    run_the_form(ana)
    run_in_the_last_cell(ana, HUNGRY)
    words = "Python stopped: memory ran out (this session has 4 GB). Nothing saved is lost."
    alert(ana, words).wait_for()
    ana.see(LOST)
    ana.shoot("kernel-3-memory")
    assert alert(ana, "by force").count() == 0
    close_the_dialog(ana)
    run_the_form(ana)


def close_the_dialog(ana: Person) -> None:
    """JupyterLab's own: the kernel appears to have died."""
    ana.page.get_by_role("dialog").get_by_role("button", name="Ok").click()
