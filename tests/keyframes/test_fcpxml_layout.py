"""Where clips stand in time and on tracks, and what lies inside them."""

from __future__ import annotations

import pytest

from keyframes.fcpxml_files import (
    COMPOUND,
    MULTICAM,
    A,
    at,
    layout,
    only,
    spine,
)
from millrace.keyframes.timeline import Document
from millrace.keyframes.xml_events import TimelineError


def test_connected_clips_are_placed_on_the_axis_of_their_parent(tmp_path):
    # a covers 2..12 and shows 100..110 of its axis; b begins at 103, so at 5, and shows 50 there; c begins at 51 of
    # b's axis, so at 6; the storyline begins at 104, so at 6, and its clips count from there.
    read_document = spine(
        tmp_path,
        '<gap offset="0s" duration="2s"/>'
        '<asset-clip name="a" ref="a" offset="2s" start="100s" duration="10s">'
        '<asset-clip name="b" ref="a" lane="1" offset="103s" start="50s" duration="4s">'
        '<asset-clip name="c" ref="a" lane="1" offset="51s" duration="2s"/>'
        '<asset-clip name="under" ref="a" lane="-1" offset="52s" duration="2s"/></asset-clip>'
        '<asset-clip name="low" ref="a" lane="-1" offset="104s" duration="1s"/>'
        '<asset-clip name="lowest" ref="a" lane="-2" offset="104s" duration="1s"/>'
        '<spine lane="2" offset="104s"><asset-clip name="d" ref="a" offset="0s" duration="2s"/>'
        '<asset-clip name="e" ref="a" offset="2s" duration="3s"/></spine></asset-clip>',
    )
    assert layout(read_document) == [
        [("lowest", 6, 7)],
        [("low", 6, 7)],
        [("a", 2, 12)],
        [("under", 7, 9)],  # below what it is connected to, above the primary storyline
        [("b", 5, 9)],
        [("c", 6, 8)],
        [("d", 6, 8), ("e", 8, 11)],
    ]
    assert not read_document.notes.guessed


def test_overlapping_clips_of_one_lane_go_to_a_track_above(tmp_path):
    connected = "".join(
        f'<asset-clip name="{name}" ref="a" lane="1" offset="{offset}s" duration="4s"/>'
        for name, offset in (("b", 10), ("c", 12), ("d", 14), ("e", 15))
    )
    read_document = spine(tmp_path, f"{A}>{connected}</asset-clip>")
    assert layout(read_document) == [[("a", 0, 4)], [("b", 0, 4), ("d", 4, 8)], [("c", 2, 6)], [("e", 5, 9)]]
    assert read_document.notes.guessed == {"overlapping clip of one lane moved to a track above": 2}


def test_a_heap_of_overlapping_clips_is_an_error(tmp_path):
    with pytest.raises(TimelineError, match="sequence 'P': more than 100 clips of one lane overlap"):
        spine(tmp_path, f"{A}/>" * 101)


def test_clips_at_a_transition_meet_at_the_edit_point(tmp_path):
    # As Final Cut writes it: the transition lies over the end of one clip and the beginning of the next.
    read_document = spine(
        tmp_path,
        '<asset-clip name="a" ref="a" offset="0s" start="5s" duration="10s"/>'
        '<transition offset="19/2s" duration="1s"/>'
        '<asset-clip name="b" ref="a" offset="10s" start="20s" duration="10s"/>'
        '<transition offset="19s" duration="1s"/>',
    )
    assert layout(read_document) == [[("a", 0, 10), ("b", 10, 20)]]
    assert [clip.media_times[0][1] for clip in read_document.sequences[0].tracks[0].clips] == [5, 20]
    assert read_document.notes.ignored == {"transition": 2}


def test_clips_without_offsets_follow_each_other(tmp_path):
    # The DTD's example: the transition lies over the last two seconds of one and the first two of the other.
    clips = [f'<video name="{name}" ref="a" duration="5s"/>' for name in "abc"]
    read_document = spine(tmp_path, f'{clips[0]}{clips[1]}<transition duration="2s"/>{clips[2]}')
    assert layout(read_document) == [[("a", 0, 5), ("b", 5, 10)], [("c", 8, 13)]]
    assert read_document.notes.guessed["clip without offset placed after the one before it"] == 2


