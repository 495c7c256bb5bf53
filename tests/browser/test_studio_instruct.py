"""A language model in a real browser: from a table of questions to answers side by side."""

from labkit.demo.toy_model import TITLE
from tests.waiting import wait_for

from .accessibility import scrolled_inside
from .conftest import Browser, Lab
from .test_studio import EVIL, SCRIPT, STUDIO

LAST = 42


def test_questions_to_answers_side_by_side(lab: Lab, browser: Browser) -> None:
    hostile(lab)
    browser.open("questions.ipynb", STUDIO)
    browser.see("What should the model do?")
    browser.studio.get_by_text("Answers in words").click()
    browser.button("Step 1: Task, Answers in words").wait_for()
    browser.inspect("20-task")
    browser.button("Next").click()
    browser.see(TITLE)
    browser.see("brings a chat template")
    browser.inspect("21-base")

    browser.button("Next").click()
    browser.studio.get_by_text("hostile questions.csv").click()
    browser.see("to learn from", 60)
    browser.studio.get_by_text("See exactly what the model will see").click()
    browser.button("Show").click()
    browser.studio.locator(".lk-seen mark", has_text=SCRIPT).wait_for(timeout=60_000)
    browser.button("Next row ›").click()
    browser.studio.locator(".lk-seen mark", has_text="reason 3").wait_for()
    show_row(browser, LAST)
    browser.studio.locator(".lk-seen s", has_text="so long").wait_for(timeout=60_000)
    assert scrolled_inside(browser.page) == []
    show_row(browser, 99)
    browser.see("hostile questions.csv has no usable row 99.", 60)
    assert browser.studio.locator("img, script").count() == 0
    assert "owned" not in browser.page.title()

    browser.button("Try with sample data").click()
    wait_for(browser.button("Start").is_enabled, "the check to end")
    browser.button("Step 3: Data, questions.csv").click()
    browser.see("held out for the final measurement")
    browser.studio.get_by_text("See exactly what the model will see").click()
    browser.button("Show").click()
    browser.studio.locator(".lk-seen mark").wait_for(timeout=60_000)
    browser.inspect("22-data")
    browser.button("Next").click()
    browser.see("How should it learn?")
    # So far that the tuned model answers otherwise than its base, on which there is a vote;
    # adapters would not do: what this base says without them changes with labkit's sources.
    browser.studio.get_by_label("What is tuned").select_option("full")
    browser.studio.get_by_label("Passes over the data").fill("2")
    browser.studio.get_by_label("Learning rate").fill("0.003")
    browser.studio.get_by_text("More settings").click()
    browser.studio.get_by_label("Batch size").fill("4")
    browser.studio.get_by_label("Max answer tokens").fill("12")
    browser.studio.get_by_label("System message").fill("Be brief.")
    browser.page.keyboard.press("Tab")
    browser.inspect("23-settings")

    browser.button("Next").click()
    wait_for(browser.button("Start").is_enabled, "the check to end")
    browser.studio.get_by_text("Show as code").click()
    browser.see("Instruct(")
    browser.inspect("24-start")
    before = set(lab.runs())
    browser.button("Start").click()
    browser.see("Measured once", 240)
    assert len(set(lab.runs()) - before) == 1
    browser.see("Answers side by side")
    browser.studio.get_by_text("How it learnt").click()
    browser.see("asked anew after each pass over the data")
    browser.inspect("25-result")
    browser.button("A is better").click()
    browser.see("By blind vote on 1 question,")
    browser.inspect("25-voted")
    it_converses(browser)


def it_converses(browser: Browser) -> None:
    """With the base model beside it, and with what would be a script elsewhere."""
    browser.studio.get_by_label("Let its base, toy, answer too").check()
    for number, question in enumerate(("When does the pool open?", EVIL), 1):
        browser.studio.get_by_role("textbox", name="it").fill(question)
        browser.page.keyboard.press("Enter")
        replies = browser.studio.locator(".lk-turn").nth(number - 1).locator(".lk-reply")
        wait_for(lambda found=replies: found.count() == 2, "both to answer")
        browser.studio.get_by_role("log").get_by_text(question).wait_for()
        browser.studio.locator(".lk-talk:not([aria-busy])").wait_for(timeout=90_000)
        assert all(words.strip() for words in replies.locator(".lk-reply-text").all_inner_texts())
    browser.inspect("26-talk")
    browser.button("New talk").click()
    browser.studio.locator(".lk-turn").first.wait_for(state="detached")


def show_row(browser: Browser, number: int) -> None:
    browser.studio.get_by_label("Row", exact=True).fill(str(number))
    browser.page.keyboard.press("Enter")


def hostile(lab: Lab) -> None:
    """A table whose questions and answers are HTML and script, and one that is cut at its end."""
    evil = EVIL.replace('"', "'")
    rows = [f"{evil} question {n}?,{SCRIPT} reason {n}" for n in range(2, LAST)]
    rows.append(f"{'wide' * 300}?,{'so long ' * 1200}")
    (lab.home / "hostile questions.csv").write_text("\n".join(["question,answer", *rows]))
