"""Somebody at a real browser, who sees pages, types and presses buttons."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.browser.accessibility import Keyboard, audit
from tests.browser.conftest import CHROMIUM, FLAGS


class OpenLab(Protocol):
    """A lab that people reach, on this machine or in front of a cluster."""

    base: str

    @property
    def password(self) -> str: ...


WIDE, NARROW = 1280, 390
"""A screen's and a telephone's width, in CSS pixels."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's, without a screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Somebody at a browser of their own, who sees pages and types."""

    def __init__(self, lab: OpenLab, page: Any, shots: Path, name: str):
        self.lab, self.page, self.shots, self.name = lab, page, shots, name
        self.keyboard = Keyboard(page)

    def sign_in(self) -> None:
        """By keyboard alone: the name's field has the focus."""
        self.page.goto(self.lab.base)
        self.page.locator("#username_input:focus").wait_for()
        self.inspect("1-sign-in")
        self.keyboard.type(self.name)
        self.keyboard.press("Tab")
        self.keyboard.type(self.lab.password)
        self.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Start a session").wait_for()

    def sign_in_to_session(self) -> None:
        """Where the session runs already, its notebook is what sign-in leads to."""
        self.page.goto(f"{self.lab.base}/hub/login")
        self.page.locator("#username_input").fill(self.name)
        self.page.locator("#password_input").fill(self.lab.password)
        self.page.keyboard.press("Enter")
        self._wait_for_kernel()

    def end_kernels(self) -> None:
        """So that the next one starts anew; then leave."""
        self.page.evaluate(
            """async () => {
                const config = document.getElementById("jupyter-config-data").textContent;
                const base = JSON.parse(config).baseUrl;
                const headers = {"X-XSRFToken": document.cookie.match("_xsrf=([^;]*)")[1]};
                for (const session of await (await fetch(base + "api/sessions", {headers})).json())
                    await fetch(base + "api/sessions/" + session.id, {method: "DELETE", headers});
            }"""
        )
        self.page.context.close()

    def start_session(self) -> None:
        """By keyboard alone: to the profile that is chosen, to the next one and back."""
        self.inspect("2-spawn")
        self.keyboard.walk_to("Notebook")
        self.keyboard.press("ArrowDown")
        self.keyboard.lands_on("Large")
        self.keyboard.press("ArrowUp")
        self.keyboard.lands_on("Notebook")
        self.keyboard.walk_to("Start")
        self.keyboard.press("Enter")
        self.see_it_start()
        self.inspect("3-starting")
        self.be_in_the_session()

    def see_it_start(self) -> None:
        self.page.get_by_role("heading", name="Your session is starting").wait_for()

    def be_in_the_session(self, timeout_s: float = 60) -> None:
        """Wait until the page that waits has led there, and its notebook has a kernel."""
        self.page.wait_for_url(f"**/user/{self.name}/**", timeout=timeout_s * 1000)
        self._wait_for_kernel()

    def _wait_for_kernel(self) -> None:
        # The notebook's own indicator is idle, too, while no kernel is connected.
        self.page.get_by_text("| Idle").wait_for(timeout=60_000)

    def another_tab(self) -> "Person":
        """The same person at the same notebook, with its cell run."""
        other = Person(self.lab, self.page.context.new_page(), self.shots, self.name)
        other.page.goto(self.page.url)
        other._wait_for_kernel()
        other.run_the_cell()
        return other

    def open(self, path: str) -> None:
        """A notebook of the session, by its address there."""
        self.page.goto(f"{self.lab.base}/user/{self.name}/{path}")
        self._wait_for_kernel()

    def run_all_cells(self) -> None:
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def run_the_cell(self) -> None:
        self.run_all_cells()
        self.button("Try with sample data").wait_for(timeout=60_000)

    def button(self, name: str) -> Any:
        return self.studio.get_by_role("button", name=name, exact=True)

    @property
    def studio(self) -> Any:
        return self.page.locator(".labkit")

    def see(self, words: str | re.Pattern[str], timeout_s: float = 60) -> None:
        self.studio.get_by_text(words).first.wait_for(timeout=timeout_s * 1000)

    def shoot(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"journey-{self.name}-{name}.png")

    def inspect(self, name: str, widths: Sequence[int] = (WIDE,)) -> None:
        """A picture of a page of the hub's, and an audit of our part, in dark and in light."""
        for width in widths:
            self.page.set_viewport_size({"width": width, "height": 1000})
            for scheme in ("dark", "light"):
                self.page.emulate_media(color_scheme=scheme)
                self.shoot(f"{name}-{scheme}-{width}")
                audit(self.page, "main")
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, name
        self.page.set_viewport_size({"width": WIDE, "height": 1000})


def person_at(browser: Any, lab: OpenLab, shots: Path, name: str) -> Person:
    """With cookies of their own."""
    context = browser.new_context(viewport={"width": WIDE, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    return Person(lab, context.new_page(), shots, name)
