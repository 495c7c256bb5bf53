"""Examples end to end: every one in one row, few rows, and what is learnt of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.train.chat import Seen
from labkit.train.packing import best_fit, lay_out

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


def seen(ids: list[int], learnt: list[int], max_tokens: int = 100) -> Seen:
    return Seen(row=2, text="", learnt_spans=[], ids_T=np.array(ids, np.int32),
                learnt_T=np.array(learnt, bool), cut_at=0, max_tokens=max_tokens)  # fmt: skip


@given(LENGTHS, st.integers(1, 60))
def test_each_is_in_one_row_and_no_row_is_too_full_but_for_what_is_longer(lengths, room):
    rows = best_fit(lengths, room)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[n] for n in row) <= room for row in rows)


@given(LENGTHS)
def test_no_two_rows_would_fit_into_one(lengths):
    rows = best_fit(lengths, 50)
    filled = sorted(sum(lengths[n] for n in row) for row in rows)
    assert len(filled) == 1 or filled[0] + filled[1] > 50


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([6, 4, 5, 5], [[0, 1], [2, 3]]),
        ([3, 9, 7, 1], [[1, 3], [2, 0]]),  # each where least is left
        ([12, 2], [[0], [1]]),  # longer than a row
    ],
)
def test_the_best_fit_is_found(lengths, rows):
    assert best_fit(lengths, 10) == rows


def test_a_row_says_where_each_example_is_and_what_it_learns():
    row = lay_out([seen([5, 6, 7], [0, 1, 1]), seen([8, 9], [1, 0]), seen([3, 4], [0, 1])])
    assert row.ids_T.tolist() == [5, 6, 7, 8, 9, 3, 4]
    assert row.positions_T.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert row.bounds.tolist() == [0, 3, 5, 7] and row.max_length == 3
    # The first token of an example has nothing before it, least of all the example before.
    assert row.learnt_P.tolist() == [0, 1, 5]
    assert row.targets_P.tolist() == [6, 7, 4]
    assert row.example_P.tolist() == [0, 0, 2]


def test_what_is_cut_off_is_not_in_the_row():
    row = lay_out([seen([5, 6, 7, 8], [0, 0, 1, 1], max_tokens=3)])
    assert row.ids_T.tolist() == [5, 6, 7] and row.targets_P.tolist() == [7]
