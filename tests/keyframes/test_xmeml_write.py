"""What is written is read back: the same clips at the same times, the same curves, the same table."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from keyframes.xmeml_files import LIMITS, TICKS
from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.params import Parse
from millrace.keyframes.table import tabulate
from millrace.keyframes.timeline import DEFAULTS, Clip, Sequence, Track
from millrace.keyframes.xmeml.read import read
from millrace.keyframes.xmeml.write import write
from millrace.keyframes.xmeml.write_keys import is_still
from millrace.keyframes.xml_events import TimelineError

F = Fraction
RATE = F(30)
RATES = (F(60), F(30000, 1001), F(59), F(60000, 1001), F(24))
EVERYTHING = Parse(rotation_and_opacity=True)
SCALARS = sorted(set(DEFAULTS) - {"x", "y"})
NUMBERS = st.one_of(st.integers(-200, 200).map(float), st.floats(-1e6, 1e6))
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=8).map(str.strip)
LINES = st.sampled_from(("linear", "hold"))


def frames_of(draw, least=1):
    return sorted(draw(st.sets(st.integers(-50, 300), min_size=least, max_size=4)))


@st.composite
def scalar(draw, rate):
    """Constant, straight, held or Bezier keys at whole frames of `rate`."""
    if draw(st.booleans()):
        return Curve.constant(draw(NUMBERS))
    keys = []
    for frame in frames_of(draw):
        ease = draw(st.sampled_from(("linear", "hold", "bezier")))
        handles = {}
        if ease == "bezier":
            lengths = draw(st.tuples(st.integers(0, 40), st.integers(1, 40)))
            handles = {
                "reach_in": (-lengths[0] / float(rate), draw(NUMBERS)),
                "reach_out": (lengths[1] / float(rate), draw(NUMBERS)),
            }
        keys.append(Key(frame / rate, draw(NUMBERS), ease, **handles))
    return Curve(keys)


@st.composite
def center(draw, rate):
    """Curves of x and y with straight and held keys in common, or of one of them."""
    frames = [0] if draw(st.booleans()) else frames_of(draw, least=2)
    eases = ["linear"] if frames == [0] else [*(draw(LINES) for _ in frames[1:]), "linear"]  # nothing follows the last
    made = {}
    for axis in draw(st.sampled_from((("x",), ("y",), ("x", "y")))):
        made[axis] = Curve([Key(frame / rate, draw(NUMBERS), ease) for frame, ease in zip(frames, eases, strict=True)])
    return {} if all(is_still(curve) for curve in made.values()) and len(frames) > 1 else made


@st.composite
def media_times(draw, rate, local, length):
    """At the media's own pace from `in` on, in other steps, or by ticks a little beside the frame."""
    how = draw(st.sampled_from(("plain", "plain", "retimed", "ticks")))
    if how == "ticks":
        start = F(int(local * TICKS) + draw(st.integers(-(10**9), 10**9)), TICKS)
        return ((F(0), start), (length, start + length)) if start >= 0 else ((F(0), local), (length, local + length))
    if how == "plain":
        return (F(0), local), (length, local + length)
    inner = draw(st.sets(st.integers(1, int(length * rate)), max_size=2)) - {int(length * rate)}
    stops = [F(0), *sorted(frame / rate for frame in inner), length]
    return tuple((stop, draw(st.integers(0, 5000)) / rate) for stop in stops)


@st.composite
def clips(draw, rate):
    made, frame = [], 0
    for _ in range(draw(st.integers(0, 3))):
        start = frame + draw(st.integers(0, 40))
        frame = start + draw(st.integers(1, 120))
        own = draw(st.sampled_from((rate, rate, F(25))))
        local, length = draw(st.integers(0, 300_000)) / own, (frame - start) / rate
        animation = {name: draw(scalar(own)) for name in draw(st.sets(st.sampled_from(SCALARS), max_size=3))}
        animation |= draw(center(own))
        media = draw(st.sampled_from((None, "file://localhost/C%3a/a%20b.mp4", "../../m & <n>.png")))
        kind = draw(st.sampled_from(("media", "generator")))
        known = kind == "media" and not (media or "").endswith("png") and draw(st.booleans())
        made.append(
            Clip(
                name=draw(NAMES),
                kind=kind,
                start=start / rate,
                end=frame / rate,
                local_start=local,
                media_times=draw(media_times(rate, local, length)),
                media=media if kind == "media" else None,
                media_id=draw(st.sampled_from((None, "file-1", "file-2"))),
                animation={name: curve for name, curve in animation.items() if not at_default(name, curve)},
                enabled=draw(st.integers(0, 4)) > 0,
                media_duration=draw(st.sampled_from((1, 100, 100, 299_999))) / own if known else None,
            )
        )
    return made


