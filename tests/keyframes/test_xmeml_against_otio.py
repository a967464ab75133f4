"""The same clips at the same times as OpenTimelineIO's FCP7 adapter finds in real files."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from keyframes.xmeml_files import LIMITS
from millrace.keyframes.xmeml.read import read
from millrace.keyframes.xml_events import TimelineError

otio = pytest.importorskip("opentimelineio")
pytest.importorskip("otio_fcp_adapter")

SHARED = os.environ.get("MILLRACE_SHARED_DATA")
FOLDER = Path(SHARED or "", "keyframes", "otio-fcp-adapter")

# On the tracks of the top-level sequences, and inside of nested clips.
CLIPS = {
    "empty_name_tags.xml": (153, 5),
    "hiero_xml_export.xml": (2, 0),
    "premiere_enable_property.xml": (6, 0),
    "premiere_example.xml": (8, 2),
    "premiere_generators.xml": (6, 0),
    "sample_just_track.xml": (0, 0),
}

# The differences, all there are:
# 1. OTIO leaves the stack of a nested sequence empty: it looks for the tracks in `sequence` instead of in its `media`.
#    The clips are in the file, so that the reader is right to have them.
# 2. OTIO's source range is where a clip lies on the axis of `in` and `out`, and leaves Time Remap aside. The reader has
#    that too (`local_start`), and besides where the media really stands:
RETIMED = {
    # "speed" 0.25: a quarter of a percent of 326400 frames, at 24 a second.
    ("hiero_xml_export.xml", "/"): Fraction(326400, 24) * Fraction(25, 10000),
}

pytestmark = pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")


def their_clips(stack):
    """Name, kind, and start, length and start in the source in seconds of each clip, track by track."""
    found = []
    for track in (track for track in stack if track.kind == otio.schema.TrackKind.Video):
        clips = [clip for clip in track if not isinstance(clip, otio.schema.Gap | otio.schema.Transition)]
        for clip in clips:
            record, begin = clip.range_in_parent(), clip.source_range.start_time.to_seconds()
            nested = isinstance(clip, otio.schema.Stack)
            if nested:
                assert len(clip) == 0, "difference 1 is gone"
            elif clip.media_reference.available_range is not None:
                # OTIO counts from timecode 0, `in` from the first frame of the media.
                begin -= clip.media_reference.available_range.start_time.to_seconds()
            times = record.start_time.to_seconds(), record.duration.to_seconds(), begin
            found.append((clip.name, nested, pytest.approx(times, abs=1e-6)))
    return found


@pytest.mark.parametrize("name", CLIPS)
def test_the_same_clips_and_ranges(name):
    document = read(FOLDER / name, **LIMITS)
    result = otio.adapters.read_from_file(str(FOLDER / name), "fcp_xml")
    timelines = [result] if isinstance(result, otio.schema.Timeline) else list(result)
    assert [each.name for each in document.sequences] == [each.name for each in timelines]
    clips = [clip for each in document.sequences for track in each.tracks for clip in track.clips]
    ours = [
        (clip.name, clip.kind == "nested", tuple(map(float, (clip.start, clip.end - clip.start, clip.local_start))))
        for clip in clips
    ]
    assert ours == [clip for each in timelines for clip in their_clips(each.tracks)]
    inside = [clip.sequence for clip in clips if clip.sequence is not None]
    assert (len(ours), sum(len(track.clips) for each in inside for track in each.tracks)) == CLIPS[name]
    assert not document.notes.problems


@pytest.mark.parametrize("name", CLIPS)
def test_media_runs_from_there_but_under_a_time_remap(name):
    for clip in (clip for each in read(FOLDER / name, **LIMITS).sequences for row in each.tracks for clip in row.clips):
        assert clip.media_times[0][1] == RETIMED.get((name, clip.name), clip.local_start)


def test_both_find_no_timeline_in_a_lone_filter():
    path = FOLDER / "premiere_example_filter.xml"
    with pytest.raises(TimelineError, match="its first element is 'filter'"):
        read(path, **LIMITS)
    with pytest.raises(ValueError, match="No top-level sequences"):
        otio.adapters.read_from_file(str(path), "fcp_xml")


def test_transitions_of_premiere_cut_where_otio_cuts():
    tracks = read(FOLDER / "premiere_example.xml", **LIMITS).sequences[0].tracks
    frames = [[(clip.start * 30, clip.end * 30, clip.local_start * 30) for clip in track.clips] for track in tracks]
    # An end-black transition 538..557 after 322, and a centred one 1152..1177 cut at 1164 (12 frames by its ticks).
    assert frames[1][2] == (322, 557, 0)
    assert frames[3] == [(956, 1164, 34), (1164, 1246, 18)]


def test_what_empty_name_tags_holds():
    document = read(FOLDER / "empty_name_tags.xml", **LIMITS)
    (sequence,) = document.sequences
    clips = [clip for track in sequence.tracks for clip in track.clips]
    assert (sequence.frame_rate, sequence.width, sequence.height) == (Fraction(24000, 1001), 1920, 1080)
    assert sum(not clip.enabled for clip in clips) == 26
    assert sum(not track.enabled for track in sequence.tracks) == 9
    assert sum(bool(clip.animation) for clip in clips) == 122  # and four in nested sequences
    assert {clip.kind for clip in clips} == {"media", "nested", "generator"}
    # Its graph says so up to frame 142; the last of the clip's 143 frames goes on at that pace.
    nested = [clip for outer in clips if outer.sequence for track in outer.sequence.tracks for clip in track.clips]
    (remapped,) = [clip for clip in nested if len(clip.media_times) > 2]
    rate = sequence.frame_rate
    assert [(at * rate, media * rate) for at, media in remapped.media_times] == [
        (0, 0),
        (1, 1),
        (51, 51),
        (114, 126),
        (142, 154),
        (143, 155),
    ]
