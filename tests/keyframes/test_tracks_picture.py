"""The picture of tracks over time: its colours stand where its clips do."""

from __future__ import annotations

import numpy as np
import pytest

from millrace.keyframes.picture import COLOURS, MARKED, MARKED_LANE, WHITE, tracks_picture
from millrace.keyframes.table import CELL, TRACKS
from millrace.keyframes.timeline import DEFAULTS

LEFT, RIGHT = 50, 1184
"""Of the time axis in a picture 1200 pixels wide."""


def layout(rows=100, **clips):
    """Cells with clips given as v{track}=(first, stop, asset)."""
    cells = np.tile(np.float32([0, 0, *DEFAULTS.values()][:9]), (rows, TRACKS, 1))
    for name, (first, stop, asset) in clips.items():
        cells[first:stop, int(name[1:]) - 1, :2] = 1, asset
    return cells


def rows_marked(rows, first, stop=None, tracks=slice(None)):
    marked = np.zeros((rows, TRACKS), bool)
    marked[first:stop, tracks] = True
    return marked


def x_of(row, rows=100):
    return LEFT + round(row * (RIGHT - LEFT) / rows)


def rows_with(picture, colour, x):
    return np.flatnonzero((picture[:, x] == colour).all(axis=1))


def test_clips_have_the_colour_of_their_class_and_v1_is_lowest():
    picture = tracks_picture([("a", layout(v1=(0, 100, 0), v3=(20, 40, 7)))], 10)
    assert (picture.dtype, picture.shape[1:]) == (np.uint8, (1200, 3))
    high, low = (rows_with(picture, COLOURS[asset], x_of(30)) for asset in (7, 0))
    assert high.max() < low.min()
    assert len(high) == len(low) == 34
    assert not rows_with(picture, COLOURS[7], x_of(50)).size
    columns = np.flatnonzero((picture[high[10]] == COLOURS[7]).all(axis=1))
    assert columns.min() == pytest.approx(x_of(20), abs=2)
    assert columns.max() == pytest.approx(x_of(40), abs=2)


def test_layouts_stand_below_each_other_on_one_axis():
    truth, shorter = layout(v1=(50, 60, 3)), layout(80, v1=(50, 60, 3))
    picture = tracks_picture([("truth", truth), ("prediction", shorter)], 10, marked=rows_marked(100, 60))
    lanes = rows_with(picture, COLOURS[3], x_of(55))
    assert len(np.flatnonzero(np.diff(lanes) > 1)) == 1
    assert rows_with(picture, MARKED_LANE, x_of(70)).size == 2 * 34
    assert rows_with(picture, MARKED_LANE, x_of(90)).size == 34
    assert not rows_with(picture, MARKED, x_of(30)).size


def test_only_what_was_asked_for_is_marked_and_paler():
    cells = layout(v1=(0, 100, 0), v2=(0, 100, 1))
    picture = tracks_picture([("a", cells)], 10, marked=rows_marked(100, 40, 60, 1))
    assert rows_with(picture, COLOURS[1], x_of(20)).size == 34
    assert not rows_with(picture, COLOURS[1], x_of(50)).size
    assert rows_with(picture, COLOURS[1], x_of(80)).size == 34
    for row in (20, 50, 80):
        assert rows_with(picture, COLOURS[0], x_of(row)).size == 34
    assert rows_with(picture, MARKED, x_of(47)).size
    assert not rows_with(picture, MARKED, x_of(80)).size


def test_scale_is_a_line_that_rises_and_cuts_are_edges():
    cells = layout(v1=(0, 100, 0))
    cells[:, 0, CELL.index("scale")] = np.interp(np.arange(100), [0, 49, 50, 99], [100, 150, 100, 100])
    picture = tracks_picture([("a", cells)], 10)
    lane = rows_with(picture, COLOURS[0], x_of(25))
    height = [np.mean(lane.min() + picture[lane.min() : lane.max(), x_of(row)].sum(axis=1).argmax()) for row in (5, 45)]
    assert height[1] < height[0] - 10
    assert (picture[lane.min() + 8, x_of(50)] > 180).all()
    still = tracks_picture([("a", layout(v1=(0, 100, 0)))], 10)
    assert not rows_with(still[lane.min() : lane.max()], WHITE, x_of(50)).size


def test_twenty_tracks_ten_classes_and_a_thousand_rows():
    cells = layout(1000, **{f"v{track}": (0, 1000, track % 10) for track in range(1, 21)})
    picture = tracks_picture([("a", cells)], 10)
    assert all((picture == colour).all(axis=2).any() for colour in COLOURS)
    assert picture.shape[0] < 600
    assert len({tuple(colour) for colour in COLOURS}) == 10
    apart = [np.abs(np.subtract(one, other)).sum() for one in COLOURS for other in COLOURS if one != other]
    assert min(apart) > 40


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_nearly_nothing_is_a_picture_too(rows):
    assert tracks_picture([("empty", layout(rows))], 10, marked=rows_marked(rows, 1)).shape[1] == 1200
    assert tracks_picture([("short", layout(rows, v2=(0, 1, 4)))], 10).shape[1] == 1200


def test_equal_layouts_are_equal_pictures():
    cells = layout(v1=(0, 50, 0), v2=(10, 20, 1))
    assert np.array_equal(*(tracks_picture([("a", cells)], 10, width_px=600) for _ in range(2)))
