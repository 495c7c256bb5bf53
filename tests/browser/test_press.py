"""Presses and typing while views arrive: the front end alone in a real browser, views by hand.

What the kernel would send is made by a real `Core`; when it arrives is up to the test.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.demo import demo_weights
from labkit.models.catalogue import add_model, inspect_folder
from labkit_widgets.assets import script, style
from labkit_widgets.core import Core
from tests.waiting import wait_for

from .conftest import CHROMIUM, FLAGS, need_chromium

OPEN = """view => {
    const listeners = {};
    window.calls = [];
    window.model = {
        get: () => view,
        send: (call) => calls.push(call),
        on: (name, listener) => { listeners[name] = listener; },
        off: () => {},
    };
    window.show = (next) => { view = next; listeners["change:view"](); };
    window.lose = () => {
        model.send = () => { throw new Error("Cannot send"); };
    };
    window.element = document.body.appendChild(document.createElement("div"));
    render({model, el: element});
}"""


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    (tmp_path / "home").mkdir()
    settings = tmp_path / "labkit.toml"
    settings.write_text('name = "t"\nruns = "runs"\nstate = "state"\ncatalogue = "models"\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LABKIT_SITE", str(settings))
    add_model(tmp_path / "models", inspect_folder(demo_weights(), name="minilm"))
    core = Core(home_page="form")
    yield core
    core.close()


class Page:
    """The front end, and what it has sent."""

    def __init__(self, page: Any, core: Core):
        self.page, self.core = page, core
        page.set_content(f"<style>{style()}</style>")
        module = script().replace("export default { render };", "window.render = render;")
        page.add_script_tag(type="module", content=module)
        page.wait_for_function("() => window.render")

    def open(self, view: dict[str, Any]) -> None:
        self.page.evaluate(OPEN, view)

    def show(self, view: dict[str, Any]) -> None:
        """A view arrives."""
        self.page.evaluate("view => show(view)", view)

    def answer(self, count: int) -> None:
        """The kernel carries out the first `count` calls, and its view arrives."""
        for call in self.page.evaluate("calls")[:count]:
            self.core.hear(call)
        self.show(settled(self.core))

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def acts(self) -> list[dict[str, Any]]:
        return [call["act"] for call in self.page.evaluate("calls")[1:]]  # the first is its hello

    def heading(self) -> str:
        return self.page.locator(".lk-step h3").inner_text()


def settled(core: Core) -> dict[str, Any]:
    """The view when all work is done."""
    wait_for(lambda: not core.background.doing(), "the check to end")
    return core.view()


@pytest.fixture
def page(core: Core) -> Iterator[Page]:
    need_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1000, "height": 900})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        yield Page(tab, core)
        browser.close()
    assert errors == []


def test_two_presses_are_two_steps_though_the_kernel_is_slow(page: Page, core: Core):
    page.open(core.view())
    page.button("Next").click()
    assert page.heading() == "Which model should learn it?"
    page.button("Next").click()
    assert page.heading() == "Which examples should it learn from?"
    assert page.acts == [{"do": "go_to", "step": "base"}, {"do": "go_to", "step": "data"}]
    page.answer(2)  # the answer to the first press must not lead back
    assert page.heading() == "Which examples should it learn from?"
    page.answer(3)
    assert page.heading() == "Which examples should it learn from?"
    page.page.get_by_text("No tables here").wait_for()


def test_a_double_click_is_one_step(page: Page, core: Core):
    page.open(core.view())
    page.button("Next").dblclick()
    assert page.heading() == "Which model should learn it?"
    assert page.acts == [{"do": "go_to", "step": "base"}]


def test_what_is_typed_and_open_stays_while_a_check_ends(page: Page, core: Core):
    core.act({"do": "try_sample"})
    ready = settled(core)
    busy = copy.deepcopy(ready)
    busy["form"]["start"] |= {"busy": "Checking every row …", "check": None, "ready": False}
    page.open(busy)
    page.page.get_by_label("Name of the run").click()
    page.page.keyboard.type("night ")
    page.show(ready)
    page.page.keyboard.type("shift")
    newest = {"id": "x", "name": "older", "words": "Training", "phase": "", "state": "training"}
    page.show({**ready, "newest": {**newest, "ended": False, "accuracy": None}})
    page.page.keyboard.type("s")
    page.page.keyboard.press("Tab")
    assert page.acts[-1] == {"do": "set_value", "key": "name", "value": "night shifts"}
    page.show(ready)  # made before the kernel heard of it
    assert page.page.get_by_label("Name of the run").input_value() == "night shifts"


def test_a_click_counts_though_a_view_comes_in_the_middle_of_it(page: Page, core: Core):
    """Mouse down leaves a field, the kernel finds its value wrong, and what it says moves all."""
    core.act({"do": "go_to", "step": "settings"})
    page.open(settled(core))
    page.page.get_by_label("Passes over the data").fill("0")
    x, y = middle(page.button("Next"))
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    assert page.acts == [{"do": "set_value", "key": "epochs", "value": "0"}]
    page.answer(2)
    page.page.mouse.up()
    assert page.acts[1:] == [{"do": "go_to", "step": "start"}]
    page.page.get_by_role("button", name="Step 4").click()
    page.page.get_by_text("allowed is a whole number").wait_for()


def middle(button: Any) -> tuple[float, float]:
    box = button.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_kernel_that_does_not_answer_is_told_of(page: Page, core: Core):
    page.open(core.view())
    page.button("My runs").click()
    page.page.locator(".lk-kernel", has_text="No answer yet").wait_for()
    page.answer(2)
    page.page.locator(".lk-kernel").wait_for(state="detached")
    page.page.evaluate("lose()")
    page.button("New run").first.click()
    page.page.locator(".lk-kernel", has_text="Run its cell again").wait_for()
    assert page.page.locator(".lk-kernel").count() == 1
