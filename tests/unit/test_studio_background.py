"""Work behind a form: what reads tables is done one after the other in a kernel."""

import threading

from labkit_widgets.background import Threads, alone


def threads(changed: threading.Event) -> Threads:
    return Threads(threading.RLock(), changed.set, lambda kind, fault: None)


def test_no_two_tables_are_read_at_once_by_all_forms_of_a_kernel():
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    first_done, second_done = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)
        order.append("first")

    def quick() -> None:
        order.append("second")

    threads(first_done).run("look", "Reading …", alone(slow), lambda _: None)
    assert begun.wait(10)
    threads(second_done).run("look", "Reading …", alone(quick), lambda _: None)
    assert not order
    go_on.set()
    assert first_done.wait(10) and second_done.wait(10)
    assert order == ["first", "second"]
