"""From a click to one's own Lab on a real Slurm, beside plain batchspawner; and where time goes.

Both hubs stand side by side on the test cluster and take turns, with the settings that are
shipped. Each figure is from the press of the button to the answer 200 of `/user/NAME/lab` through
the proxy, the job's start included; the page with the button was opened before.
"""

import random
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.bench import slurm_calls, slurm_many
from tests.bench.table import Table, skipped
from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster, why_not
from tests.slurm.plain_hub import PlainHub
from tests.slurm.slurm_lab import SETTINGS, SlurmLab, at_shipped_pace
from tests.waiting import wait_for

TITLE = "From the click to /user/NAME/lab on Slurm"
GOAL_RATIO = 0.7
PLAIN = "batchspawner"
SLURM_LOOKS_EVERY_S = 1.0
PEOPLE_COME_EVERY_S = 20
"""To either hub in turn. Ours asks Slurm 12 questions a minute: who presses the button again as
soon as the last session has ended waits for them."""
READS_S = 4
"""How long somebody reads the page before they press."""
AS_SHIPPED = 'c.JupyterHub.log_level = "INFO"\nc.Spawner.poll_interval = 30\n'
_LOG_TIME = r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d{3})"


@dataclass(frozen=True)
class Contender:
    """One hub to press the button of."""

    browser: Browser
    page: str
    """The one with the button."""
    body: Mapping[str, str]

    def click(self) -> float:
        """Seconds from the start request to the first 200 of one's own Lab."""
        started = time.perf_counter()
        path = "/hub/api/users/alice/server"
        answer = self.browser.ask(path, method="POST", body=dict(self.body))
        assert answer.status in (201, 202), answer.text
        for event in self.browser.events(f"{path}/progress"):
            assert not event.get("failed"), event
        page = self.browser.ask("/user/alice/lab")
        assert page.status == 200 and "jupyter-config-data" in page.text, page.url
        return time.perf_counter() - started


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    if reason := why_not():
        yield skipped(TITLE, reason)
        return
    with SlurmCluster().running() as cluster:
        yield from side_by_side(cluster, repeats=3 if quick else 9)
    with SlurmCluster(cores=slurm_calls.CORES).running() as cluster:
        sessions, seconds = ([3, 10], 40) if quick else ([10, 100, 300], 120)
        yield from slurm_calls.measure(cluster, sessions=sessions, seconds=seconds)
    with SlurmCluster().running() as cluster:
        people, size, rounds, seconds = (60, 20, 2, 20) if quick else (1000, 100, 3, 60)
        yield from slurm_many.measure(
            cluster, people=people, at_once=size, rounds=rounds, seconds=seconds
        )


def side_by_side(cluster: SlurmCluster, repeats: int) -> Iterator[Table]:
    plain = PlainHub(cluster, ours=False, profile="notebook", more=AS_SHIPPED)
    ours = SlurmLab(cluster, settings=at_shipped_pace(SETTINGS))
    with ours.running() as lab, plain.running():
        contenders = {
            "labkit": Contender(lab.browser("alice"), "/hub/spawn", {"profile": "notebook"}),
            PLAIN: Contender(plain.browser("alice"), "/hub/home", {}),
        }
        yield from clicks(lab, contenders, repeats)


def clicks(lab: SlurmLab, contenders: Mapping[str, Contender], repeats: int) -> Iterator[Table]:
    """In turns, each while no session of the other's still ends.

    Slurm looks at batch jobs once a second. So clicks come at moments that are spread evenly over
    that second, in random order, and both hubs' at the same ones.
    """
    next_comes = time.monotonic()
    moments = [SLURM_LOOKS_EVERY_S * n / repeats for n in range(repeats)]
    random.Random(0).shuffle(moments)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    stages: list[dict[str, float]] = []
    for moment in moments:
        for name, contender in contenders.items():
            time.sleep(max(0, next_comes - time.monotonic()))
            next_comes = time.monotonic() + PEOPLE_COME_EVERY_S
            assert contender.browser.ask(contender.page).status == 200
            time.sleep(READS_S)
            time.sleep((moment - time.time()) % SLURM_LOOKS_EVERY_S)
            clicked = time.time()
            seconds[name].append(contender.click())
            if name == "labkit":
                stages.append(stages_of(lab, clicked, clicked + seconds[name][-1]))
            contender.browser.stop_session("alice")
            wait_for(lambda: lab.queue("JobId") == [], "the session's end", every_s=0.2)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    rows = [
        [name, f"{median:.2f}", f"{median / medians[PLAIN]:.2f} ×", spread(seconds[name])]
        for name, median in medians.items()
    ]
    columns = ["", "seconds, median", f"of {PLAIN}", "all"]
    yield Table(TITLE, columns, rows, [f"Goal: at most {GOAL_RATIO:.2f} ×."])
    taken = {name: [stage[name] for stage in stages] for name in stages[0]}
    rows = [[name, f"{statistics.median(each):.2f}", spread(each)] for name, each in taken.items()]
    yield Table("Where the time of labkit goes", ["until", "seconds, median", "all"], rows)


def spread(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def stages_of(lab: SlurmLab, clicked: float, there: float) -> dict[str, float]:
    """Seconds of each step between the click and the Lab's page."""
    moments = {"click": clicked, **moments_of(lab), "the Lab's page": there}
    return {
        later: moments[later] - moments[earlier]
        for earlier, later in zip(moments, list(moments)[1:], strict=False)
    }


def moments_of(lab: SlurmLab) -> dict[str, float]:
    """When each step of the session that runs now was, in seconds since the epoch."""
    record = lab.record("alice")
    job, log = record["job_id"], lab.cluster.folder / "log"
    hub = (lab.state / "hub" / "hub.log").read_text()
    slurmd = (log / f"slurmd-{record['host']}.log").read_text()
    session = (lab.cluster.home("alice") / ".labkit" / "sessions" / "_.log").read_text()
    controller = (log / "slurmctld.log").read_text()
    launched = last(rf"\[{_LOG_TIME}\] Launching batch job {job} ", slurmd)
    return {
        "Slurm has the job (sudo, labkit-submit, sbatch)": last(
            rf"\[{_LOG_TIME}\] _slurm_rpc_submit_batch_job: JobId={job} ", controller
        ),
        "Slurm gives it a node": last(
            rf"\[{_LOG_TIME}\] sched\S* (?:Allocate|_start_job: Started) JobId={job} ", controller
        ),
        "the node starts it": launched,
        "Jupyter's first word": next(t for t in times(_LOG_TIME, session) if t > launched),
        "Jupyter listens": last(rf"{_LOG_TIME} \S+\] Jupyter Server .* is running at", session),
        "the hub knows the port": last(rf"{_LOG_TIME} .* POST /hub/api/labkit/port", hub),
        "the hub has its answer": last(rf"{_LOG_TIME} .* took [\d.]+ seconds to start", hub),
    }


def last(pattern: str, text: str) -> float:
    """The time in the last line of a log that is so."""
    found = times(pattern, text)
    assert found, f"no line of the log is as {pattern}"
    return found[-1]


def times(pattern: str, text: str) -> list[float]:
    return [datetime.fromisoformat(each).timestamp() for each in re.findall(pattern, text)]
