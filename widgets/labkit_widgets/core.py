"""What a widget knows and does, without a browser: acts come in, one view goes out.

It routes each act to the form, the shown run or the table of runs, keeps one run watched, and
turns every error into a sentence.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.failure import in_words, keep_details
from labkit.runs.find import find_run, list_runs
from labkit.runs.folder import Run
from labkit.runs.spec import spec_keys
from labkit.settings import Site, load_site
from labkit_widgets import acts, form, run_page, runs_table
from labkit_widgets.acts import read_act, read_call
from labkit_widgets.background import Background, Threads
from labkit_widgets.form import Form
from labkit_widgets.form_view import form_view
from labkit_widgets.home import inside_home
from labkit_widgets.run_page import RunPage
from labkit_widgets.run_page_view import run_page_view
from labkit_widgets.run_view import status_view
from labkit_widgets.uploads import Upload, Uploads
from labkit_widgets.watch import Watch

LOOK_EVERY_S = 1.0
MAX_PAGES = 20


class Core:
    """The state behind one widget. `changed` is called, from any thread, when the view is new."""

    def __init__(
        self,
        *,
        home_page: str,
        changed: Callable[[], None] = lambda: None,
        send: Callable[[dict[str, Any]], None] = lambda message: None,
        background: Callable[..., Background] = Threads,
        watch: type[Watch] = Watch,
    ):
        self.lock = threading.RLock()
        self.changed, self.send = changed, send
        self.background = background(self.lock, changed, self._failed)
        self.uploads = Uploads()
        self.home_page = self.page = home_page
        self.notice: dict[str, str] | None = None
        self.shown: RunPage | None = None
        self.newest: RunPage | None = None
        """The newest run, told of beside the form."""
        self.answered: dict[str, int] = {}
        """Of each page, the number of the last act that the view follows from."""
        self.rows: list[dict[str, Any]] | None = None
        self.comparison: dict[str, Any] | None = None
        self.site: Site | None = None
        self.form: Form | None = None
        self._watch = watch(LOOK_EVERY_S, self._look)
        self._safely(self._open)

    def _open(self) -> None:
        self.site = load_site()
        self.form = Form(self.site, self.background, self._started)
        if self.home_page == "runs":
            self._read_runs()
        elif found := list_runs(self.site.runs)[:1]:
            self.newest = self._page_of(found[0])
            self._watch.start()

    def fill(self, keys: Mapping[str, Any]) -> None:
        """The form with these keys of a spec, flat."""
        with self.lock:
            self._safely(lambda: self.form and self.form.fill(keys))

    def close(self) -> None:
        self._watch.close()

    # Acts.

    def hear(self, message: object) -> None:
        """Carry out a page's call, and tell that page so in the view that follows."""
        call = read_call(message)
        if call is None:
            self.act(message)  # what is no call is no act either: it is told so
            return
        with self.lock:
            self.answered.pop(call.page, None)  # so that the latest page comes last
            if len(self.answered) >= MAX_PAGES:
                del self.answered[next(iter(self.answered))]
            self._do(call.act)
            self.answered[call.page] = call.number
        self.changed()

    def act(self, message: object) -> None:
        """Carry out what is asked for; whatever goes wrong becomes a sentence."""
        with self.lock:
            self._do(message)
        self.changed()

    def _do(self, message: object) -> None:
        self._safely(lambda: self._carry_out(read_act(message)))

    def _carry_out(self, act: Any) -> None:
        if not isinstance(act, acts.Hello):
            self.notice = None
        if handle := _OURS.get(type(act)):
            handle(self, act)
        elif self.page == "run" and self.shown and type(act) in run_page.HANDLERS:
            run_page.HANDLERS[type(act)](self.shown, act)
            if isinstance(act, acts.Stop | acts.Resume):
                self._watch.start()
        elif self.form and self.page == "form" and type(act) in form.HANDLERS:
            form.HANDLERS[type(act)](self.form, act)
        else:
            raise _not_now()

    def hello(self, act: acts.Hello) -> None:
        self.uploads.root = Path(act.root).expanduser() if act.root else None

    def dismiss(self, act: acts.Dismiss) -> None:
        self.notice = None

    def new_run(self, act: acts.NewRun) -> None:
        self._leave("")

    def open_run(self, act: acts.OpenRun) -> None:
        assert self.site is not None
        self._show(find_run(self.site.runs, act.run))

    def open_runs(self, act: acts.OpenRuns) -> None:
        self.page = "runs"
        self._read_runs()

    def compare(self, act: acts.Compare) -> None:
        assert self.site is not None
        self.comparison = runs_table.compare_runs(self.site, act.runs)
        self.page = "compare"

    def again(self, act: acts.Again) -> None:
        """The form, filled in as the shown run was."""
        if self.shown is None or self.site is None:
            raise _not_now()
        keys = spec_keys(self.shown.run.spec())
        keys.pop("name", None)
        self.form = Form(self.site, self.background, self._started)
        self.page = "form"
        self.form.fill(keys)

    def upload(self, act: acts.Upload) -> None:
        upload = self.uploads.begin(act.name, act.size, act.purpose)
        place = {"ticket": upload.ticket, "url": upload.url, "secret": upload.secret}
        self.send({"upload": {"page": act.page, **place}})

    def uploaded(self, act: acts.Uploaded) -> None:
        upload = self.uploads.end(act.ticket)
        if upload.purpose == "answer":
            self._answer(upload)
        elif self.form:
            self.form.take_file(upload.path, upload.purpose)

    def upload_failed(self, act: acts.UploadFailed) -> None:
        name = self.uploads.give_up(act.ticket)
        raise LabkitError(f"{name} could not be uploaded: {act.why}")

    def _answer(self, upload: Upload) -> None:
        if self.shown:
            self.shown.answer_table(upload.path, inside_home(upload.path) or "")

    # What happens by itself.

    def _started(self, run: Run) -> None:
        if self.form:
            self.form.forget_plan()
        self._show(run)

    def _show(self, run: Run) -> None:
        self._close_shown()
        self.shown = self._page_of(run)
        self.shown.look()
        self.page = "run"
        self._watch.start()

    def _page_of(self, run: Run) -> RunPage:
        assert self.site is not None
        return RunPage(self.site, run, self.background, self._leave)

    def _leave(self, said: str) -> None:
        """Back to where this widget began."""
        self._close_shown()
        self.page, self.shown = self.home_page, None
        self.notice = {"kind": "info", "text": said} if said else None
        if self.home_page == "runs":
            self._read_runs()
        elif self.site and self.form:
            self.form.refresh()
            found = list_runs(self.site.runs)[:1]
            self.newest = self._page_of(found[0]) if found else None
            self._watch.start()

    def _close_shown(self) -> None:
        if self.shown:
            self.shown.close()

    def _read_runs(self) -> None:
        site = self.site
        if site is None:
            return

        def read(rows: list[dict[str, Any]]) -> None:
            self.rows = rows

        self.background.run("runs", "Reading your runs …", lambda: runs_table.read_rows(site), read)

    def _look(self) -> bool:
        """One look at the watched run; whether another is needed."""
        page = self.shown if self.page == "run" else self.newest if self.page == "form" else None
        if page is None:
            return False
        before = (page.view, len(page.metrics.lines), page.gone)
        try:
            goes_on = page.look()
        except Exception as error:  # an edge: a thread of its own
            with self.lock:
                self._failed("watch", error)
            self.changed()
            return False
        if before != (page.view, len(page.metrics.lines), page.gone):
            self.changed()
        return goes_on or bool({"stop", "resume"} & set(self.background.doing()))

    # Errors.

    def _safely(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # an edge: the person sees a sentence
            self.notice = {"kind": "error", "text": sentence(error)}

    def _failed(self, kind: str, error: Exception) -> None:
        said = sentence(error)
        if self.form and self.form.failed(kind, said):
            return
        if not (self.shown and self.shown.failed(kind, said)):
            self.notice = {"kind": "error", "text": said}

    # The view.

    def view(self) -> dict[str, Any]:
        """All that a browser draws, as JSON can carry it."""
        with self.lock:
            return {
                "page": self.page,
                "home": self.home_page,
                "answered": dict(self.answered),
                "notice": self.notice,
                "site": self.site.name if self.site else "",
                "newest": self._newest() if self.page == "form" else None,
                "form": form_view(self.form) if self.form and self.page == "form" else None,
                "run": self._run() if self.page == "run" else None,
                "runs": {"rows": self.rows, "busy": self.background.doing().get("runs", "")}
                if self.page == "runs"
                else None,
                "compare": self.comparison if self.page == "compare" else None,
            }

    def _run(self) -> dict[str, Any] | None:
        if self.shown is None:
            return None
        try:
            return run_page_view(self.shown, self.uploads.server_path)
        except (LabkitError, OSError) as error:  # its files may go, or be damaged, at any moment
            run = self.shown.run
            if not run.folder.exists():
                return {"gone": True, "id": run.run_id}
            said = str(error)
            if isinstance(error, OSError):
                said = f"{error.filename} cannot be read: {error.strerror}."
            return {"gone": False, "id": run.run_id, "name": run.run_id, "problem": said}

    def _newest(self) -> dict[str, Any] | None:
        page = self.newest
        if page is None or page.view is None or page.gone:
            return None
        view = page.view
        return {"id": page.run.run_id, "name": view.name, "accuracy": view.accuracy,
                **status_view(view.status)}  # fmt: skip


def _not_now() -> LabkitError:
    return LabkitError("That is not possible here and now. Reload the page.")


def sentence(error: Exception) -> str:
    """What to tell a person; the details of a fault of ours go to a file."""
    if said := in_words(error):
        return said if isinstance(error, LabkitError) else said[:1].upper() + said[1:]
    return f"Something went wrong in labkit; the details are in {keep_details(error)}."


_OURS: dict[type, Callable[[Core, Any], None]] = {
    acts.Hello: Core.hello,
    acts.Dismiss: Core.dismiss,
    acts.NewRun: Core.new_run,
    acts.OpenRun: Core.open_run,
    acts.OpenRuns: Core.open_runs,
    acts.Compare: Core.compare,
    acts.Again: Core.again,
    acts.Upload: Core.upload,
    acts.Uploaded: Core.uploaded,
    acts.UploadFailed: Core.upload_failed,
}
