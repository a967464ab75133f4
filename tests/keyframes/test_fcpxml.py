"""Times, files, sequences and media."""

from __future__ import annotations

from fractions import Fraction

import pytest

from keyframes.fcpxml_files import (
    COMPOUND,
    A,
    document,
    fcpxml,
    layout,
    only,
    project,
    spine,
)
from millrace.keyframes.fcpxml.time import look_up, seconds, through
from millrace.keyframes.xml_events import TimelineError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3003/30000s", Fraction(1001, 10000)),
        ("5s", Fraction(5)),
        ("0s", Fraction(0)),
        (" -7/2s ", Fraction(-7, 2)),
        ("0/1s", Fraction(0)),
    ],
)
def test_times_are_exact(text, value):
    assert seconds(text, "offset") == value


@pytest.mark.parametrize(
    "text", ["", "5", "5.5s", "1/0s", "s", "1/-2s", "1//2s", "NaN", "infs", "1e3s", "٣s", "9" * 30 + "s"]
)
def test_malformed_times_are_refused(text):
    with pytest.raises(TimelineError, match=r"^offset is '.*', not a time like 1001/30000s$"):
        seconds(text, "offset")


def test_absurd_times_are_refused():
    with pytest.raises(TimelineError, match=r"^offset is '9{19}s', more than 1e\+09 seconds$"):
        seconds("9" * 19 + "s", "offset")


def test_maps_are_chained_with_the_bends_of_both():
    half = ((Fraction(0), Fraction(10)), (Fraction(4), Fraction(12)))
    bent = (
        (Fraction(0), Fraction(0)),
        (Fraction(11), Fraction(11)),
        (Fraction(20), Fraction(29)),
    )  # twice as fast after 11
    assert through(half, bent) == (
        (Fraction(0), Fraction(10)),
        (Fraction(2), Fraction(11)),
        (Fraction(4), Fraction(13)),
    )
    assert look_up(bent, Fraction(-1)) == -1  # goes on beyond its ends
    assert look_up(bent, Fraction(21)) == 31
    assert look_up(((Fraction(3), Fraction(8)),), Fraction(100)) == 8


def test_sequences_come_in_the_order_of_the_file(tmp_path):
    clip = '<asset-clip name="a" ref="a" duration="4s"/>'
    events = (
        f"<event>{project(clip, name='one')}{clip}{project(clip, name='two')}</event>"
        f"<event>{project(clip, name='three')}<ref-clip ref='c' duration='1s'/></event>"
    )
    read_document = document(tmp_path, fcpxml(f"<library>{events}</library>"))
    assert [sequence.name for sequence in read_document.sequences] == ["one", "two", "three"]
    assert read_document.notes.ignored == {"clip in an event, outside any project": 2}
    assert not read_document.notes.guessed
    assert read_document.notes.problems == []


def test_projects_may_stand_at_the_root_and_still_find_their_resources(tmp_path):
    clip = '<asset-clip ref="tc" duration="4s"/>'
    read_document = document(tmp_path, fcpxml(project(clip, name="one") + project(clip, name="two")))
    files = [sequence.tracks[0].clips[0].media for sequence in read_document.sequences]
    assert files == ["file:///media/tc.mov"] * 2


def test_a_sequence_is_counted_from_its_timecode_start(tmp_path):
    attributes = 'format="r1" duration="80s" tcStart="3590s"'
    text = fcpxml(project('<asset-clip name="a" ref="a" offset="3591s" duration="4s"/>', attributes))
    sequence = document(tmp_path, text).sequences[0]
    assert (sequence.frame_rate, sequence.width, sequence.height, sequence.duration) == (25, 1920, 1080, 80)
    assert layout(document(tmp_path, text)) == [[("a", 1.0, 5.0)]]


def test_a_spine_that_begins_before_its_timecode_start_counts_from_zero(tmp_path):
    attributes = 'format="r1" tcStart="3600s"'
    clips = (
        '<asset-clip name="a" ref="a" offset="x" duration="1s"/>'
        '<asset-clip name="b" ref="a" offset="2s" duration="4s"/>'
    )
    read_document = document(tmp_path, fcpxml(project(clips, attributes)))
    assert layout(read_document) == [[("b", 2.0, 6.0)]]
    assert read_document.sequences[0].duration == 6  # that of its content, where nothing is said
    assert read_document.notes.guessed == {"spine counted from 0 in spite of tcStart": 1}
    assert len(read_document.notes.problems) == 1


