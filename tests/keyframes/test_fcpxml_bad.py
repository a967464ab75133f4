"""Clips that cannot be, and damaged files."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyframes.fcpxml_files import (
    COMPOUND,
    LIMITS,
    MULTICAM,
    A,
    document,
    fcpxml,
    key,
    keyed,
    layout,
    project,
    spine,
)
from millrace.keyframes.fcpxml.read import read
from millrace.keyframes.xml_events import TimelineError


@pytest.mark.parametrize(
    ("clip", "why"),
    [
        ('<asset-clip name="x" ref="a" offset="3"/>', "asset-clip 'x': offset is '3', not a time like 1001/30000s"),
        ('<asset-clip name="x" ref="a" start="s"/>', "asset-clip 'x': start is 's', not a time like 1001/30000s"),
        ('<asset-clip name="x" ref="a" duration="-1/25s"/>', "asset-clip 'x': duration is '-1/25s', below zero"),
        (
            '<asset-clip name="x" ref="bad" duration="1s"/>',
            "asset-clip 'x': asset 'bad' at line 14: start is 'x', not a time",
        ),
        ('<asset-clip name="x" ref="no"/>', "asset-clip 'x': it has no duration"),
        (
            '<asset-clip name="x" ref="r1" duration="1s"/>',
            "asset-clip 'x': ref 'r1' is a format, which cannot be shown",
        ),
        ('<video name="x" ref="a" offset="-2s" duration="4s"/>', "video 'x': it begins 2 seconds before its sequence"),
        (
            '<title name="x" ref="e" duration="1s"><adjust-transform position="NaN 0"/></title>',
            "title 'x': position is 'NaN', not a number between -1e+09 and 1e+09",
        ),
        (
            '<title name="x" ref="e" duration="1s"><adjust-transform scale="1e300 1"/></title>',
            "title 'x': scale is '1e300', not a number between",
        ),
        (
            '<title name="x" ref="e" duration="1s"><adjust-transform position="1"/></title>',
            "title 'x': position is '1', not 2 numbers",
        ),
        (
            '<title name="x" ref="e" duration="1s"><adjust-blend><param name="amount"><keyframeAnimation>'
            '<keyframe time="1" value="1"/></keyframeAnimation></param></adjust-blend></title>',
            "title 'x': time of a keyframe of amount is '1', not a time",
        ),
        (
            '<title name="x" ref="e" duration="1s"><timeMap><timept value="1s"/></timeMap></title>',
            "title 'x': time of a timept is '', not a time",
        ),
        (
            '<gap name="g" duration="1s"><video name="x" ref="a" lane="up"/></gap>',
            "video 'x': lane is 'up', not a number",
        ),
        ('<gap name="x" duration="1x"/>', "gap 'x': duration is '1x', not a time"),
        ('<transition name="x" duration="1x"/>', "transition 'x': duration is '1x', not a time"),
    ],
)
def test_an_impossible_clip_is_left_out_and_the_rest_goes_on(tmp_path, clip, why):
    before = '<asset-clip name="good" ref="a" offset="0s" duration="1s"/>'
    after = '<asset-clip name="after" ref="a" offset="9s" duration="1s"/>'
    read_document = spine(tmp_path, f"{before}\n{clip}\n{after}", '<asset id="bad" hasVideo="1" start="x"/>')
    assert layout(read_document) == [[("good", 0, 1), ("after", 9, 10)]]
    (problem,) = read_document.notes.problems
    assert problem.startswith(f"line 15: {why}")


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ('name="FFVideoFormat1080p99999"', "frame rate is 99999, not between 1 and 1000"),
        ('frameDuration="1/100000s"', r"frame rate is 100000, not between 1 and 1000"),
        ('frameDuration="2s"', "frame rate is 0.5, not between 1 and 1000"),
        ('frameDuration="1/25s" width="1000001"', "width is 1000001, not a number of pixels"),
        ('frameDuration="1/25s" height="-1"', "height is -1, not a number of pixels"),
        (f'name="FFVideoFormat{"9" * 5000}p25"', "its frame rate is unknown"),
    ],
)
def test_an_impossible_format_is_refused(tmp_path, shape, why):
    body = project(A + "/>", 'format="odd" duration="9s"')
    with pytest.raises(TimelineError, match=why):
        document(tmp_path, fcpxml(body, f'<format id="odd" {shape}/>'))


def test_names_are_cut_in_messages(tmp_path):
    name, cut = "n" * 1000, "n" * 60
    clip = f'<asset-clip name="{name}" ref="a" duration="x"/>'
    (problem,) = spine(tmp_path, clip).notes.problems
    assert problem.startswith(f"line 14: asset-clip '{cut}': duration is 'x'")
    for text, message in (
        (project(clip, 'format="r1" duration="x"', name), f"sequence '{cut}': duration is 'x'"),
        (project(clip, f'format="{name}"'), f"format '{cut}' does not exist"),
        (f'<project name="{name}"/>', f"project '{cut}' holds no sequence"),
    ):
        with pytest.raises(TimelineError, match=message):
            document(tmp_path, fcpxml(text))


def test_clips_of_no_length_are_counted_and_what_hangs_on_them_stays(tmp_path):
    read_document = spine(
        tmp_path, f'{A[:-3]}0s"><title name="t" ref="e" lane="1" offset="10s" duration="1s"/></asset-clip>'
    )
    assert layout(read_document) == [[("t", 0, 1)]]
    assert read_document.notes.ignored == {"clip of no length": 1}


def test_what_hangs_on_a_clip_without_place_is_counted(tmp_path):
    title = '<title name="t" ref="e" lane="1" offset="10s" duration="1s"/>'
    read_document = spine(tmp_path, f'<asset-clip name="x" ref="a" duration="x">{title * 2}</asset-clip>')
    assert layout(read_document) == []
    assert read_document.notes.ignored == {"clip connected to one that is left out": 2}
    # Where the place is known, it stays.
    bad = '<adjust-blend amount="much"/>'
    assert layout(spine(tmp_path, f"{A}>{bad}{title}</asset-clip>")) == [[("t", 0, 1)]]


def test_clips_in_clips_without_end_are_cut_off(tmp_path):
    inside = '<asset-clip ref="a" lane="1" duration="4s">' * 60 + "</asset-clip>" * 60
    read_document = spine(tmp_path, inside)
    assert len(read_document.sequences[0].tracks) == 48
    assert read_document.notes.problems == ["line 14: asset-clip '': it lies more than 48 levels deep"]
    assert read_document.notes.ignored == {"clip connected to one that is left out": 11}


RICH = fcpxml(
    project(
        f'{A}><adjust-crop mode="trim"><trim-rect left="1"/></adjust-crop><adjust-transform position="1 2">'
        + keyed("scale", key("10s", "1 1"), key("12s", "2 2", 'interp="ease"'))
        + '</adjust-transform><title ref="e" lane="1" offset="11s" duration="1s"/></asset-clip>'
        '<transition offset="7/2s" duration="1s"/><ref-clip ref="m" offset="4s" start="3600s" duration="4s">'
        '<timeMap><timept time="0s" value="0s"/><timept time="4s" value="8s"/></timeMap></ref-clip>'
        '<sync-clip offset="8s" duration="2s"><spine><clip duration="2s"><video ref="tc" duration="2s"/></clip></spine>'
        '</sync-clip><mc-clip ref="mc" offset="10s" duration="2s"><mc-source angleID="two"/></mc-clip>'
        '<gap offset="12s" duration="2s"><audition lane="1" offset="0s"><video ref="a" duration="1s"/></audition></gap>'
    ),
    COMPOUND + MULTICAM,
)


def test_the_file_that_is_mutated_is_a_good_one(tmp_path):
    read_document = document(tmp_path, RICH)
    assert [len(track.clips) for track in read_document.sequences[0].tracks] == [4, 2]
    assert read_document.notes.problems == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_a_document_or_an_error_and_nothing_else(tmp_path, data):
    text = RICH
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))]
    values = ("", "0s", "-1s", "1/0s", "9" * 18 + "s", "NaN", "inf", "1e300", "m", "mc", "r1", "e", "a", "1", "-1", "0")
    quoted = [index for index, character in enumerate(text) if character == '"']
    for _ in range(data.draw(st.integers(0, 4))):
        kind = data.draw(st.sampled_from(["value", "tag", "characters"]))
        if kind == "value" and len(quoted) > 3:
            # The value between a pair of quotation marks becomes another one.
            start = quoted[data.draw(st.integers(0, len(quoted) // 2 - 1)) * 2]
            end = text.find('"', start + 1)
            text = text[: start + 1] + data.draw(st.sampled_from(values)) + text[end:]
        elif kind == "tag":
            tags = (
                "asset-clip",
                "clip",
                "spine",
                "sequence",
                "ref-clip",
                "media",
                "title",
                "gap",
                "project",
                "multicam",
            )
            text = text.replace(data.draw(st.sampled_from(tags)), data.draw(st.sampled_from(tags)))
        else:
            place = data.draw(st.integers(0, len(text)))
            text = text[:place] + data.draw(st.text(max_size=3)) + text[place + data.draw(st.integers(0, 20)) :]
        quoted = [index for index, character in enumerate(text) if character == '"']
    path = tmp_path / "a.fcpxml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        read_document = read(path, **LIMITS)
    except TimelineError:
        return
    for sequence in read_document.sequences:
        for track in sequence.tracks:
            assert track.clips
            assert all(0 <= clip.start < clip.end for clip in track.clips)
            assert all(one.end <= two.start for one, two in pairwise(track.clips))
            for clip in track.clips:
                assert clip.media_times[0][0] == 0
                assert clip.media_times[-1][0] == clip.end - clip.start