@st.composite
def sequences(draw):
    rate = draw(st.sampled_from(RATES))
    tracks = [Track(draw(clips(rate)), draw(st.integers(0, 4)) > 0) for _ in range(draw(st.integers(0, 3)))]
    end = max((clip.end for track in tracks for clip in track.clips), default=F(0))
    width, height = draw(st.sampled_from(((1080, 1920), (0, 0))))
    return Sequence(draw(NAMES), rate, width, height, end + draw(st.integers(0, 20)) / rate, tracks)


def at_default(name, curve):
    return is_still(curve) and curve.keys[0].value == DEFAULTS[name]


def rewritten(sequence, folder):
    path = folder / "written.xml"
    write(sequence, path)
    (found,) = read(path, **LIMITS).sequences
    return found


def plain(sequence):
    """All of it as values that compare; a key without handles is straight, whatever it calls itself."""
    tracks = []
    for track in sequence.tracks:
        shown = []
        for clip in track.clips:
            curves = {
                name: [
                    replace(key, ease="linear")
                    if key.reach_in == key.reach_out == (0, 0) != key.ease == "bezier"
                    else key
                    for key in curve.keys
                ]
                for name, curve in clip.animation.items()
            }
            shown.append((replace(clip, animation={}), curves))
        tracks.append((shown, track.enabled))
    return replace(sequence, tracks=[]), tracks


@given(sequence=sequences())
def test_what_is_written_is_read_back(sequence, tmp_path_factory):
    found = rewritten(sequence, tmp_path_factory.getbasetemp())
    assert plain(found) == plain(sequence)
    tables = [tabulate(each, "v", EVERYTHING).table for each in (found, sequence)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def clip_with(**animation):
    end = F(3)
    return Clip("a", "media", F(0), end, F(1), ((F(0), F(1)), (end, F(4))), "a.mp4", "f", animation)


def sequence_of(*clips, rate=RATE, tracks=1):
    return Sequence("main", rate, 1080, 1920, F(3), [Track(list(clips)) for _ in range(tracks)])


def eased(*values, flat=True):
    """Keys a second apart as FCPXML's smooth ones: handles of a third, flat or along the line."""
    keys = []
    for index, value in enumerate(values):
        before = (values[index - 1] - value) / 3 if index and not flat else 0.0
        after = (values[index + 1] - value) / 3 if index + 1 < len(values) and not flat else 0.0
        keys.append(Key(F(1 + index), value, "bezier", (-1 / 3 if index else 0.0, before), (1 / 3, after)))
    return Curve(keys)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (eased(0.0, 1.0), eased(0.5, -0.5)),  # flat at both ends: no handle says that it is curved
        (eased(0.0, 1.0, 3.0), Curve.constant(0.25)),
        (eased(0.0, 1.0), Curve([Key(F(1), 0.0), Key(F(2), 1.0), Key(F(5, 2), 0.0)])),
        (eased(0.0, 1.0, flat=False), eased(0.0, 3.0)),
        (Curve([Key(F(1), 0.0), Key(F(3), 2.0)]), Curve([Key(F(3, 2), 1.0), Key(F(2), 2.0)])),
        (Curve([Key(F(1), 0.0, "hold"), Key(F(3), 2.0)]), Curve([Key(F(2), 1.0, "hold"), Key(F(3), 2.0)])),
    ],
)
def test_axes_with_keys_of_their_own_become_one_point(x, y, tmp_path):
    (found,) = rewritten(sequence_of(clip_with(x=x, y=y)), tmp_path).tracks[0].clips
    times = np.linspace(0, 4, 401)
    for name, curve in (("x", x), ("y", y)):
        assert found.animation[name].at(times) == pytest.approx(curve.at(times), abs=1e-9)


