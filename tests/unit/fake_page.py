"""A person at a widget, without a browser: acts go in, the view comes out."""

import json
from collections.abc import Callable
from typing import Any

from labkit_widgets.core import Core


class Inline:
    """Background work done at once, so that a test reads from top to bottom."""

    def __init__(self, lock: object, changed: Callable[[], None], failed: Callable[..., None]):
        self.failed = failed

    def run(
        self, kind: str, words: str, work: Callable[[], Any], then: Callable[..., None]
    ) -> None:
        try:
            then(work())
        except Exception as error:
            self.failed(kind, error)

    def forget(self, kind: str) -> None: ...

    def tell(self) -> None: ...

    def doing(self) -> dict[str, str]:
        return {}


class Once:
    """A watch that looks once each time it is started."""

    def __init__(self, every_s: float, look: Callable[[], bool]):
        self.look = look

    def start(self) -> None:
        self.look()

    def close(self) -> None: ...


class Person:
    """Somebody at a widget: does something, sees the view."""

    def __init__(self, home_page: str = "form"):
        self.sent: list[dict[str, Any]] = []
        self.core = Core(
            home_page=home_page,
            send=self.sent.append,
            background=Inline,
            watch=Once,  # type: ignore[arg-type]
        )

    def does(self, do: str, **values: Any) -> dict[str, Any]:
        self.core.act({"do": do, **values})
        return self.sees

    @property
    def sees(self) -> dict[str, Any]:
        view = self.core.view()
        json.dumps(view)  # what a message can carry
        return view

    @property
    def form(self) -> dict[str, Any]:
        return self.sees["form"]
