import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.units import format_duration, format_memory, parse_duration, parse_memory


@pytest.mark.parametrize(
    ("written", "num_bytes"),
    [
        ("8 GB", 8 * 2**30),
        ("512M", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        (" 2tb ", 2 * 2**40),
        ("100", 100),
        (100, 100),
        ("1k", 1024),
    ],
)
def test_memory_is_read_as_people_write_it(written, num_bytes):
    assert parse_memory(written) == num_bytes


@pytest.mark.parametrize("written", ["", "lots", "-1 GB", "8 XB", "1,5 GB", "8 GB 2", "GB", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(written):
    with pytest.raises(UsageError, match="Write it as '8 GB'"):
        parse_memory(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        (90, 90),
        ("45m", 2700),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1:30:00", 5400),
        ("2:05", 125),
        ("8H", 28_800),
    ],
)
def test_a_length_of_time_is_read_as_people_write_it(written, seconds):
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "soon", "1y", "-5", "1:2:3", "1.5h", "h", "5m3x"])
def test_what_is_no_length_of_time_is_refused(written):
    with pytest.raises(UsageError, match="Write it as '45m'"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (2**20, "1 MB"), (3 * 2**29, "1.5 GB"), (2**41, "2.0 TB")],
)
def test_memory_is_shown_in_the_largest_unit(num_bytes, shown):
    assert format_memory(num_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_a_length_of_time_is_shown_in_two_units(seconds, shown):
    assert format_duration(seconds) == shown


@given(st.integers(0, 10**6), st.sampled_from("KMGT"))
def test_whole_amounts_of_memory_are_read_exactly(number, unit):
    assert parse_memory(f"{number} {unit}B") == number * 2 ** (10 * (1 + "KMGT".index(unit)))


@given(st.integers(0, 2**50))
def test_shown_memory_can_be_read_again(num_bytes):
    assert parse_memory(format_memory(num_bytes)) == pytest.approx(num_bytes, rel=0.5, abs=1)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_a_clock_and_letters_mean_the_same(hours, minutes, seconds):
    assert parse_duration(f"{hours}:{minutes}:{seconds:02d}") == parse_duration(
        f"{hours}h{minutes}m{seconds}s"
    )
