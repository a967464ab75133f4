"""The real FCPXML files as OpenTimelineIO's adapter (otio-fcpx-xml-adapter 1.0.0) reads them.

Three of its defects would hide everything else, so they are repaired here first:

1. It cuts frame rates to whole numbers, 23.976 to 23 (OpenTimelineIO issue 903).
2. It counts each clip in frames of that clip's media, and adds them up on a track as if all were of one rate.
3. It takes each `audio` element for a clip, and where that stands in a `clip` the video is listed twice.

What then still differs is listed in `DIFFERENCES`, with who is right.
"""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from millrace.keyframes.fcpxml.read import read
from millrace.keyframes.timeline import Clip, Sequence
from millrace.keyframes.xml_events import TimelineError

otio = pytest.importorskip("opentimelineio")
adapter = pytest.importorskip("otio_fcpx_xml_adapter.fcpx_xml")

SHARED = os.environ.get("MILLRACE_SHARED_DATA")
pytestmark = pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
FOLDER = Path(SHARED or "") / "keyframes"
LIMITS: dict[str, Any] = {"max_bytes": 10**7, "max_clips": 10**4, "max_depth": 8}

Row = tuple[str, int, int, int]
"""Name, record start, duration and source start, in frames of the sequence's rate."""

SAME = ("fcpx_event", "fcpx_example", "fcpx_project", "CompoundClipSample", "CutSample")

DIFFERENCES = {
    # It knows clip, asset-clip, ref-clip and video only: titles and multicam clips are passed over without a word.
    "DisabledClips": Counter({"title": 2}),
    "GeneralDemo": Counter({"title": 3, "mc-clip": 31}),
}


def frames(seconds: float | Fraction, rate: Fraction) -> int:
    return round(float(seconds) * float(rate))


@pytest.fixture
def repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(self: Any, format_id: str) -> float:
        total, unit = self._format_frame_duration(format_id)
        return float(unit) / float(total)

    def rational(text: str | None, fps: float) -> Any:
        seconds = Fraction((text or "0s").removesuffix("s"))
        return otio.opentime.RationalTime(float(seconds) * fps, fps)

    monkeypatch.setattr(adapter.FcpxXml, "_format_frame_rate", rate)
    monkeypatch.setattr(adapter.FcpxXml, "_format_id_for_clip", lambda self, clip, default_format: default_format)
    monkeypatch.setattr(adapter, "to_rational_time", rational)
    monkeypatch.setattr(adapter, "COMPOSABLE_ELEMENTS", ("video", "ref-clip", "asset-clip"))


def theirs(stack: Any, rate: Fraction) -> Counter[Row]:
    rows: Counter[Row] = Counter()
    for track in stack:
        for item in track:
            if track.kind == "Video" and not isinstance(item, otio.schema.Gap):
                start = track.range_of_child(item).start_time.to_seconds()
                length, source = item.source_range.duration.to_seconds(), item.source_range.start_time.to_seconds()
                rows[str(item.name), frames(start, rate), frames(length, rate), frames(source, rate)] += 1
    return rows


def clips(sequence: Sequence) -> list[Clip]:
    return [clip for track in sequence.tracks for clip in track.clips]


def ours(sequence: Sequence) -> Counter[Row]:
    """OpenTimelineIO's source range is on the clip's local axis, and knows no changes of speed."""
    rate = sequence.frame_rate
    return Counter(
        (clip.name, frames(clip.start, rate), frames(clip.end - clip.start, rate), frames(clip.local_start, rate))
        for clip in clips(sequence)
    )


def both(name: str) -> list[tuple[Counter[Row], Counter[Row]]]:
    """Their rows and ours of each project that both read."""
    (path,) = FOLDER.glob(f"*/{name}.fcpxml")
    found = adapter.read_from_string(path.read_text())
    timelines = [found] if isinstance(found, otio.schema.Timeline) else list(found)
    sequences = read(path, **LIMITS).sequences
    assert [timeline.name for timeline in timelines] == [sequence.name for sequence in sequences][: len(timelines)]
    return [
        (theirs(timeline.tracks, sequence.frame_rate), ours(sequence))
        for timeline, sequence in zip(timelines, sequences, strict=False)
    ]


