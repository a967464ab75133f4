"""Units that stay together, dealt out to the sides of a split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.splitting import Split, connected, deal


def test_items_are_connected_through_any_shared_key():
    assert connected([["a"], ["b"], ["a", "c"], [], ["c"], ["b"]]) == [0, 1, 0, 3, 0, 1]


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), max_size=12))
def test_units_are_the_components_of_the_graph(keys):
    units = connected(keys)
    for one, left in enumerate(keys):
        reached, grown = {one}, True
        while grown:
            shared = {key for index in reached for key in keys[index]}
            more = {index for index, own in enumerate(keys) if shared & set(own)} | {one}
            grown, reached = more != reached, more
        assert {index for index, unit in enumerate(units) if unit == units[one]} == reached
        assert units[one] == min(reached), left


@given(st.lists(st.integers(1, 100), min_size=3, max_size=30))
def test_no_side_stays_empty_and_every_unit_is_dealt(sizes):
    dealt = deal(range(len(sizes)), dict(enumerate(sizes)), {"train": 0.6, "validation": 0.2, "test": 0.2})
    assert set(dealt) == set(range(len(sizes)))
    assert set(dealt.values()) == {"train", "validation", "test"}


def test_equal_units_come_out_in_their_shares():
    dealt = list(deal(range(50), dict.fromkeys(range(50), 3), {"train": 0.6, "validation": 0.2, "test": 0.2}).values())
    assert [dealt.count(side) for side in ("train", "validation", "test")] == [30, 10, 10]


def test_shares_sum_to_one_and_empty_sides_are_left_out():
    assert Split(train=0.8, validation=0.2, test=0.0).shares == {"train": 0.8, "validation": 0.2}
    with pytest.raises(ValueError, match=r"is 1\.1, must be 1"):
        Split(train=0.7)