@pytest.mark.parametrize(
    ("attributes", "rate", "size"),
    [
        ('frameDuration="1001/30000s" width="720" height="480"', Fraction(30000, 1001), (720, 480)),
        ('name="FFVideoFormat1080p2398"', Fraction(24000, 1001), (1920, 1080)),
        ('name="FFVideoFormat720p5994"', Fraction(60000, 1001), (1280, 720)),
        ('name="FFVideoFormat1080i50"', Fraction(25), (1920, 1080)),
        ('name="FFVideoFormat3840x2160p25"', Fraction(25), (3840, 2160)),
        ('name="FFVideoFormatDV720x480i5994"', Fraction(30000, 1001), (720, 480)),
        ('name="anything" frameDuration="1/24s"', Fraction(24), (0, 0)),
    ],
)
def test_formats(tmp_path, attributes, rate, size):
    text = fcpxml(project(f"{A}/>", 'format="f"'), f'<format id="f" {attributes}/>')
    sequence = document(tmp_path, text).sequences[0]
    assert (sequence.frame_rate, (sequence.width, sequence.height)) == (rate, size)


@pytest.mark.parametrize(
    ("sequence", "why"),
    [
        ('<sequence format="r1"/>', "it has no spine"),
        ('<sequence format="no"><spine/></sequence>', "its frame rate is unknown: format 'no' does not exist"),
        ('<sequence format="open"><spine/></sequence>', "its frame rate is unknown: format 'open' does not say it"),
        ('<sequence format="r1" tcStart="1"><spine/></sequence>', "tcStart is '1', not a time like 1001/30000s"),
        ('<sequence format="r1" duration="-1s"><spine/></sequence>', "duration is '-1s', below zero"),
        (
            '<sequence format="zero"><spine/></sequence>',
            "format 'zero' at line 3: frameDuration is '0s', not above zero",
        ),
        (
            '<sequence format="wide"><spine/></sequence>',
            "format 'wide' at line 3: width is '1e300', not a number between",
        ),
    ],
)
def test_a_broken_sequence_is_an_error_with_its_line(tmp_path, sequence, why):
    formats = (
        '<format id="open" name="FFVideoFormatRateUndefined"/><format id="zero" frameDuration="0s"/>'
        '<format id="wide" frameDuration="1/25s" width="1e300"/>'
    )
    text = fcpxml(f'<project name="P">\n{sequence}</project>').replace("<resources>", f"<resources>{formats}")
    with pytest.raises(TimelineError) as caught:
        document(tmp_path, text)
    line = text[: text.index("<sequence")].count("\n") + 1
    assert str(caught.value).startswith(f"line {line}: sequence 'P': {why}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<xmeml/>", "it is no FCPXML: its root element is 'xmeml'"),
        (fcpxml("<library/>"), "it holds no project, so no timeline"),
        (
            fcpxml("<event><ref-clip ref='c' duration='1s'/><asset-clip ref='a'/></event>"),
            "it holds no project, so no timeline: 2 clips stand in it outside any, 1 of them compound clips",
        ),
        (fcpxml("<project name='P'/>"), "line 14: project 'P' holds no sequence"),
        ("<fcpxml version='1.9'><library>", "it is not well-formed XML, or was cut short"),
        ("<!DOCTYPE f [<!ENTITY a 'b'>]><fcpxml>&a;</fcpxml>", "it declares XML entities"),
        (fcpxml("<a>" * 300 + "</a>" * 300), "it is not well-formed XML, or was cut short"),
    ],
)
def test_files_without_a_timeline_are_errors(tmp_path, text, why):
    with pytest.raises(TimelineError) as caught:
        document(tmp_path, text)
    assert str(caught.value).startswith(why)


def test_too_many_clips_and_too_large_files_are_errors(tmp_path):
    assert len(spine(tmp_path, f"{A}/>" * 3, max_clips=3).sequences) == 1
    with pytest.raises(TimelineError, match="more than the 2 clips that max_clips allows"):
        spine(tmp_path, f"{A}/>" * 3, max_clips=2)
    with pytest.raises(TimelineError, match="max_megabytes"):
        spine(tmp_path, f"{A}/>", max_bytes=100)


def test_other_versions_are_read_and_noted(tmp_path):
    for version in ("1.8", "1.14"):
        assert not document(tmp_path, fcpxml(project(f"{A}/>"), version=version)).notes.guessed
    for version in ("1.7", "1.15", "2.0"):
        assert len(document(tmp_path, fcpxml(project(f"{A}/>"), version=version)).notes.guessed) == 1


