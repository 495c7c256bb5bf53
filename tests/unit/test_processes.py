import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from labkit.processes import (
    ProcessStat,
    all_processes,
    descendants,
    end_processes,
    environment_value,
    identify,
    is_alive,
    memory_held,
    parse_stat,
    send_signal,
    wait_ended,
)

STAT = (
    "{pid} ({name}) {state} 7 41 41 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 {threads} 0 98765 1000 256 "
    "18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", ["python", "a b", "x) Z 1 (y", ") S 1 1", "()"])
def test_a_programs_name_may_hold_anything(name):
    stat = parse_stat(STAT.format(pid=42, name=name, state="S", threads=3))
    assert (stat.pid, stat.state, stat.parent, stat.start_ticks) == (42, "S", 7, 98765)
    assert stat.rss_bytes == 256 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("state", "threads", "ended"), [("R", 1, False), ("Z", 1, True), ("Z", 2, False)]
)
def test_a_zombie_has_ended_unless_threads_of_it_run_on(state, threads, ended):
    text = STAT.format(pid=42, name="a", state=state, threads=threads)
    assert parse_stat(text).ended is ended


def test_a_process_is_known_until_it_ends(sleeper):
    identity = identify(sleeper.pid)
    assert identity
    assert is_alive(identity)
    sleeper.kill()
    assert wait_ended([identity], timeout_s=5)
    # It is a zombie now: nobody has waited for it.
    assert all_processes()[sleeper.pid].state == "Z"
    assert not is_alive(identity)
    assert not send_signal(identity, signal.SIGKILL)
    sleeper.wait()
    assert identify(sleeper.pid) is None


@pytest.mark.parametrize("other", [{"start_ticks": 1}, {"boot_id": "before"}])
def test_a_process_that_has_the_id_of_another_is_not_signalled(sleeper, other):
    identity = identify(sleeper.pid)
    assert identity
    former = replace(identity, **other)
    assert not is_alive(former)
    assert not send_signal(former, signal.SIGKILL)
    assert wait_ended([former], timeout_s=0)
    assert is_alive(identity)


def test_waiting_for_a_process_that_lives_on_takes_no_longer_than_said(sleeper):
    identity = identify(sleeper.pid)
    assert identity
    assert not wait_ended([identity], timeout_s=0.01)


def test_who_does_not_end_when_asked_is_killed():
    stubborn = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "print(flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    with stubborn:
        assert stubborn.stdout
        stubborn.stdout.readline()

        def alive():
            identity = identify(stubborn.pid)
            return [identity] if identity else []

        assert end_processes(alive, grace_s=0.05)
    assert stubborn.returncode == -signal.SIGKILL


def test_descendants_leave_out_the_ended_and_what_is_skipped_with_all_below_it():
    def process(pid, parent, state="S"):
        return ProcessStat(
            pid=pid, state=state, parent=parent, num_threads=1, start_ticks=0, rss_bytes=0
        )

    tree = [process(2, 1), process(3, 2), process(4, 2, "Z"), process(5, 4), process(6, 2)]
    tree += [process(7, 6), process(8, 1)]
    found = descendants({p.pid: p for p in tree}, 2, skip=lambda pid: pid == 6)
    assert {process.pid for process in found} == {3, 5}


def test_memory_is_counted_exactly_only_where_it_matters(sleeper):
    stat = all_processes()[sleeper.pid]
    assert memory_held([stat], limit_bytes=2**40) == stat.rss_bytes
    shared_once = memory_held([stat], limit_bytes=0)
    assert 0 < shared_once < stat.rss_bytes


def test_the_environment_of_a_process_is_read():
    pipe, environment = subprocess.PIPE, {"ONE": "1", "TWO": "a=b"}
    with subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"begun\n")
        process.stdin.flush()
        process.stdout.readline()  # before its program runs, a process may show none
        assert environment_value(process.pid, "TWO") == "a=b"
        assert environment_value(process.pid, "THREE") is None
    assert environment_value(process.pid, "ONE") is None
