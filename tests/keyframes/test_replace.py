"""Predicted cells in a timeline: what was asked stands there, all else stays, and the file says the same."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframes.test_flatten import FULL, cells_of
from keyframes.test_xmeml_write import rewritten
from keyframes.test_xmeml_write import sequences as written_sequences
from keyframes.timelines import sequence, sequences, still
from millrace.keyframes.assets import asset_of
from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.flatten import flatten
from millrace.keyframes.key_fit import EXACT, TOLERANCE
from millrace.keyframes.params import AssetRule, Parse
from millrace.keyframes.reading import find_timelines, read_timeline
from millrace.keyframes.replace import RANGES, replace_cells
from millrace.keyframes.sampling import PARAMETERS, row_count
from millrace.keyframes.table import TRACKS
from millrace.keyframes.timeline import DEFAULTS, Sequence
from millrace.keyframes.writable import on_writable_frames
from millrace.keyframes.xmeml.write import write

F = Fraction
RATE = F(10)
OWN_RULES = AssetRule(name="^(intro|logo)$", asset=5), AssetRule(name="sting|logo", asset=4), AssetRule(asset=0)
NOTHING = np.float32([0, 0, *DEFAULTS.values()])
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@st.composite
def layouts(draw, rows):
    """Cells of a few tracks: on and off, with values that rest, step or run along lines, and a mask of any form."""
    cells, mask = np.tile(NOTHING, (rows, TRACKS, 1)), np.zeros((rows, TRACKS), bool)
    for track in draw(st.sets(st.integers(0, 5), min_size=1, max_size=3)):
        mask[:, track] = draw(st.sampled_from([True, True, False]))
        for _ in range(draw(st.integers(0, 2))):
            first = draw(st.integers(0, rows - 1))
            mask[first : first + draw(st.integers(1, rows)), track] ^= True
        for _ in range(draw(st.integers(0, 3))):
            first = draw(st.integers(0, rows - 1))
            part = cells[first : first + draw(st.integers(1, rows)), track]
            part[:] = NOTHING
            part[:, :2] = 1, draw(st.integers(0, 9))
            for name in draw(st.sets(st.sampled_from(PARAMETERS), max_size=3)):
                low, high = (max(min(edge, 300), -300) for edge in RANGES[name])
                ends = [draw(st.floats(low - 1, high + 1, width=32)) for _ in range(2)]
                column = np.linspace(*ends, len(part)) if draw(st.booleans()) else np.full(len(part), ends[0])
                part[:, 2 + PARAMETERS.index(name)] = column
    return cells, mask


@st.composite
def cases(draw, drawn):
    """A sequence, cells, their mask and their first row: inside, over the end, or behind it."""
    whole = on_writable_frames(draw(drawn), RATE)
    rows = draw(st.integers(1, 30))
    first = draw(st.integers(0, row_count(whole.duration, RATE)))
    return whole, *draw(layouts(rows)), first


def asked_assets(cells):
    """Classes as the default rules let a track have them."""
    tracks = np.arange(1, TRACKS + 1)
    wanted = np.where(tracks == 1, 0, np.where(tracks == 2, 1, np.maximum(cells[..., 1], 2)))
    return np.where(cells[..., 0] > 0, wanted, 0)


def check(case, tolerance, folder):
    whole, cells, mask, first = case
    result = replace_cells(whole, cells, mask, first_row=first, settings=FULL, tolerance=tolerance)
    before, after = cells_of(whole), cells_of(result)
    rows = max(row_count(whole.duration, RATE), first + len(cells))  # a sequence without tracks has no table
    assert after.shape[0] == rows
    expected = np.concatenate([before, np.tile(NOTHING, (rows - len(before), TRACKS, 1))])
    changed = np.zeros((rows, TRACKS), bool)
    changed[first : first + len(cells)] = mask
    assert after[~changed].tobytes() == expected[~changed].tobytes()
    found = after[first : first + len(cells)][mask]
    assert np.array_equal(found[:, 0], cells[mask][:, 0])
    assert np.array_equal(found[:, 1], asked_assets(cells)[mask])
    low, high = zip(*(RANGES[name] for name in PARAMETERS), strict=True)
    asked = np.where(cells[mask][:, :1] > 0, np.clip(cells[mask][:, 2:], low, high), NOTHING[2:])
    allowed = np.array([tolerance[name] for name in PARAMETERS]) + 1e-6 * (1 + np.abs(asked))
    assert (np.abs(found[:, 2:] - asked) <= allowed).all()
    back = rewritten(result, folder)
    assert cells_of(back).tobytes() == after.tobytes()
    assert media_of(back) == media_of(result)
    kept = {id(clip) for track in whole.tracks for clip in track.clips}
    made = [clip for track in result.tracks for clip in track.clips if id(clip) not in kept]
    old = [clip for track in whole.tracks for clip in track.clips]
    for clip in made:
        if clip.media_duration is not None and not any(is_part(clip, each) for each in old):
            assert clip.media_times[0][1] == 0 or max(media for _, media in clip.media_times) <= clip.media_duration
    return result


def is_part(clip, other):
    """Whether it is what was cut out of another."""
    return other.start <= clip.start and clip.end <= other.end and clip.name == other.name


def media_of(whole):
    return [
        (clip.name, clip.media, clip.media_id, clip.enabled, clip.media_duration)
        for track in whole.tracks
        for clip in track.clips
    ]


@settings(max_examples=40)
@given(cases(sequences()), st.sampled_from([TOLERANCE, EXACT]))
def test_cells_are_replaced_and_all_else_stays(tmp_path_factory, case, tolerance):
    check(case, tolerance, tmp_path_factory.getbasetemp())


@settings(max_examples=40)
@given(cases(written_sequences()))
def test_so_they_are_in_sequences_with_all_that_xmeml_has(tmp_path_factory, case):
    check(case, TOLERANCE, tmp_path_factory.getbasetemp())


@settings(max_examples=40)
@given(cases(sequences()))
def test_clips_that_no_replaced_row_touches_are_the_same_objects(case):
    whole, cells, mask, first = case
    result = replace_cells(whole, cells, mask, first_row=first, settings=FULL)
    for number, track in enumerate(whole.tracks):
        touched = [(first + row) / RATE for row in np.flatnonzero(mask[:, number])]
        kept = {id(clip) for clip in result.tracks[number].clips} if track.enabled else set()
        for clip in track.clips if track.enabled else ():
            if clip.enabled and not any(clip.start - 1 / RATE < time < clip.end + 1 / RATE for time in touched):
                assert id(clip) in kept


def one_track(*clips, track=3, duration=4):
    return sequence(*([[]] * (track - 1)), list(clips), duration=duration)


def on(rows, asset, track=3, **values):
    cells, mask = np.tile(NOTHING, (rows, TRACKS, 1)), np.zeros((rows, TRACKS), bool)
    cells[:, track - 1, :2] = 1, asset
    for name, value in values.items():
        cells[:, track - 1, 2 + PARAMETERS.index(name)] = value
    mask[:, track - 1] = True
    return cells, mask


def continued(whole, cells, mask, first_row=40, track=3, parse=FULL):
    return replace_cells(whole, cells, mask, first_row=first_row, settings=parse).tracks[track - 1].clips


def test_a_continuation_goes_on_with_the_media_of_the_clip_that_it_touches():
    clip = replace(still(0, 4, "a.png", scale=50), local_start=F(90), media="a.png", media_id="f")
    clip = replace(clip, media_times=((F(0), F(90)), (F(4), F(94))))
    whole = one_track(clip)
    found = replace_cells(whole, *on(20, 3, scale=80, x=np.linspace(0, 1, 20)), first_row=40, settings=FULL)
    before, after = found.tracks[2].clips
    assert found.duration == 6
    assert before is clip
    assert (after.name, after.media, after.media_id) == ("a.png", "a.png", "f")
    assert (after.start, after.end, after.local_start) == (4, 6, 94)
    assert after.media_times == ((0, 94), (2, 96))
    assert after.animation["scale"].keys == Curve.constant(80.0).keys
    assert [(key.time, key.value) for key in after.animation["x"].keys] == [(94, 0), (F(959, 10), 1)]


def test_it_keeps_the_pace_of_the_media_but_not_beyond_its_beginning():
    clip = replace(still(0, 4, "class 5"), kind="media", media="b.mov", media_times=((F(0), F(9)), (F(4), F(1))))
    (_, after) = continued(one_track(clip), *on(10, 5))
    assert after.media_times == ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("times", "known", "expected"),
    [
        ((0, 4), 5, (3, 5)),  # as early as needed to fit
        ((0, 4), 6, (4, 6)),
        ((0, 4), 4, (2, 4)),
        ((0, 4), None, (4, 6)),
        ((0, 4), F(3, 2), (0, 2)),  # too short: from its beginning, and nothing is known of the rest
        ((5, 9), 7, (5, 7)),  # the clip itself runs past the end
        ((0, 2), F(5, 2), (F(3, 2), F(5, 2))),  # at half its pace
        ((0, 8), 9, (5, 9)),
        ((9, 5), 10, (5, 3)),  # backwards
        ((9, 5), 4, (4, 2)),
        ((7, 7), 5, (5, 5)),  # held
    ],
)
def test_a_new_clip_does_not_run_past_the_end_of_its_media(times, known, expected):
    first, last = map(F, times)
    clip = replace(still(0, 4, "class 5"), media="b.mov", local_start=first, media_duration=known and F(known))
    clip = replace(clip, media_times=((F(0), first), (F(4), last)))
    (_, after) = continued(one_track(clip), *on(20, 5))
    assert after.media_times == ((0, expected[0]), (2, expected[1]))
    assert after.media_duration == clip.media_duration
    if last - first == 4:
        assert after.local_start == expected[0]


def test_nor_where_it_shows_another_clip_of_the_file():
    clip = replace(still(0, 1, "class 5"), media="b.mov", media_times=((F(0), F(4)), (F(1), F(5))), media_duration=F(5))
    cells, mask = on(20, 5, track=4)
    (only,) = continued(one_track(clip), cells, mask, track=4)
    assert only.media_times == ((0, 3), (2, 5))


@pytest.mark.parametrize(
    "changes", [{"media": "a%20b.JPG"}, {"name": "class 5.png"}, {"kind": "generator", "media": None}]
)
def test_stills_and_generators_have_no_end(changes):
    clip = replace(still(0, 4, "class 5"), media="b.mov", media_duration=F(4, 100))
    clip = replace(clip, **changes)
    (_, after) = continued(one_track(clip), *on(20, asset_of(clip, 3, FULL.assets)))
    assert after.media_times == ((0, 4), (2, 6))


def test_media_of_the_class_are_looked_for_on_the_track_and_then_in_the_file():
    clips = [replace(still(start, start + 1, name), media=name) for start, name in enumerate(["a.png", "b.png", "c"])]
    whole = one_track(*clips)
    assert continued(whole, *on(10, 3))[-1].name == "b.png"
    assert continued(whole, *on(10, 3))[-1].media_times[0] == (0, 1)
    cells, mask = on(10, 3, track=5)
    assert continued(whole, cells, mask, track=5)[-1].name == "a.png"
    assert continued(whole, cells, mask, track=5)[-1].media_times[0] == (0, 0)


@pytest.mark.parametrize(
    ("asset", "rules", "name"),
    [
        (3, FULL.assets, "asset 3.png"),
        (2, FULL.assets, "asset 2"),
        (7, FULL.assets, "class 7"),
        (
            4,
            (AssetRule(name="^(intro|logo)$", asset=5), AssetRule(name="sting|logo", asset=4), AssetRule(asset=0)),
            "sting asset 4",
        ),
        (1, FULL.assets, "asset 1"),  # nothing but track 2 gives it
    ],
)
def test_without_any_a_generator_says_what_it_stands_for(asset, rules, name):
    parse = Parse(rotation_and_opacity=True, assets=rules)
    (clip,) = continued(one_track(), *on(10, asset), parse=parse)
    assert (clip.kind, clip.media, clip.media_id, clip.name) == ("generator", None, None, name)
    if asset != 1:
        assert asset_of(clip, 3, rules) == asset


def test_clips_are_cut_where_rows_are_replaced_and_keep_what_they_show():
    slide = Curve([Key(F(0), 0.0), Key(F(4), 1.0)])
    clip = replace(still(0, 4, "c"), animation={"x": slide})
    cells, mask = on(10, 3)
    cells[:4, :, 0] = 0
    before, new, after = continued(one_track(clip), cells, mask, first_row=15)
    # Rows 15, 19 and 25 lie at frames 37.5, 47.5 and 62.5.
    assert [(each.start * 25, each.end * 25) for each in (before, new, after)] == [(0, 37), (47, 62), (62, 100)]
    assert (after.local_start, after.media_times[0][1]) == (after.start, after.start)
    assert before.animation["x"].keys == after.animation["x"].keys == slide.keys
    assert (new.name, new.kind) == ("asset 3.png", "generator")


def test_existing_cuts_between_rows_are_kept():
    clips = [still(0, "1.04", "c"), still("1.04", "2.08", "c"), still("2.08", 4, "c")]
    found = continued(one_track(*clips), *on(10, 3), first_row=11)
    assert [(clip.start, clip.end) for clip in found] == [
        (0, F("1.04")),
        (F("1.04"), F("2.08")),
        (F("2.08"), 4),
    ]
    assert found[0] is clips[0]
    assert found[2] is clips[2]


def test_few_keys_are_written(tmp_path):
    line = np.linspace(100, 150, 50)
    cells, mask = on(50, 2, scale=line, x=0.25, opacity=60)
    (clip,) = continued(one_track(), cells, mask, first_row=0)
    assert {name: len(curve.keys) for name, curve in clip.animation.items()} == {"scale": 2, "x": 1, "opacity": 1}
    write(replace_cells(one_track(), cells, mask, first_row=0, settings=FULL), tmp_path / "a.xml")
    assert (tmp_path / "a.xml").read_text().count("<keyframe>") == 2


def test_a_disabled_track_shows_the_new_clip_and_nothing_else():
    whole = sequence([still(0, 2), still(2, 4)])
    whole.tracks[0].enabled = False
    cells, mask = on(10, 0, track=1)
    track = replace_cells(whole, cells, mask, first_row=0, settings=FULL).tracks[0]
    assert track.enabled
    assert [(clip.start, clip.end, clip.enabled) for clip in track.clips] == [
        (0, 1, True),
        (1, 2, False),
        (2, 4, False),
    ]
    cells[..., 0] = 0
    assert replace_cells(whole, cells, mask, first_row=0, settings=FULL).tracks == whole.tracks


def test_what_nine_columns_do_not_tell_stays_at_rest():
    clip = still(0, 4, "c", opacity=50, rotation=10)
    whole = one_track(clip)
    cells, mask = on(10, 2, scale=50)
    (_, after) = continued(whole, cells[..., :9], mask)
    assert {name: curve.keys[0].value for name, curve in after.animation.items()} == {
        "scale": 50,
        "opacity": 50,
        "rotation": 10,
    }
    (_, after) = continued(whole, cells, mask)
    assert set(after.animation) == {"scale"}


@pytest.mark.parametrize(
    ("shape", "mask_shape", "first", "message"),
    [
        ((5, 20, 10), (5, 20), 0, "shape"),
        ((5, 19, 9), (5, 19), 0, "shape"),
        ((5, 20, 9), (4, 20), 0, "replaced is"),
        ((5, 20, 9), (5, 20), -1, "first_row is -1"),
    ],
)
def test_what_does_not_fit_is_refused(shape, mask_shape, first, message):
    with pytest.raises(ValueError, match=message):
        replace_cells(
            one_track(), np.zeros(shape, np.float32), np.ones(mask_shape, bool), first_row=first, settings=FULL
        )


def test_values_that_are_not_finite_are_refused():
    cells, mask = on(5, 2, scale=np.nan)
    with pytest.raises(ValueError, match="not finite"):
        continued(one_track(), cells, mask)
    mask[:] = False
    assert continued(one_track(), cells, mask) == []


def test_opentimelineio_loads_what_is_written(tmp_path):
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_fcp_adapter")
    cells, mask = on(20, 2, scale=np.linspace(100, 120, 20))
    for track, asset in ((1, 0), (6, 7), (8, 3)):
        more, more_mask = on(20, asset, track=track, x=0.1)
        cells[:, track - 1], mask[:, track - 1] = more[:, track - 1], more_mask[:, track - 1]
    clip = replace(
        still(0, 4, "c"), media="c.mp4", media_id="f", media_times=((F(0), F(2)), (F(4), F(6))), local_start=F(2)
    )
    result = replace_cells(one_track(clip), cells, mask, first_row=35, settings=FULL)
    write(result, tmp_path / "a.xml")
    timeline = otio.adapters.read_from_file(str(tmp_path / "a.xml"), "fcp_xml")
    found = [
        [
            (each.name, each.range_in_parent().start_time.to_seconds(), each.duration().to_seconds())
            for each in track.find_clips()
        ]
        for track in timeline.video_tracks()
    ]
    ours = [
        [(each.name, float(each.start), float(each.end - each.start)) for each in track.clips]
        for track in result.tracks
    ]
    assert found == ours
    assert len(found) == 8


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_what_goes_on_with_real_media_shows_frames_that_exist(tmp_path):
    """In premiere_example.xml one clip shows its media to the end, and the longest have 400 frames."""
    (real,) = read_timeline(Path(SHARED or "") / "keyframes/otio-fcp-adapter/premiere_example.xml", FULL).sequences
    whole = on_writable_frames(flatten(real, RATE, 10_000), RATE)
    lengths = {clip.name: clip.media_duration for track in whole.tracks for clip in track.clips}
    assert lengths["sc01_sh010_anim.mov"] == F(100, 30)
    before = cells_of(whole)
    fullest = before[before[..., 0].sum(1).argmax()]
    repeated, everything = np.repeat(fullest[None], 20, axis=0), np.ones((20, TRACKS), bool)
    result = replace_cells(whole, repeated, everything, first_row=len(before), settings=FULL)
    back = rewritten(result, tmp_path)
    made = [clip for track in back.tracks for clip in track.clips if clip.start >= whole.duration]
    assert [clip.media_duration for clip in made] == [lengths[clip.name] for clip in made]
    known = [clip for clip in made if clip.media_duration is not None]
    assert known
    assert all(clip.media_times[-1][1] <= clip.media_duration for clip in known)


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_timelines_go_on(tmp_path):
    """Each real sequence, with its last row repeated twenty times."""
    files, problems = find_timelines(Path(SHARED or "") / "keyframes")
    assert problems == []
    done = 0
    for _, path in files:
        if path.name in ("premiere_example_filter.xml", "fcpx_clips.fcpxml"):  # no timelines
            continue
        for real in read_timeline(path, FULL).sequences:
            done += bool(len(tail(real, tmp_path)))
    assert done == 42


def tail(real: Sequence, folder: Path):
    flat = flatten(real, RATE, 10_000)
    whole = on_writable_frames(flat, RATE)
    before = cells_of(whole)
    assert np.allclose(before, cells_of(real), rtol=1e-6, atol=1e-6)
    if len(before):
        repeated, everything = np.repeat(before[-1:], 20, axis=0), np.ones((20, TRACKS), bool)
        result = replace_cells(whole, repeated, everything, first_row=len(before), settings=FULL)
        after = cells_of(result)
        assert after.tobytes() == np.concatenate([before, repeated]).tobytes()
        assert cells_of(rewritten(result, folder)).tobytes() == after.tobytes()
    return before
