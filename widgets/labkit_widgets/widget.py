"""The widgets themselves: thin, between a browser and a `Core`."""

import threading
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from labkit_widgets.assets import script, style


class _Lab(anywidget.AnyWidget):
    """One front end for both; `view` is what it draws, its messages are acts."""

    _esm = script()
    _css = style()
    _page = "form"

    view = traitlets.Dict().tag(sync=True)

    def __init__(self, keys: Mapping[str, Any] | None = None):
        from labkit_widgets.core import Core

        super().__init__()
        self._publishing = threading.Lock()
        self._core = Core(home_page=self._page, changed=self._publish, send=self._send_to_page)
        if keys:
            self._core.fill(keys)
        self.on_msg(self._on_act)
        self._publish()

    def close(self) -> None:
        self._core.close()
        super().close()

    def _on_act(self, widget: object, content: object, buffers: object) -> None:
        self._core.hear(content)

    def _send_to_page(self, message: dict[str, Any]) -> None:
        self.send(message)

    def _publish(self) -> None:
        with self._publishing:  # the newest view last, whichever thread made it
            self.view = self._core.view()


class Studio(_Lab):
    """The whole way of a run in one cell: task, base model, data, settings, start, result.

    `Studio(base="minilm", data="train.csv")` opens it filled in with keys of a spec, and
    `Studio(task)` with those of a `TextClassification(…)` or an `Instruct(…)`.
    """

    def __init__(self, task: Any = None, /, **keys: Any):
        if task is not None:
            from labkit_widgets.code import readable_keys

            keys = {**readable_keys(task.spec), **keys}
        super().__init__(keys)


class Runs(_Lab):
    """All own runs: sort, filter, open, compare."""

    _page = "runs"

    def __init__(self) -> None:
        super().__init__()
