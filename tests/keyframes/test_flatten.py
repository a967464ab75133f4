"""Nested sequences taken apart: the same table."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframes.timelines import nested, sequence, sequences, still
from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.flatten import between, flatten, media_at
from millrace.keyframes.key_fit import EXACT, TOLERANCE
from millrace.keyframes.params import Parse
from millrace.keyframes.sampling import PARAMETERS
from millrace.keyframes.table import CELL, TRACKS, columns, tabulate
from millrace.keyframes.timeline import Track
from millrace.keyframes.xml_events import TimelineError

F = Fraction
RATE = F(10)
FULL = Parse(rotation_and_opacity=True)


def cells_of(sequence, settings=FULL):
    table = tabulate(sequence, "v", settings).table
    return table[columns(rotation_and_opacity=True)].to_numpy(np.float32).reshape(-1, TRACKS, len(CELL))


@st.composite
def nests(draw):
    """Random sequences in which some clips show other random ones: shifted, faster, backwards or standing still."""
    outer, inner = draw(sequences()), draw(sequences())
    if draw(st.booleans()):
        deepest = draw(sequences())
        inner.tracks[0].clips = [shows(draw, clip, deepest) for clip in inner.tracks[0].clips]
    for track in outer.tracks:
        track.clips = [shows(draw, clip, inner) if draw(st.booleans()) else clip for clip in track.clips]
    return outer


def shows(draw, clip, inside):
    length = clip.end - clip.start
    first, last = (draw(st.integers(0, 100)) * inside.duration / 100 for _ in range(2))
    middle = (length / 3, draw(st.integers(0, 100)) * inside.duration / 100)
    times = ((F(0), first), *([middle] if draw(st.booleans()) else []), (length, last))
    return replace(clip, kind="nested", sequence=inside, media_times=times, media=None, media_id=None)


@given(nests(), st.sampled_from([TOLERANCE, EXACT]))
def test_the_table_stays(outer, tolerance):
    before, flat = cells_of(outer), flatten(outer, RATE, 1000, tolerance)
    after = cells_of(flat)
    assert not any(clip.kind == "nested" for track in flat.tracks for clip in track.clips)
    assert np.array_equal(before[..., :2], after[..., :2])
    allowed = np.array([tolerance[name] for name in PARAMETERS]) + 1e-6 * (1 + np.abs(before[..., 2:]))
    assert (np.abs(after[..., 2:] - before[..., 2:]) <= allowed).all()
    for track in flat.tracks:
        for left, right in zip(track.clips, track.clips[1:], strict=False):
            assert left.end <= right.start


def test_plain_sequences_are_the_same_object():
    plain = sequence([still(0, 1)])
    assert flatten(plain, RATE, 10) is plain


def test_tracks_without_nested_clips_are_kept():
    inside = sequence([still(0, 2, "low")], [still(1, 2, "high", scale=50)])
    tracks = [still(0, 4, "a")], [still(0, 1, "b"), nested(inside, 1, 3, x=0.25), still(3, 4, "c")], [still(0, 4, "d")]
    whole = sequence(*tracks)
    flat = flatten(whole, RATE, 10)
    assert flat.tracks[0] is whole.tracks[0]
    assert flat.tracks[3] is whole.tracks[2]
    assert [[clip.name for clip in track.clips] for track in flat.tracks] == [["a"], ["b", "low", "c"], ["high"], ["d"]]
    (high,) = flat.tracks[2].clips
    assert (high.start, high.end, high.media_times[0][1]) == (2, 3, 0)
    assert {name: curve.keys for name, curve in high.animation.items()} == {
        "scale": Curve.constant(50).keys,
        "x": Curve.constant(0.25).keys,
    }
    assert flat.tracks[1].clips[0] is whole.tracks[1].clips[0]


def test_media_run_as_they_are_seen():
    """Inside, the media runs at double speed from 10 s on; outside, backwards, faster and not at all."""
    inner = replace(still(0, 4), media_times=((F(0), F(10)), (F(4), F(18))))
    clips = [
        nested(sequence([inner]), 0, 1, (0, 3), (1, 2)),
        nested(sequence([inner]), 1, 2, (0, 0), (1, 4)),
        nested(sequence([inner]), 2, 3, (0, 1), (1, 1)),
    ]
    (track,) = flatten(sequence(clips), RATE, 10).tracks
    assert [clip.media_times for clip in track.clips] == [
        ((0, 16), (1, 14)),
        ((0, 10), (1, 18)),
        ((0, 12), (1, 12)),
    ]


def test_a_change_of_speed_inside_is_kept():
    inner = replace(still(0, 4), media_times=((F(0), F(0)), (F(2), F(2)), (F(4), F(8))))
    (track,) = flatten(sequence([nested(sequence([inner]), 0, 2, (0, 0), (2, 4))]), RATE, 10).tracks
    assert track.clips[0].media_times == ((0, 0), (1, 2), (2, 8))


def test_what_is_switched_off_stays_unseen():
    inside = sequence([still(0, 4)])
    off = replace(nested(inside, 0, 2), enabled=False)
    flat = flatten(sequence([off, still(2, 4)]), RATE, 10)
    assert [[clip.name for clip in track.clips] for track in flat.tracks] == [["a"]]
    whole = sequence([nested(inside, 0, 2)], [still(0, 4)])
    whole.tracks[0].enabled = False
    assert flatten(whole, RATE, 10).tracks == [Track([], enabled=False), whole.tracks[1]]


def test_more_clips_than_allowed_are_refused():
    inside = sequence([still(second, second + 1) for second in range(4)])
    with pytest.raises(TimelineError, match="max_clips"):
        flatten(sequence([nested(inside, 0, 4)]), RATE, 3)


def test_moving_nests_keep_few_keys():
    slide = {"x": Curve([Key(F(0), 0.0), Key(F(2), 1.0)])}
    outer = replace(nested(sequence([still(0, 4, scale=50)]), 0, 4), animation=slide)
    (clip,) = flatten(sequence([outer]), RATE, 10).tracks[0].clips
    assert [(key.time, key.value) for key in clip.animation["x"].keys] == [(0, 0), (2, 1)]


def test_edges_move_and_what_is_shown_stays():
    clip = replace(still(1, 3), local_start=F(5), media_times=((F(0), F(5)), (F(1), F(7)), (F(2), F(7))))
    assert between(clip, F(1), F(3)) is clip
    part = between(clip, F(3, 2), F(5, 2))
    assert (part.local_start, part.media_times) == (F(11, 2), ((0, 6), (F(1, 2), 7), (1, 7)))
    assert between(clip, F(1, 2), F(7, 2)).media_times == ((0, 4), (F(3, 2), 7), (3, 7))
    assert media_at(clip.media_times, F(-1)) == 3


def test_a_speed_graph_of_many_keys_is_taken_apart_at_once():
    keys = 20_000
    graph = tuple((F(number, keys), F(number, keys // 2)) for number in range(keys + 1))
    inner = replace(still(0, 1), media_times=graph)
    start = time.process_time()
    (track,) = flatten(sequence([nested(sequence([inner]), 0, 1)], duration=1), RATE, 10).tracks
    assert time.process_time() - start < 3
    assert track.clips[0].media_times == graph
