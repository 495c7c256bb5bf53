"""The Studio in a real browser: what a person sees and does, from sample data to an answer."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

from labkit.runs.folder import RunState, Status
from labkit.settings import read_site
from tests.unit.made_runs import EVALUATION, done_instruct_run, done_run, new_run
from tests.waiting import wait_for

from .conftest import ROOT, Browser, Lab

STUDIO = "from labkit_widgets import Studio\n\nStudio()"


def test_sample_data_to_an_answer_in_three_clicks(lab: Lab, browser: Browser) -> None:
    browser.open("journey.ipynb", STUDIO)
    browser.see("Tune a model on your own data")
    browser.inspect("1-task")
    browser.button("Try with sample data").click()
    start = browser.button("Start")
    wait_for(start.is_enabled, "the check to end")
    browser.inspect("2-start")
    before = set(lab.runs())
    start.click()
    browser.see("Validation accuracy", 60)
    (run,) = set(lab.runs()) - before
    wait_for(lambda: lab.status(run).get("step", 0) > 8, "some steps")
    browser.inspect("3-progress")
    browser.see("Measured once", 240)
    assert browser.page.evaluate("Notification.permission") != "granted"
    told = browser.studio.locator("> [role=status]").inner_text()
    assert told.startswith("Done. ")  # in the page, where the browser may tell nothing
    browser.inspect("4-result")

    browser.studio.get_by_label("Write a sentence").fill("The street lamp is dark at night")
    browser.button("Ask").click()
    browser.see("confident", 90)
    assert browser.studio.locator(".lk-answer-label").first.inner_text() == "street-lighting"
    browser.inspect("5-answer")


EVIL = "<img src=x onerror=\"document.title='owned'\">"
SCRIPT = "<script>document.title='owned'</script>"


def hostile_table() -> bytes:
    """A table whose texts, labels and column names are HTML and script."""
    rows = [f'"{EVIL.replace(chr(34), chr(34) * 2)} text {n} {n % 3}",label {n % 3} {SCRIPT}'
            for n in range(120)]  # fmt: skip
    return ("<b>text</b>,<i>label</i>\n" + "\n".join(rows)).encode()


def test_hostile_data_shows_as_text_from_upload_to_result(lab: Lab, browser: Browser) -> None:
    page = browser.page
    browser.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lab.url)
    browser.open("hostile.ipynb", STUDIO, "")
    browser.see("Tune a model on your own data")
    browser.button("Next").click()
    browser.see("Which model should learn it?")
    browser.studio.get_by_text("weights").last.click()  # 'tiny', which trains in no time
    browser.inspect("6-base")
    browser.button("Next").click()
    browser.see("Which examples should it learn from?")
    browser.inspect("7-files")

    name = f'我的 "data" it\'s {SCRIPT.replace("/", "∕")}.csv'
    files = [{"name": name, "mimeType": "text/csv", "buffer": hostile_table()}]
    page.locator(".labkit input[type=file]").set_input_files(files)
    browser.see("to learn from", 60)
    assert (lab.home / "labkit/uploads" / name).read_bytes() == hostile_table()
    browser.see("<img src=x onerror=")
    browser.studio.locator(".lk-preview th", has_text="<b>text</b>").wait_for()
    browser.inspect("8-data")
    browser.studio.get_by_text("A separate test file").click()

    browser.button("Next").click()
    browser.see("How should it learn?")
    browser.studio.get_by_label("Passes over the data").fill("0")
    page.keyboard.press("Tab")
    browser.see("allowed is a whole number from 1 to 200")
    browser.studio.get_by_text("More settings").click()
    browser.inspect("9-settings")
    browser.studio.get_by_label("Passes over the data").fill("2")
    page.keyboard.press("Tab")
    browser.text("allowed is a whole number").first.wait_for(state="detached")
    browser.button("Next").click()
    browser.see("Ready to start?")
    browser.studio.get_by_text("Show as code").click()
    browser.see("TextClassification(")
    browser.studio.get_by_label("Name of the run").fill(f"run {SCRIPT.replace('/', '∕')}")
    page.keyboard.press("Tab")
    wait_for(browser.button("Start").is_enabled, "the check to end")
    browser.inspect("10-start-and-code")
    before = set(lab.runs())
    browser.button("Start").click()
    browser.see("Measured once", 240)
    (run,) = set(lab.runs()) - before
    browser.studio.get_by_text("Its surest mistakes").click()
    browser.studio.get_by_label("Write a sentence").fill(EVIL)
    page.keyboard.press("Enter")
    browser.see("confident", 90)

    assert browser.studio.locator("img, script").count() == 0
    assert "owned" not in page.title()
    download_model(lab, browser)
    answer_table(lab, browser)
    cell_and_command_start_the_same(lab, browser, run)
    delete_it(lab, browser)


def download_model(lab: Lab, browser: Browser) -> None:
    browser.studio.get_by_text("Take the model with you").click()
    browser.button("Make the ZIP file").click()
    link = browser.studio.get_by_role("link", name="Download run")
    with browser.page.expect_download() as found:
        link.click()
    with zipfile.ZipFile(found.value.path()) as packed:
        names = packed.namelist()
    assert [name for name in names if Path(name).match("model/*.safetensors")]
    assert {"card.md", "evaluation.json"} < set(names)
    (kept,) = (lab.home / "labkit" / "downloads").glob("*.zip")
    assert kept.stat().st_mode & 0o777 == 0o600


def answer_table(lab: Lab, browser: Browser) -> None:
    """A table with another name for its column: the form asks which, and answers it."""
    browser.studio.get_by_text("Answer a whole table").click()
    content = "message,who\n" + "\n".join(f"{EVIL.replace(chr(34), '')} {n},me" for n in range(5))
    files = [{"name": "new ones.csv", "mimeType": "text/csv", "buffer": content.encode()}]
    browser.studio.locator("input[type=file]").set_input_files(files)
    browser.see("Which one holds the texts?")
    browser.studio.get_by_label("Which one holds the texts?").select_option("message")
    browser.button("Answer").click()
    browser.see("Answered 5 rows", 60)
    with browser.page.expect_download() as found:
        browser.studio.get_by_role("link", name="Download new ones labelled.csv").click()
    assert found.value.path().read_text("utf-8-sig").startswith("message,who,answer,confidence")
    assert (lab.home / "labkit/answers/new ones labelled.csv").stat().st_mode & 0o777 == 0o600


def cell_and_command_start_the_same(lab: Lab, browser: Browser, run: Path) -> None:
    """What the page shows is copied and pasted: into the notebook's next cell, and into bash."""
    page = browser.page
    browser.studio.get_by_text("Show as code").click()
    command = browser.studio.get_by_label("In a terminal").inner_text()
    browser.button("Copy").first.click()
    browser.button("Copied").wait_for()
    for start in (lambda: paste_into_last_cell(page), lambda: lab.bash(command)):
        before = set(lab.runs())
        start()
        wait_for(lambda before=before: set(lab.runs()) - before, "the run's folder")
        (again,) = set(lab.runs()) - before
        assert (again / "spec.toml").read_text() == (run / "spec.toml").read_text()
        lab.labkit("run", "stop", again.name)
    output = page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")
    output.get_by_text("stopped", exact=True).first.wait_for(timeout=60_000)


