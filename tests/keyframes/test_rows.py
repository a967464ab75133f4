"""Rows of sequences, nested ones flattened."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframes.timelines import clip_at, nested, sequence, sequences, still, value_at
from millrace.keyframes import sampling
from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.sampling import PARAMETERS, Grid, row_count, sample
from millrace.keyframes.timeline import DEFAULTS, Sequence
from millrace.keyframes.xml_events import TimelineError

RATE = Fraction(10)


def look(whole: Sequence, max_clips=100):
    ignored: Counter[str] = Counter()
    found = sample(whole, RATE, ignored, max_clips)
    return found.layers, found.clips, ignored


def shown(layer, clips) -> str:
    """One letter a row."""
    return "".join("." if index < 0 else clips[index].name[0] for index in layer.clip)


@settings(max_examples=60, deadline=None)
@given(sequences(), st.sampled_from([Fraction(10), Fraction(7), Fraction(30000, 1001)]))
def test_every_cell_is_that_of_the_definition(whole, rate):
    found = sample(whole, rate, Counter(), 100)
    layers, clips = found.layers, found.clips
    assert len(layers) == len(whole.tracks)
    for layer, track in zip(layers, whole.tracks, strict=True):
        assert len(layer.clip) == row_count(whole.duration, rate)
        for row, index in enumerate(layer.clip):
            time = row / rate
            clip = clip_at(track, time)
            assert (clips[index] if index >= 0 else None) is clip
            local = None if clip is None else clip.local_start + time - clip.start
            for name, value in zip(PARAMETERS, layer.cells[row], strict=True):
                curve = None if clip is None else clip.animation.get(name)
                expected = DEFAULTS[name] if curve is None else value_at(curve, local)
                assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.integers(1, 6000))
def test_no_row_of_whole_tenths_is_lost(tenths):
    """Floating point loses one for a third of these."""
    assert row_count(Fraction(tenths, 10), RATE) == tenths


@given(
    st.fractions(-5, 5),
    st.fractions(-2, 2),
    st.fractions(-5, 5),
    st.fractions(0, 5),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_a_grid_finds_exactly_the_rows_within(offset, step, start, length, first, count):
    grid, rows = Grid(offset, step), range(first, first + count)
    expected = [row for row in rows if start <= offset + row * step < start + length]
    assert list(grid.within(start, start + length, rows)) == expected


def test_disabled_clips_and_tracks_show_nothing_and_the_later_of_two_clips_wins():
    whole = sequence([still(0, 3, "a"), still(1, 2, "b"), replace(still(3, 4, "c"), enabled=False)], [still(0, 4, "d")])
    whole.tracks[1].enabled = False
    layers, clips, _ = look(whole)
    assert shown(layers[0], clips) == "a" * 10 + "b" * 10 + "a" * 10 + "." * 10
    assert shown(layers[1], clips) == "." * 40


def test_a_nested_sequence_takes_the_place_of_its_track_and_keeps_its_own():
    inside = sequence([still(0, 1, "a")], [still(0.5, 2, "b")])
    whole = sequence([still(0, 1, "x"), nested(inside, 1, 3)], [still(0, 4, "y")])
    layers, clips, _ = look(whole)
    assert [shown(layer, clips) for layer in layers] == [
        "x" * 10 + "a" * 10 + "." * 20,
        "." * 15 + "b" * 15 + "." * 10,
        "y" * 40,
    ]


def test_media_of_a_nested_sequence_runs_at_its_own_pace():
    inside = sequence([still(0, 1, "a"), still(1, 2, "b"), still(2, 4, "c")])
    fast = look(sequence([nested(inside, 0, 2, (0, 0), (2, 4))]))
    assert shown(fast[0][0], fast[1]) == "a" * 5 + "b" * 5 + "c" * 10 + "." * 20
    back = look(sequence([nested(inside, 0, 2, (0, 2), (2, 0))]))
    assert shown(back[0][0], back[1]) == "c" + "b" * 10 + "a" * 9 + "." * 20
    frozen = look(sequence([nested(inside, 0, 2, (0, 1), (1, 1), (2, 2))]))
    assert shown(frozen[0][0], frozen[1]) == "b" * 20 + "." * 20


def test_transforms_of_nested_sequences_are_composed():
    """Half as large, moved right by a quarter of the frame and turned a quarter clockwise: right becomes down."""
    inside = sequence([still(0, 4, "a", scale=50, x=0.2, y=0.0, rotation=10, opacity=80)])
    whole = sequence([nested(inside, 0, 4, scale=50, x=0.25, rotation=90, opacity=50)])
    layers, _, _ = look(whole)
    values = dict(zip(PARAMETERS, layers[0].cells[0], strict=True))
    assert values["scale"] == 25
    assert values["x"] == pytest.approx(0.25)
    assert values["y"] == pytest.approx(0.2 * 1000 * 0.5 / 500)
    assert (values["rotation"], values["opacity"]) == (100, 40)


def test_a_crop_around_a_nested_sequence_is_kept_where_it_can_be_and_told_where_not():
    fills, small = sequence([still(0, 4, "a")]), sequence([still(0, 4, "a", scale=50)])
    layers, _, ignored = look(sequence([nested(fills, 0, 4, crop_l=10)]))
    assert layers[0].cells[0, PARAMETERS.index("crop_l")] == 10
    assert not ignored
    layers, _, ignored = look(sequence([nested(small, 0, 4, crop_l=10)]))
    assert layers[0].cells[0, PARAMETERS.index("crop_l")] == 0
    assert ignored == {"crop of a nested sequence around a clip that does not fill it": 1}


def test_sequences_that_multiply_are_stopped():
    whole = sequence([still(0, 4, "a")])
    for _ in range(12):
        whole = sequence([nested(whole, 0, 4)], [nested(whole, 0, 4)])
    with pytest.raises(TimelineError, match="more than the 100 clips"):
        look(whole)


def test_where_nothing_is_shown_values_are_the_defaults():
    layers, _, _ = look(sequence([still(1, 2, "a", scale=50)]))
    np.testing.assert_array_equal(layers[0].cells[0], list(DEFAULTS.values()))


def test_a_row_exactly_on_a_jump_shows_what_comes_after_it():
    """Row 10 is at 3/rate + 10/rate on the local axis: in floating point that falls a hair before 13/rate."""
    rate = Fraction(30000, 1001)
    jumps = Curve([Key(frame / rate, float(frame), "hold") for frame in range(60)])
    clip = replace(still(0, 4), start=3 / rate, local_start=6 / rate, animation={"scale": jumps})
    found = sample(sequence([clip]), rate, Counter(), 100)
    shown = found.layers[0].cells[3:33, PARAMETERS.index("scale")]
    assert shown.tolist() == [float(frame + 3) for frame in range(3, 33)]


@pytest.mark.parametrize("innermost", [sequence([]), sequence([still(3, 4, "a")])], ids=["empty", "unseen"])
def test_sequences_that_multiply_and_show_nothing_are_stopped_or_nothing(innermost):
    """Ten tracks each, seven levels deep: ten million ways to the innermost."""
    whole = innermost
    for _ in range(7):
        whole = sequence(*[[nested(whole, 0, 2)] for _ in range(10)])
    if innermost.tracks[0].clips:
        with pytest.raises(TimelineError, match="more than the 1000 clips"):
            look(whole, 1000)
    else:
        layers, clips, _ = look(whole, 1000)
        assert (len(layers), len(clips)) == (10, 0)


def test_a_nested_sequence_of_empty_tracks_takes_no_more_than_its_own():
    empty, half = sequence([], [], []), sequence([], [still(0, 2, "b")])
    layers, clips, _ = look(sequence([nested(empty, 0, 2), nested(half, 2, 4)], [still(0, 4)]))
    assert [shown(layer, clips) for layer in layers] == ["." * 40, "." * 20 + "b" * 20, "a" * 40]


def test_tracks_without_clips_and_above_those_asked_for_take_no_memory():
    whole = sequence(*[[] for _ in range(5000)], [still(0, 1)], [still(0, 2)], duration=3600)
    found = sample(whole, RATE, Counter(), 100, tracks=5001)
    assert len({id(layer) for layer in found.layers}) == 2
    assert len(found.layers) == 5001
    assert found.counts[-3:] == [0, 10, 20]
    assert len(found.clips) == 2


def test_more_rows_and_tracks_than_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_CELLS", 200)
    look(sequence(*[[still(0, 1)] for _ in range(5)]))
    with pytest.raises(TimelineError, match=r"40 rows of more than 5 tracks .* lower keyframes\.parse\.rate"):
        look(sequence(*[[still(0, 1)] for _ in range(6)]))


def test_many_clips_that_show_many_are_found_at_once():
    """Four million pairs, of which 2000 meet."""
    count, tenth = 2000, Fraction(1, 10)
    inside = sequence([still(number * tenth, (number + 1) * tenth) for number in range(count)], duration=count * tenth)
    outer = [
        nested(inside, number * tenth, (number + 1) * tenth, (0, number * tenth), (tenth, (number + 1) * tenth))
        for number in range(count)
    ]
    start = time.process_time()
    _, clips, _ = look(sequence(outer, duration=count * tenth), 100_000)
    assert len(clips) == count
    assert time.process_time() - start < 3


def test_what_is_looked_at_between_rows_counts_too():
    """Each row is 100 seconds after the one before, with a hundred clips between them."""
    inside = sequence([still(number, number + 1) for number in range(1000)], duration=1000)
    fast = nested(inside, 0, 1, (0, 0), (1, 1000))
    with pytest.raises(TimelineError, match="more than the 500 clips"):
        look(sequence([fast]), 500)


@given(st.integers(0, 2**60), st.integers(1, 2**60), st.integers(-100, 100), st.integers(1, 10**6))
def test_times_of_rows_are_the_nearest_to_the_exact_ones(numerator, denominator, step, parts):
    grid = Grid(Fraction(numerator, denominator), Fraction(step, parts))
    exact = [float(Fraction(numerator, denominator) + row * Fraction(step, parts)) for row in range(5, 9)]
    assert grid.times(range(5, 9), Fraction(0)).tolist() == exact