def test_bent_paths_of_real_form_come_back_key_by_key(tmp_path):
    third = 1 / 3
    keys = [
        Key(F(1), 0.0, "bezier", (0.0, 0.0), (third, 0.5)),
        Key(F(2), 1.0, "bezier", (-third, -0.5), (third, 0.0)),
        Key(F(3), 0.0, "linear", (-third, 0.0), (0.0, 0.0)),
    ]
    (found,) = rewritten(sequence_of(clip_with(x=Curve(keys))), tmp_path).tracks[0].clips
    assert [(key.time, key.value, key.ease) for key in found.animation["x"].keys] == [
        (key.time, key.value, key.ease) for key in keys
    ]
    times = np.linspace(1, 3, 99)
    assert found.animation["x"].at(times) == pytest.approx(Curve(keys).at(times), abs=1e-12)


def test_equal_sequences_are_equal_bytes_with_each_file_in_full_once(tmp_path):
    first = clip_with(scale=Curve.constant(150.0))
    second = replace(first, start=F(3), end=F(6), enabled=False)
    paths = [tmp_path / "a.xml", tmp_path / "b.xml"]
    for path in paths:
        write(sequence_of(first, second), path)
    text = paths[0].read_text()
    assert text == paths[1].read_text()
    assert text.startswith("<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE xmeml>\n<xmeml version=\"4\">")
    assert (text.count("<pathurl>a.mp4</pathurl>"), text.count('<file id="f"/>')) == (1, 1)
    assert "<value>150</value>" in text
    assert "rotation" not in text


def test_opentimelineio_loads_it_with_the_same_ranges(tmp_path):
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_fcp_adapter")
    moving = clip_with(scale=Curve([Key(F(1), 100.0), Key(F(2), 120.0)]), x=Curve.constant(0.5))
    one_second = {"media_times": ((F(0), F(1)), (F(1), F(2))), "media": None}
    graphic = replace(moving, kind="generator", media_id="g", start=F(4), end=F(5), **one_second)
    text = replace(graphic, media_id=None, start=F(6), end=F(7), animation={})
    write(sequence_of(moving, graphic, text, tracks=2), tmp_path / "a.xml")
    timeline = otio.adapters.read_from_file(str(tmp_path / "a.xml"), "fcp_xml")
    assert timeline.name == "main"
    assert len(timeline.video_tracks()) == 2
    for track in timeline.video_tracks():
        found = list(track.find_clips())
        spans = [clip.range_in_parent() for clip in found]
        assert [
            (span.start_time.to_seconds(), span.duration.to_seconds(), clip.source_range.start_time.to_seconds())
            for span, clip in zip(spans, found, strict=True)
        ] == [
            (float(clip.start), float(clip.end - clip.start), float(clip.local_start))
            for clip in (moving, graphic, text)
        ]
        assert found[0].media_reference.target_url == "a.mp4"
        assert found[1].media_reference.generator_kind == "GraphicAndType"
        assert found[2].media_reference.generator_kind == "Text"
        assert [effect.name for effect in found[0].effects] == ["Basic Motion"]


def text_of(sequence, folder, **more):
    path = folder / "text.xml"
    write(sequence, path, **more)
    return etree.fromstring(path.read_bytes())


def test_the_length_of_media_stands_in_file_and_clip(tmp_path):
    clips = [replace(clip_with(), start=F(3 * i), end=F(3 * i + 3), media_duration=F(10, 3)) for i in range(2)]
    clips.append(replace(clips[0], start=F(6), end=F(9), media_id="other", media_duration=None))
    clips.append(replace(clips[0], start=F(9), end=F(12), media_duration=F(5)))  # the same id for other media
    root = text_of(sequence_of(*clips), tmp_path)
    assert [each.text for each in root.iterfind(".//clipitem/duration")] == ["100", "100", "120", "150"]
    assert [each.findtext("duration") for each in root.iterfind(".//file")] == ["100", None, None, "150"]
    assert [each.tag for each in root.find(".//file")] == ["name", "pathurl", "rate", "duration", "media"]
    assert rewritten(sequence_of(*clips), tmp_path).tracks[0].clips == clips