def paste_into_last_cell(page: Any) -> None:
    page.locator(".jp-CodeCell .cm-content").last.click()
    page.keyboard.press("Control+v")
    page.keyboard.press("Control+Enter")


def delete_it(lab: Lab, browser: Browser) -> None:
    before = len(lab.runs())
    browser.studio.get_by_text("Rename or delete").click()
    browser.button("Delete this run …").click()
    browser.see("This cannot be undone.")
    browser.inspect("11-hostile-result")
    browser.button("Delete it").click()
    browser.see("was deleted", 60)
    assert len(lab.runs()) == before - 1


LONG = f"{STUDIO[:-2]}(base='tiny', data='~/labkit/samples/hotline.csv', label='category', " + (
    "epochs=200, patience=200, batch_size=2)"
)


def test_a_run_outlives_page_and_kernel_and_shows_in_two_tabs(lab: Lab, browser: Browser) -> None:
    sample = lab.home / "labkit/samples/hotline.csv"
    sample.parent.mkdir(parents=True, exist_ok=True)
    sample.write_bytes((ROOT / "labkit/demo/hotline.csv").read_bytes())
    kernel = browser.open("long.ipynb", LONG)
    wait_for(browser.button("Start").is_enabled, "the check to end")
    before = set(lab.runs())
    browser.button("Start").click()
    browser.see("rows a second", 90)
    (run,) = set(lab.runs()) - before

    second = browser.context.new_page()
    browser.watch(second)
    browser.show(second, "long.ipynb")
    browser.run_all(second)
    second.locator(".labkit").get_by_text("Your run").first.wait_for(timeout=30_000)

    lab.rest("POST", f"api/kernels/{kernel}/restart")
    goes_on(lab, run)
    browser.close()
    goes_on(lab, run)
    browser.launch()
    browser.show(browser.page, "long.ipynb")
    browser.run_all(browser.page)
    browser.see("Your run", 60)
    browser.inspect("12-opened-again")
    browser.button("Show it").click()
    browser.see("rows a second", 60)

    browser.button("Stop").click()
    browser.see("Stopped on request.", 90)
    browser.inspect("13-stopped")
    browser.button("Resume").click()
    browser.see("rows a second", 90)
    lab.kill_job(run, attempt=2)
    browser.see("The run failed.", 60)
    browser.see("ended by SIGKILL")
    browser.inspect("14-failed")
    shutil.rmtree(run)
    browser.button("Resume").click()
    browser.see("This run is gone")
    browser.inspect("15-gone")