def test_every_shared_file_is_in_one_of_the_tests():
    rest = {"fcpx_clips", "KeywordsWithinFolders", "Occlusion3", "TimelineSample"}
    storylines = "TimelineWithSecondaryStorylineWithAudioKeyframes"
    assert {path.stem for path in FOLDER.glob("*/*.fcpxml")} == {*SAME, *DIFFERENCES, *rest, storylines}


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("name", SAME)
def test_the_same_clips_and_ranges(name):
    for their_rows, our_rows in both(name):
        assert our_rows == their_rows


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_same_but_for_what_it_does_not_know(name):
    ((their_rows, our_rows),) = both(name)
    assert not their_rows - our_rows
    (path,) = FOLDER.glob(f"*/{name}.fcpxml")
    unknown = Counter(element.tag for element in etree.parse(path).find(".//project").iter("title", "mc-clip"))
    unknown["mc-clip"] -= len(etree.parse(path).findall(".//project//mc-clip[@srcEnable='audio']"))
    assert +unknown == DIFFERENCES[name]
    assert (our_rows - their_rows).total() == DIFFERENCES[name].total()


@pytest.mark.usefixtures("repaired")
def test_the_same_clips_inside_compound_clips():
    (path,) = FOLDER.glob("*/fcpx_project.fcpxml")
    timeline = adapter.read_from_string(path.read_text())
    (sequence,) = read(path, **LIMITS).sequences
    tracks = [track for track in timeline.tracks if track.kind == "Video"]  # one more use is sound alone
    stacks = [item for track in tracks for item in track if isinstance(item, otio.schema.Stack)]
    nested = [clip.sequence for clip in clips(sequence) if clip.sequence is not None]
    assert len(stacks) == len(nested) == 2
    for stack, inner in zip(stacks, nested, strict=True):
        assert ours(inner) == theirs(stack, inner.frame_rate)
        assert len(clips(inner)) == 4


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize(
    ("name", "titles"), [("TimelineWithSecondaryStorylineWithAudioKeyframes", 0), ("TimelineSample", 2)]
)
def test_clips_of_connected_storylines_stand_elsewhere(name, titles):
    """It forgets a storyline's own offset, and the start of the clip that holds it, which Final Cut counts with.

    As it fills each track in order, what follows is moved too. Ours fit: none overlaps another of its lane (see
    test_fcpxml_real). Names, lengths and sources agree, and so does the primary storyline.
    """
    ((their_rows, our_rows),) = both(name)
    assert not without_start(their_rows) - without_start(our_rows)
    assert (without_start(our_rows) - without_start(their_rows)).total() == titles
    (path,) = FOLDER.glob(f"*/{name}.fcpxml")
    (timeline,) = adapter.read_from_string(path.read_text())
    primary = theirs([track for track in timeline.tracks if track.name == "0"], Fraction(24000, 1001))
    assert primary.total() >= 18
    assert not primary - our_rows


def without_start(rows: Counter[Row]) -> Counter[tuple[str, int, int]]:
    return Counter((name, length, source) for name, _, length, source in rows.elements())


def test_only_the_first_event_is_read_by_it():
    """Its `_from_library` says so itself. Here that is 1 project of 25."""
    (path,) = FOLDER.glob("*/KeywordsWithinFolders.fcpxml")
    assert len(adapter.read_from_string(path.read_text())) == 1
    assert len(read(path, **LIMITS).sequences) == 25


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Occlusion3", "'NoneType' object has no attribute 'find'"),  # a title is neither an asset nor a compound clip
        ("TimelineSample", "'NoneType' object has no attribute 'split'"),  # a still's format has no frame duration
    ],
)
def test_files_on_which_it_breaks_are_read(name, error):
    (path,) = FOLDER.glob(f"*/{name}.fcpxml")
    with pytest.raises(AttributeError, match=error):
        adapter.read_from_string(path.read_text())
    assert len(read(path, **LIMITS).sequences) == 1


def test_loose_clips_are_no_timeline():
    """It returns the clips one by one; a timeline is what this project needs."""
    (path,) = FOLDER.glob("*/fcpx_clips.fcpxml")
    assert len(adapter.read_from_string(path.read_text())) == 3
    with pytest.raises(
        TimelineError, match=r"holds no project, .*: 3 clips stand in it outside any, 1 of them compound"
    ):
        read(path, **LIMITS)