@pytest.mark.parametrize(
    ("duration", "frames", "timebase", "clip_frames"),
    [
        (F(10, 3), "100", "30", "100"),
        (F(83, 24), "83", "24", "104"),  # another rate at which it is whole
        (F(59 * 1001, 30_000), "59", "30", "60"),  # 29.97
        (F(22139, 600), "1107", "30", "1107"),  # at none: rounded up
        (F(1, 10**9), "1", "30", "1"),
        (F(10**9), None, "30", "120"),  # more frames than the format holds
        (F(0), None, "30", "120"),
    ],
)
def test_lengths_of_media_are_whole_frames(duration, frames, timebase, clip_frames, tmp_path):
    clip = replace(clip_with(), media_duration=duration)
    root = text_of(sequence_of(clip), tmp_path)
    file = root.find(".//file")
    assert (file.findtext("duration"), file.findtext("rate/timebase")) == (frames, timebase)
    assert root.findtext(".//clipitem/duration") == clip_frames
    assert root.findtext(".//clipitem/rate/timebase") == "30"
    (found,) = rewritten(sequence_of(clip), tmp_path).tracks[0].clips
    if frames is None:
        assert found.media_duration is None
    else:
        assert 0 <= found.media_duration - duration < F(1, 30)


def test_a_retimed_clip_counts_its_media_as_retimed(tmp_path):
    def duration(first, last):
        clip = replace(clip_with(), media_times=((F(0), F(first)), (F(3), F(last))), media_duration=F(10))
        return text_of(sequence_of(clip), tmp_path).findtext(".//clipitem/duration")

    assert [duration(1, 7), duration(7, 1), duration(1, 4), duration(2, 2)] == ["150", "150", "300", "120"]


def test_generators_have_no_length(tmp_path):
    graphic = replace(clip_with(), kind="generator", media=None, media_duration=F(10))
    root = text_of(sequence_of(graphic, replace(graphic, media_id=None, start=F(3), end=F(6))), tmp_path)
    assert [each.tag for each in root.find(".//file")] == ["name", "mediaSource", "rate", "media"]
    assert [each.text for each in root.iterfind(".//track/*/duration")] == ["120", "120"]


MARKERS = ((F(1), F(2), "one & <two>"), (F(101, 100), F(199, 100), "between"), (F(5, 2), F(5, 2), ""))


def test_markers_follow_the_media_on_whole_frames(tmp_path):
    root = text_of(sequence_of(clip_with()), tmp_path, markers=MARKERS)
    assert [child.tag for child in root.find("sequence")][-4:] == ["media", "marker", "marker", "marker"]
    found = [[(child.tag, child.text) for child in marker] for marker in root.iterfind("sequence/marker")]
    assert found == [
        [("name", "one & <two>"), ("comment", None), ("in", "30"), ("out", "60")],
        [("name", "between"), ("comment", None), ("in", "30"), ("out", "60")],
        [("name", None), ("comment", None), ("in", "75"), ("out", "-1")],
    ]


def test_markers_change_nothing_that_is_read(tmp_path):
    sequence, path = sequence_of(clip_with(scale=Curve.constant(150.0)), tracks=2), tmp_path / "marked.xml"
    write(sequence, path, markers=[(F(frame, 30), F(frame + 1, 30), "m") for frame in range(5000)])
    document = read(path, **LIMITS)
    assert plain(document.sequences[0]) == plain(rewritten(sequence, tmp_path))
    tables = [tabulate(each, "v", EVERYTHING).table for each in (document.sequences[0], sequence)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert not document.notes.ignored + document.notes.guessed
    assert not document.notes.problems


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ((F(-1), F(1), "m"), "marker 'm' lasts from -1 to 1 s"),
        ((F(2), F(1), "m"), "marker 'm' lasts from 2 to 1 s"),
        ((F(1), F(10**9), "m"), "marker 'm'.*30000000000"),
        ((F(1), F(2), "a\x00"), "cannot be written"),
    ],
)
def test_impossible_markers_are_refused(marker, message, tmp_path):
    with pytest.raises(TimelineError, match=message):
        write(sequence_of(clip_with()), tmp_path / "a.xml", markers=[marker])
    assert not (tmp_path / "a.xml").exists()


