"""The whole form by keyboard alone: where the focus is, what is said, and the notice at the end."""

import shutil

from tests.waiting import wait_for

from .accessibility import Ear, Keyboard, record_notifications, told
from .conftest import ROOT, Browser, Lab

STUDIO = "from labkit_widgets import Studio\n\nStudio()"


def test_from_the_task_to_an_answer_without_a_mouse(lab: Lab, browser: Browser) -> None:
    folder = lab.home / "by keyboard"
    folder.mkdir()
    shutil.copy(ROOT / "labkit/demo/hotline.csv", folder)
    record_notifications(browser.context, lab.url)
    # From the start: Playwright does not wait until Chromium hands it what asks for a file.
    browser.page.on("filechooser", lambda chooser: None)
    browser.open("keyboard.ipynb", STUDIO, run=False)
    keyboard = Keyboard(browser.page)
    keyboard.press("Control+Enter")  # JupyterLab's own, to run the cell
    browser.see("What should the model do?")
    ear = Ear(browser.page)

    keyboard.walk_to("Next")
    keyboard.press("Enter")
    keyboard.lands_on("Which model should learn it?")
    assert keyboard.walk_to("Next") == ["all-MiniLM-L6-v2", "Back", "Next"]
    keyboard.walk_to("all-MiniLM", key="Shift+Tab")
    keyboard.press("ArrowDown")
    browser.button("Step 2: Base model, tiny").wait_for()
    keyboard.lands_on("tiny")
    keyboard.walk_to("Next")
    keyboard.press("Space")

    keyboard.lands_on("Which examples should it learn from?")
    keyboard.walk_to("by keyboard")
    keyboard.press("Enter")
    keyboard.lands_on("Folders and tables in by keyboard")
    assert keyboard.walk_to("Upload", key="Shift+Tab") == ["Upload a table …"]
    with browser.page.expect_file_chooser():
        keyboard.press("Enter")
    keyboard.walk_to("hotline.csv")
    keyboard.press("Enter")
    keyboard.lands_on("Which examples should it learn from?")
    wait_for(lambda: "fine to use" in ear.heard[-1], "the check to be told", seen=lambda: ear.heard)
    assert "Reading hotline.csv …" in ear.heard
    keyboard.walk_to("Next")
    keyboard.press("Enter")

    keyboard.lands_on("How should it learn?")
    keyboard.walk_to("Passes over the data")
    keyboard.type("2")
    keyboard.walk_to("Next")
    keyboard.press("Enter")
    keyboard.lands_on("Ready to start?")
    wait_for(browser.button("Start").is_enabled, "the check to end")
    keyboard.walk_to("Name of the run")
    keyboard.type("without a mouse")
    keyboard.walk_to("Start")
    keyboard.press("Space")

    keyboard.lands_on("without a mouse")
    wait_for(lambda: ear.heard[-1].startswith("Done. "), "the end to be told", 240,
             seen=lambda: ear.heard)  # fmt: skip
    assert any(words.startswith("Starting") for words in ear.heard)
    assert wait_for(lambda: told(browser.page), "the notice") == ["without a mouse is done"]
    keyboard.lands_on("without a mouse")

    keyboard.walk_to("Write a sentence")
    keyboard.type("The street lamp is dark at night")
    keyboard.press("Enter")
    browser.see("confident", 90)
    keyboard.lands_on("Write a sentence")