def test_of_an_audition_the_first_is_active(tmp_path):
    read_document = spine(
        tmp_path,
        f'{A}><audition lane="1" offset="12s"><asset-clip name="b" ref="a" start="7s" duration="1s"/>'
        '<asset-clip name="c" ref="a" duration="2s"/><title ref="e" duration="1s"/></audition></asset-clip>'
        "<audition offset='9s'/>",
    )
    assert layout(read_document) == [[("a", 0, 4)], [("b", 2, 3)]]
    assert read_document.notes.ignored == {"alternative of an audition": 2}
    assert read_document.notes.problems == ["line 14: audition '': it has no duration"]


def test_the_video_of_a_clip_is_its_media(tmp_path):
    # The video lies at 3590..3650 of the clip's axis, and shows time code 3600 there, the file's first frame. So the
    # clip's local 3595 is 5 seconds into the file.
    text = (
        '<clip name="c" offset="1s" start="3595s" duration="4s"><video ref="tc" offset="3590s" start="3600s" '
        'duration="60s"><audio ref="tc" lane="-1" offset="3600s" duration="60s"/></video>'
        '<title name="t" ref="e" lane="1" offset="3596s" duration="1s"/></clip>'
    )
    read_document = spine(tmp_path, text)
    assert layout(read_document) == [[("c", 1, 5)], [("t", 2, 3)]]
    clip = read_document.sequences[0].tracks[0].clips[0]
    assert (clip.kind, clip.media, clip.local_start) == ("media", "file:///media/tc.mov", 3595)
    assert clip.media_times == ((0, 5), (4, 9))


def test_a_synced_clip_shows_the_video_inside_its_clip(tmp_path):
    text = (
        '<sync-clip name="s" offset="0s" start="20s" duration="4s"><adjust-transform scale="2 2"/>'
        '<spine offset="10s"><clip offset="0s" start="3600s" duration="60s"><adjust-conform type="fill"/>'
        '<video ref="tc" offset="3600s" start="3600s" duration="60s"/></clip></spine>'
        '<asset-clip ref="sound" lane="-1" offset="10s" duration="60s"/></sync-clip>'
    )
    read_document = spine(tmp_path, text)
    clip = only(read_document)
    assert clip.media_times == ((0, 10), (4, 14))  # local 20 is 10 into the spine
    assert at(clip, "scale", 20) == [200]
    assert read_document.notes.ignored == {"adjust-conform fill": 1, "clip without picture": 1}


def test_a_container_of_more_than_a_plain_clip_becomes_a_sequence(tmp_path):
    inner = (
        '<asset-clip name="x" ref="a" offset="100s" duration="10s"><adjust-transform scale="3 3"/>'
        '<title name="t" ref="e" lane="1" offset="2s" duration="1s"/></asset-clip>'
        '<asset-clip name="y" ref="a" offset="110s" duration="10s"/>'
    )
    clip = only(spine(tmp_path, f'<sync-clip name="s" start="104s" duration="8s"><spine>{inner}</spine></sync-clip>'))
    assert (clip.kind, clip.media_times) == ("nested", ((0, 4), (8, 12)))
    assert clip.sequence is not None
    assert layout(Document([clip.sequence], None)) == [[("x", 0, 10), ("y", 10, 20)], [("t", 2, 3)]]
    assert (clip.sequence.frame_rate, clip.sequence.width, clip.sequence.duration) == (25, 1920, 20)
    single = only(spine(tmp_path, f'<clip start="104s" duration="4s">{inner.split("<title")[0]}</asset-clip></clip>'))
    assert single.kind == "nested"  # or the inner scale would be lost


def test_a_compound_clip_holds_its_sequence(tmp_path):
    use = '<ref-clip name="n" ref="m" offset="{}s" start="3605s" duration="4s"/>'
    read_document = spine(tmp_path, use.format(1) + use.format(5), COMPOUND)
    first, second = read_document.sequences[0].tracks[0].clips
    assert (first.kind, first.start, first.local_start, first.media_id) == ("nested", 1, 3605, "m")
    assert first.media_times == ((0, 5), (4, 9))  # local 3605 is 5 seconds after tcStart
    assert first.sequence is not None
    assert first.sequence is second.sequence
    assert (first.sequence.name, first.sequence.duration) == ("M", 30)
    assert [(clip.name, clip.start) for clip in first.sequence.tracks[0].clips] == [("in", 2)]