def test_opentimelineio_loads_markers_and_the_length_of_media(tmp_path):
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_fcp_adapter")
    write(sequence_of(replace(clip_with(), media_duration=F(83, 24))), tmp_path / "a.xml", markers=MARKERS)
    timeline = otio.adapters.read_from_file(str(tmp_path / "a.xml"), "fcp_xml")
    (clip,) = timeline.find_clips()
    assert clip.media_reference.available_range.duration == otio.opentime.RationalTime(83, 24)
    assert clip.range_in_parent().duration.to_seconds() == 3
    spans = [(each.name, each.marked_range) for each in timeline.tracks.markers]
    assert [(name, span.start_time.value, span.duration.value) for name, span in spans] == [
        ("one & <two>", 30, 30),
        ("between", 30, 30),
        ("", 75, 0),
    ]


X_BEZIER = Curve([Key(F(1), 0.0, "bezier", (0, 0), (0.1, 1.0)), Key(F(2), 1.0, "bezier", (-0.1, 0.0))])


@pytest.mark.parametrize(
    ("changes", "rate", "message"),
    [
        ({}, F(5990, 100), "frame rate of 59.9 is neither"),
        ({}, F(1001), "neither"),
        ({"end": F(89, 31)}, F(30), "clip 'a' at 0 s: end lies at frame 86.*no whole one"),
        ({"end": F(0)}, F(30), "lasts from frame 0 to 0"),
        ({"local_start": F(-1)}, F(30), "before 0"),
        ({"kind": "nested"}, F(30), "flatten"),
        ({"name": "a\x00"}, F(30), "cannot be written"),
        ({"media_times": ((F(0), F(1)), (F(1), F(2)))}, F(30), "media_times"),
        ({"animation": {"scale": Curve.constant(float("nan"))}}, F(30), "nan is not a number"),
        ({"animation": {"scale": Curve([Key(F(1), 1.0), Key(F(10**8), 2.0)])}}, F(30), "keyframe is '3000000000'"),
        ({"animation": {"x": X_BEZIER}}, F(30), "a curve of its own in time"),
        (
            {"animation": {"scale": Curve([Key(F(1), 1.0, "hold", (-0.1, 1)), Key(F(2), 1.0), Key(F(3), 1.0)])}},
            F(30),
            None,
        ),
        (
            {"animation": {"scale": Curve([Key(F(1), 1.0, "linear", (0, 0), (0.1, 1)), Key(F(2), 1.0, "bezier")])}},
            F(30),
            "a linear key has a Bezier handle",
        ),
        (
            {
                "animation": {
                    "x": Curve([Key(F(1), 1.0, "hold"), Key(F(2), 2.0)]),
                    "y": Curve([Key(F(1), 1.0), Key(F(2), 2.0)]),
                }
            },
            F(30),
            "held while the other moves",
        ),
    ],
)
def test_what_the_format_cannot_say_is_refused(changes, rate, message, tmp_path):
    path = tmp_path / "a.xml"
    sequence = sequence_of(replace(clip_with(), **changes), rate=rate)
    if message is None:  # a handle that no curve uses
        write(sequence, path)
        return
    with pytest.raises(TimelineError, match=message):
        write(sequence, path)
    assert not path.exists()


def test_overlapping_clips_are_refused(tmp_path):
    with pytest.raises(TimelineError, match="before 'a' ends"):
        write(sequence_of(clip_with(), replace(clip_with(), start=F(2))), tmp_path / "a.xml")


def test_a_clip_that_begins_between_frames_keeps_media_and_values(tmp_path):
    slide = Curve([Key(F(1), 0.0), Key(F(3), 1.0)])
    clip = replace(
        clip_with(x=slide), local_start=F(100, 97), media_times=((F(0), F(401, 400)), (F(3), F(401, 400) + 3))
    )
    (found,) = rewritten(sequence_of(clip), tmp_path).tracks[0].clips
    assert found.local_start == F(30, 30)
    assert found.media_times == clip.media_times
    times = np.linspace(0, 3, 61)
    moved = [float(each.local_start) + times for each in (found, clip)]
    assert found.animation["x"].at(moved[0]) == pytest.approx(slide.at(moved[1]), abs=1e-4)
