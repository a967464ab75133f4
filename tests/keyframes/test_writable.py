"""Any sequence in a form that xmeml can say, with the same clips in the same rows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframes.test_flatten import cells_of
from keyframes.test_xmeml_write import rewritten
from keyframes.test_xmeml_write import sequences as written_sequences
from keyframes.timelines import sequence, sequences, still
from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.key_fit import TOLERANCE
from millrace.keyframes.params import Parse
from millrace.keyframes.sampling import PARAMETERS
from millrace.keyframes.timeline import Clip, Sequence, Track
from millrace.keyframes.writable import frame_of_row, on_writable_frames, writable_rate
from millrace.keyframes.xml_events import TimelineError

F = Fraction
NTSC = F(1000, 1001)
EDGES = st.fractions(0, 15, max_denominator=1000)
ODD_RATES = (F(599, 10), F(2398, 100), F(8), F(1, 2), F(30), F(30000, 1001), F(1234567, 45678))
ROW_RATES = (10.0, 12.5, 7.3, 29.97)


@st.composite
def odd_sequences(draw):
    """As no editor would write them: any rate, edges and axes anywhere, curves that xmeml has no words for."""
    drawn = draw(sequences())
    scale, rate = draw(st.fractions(F(1, 2), 2, max_denominator=97)), draw(st.sampled_from(ODD_RATES))
    shift = draw(EDGES)
    for track in drawn.tracks:
        track.clips = [stretched(clip, scale, shift) for clip in track.clips]
    return replace(drawn, frame_rate=rate, duration=drawn.duration * scale)


def stretched(clip, scale, shift):
    length = (clip.end - clip.start) * scale
    return replace(
        clip,
        start=clip.start * scale,
        end=clip.end * scale,
        local_start=clip.local_start + shift,
        media_times=((F(0), shift), (length, shift + length)),
    )


@settings(max_examples=40)
@given(odd_sequences(), st.sampled_from(ROW_RATES))
def test_rows_show_the_same_and_the_file_can_be_written(drawn, row_rate):
    parse = Parse(rate=row_rate, rotation_and_opacity=True)
    found = on_writable_frames(drawn, F(str(row_rate)))
    assert found.frame_rate >= max(drawn.frame_rate, F(str(row_rate)))
    before, after = (cells_of(each, parse) for each in (drawn, found))
    assert np.array_equal(before[..., :2], after[..., :2])
    allowed = np.array([TOLERANCE[name] for name in PARAMETERS]) + 1e-6 * (1 + np.abs(before[..., 2:]))
    assert (np.abs(after[..., 2:] - before[..., 2:]) <= allowed).all()
    assert on_writable_frames(found, F(str(row_rate))) is found


@settings(max_examples=40)
@given(odd_sequences())
def test_what_is_read_back_has_the_same_table(tmp_path_factory, drawn):
    found = on_writable_frames(drawn, F(10))
    assert cells_of(rewritten(found, tmp_path_factory.getbasetemp())).tobytes() == cells_of(found).tobytes()


@settings(max_examples=40)
@given(written_sequences())
def test_what_xmeml_says_already_is_the_same_object(tmp_path_factory, drawn):
    read = rewritten(drawn, tmp_path_factory.getbasetemp())
    assert on_writable_frames(read, F(10)) is read


@given(EDGES, st.sampled_from(ODD_RATES), st.sampled_from([F(str(rate)) for rate in ROW_RATES]))
def test_an_edge_stays_between_its_rows(edge, rate, row_rate):
    found = writable_rate(rate, row_rate)
    shown = Sequence("", rate, 0, 0, F(20), [Track([replace(still(0, 20), start=edge, media_times=to_end(edge))])])
    (clip,) = on_writable_frames(shown, row_rate).tracks[0].clips
    assert (clip.start * found).denominator == 1
    assert -(-clip.start * row_rate // 1) == -(-edge * row_rate // 1)  # ceil: the first row at or after it
    assert abs(clip.start - edge) < 1 / found


def to_end(edge):
    return (F(0), F(0)), (20 - edge, 20 - edge)


@pytest.mark.parametrize(
    ("rate", "row_rate", "found"),
    [
        (F(599, 10), F(10), F(60)),
        (F(2398, 100), F(10), F(30)),
        (F(8), F(10), F(10)),
        (30 * NTSC, F(10), 30 * NTSC),
        (F(24), F(10), F(24)),
        (F(8), F(2997, 100), 30 * NTSC),
        (F(59, 2), F(7), F(35)),
    ],
)
def test_rates(rate, row_rate, found):
    assert writable_rate(rate, row_rate) == found


def test_too_many_rows_for_any_rate_are_refused():
    with pytest.raises(TimelineError, match="no frame rate for 25 frames and 1001 rows"):
        writable_rate(F(25), F(1001))


def test_clips_of_no_row_and_no_frame_go():
    short = replace(still(0, 1, "gone"), start=F(101, 100), end=F(102, 100), media_times=((0, 0), (F(1, 100), 0)))
    found = on_writable_frames(sequence([still(0, 1), short, still(2, 3)]), F(10))
    assert [clip.name for clip in found.tracks[0].clips] == ["a", "a"]


def test_what_lies_behind_the_end_goes():
    found = on_writable_frames(sequence([still(0, 5), still(6, 7)], duration=4), F(10))
    assert [(clip.start, clip.end) for clip in found.tracks[0].clips] == [(0, 4)]


def test_curves_that_xmeml_has_no_words_for_become_lines():
    held = Curve([Key(F(0), 0.0, "hold"), Key(F(1), 0.5)])
    moving = Curve([Key(F(0), 0.0), Key(F(2), 1.0)])
    smooth = Curve([Key(F(0), 50.0, "bezier", (0, 0), (0.5, 0)), Key(F(1), 80.0, "bezier", (-0.5, 0), (0, 0))])
    clip = replace(still(0, 4), animation={"x": held, "y": moving, "scale": smooth})
    whole = sequence([clip])
    (found,) = on_writable_frames(whole, F(10)).tracks[0].clips
    assert found.animation["scale"].keys == smooth.keys
    assert [key.time for key in found.animation["x"].keys] == [0, F(9, 10), 1, 2]
    assert np.allclose(cells_of(sequence([found])), cells_of(whole), rtol=1e-6, atol=1e-6)


def test_an_axis_that_begins_before_zero_begins_at_zero():
    slide = Curve([Key(F(-1), 0.0), Key(F(1), 1.0)])
    clip = Clip("a", "media", F(0), F(2), F(-1), ((F(0), F(3)), (F(2), F(5))), animation={"x": slide})
    (found,) = on_writable_frames(sequence([clip]), F(10)).tracks[0].clips
    assert (found.local_start, [key.time for key in found.animation["x"].keys]) == (0, [0, 2])
    assert found.media_times == clip.media_times


def test_the_last_frame_that_is_not_after_a_row():
    assert [frame_of_row(row, 30 * NTSC, F(10)) * 30 * NTSC for row in (0, 1, 2, 334)] == [0, 2, 5, 1000]