def goes_on(lab: Lab, run: Path) -> None:
    step = lab.status(run)["step"]
    wait_for(lambda: lab.status(run)["step"] > step, "the run to go on")


NOTHING = """import os

os.environ["LABKIT_SITE"] = {site!r}
from ipywidgets import VBox
from labkit_widgets import Runs, Studio

VBox([Runs(), Studio()])
"""


def test_where_there_is_nothing_it_says_what_to_do(lab: Lab, browser: Browser) -> None:
    (lab.folder / "empty").mkdir()
    settings = lab.folder / "empty" / "labkit.toml"
    settings.write_text('runs = "runs"\nstate = "state"\ncatalogue = "models"\n')
    browser.open("empty.ipynb", NOTHING.format(site=str(settings)))
    browser.see("No runs yet")
    browser.button("Next").click()
    browser.see("No base model for this task yet")
    # What to do is said, and the way on is closed until it is done.
    assert "labkit models add" in browser.studio.last.inner_text()
    assert not browser.button("Next").is_enabled()
    browser.inspect("16-nothing")


def test_the_table_of_runs(lab: Lab, browser: Browser) -> None:
    site = read_site(lab.folder / "labkit.toml")
    done_run(site, "first one")
    done_run(site, "<b>second", accuracy=0.9)
    done_instruct_run(site, "questions")
    new_run(site, "broken", Status(state=RunState.FAILED, message="It broke."))
    browser.open("runs.ipynb", "from labkit_widgets import Runs\n\nRuns()")
    browser.see("My runs")
    browser.see("<b>second")
    browser.inspect("17-runs")
    browser.studio.get_by_label("Find").fill("first")
    browser.button("<b>second").wait_for(state="detached")
    browser.studio.get_by_label("Find").fill("thin")  # their base model, and no other run's
    it_is_sorted_by_a_press_on_a_heading(browser)
    browser.studio.get_by_label("State").select_option("failed")
    shows_in_order(browser, ["broken"])
    browser.studio.get_by_label("State").select_option("all")
    for name in ("first one", "<b>second"):
        browser.studio.get_by_label(f"Compare {name}").check()
    browser.button("Compare the two").click()
    browser.see("Two runs side by side")
    browser.inspect("18-compare")
    browser.button("first one").click()
    browser.see("Measured once")
    assert browser.studio.locator("b", has_text="second").count() == 0
    it_shows_where_the_model_goes_wrong(browser)
    browser.studio.get_by_text("Rename or delete").click()
    browser.studio.get_by_label("Name", exact=True).fill("another name")
    browser.button("Rename").click()
    browser.studio.get_by_role("heading", name="another name").wait_for()
    browser.button("‹ All runs").click()
    browser.button("another name").wait_for()
    browser.button("questions").click()
    browser.see("Answers side by side")
    browser.see("Perplexity")
    browser.inspect("19-language-model")


def it_is_sorted_by_a_press_on_a_heading(browser: Browser) -> None:
    """Up and down; what was not measured comes last, whichever way."""
    presses = [
        ("Name", "ascending", ["<b>second", "broken", "first one", "questions"]),
        ("Name", "descending", ["questions", "first one", "broken", "<b>second"]),
        ("Accuracy", "descending", ["<b>second", "first one", "broken", "questions"]),
        ("Accuracy", "ascending", ["first one", "<b>second", "broken", "questions"]),
    ]
    for heading, order, names in presses:
        browser.button(heading).click()
        shows_in_order(browser, names)
        sorted_by = browser.studio.locator("th[aria-sort]")
        assert sorted_by.count() == 1 and sorted_by.get_attribute("aria-sort") == order
        assert heading in sorted_by.inner_text()


def shows_in_order(browser: Browser, names: list[str]) -> None:
    cells = browser.studio.locator(".lk-runs tbody td:nth-child(2)")
    wait_for(lambda: cells.all_inner_texts() == names, f"{names}", 10, cells.all_inner_texts)


def it_shows_where_the_model_goes_wrong(browser: Browser) -> None:
    folds = browser.studio.locator("details")
    (confused,) = EVALUATION["confusions"]
    row = folds.filter(has_text="Labels that it confuses most").last.locator("tbody tr")
    assert row.all_inner_texts() == [f"{confused['label']}\t{confused['taken_for']}\t2\t10.0%"]
    browser.studio.get_by_text("Its surest mistakes").click()
    row = browser.studio.locator(".lk-mistakes tbody tr")
    assert row.count() == 1 and "a long text" in row.inner_text()
    assert row.inner_text().endswith("cat\tdog\t99.0%")