def test_a_nested_sequence_takes_what_its_format_lacks_from_the_one_around(tmp_path):
    media = COMPOUND.replace('format="r1"', 'format="no"')
    read_document = spine(tmp_path, '<ref-clip ref="m" duration="4s"/>', media)
    nested = only(read_document).sequence
    assert nested is not None
    assert (nested.frame_rate, nested.width) == (25, 1920)
    assert read_document.notes.guessed == {"format of a nested sequence completed from the one around it": 1}


def chain(length: int) -> str:
    """Compound clips m0 > m1 > ... > a clip."""
    media = ""
    for level in range(length):
        last = level == length - 1
        inner = f"{A}/>" if last else f'<ref-clip name="to {level + 1}" ref="m{level + 1}" duration="4s"/>'
        media += f'<media id="m{level}"><sequence format="r1"><spine>{inner}</spine></sequence></media>'
    return media


def test_nesting_is_limited(tmp_path):
    for depth, problems in ((4, 0), (5, 1), (400, 1)):
        read_document = spine(tmp_path, '<ref-clip ref="m0" duration="4s"/>', chain(depth))
        assert len(read_document.notes.problems) == problems
    assert read_document.notes.problems[0].endswith("ref-clip 'to 4': it is nested deeper than max_depth, 4, allows")
    # Built from the inside, so that each is known when the next one refers to it.
    uses = "".join(f'<ref-clip name="use {level}" ref="m{level}" duration="4s"/>' for level in range(5, -1, -1))
    read_document = spine(tmp_path, uses, chain(6))
    assert read_document.notes.problems == ["line 14: ref-clip 'to 2': it is nested deeper than max_depth, 4, allows"]
    assert len(read_document.sequences[0].tracks[0].clips) == 6


def test_a_compound_clip_inside_itself_is_left_out(tmp_path):
    media = "".join(
        f'<media id="{media}"><sequence format="r1"><spine><ref-clip name="{name}" ref="{other}" duration="4s"/>'
        "</spine></sequence></media>"
        for media, name, other in (("x", "b", "y"), ("y", "c", "x"))
    )
    read_document = spine(tmp_path, '<ref-clip name="a" ref="x" duration="4s"/>', media)
    assert read_document.notes.problems == ["line 14: ref-clip 'c': compound clip 'x' contains itself"]
    assert len(only(read_document).sequence.tracks) == 1


def test_a_broken_compound_clip_costs_the_clip_that_uses_it(tmp_path):
    media = '<media id="m" name="M"><sequence format="r1"/></media><media id="none"/>'
    clips = (
        '<ref-clip name="n" ref="m" duration="4s"/><asset-clip name="a" ref="a" offset="4s" duration="4s"/>'
        '<ref-clip name="o" ref="none" duration="4s"/>'
    )
    read_document = spine(tmp_path, clips, media)
    assert layout(read_document) == [[("a", 4, 8)]]
    assert read_document.notes.problems == [
        "line 14: ref-clip 'n': line 14: sequence 'M': it has no spine",
        "line 14: ref-clip 'o': media 'none' at line 14 holds no sequence",
    ]


def test_a_multicam_clip_shows_the_angle_of_its_picture(tmp_path):
    clip = only(
        spine(
            tmp_path,
            '<mc-clip name="n" ref="mc" start="3605s" duration="4s"><mc-source angleID="two" srcEnable="audio"/>'
            '<mc-source angleID="one" srcEnable="video"><adjust-transform scale="2 2"/></mc-source></mc-clip>',
            MULTICAM,
        )
    )
    assert clip.sequence is not None
    assert [(inner.name, inner.start, inner.end) for inner in clip.sequence.tracks[0].clips] == [("left", 2, 52)]
    assert clip.sequence.duration == 52
    assert (clip.kind, clip.media_times) == ("nested", ((0, 5), (4, 9)))  # angles count from 0, the clip from tcStart
    assert at(clip, "scale", 3605) == [200]


def test_a_multicam_clip_without_a_usable_angle(tmp_path):
    for sources, guessed in (("", 1), ('<mc-source angleID="no"/>', 1), ('<mc-source angleID="two"/>', 0)):
        read_document = spine(tmp_path, f'<mc-clip ref="mc" duration="4s">{sources}</mc-clip>', MULTICAM)
        assert sum(read_document.notes.guessed.values()) == guessed
        assert only(read_document).sequence.tracks[0].clips[0].name == ("left" if guessed else "right")
    sound = spine(
        tmp_path, '<mc-clip ref="mc" duration="4s"><mc-source angleID="two" srcEnable="audio"/></mc-clip>', MULTICAM
    )
    assert sound.notes.ignored == {"clip without picture": 1}
