"""What a keyboard and a screen reader need of a page: walks by Tab, and an audit by axe-core."""

from typing import Any

import pytest

from tests.waiting import wait_for

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
FOCUSED = r"""() => {
    const here = document.activeElement;
    const words = (node) => node.nodeType === Node.TEXT_NODE ? node.data
        : node.ariaHidden === "true" ? "" : [...node.childNodes].map(words).join("\n").trim();
    const label = here.labels?.[0] ?? here.closest("label");
    const isOutlined = (node) => node && getComputedStyle(node).outlineStyle !== "none"
        && parseFloat(getComputedStyle(node).outlineWidth) >= 2;
    return {
        name: here.ariaLabel || words(label ?? here) || here.localName,
        isVisible: isOutlined(here) || isOutlined(label),
        isOurs: Boolean(here.closest(".labkit, main")),
    };
}"""


def audit(page: Any, root: str, judged: str = "color-contrast") -> None:
    """Fail where axe-core finds that what is within `root` breaks a rule of WCAG.

    `judged` is a rule that it must have tried there.
    """
    from axe_playwright_python.sync_playwright import Axe

    # axe takes what is in JupyterLab's body, which has no height, for hidden.
    page.evaluate("document.body.style.minHeight = '100vh'")
    rules = {"runOnly": STANDARDS, "resultTypes": ["violations"]}
    found = Axe().run(page, context=root, options=rules)
    assert found.violations_count == 0, found.generate_report()
    passed = {rule["id"] for rule in found.response["passes"]}
    assert judged in passed, f"no {judged} of {root} was judged: {passed}"


SCROLLED = """() => {
    const around = (node) =>
        node && !node.matches(".jp-Cell") ? [node, ...around(node.parentElement)] : [];
    const widgets = [...document.querySelectorAll(".labkit")];
    const nodes = widgets.flatMap((root) => [...root.querySelectorAll("*"), ...around(root)]);
    const hasBar = (overflow) => ["auto", "scroll"].includes(overflow);
    const isScrolled = (node) => {
        const style = getComputedStyle(node);
        return hasBar(style.overflowY) && node.scrollHeight > node.clientHeight
            || hasBar(style.overflowX) && node.scrollWidth > node.clientWidth;
    };
    return nodes.filter(isScrolled).map((node) => `${node.localName} ${node.className}`);
}"""


def scrolled_inside(page: Any) -> list[str]:
    """What of a form, and of the output that it is in, has a scroll bar inside the page's own."""
    assert page.locator(".labkit").count()
    return page.evaluate(SCROLLED)


class Keyboard:
    """Somebody without a mouse."""

    def __init__(self, page: Any):
        self.page = page

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def type(self, words: str) -> None:
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(words)

    def walk_to(self, name: str, key: str = "Tab", most: int = 40) -> list[str]:
        """Press Tab until the focus is on what is called so; the names on the way."""
        walked: list[str] = []
        while len(walked) < most:
            self.press(key)
            here = self.here
            walked.append(here["name"].partition("\n")[0])
            assert here["isVisible"] or not here["isOurs"], f"no outline: {walked}"
            if here["isOurs"] and here["name"].startswith(name):
                return walked
        pytest.fail(f"Tab does not lead to {name!r}, but to {walked}")

    def lands_on(self, name: str) -> None:
        """Wait until a redraw has left the focus on what is called so."""
        wait_for(lambda: self.here["name"].startswith(name), f"the focus on {name!r}", 10,
                 seen=lambda: self.here)  # fmt: skip

    @property
    def here(self) -> dict[str, Any]:
        """What has the focus."""
        return self.page.evaluate(FOCUSED)


class Ear:
    """What a screen reader would say of a widget by itself, in order."""

    def __init__(self, page: Any):
        self.page = page
        page.evaluate(
            """() => {
                const line = document.querySelector(".labkit > [role=status]");
                window.heard = [line.textContent];
                new MutationObserver(() => window.heard.push(line.textContent))
                    .observe(line, {characterData: true, childList: true, subtree: true});
            }"""
        )

    @property
    def heard(self) -> list[str]:
        return [words for words in self.page.evaluate("window.heard") if words]


def record_notifications(context: Any, origin: str) -> None:
    """Permit them, and keep in `window.told` what each of them says."""
    context.grant_permissions(["notifications"], origin=origin)
    context.add_init_script(
        """window.told = [];
        window.Notification = class extends Notification {
            constructor(words, options) { super(words, options); window.told.push(words); }
        };"""
    )


def told(page: Any) -> list[str]:
    return page.evaluate("window.told")
