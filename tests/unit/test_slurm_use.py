"""What jobs used, by what `sacct` prints."""

import pytest

from labkit.schedulers._slurm_use import parse_used, seconds
from labkit.schedulers.base import JobUse

TRES = "billing=8,cpu=8,gres/gpu:h100=4,gres/gpu=4,mem=16G,node=2"
RUN = f"""\
7|1800|480|{TRES}|billing=8,cpu=8,gres/gpu=4,mem=16G,node=2|01:00:30|
7.batch|1800||cpu=4,mem=8G,node=1||30:15.500|900000
7.extern|1800||{TRES}||00:00:00|1800000
7.0|1790||cpu=4,mem=8G,node=1||30:14.500|800000
"""


def test_a_job_with_its_steps():
    assert parse_used(RUN)["7"] == JobUse(
        job_id="7",
        gpu_s_asked=4 * 8 * 3600,
        gpu_s_held=4 * 1800,
        core_s_asked=8 * 8 * 3600,
        core_s_held=8 * 1800,
        core_s_busy=3630,
        energy_j=1_700_000,  # without 'extern', which was there beside the others
    )


def test_a_job_that_was_started_again_has_a_line_for_each_start():
    starts = "7|60|10|cpu=2||00:30|\n7.batch|60||||00:30|\n7|120|10|cpu=2||01:00|\n"
    used = parse_used(starts)["7"]
    assert (used.core_s_held, used.core_s_asked, used.core_s_busy) == (360, 2400, 90)


def test_what_slurm_does_not_count_is_not_known_and_never_nothing():
    used = parse_used("7|60|10|cpu=2||00:00:00|0\n7.batch|60||||00:00:00|18446744073709551614")["7"]
    assert used.core_s_busy is None and used.energy_j is None
    assert (used.gpu_s_held, used.core_s_held) == (0, 120)


def test_a_job_that_waits_has_asked_and_holds_nothing():
    used = parse_used("8|0|60||cpu=4,gres/gpu=2,mem=8G,node=1|00:00:00|")["8"]
    assert (used.gpu_s_asked, used.gpu_s_held, used.core_s_asked) == (7200, 0, 14400)


def test_lines_that_were_cut_off_prove_nothing():
    assert parse_used("7|1800|480|cpu") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [("1-02:03:04", 93784), ("02:03:04", 7384), ("03:04.567", 184.567), ("", 0), ("INVALID", 0)],
)
def test_times(text, found):
    assert seconds(text) == found