def test_an_asset_clip_shows_its_file_counted_from_the_first_frame(tmp_path):
    clip = only(spine(tmp_path, '<asset-clip ref="tc" offset="1s" start="3610s" duration="4s"/>'))
    assert (clip.name, clip.kind, clip.media, clip.media_id) == ("TC", "media", "file:///media/tc.mov", "tc")
    assert (clip.start, clip.end, clip.local_start) == (1, 5, 3610)
    assert clip.media_times == ((0, 10), (4, 14))
    assert clip.animation == {}
    assert clip.enabled


def test_an_asset_clip_without_times_is_the_whole_asset(tmp_path):
    clip = only(spine(tmp_path, '<asset-clip ref="a"/>'))
    assert (clip.start, clip.end, clip.local_start, clip.media) == (0, 60, 0, "file:///media/a.mov")


def test_a_reference_to_nothing_leaves_the_clip_without_media(tmp_path):
    for tag in ("asset-clip", "ref-clip", "mc-clip", "video"):
        read_document = spine(tmp_path, f'<{tag} name="x" ref="no" start="2s" duration="4s"/>')
        clip = only(read_document)
        assert (clip.kind, clip.media, clip.media_id, clip.media_times) == ("media", None, "no", ((0, 2), (4, 6)))
        assert read_document.notes.guessed == {"reference to a resource that does not exist": 1}


def test_of_two_resources_with_one_id_the_first_counts(tmp_path):
    read_document = spine(tmp_path, f"{A}/>", '<asset id="a" hasVideo="1" src="file:///other.mov"/>')
    assert only(read_document).media == "file:///media/a.mov"
    assert read_document.notes.guessed == {"resource id given twice, the first one taken": 1}


def test_sound_captions_and_gaps_are_no_clips(tmp_path):
    read_document = spine(
        tmp_path,
        '<asset-clip ref="sound" duration="4s"/><gap offset="4s" start="3600s" duration="4s">'
        '<audio ref="sound" lane="-1" offset="3600s" duration="1s"/>'
        '<caption lane="1" offset="3601s" duration="1s"/></gap>'
        '<asset-clip ref="a" offset="8s" duration="1s" srcEnable="audio"/>'
        '<clip offset="9s" duration="1s"><gap duration="1s"><audio ref="a" lane="-1" duration="1s"/></gap></clip>',
    )
    assert layout(read_document) == []
    assert read_document.notes.ignored == {"clip without picture": 3, "audio": 2, "caption": 1}


def test_disabled_clips_are_kept_as_such(tmp_path):
    assert not only(spine(tmp_path, f'{A} enabled="0"/>')).enabled
    inner = '<clip duration="4s"><video ref="a" duration="9s" enabled="0"/></clip>'
    assert not only(spine(tmp_path, inner)).enabled


def test_titles_and_generators(tmp_path):
    title = only(spine(tmp_path, '<title name="T" ref="e" start="3600s" duration="4s"><text>words</text></title>'))
    assert (title.kind, title.name, title.media, title.local_start) == ("generator", "T", None, 3600)
    generator = only(spine(tmp_path, '<video ref="e" start="3600s" duration="4s"/>'))
    assert (generator.kind, generator.name) == ("generator", "Basic Title")
    assert only(spine(tmp_path, '<live-drawing name="D" duration="4s"/>')).kind == "generator"


@pytest.mark.parametrize(
    ("attributes", "known"),
    [
        ('duration="60s"', 60),
        ('start="3600s" duration="1001/30000s"', Fraction(1001, 30000)),
        ("", None),
        ('duration="0s"', None),
        ('duration="-5s"', None),
        ('duration="soon"', None),
        ('duration="60s" src="file:///a%20b.PNG"', None),
    ],
)
def test_the_length_of_media_is_that_of_its_asset(attributes, known, tmp_path):
    asset = f'<asset id="x" hasVideo="1" {attributes}/>'
    for item in (
        '<asset-clip ref="x" offset="0s" duration="4s"/>',
        '<clip offset="0s" duration="4s"><video ref="x" offset="0s" duration="4s"/></clip>',
    ):
        read = spine(tmp_path, item, asset)
        assert only(read).media_duration == known
        assert not read.notes.problems


def test_titles_and_compound_clips_have_no_length(tmp_path):
    for item in ('<title ref="e" offset="0s" duration="4s"/>', '<ref-clip ref="m" offset="0s" duration="4s"/>'):
        assert only(spine(tmp_path, item, COMPOUND)).media_duration is None
