"""Rectangles laid out on sheets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.roof.sheets import SIDE_PX, sheets

SIZES = st.dictionaries(
    st.integers(0, 1000), st.tuples(st.integers(1, 300) | st.just(2 * SIDE_PX), st.integers(1, 2 * SIDE_PX))
)


@given(sizes=SIZES, gap=st.integers(0, 9))
def test_each_is_there_once_with_a_gap_around_it(sizes, gap):
    seen = []
    for sheet in sheets(sizes, gap):
        taken = np.zeros([side + gap for side in sheet.shape], bool)
        for key, (rows, columns) in sheet.places.items():
            seen.append(key)
            assert (rows.stop - rows.start, columns.stop - columns.start) == sizes[key]
            assert rows.stop <= sheet.shape[0]
            assert columns.stop <= sheet.shape[1]
            grown = taken[rows.start : rows.stop + gap, columns.start : columns.stop + gap]
            assert not grown.any()
            grown[:] = True
        for length, side in zip(sheet.shape, (0, 1), strict=True):
            assert length <= max(SIDE_PX, *(sizes[key][side] for key in sheet.places))
    assert sorted(seen) == sorted(sizes)


def test_small_ones_share_a_sheet():
    assert len(list(sheets(dict.fromkeys(range(1000), (20, 20)), 5))) == 1
