"""The Studio in a real browser: what a person sees and does, from sample data to an answer."""

import shutil

from labkit.settings import read_site
from tests.unit.made_runs import done_instruct_run, done_run
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
    browser.open("hostile.ipynb", STUDIO)
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
    browser.button("Start").click()
    browser.see("Measured once", 240)
    browser.studio.get_by_text("Its surest mistakes").click()
    browser.studio.get_by_label("Write a sentence").fill(EVIL)
    page.keyboard.press("Enter")
    browser.see("confident", 90)

    assert browser.studio.locator("img, script").count() == 0
    assert "owned" not in page.title()
    download_model(browser)
    answer_table(lab, browser)
    browser.inspect("11-hostile-result")
    delete_it(lab, browser)


def download_model(browser: Browser) -> None:
    browser.studio.get_by_text("Take the model with you").click()
    browser.button("Make the ZIP file").click()
    link = browser.studio.get_by_role("link", name="Download run")
    with browser.page.expect_download() as found:
        link.click()
    assert found.value.path().read_bytes()[:2] == b"PK"


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


def delete_it(lab: Lab, browser: Browser) -> None:
    before = len(lab.runs())
    browser.studio.get_by_text("Rename or delete").click()
    browser.button("Delete this run …").click()
    browser.see("This cannot be undone.")
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
    step = lab.status(run)["step"]
    wait_for(lambda: lab.status(run)["step"] > step, "the run to go on")
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
    browser.button("Stop").click()
    browser.see("Stopped on request.", 90)
    shutil.rmtree(run)
    browser.button("Resume").click()
    browser.see("This run is gone")
    browser.inspect("14-gone")


def test_the_table_of_runs(lab: Lab, browser: Browser) -> None:
    site = read_site(lab.folder / "labkit.toml")
    for name in ("first one", "<b>second"):
        done_run(site, name)
    done_instruct_run(site, "questions")
    browser.open("runs.ipynb", "from labkit_widgets import Runs\n\nRuns()")
    browser.see("My runs")
    browser.see("<b>second")
    browser.inspect("15-runs")
    browser.studio.get_by_label("Find").fill("first")
    browser.button("<b>second").wait_for(state="detached")
    browser.studio.get_by_label("Find").fill("")
    for name in ("first one", "<b>second"):
        browser.studio.get_by_label(f"Compare {name}").check()
    browser.button("Compare the two").click()
    browser.see("Two runs side by side")
    browser.inspect("16-compare")
    browser.button("first one").click()
    browser.see("Measured once")
    assert browser.studio.locator("b", has_text="second").count() == 0
    browser.button("‹ All runs").click()
    browser.button("questions").click()
    browser.see("Answers side by side")
    browser.see("Perplexity")
    browser.inspect("17-language-model")
