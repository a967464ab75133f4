from __future__ import annotations

from fractions import Fraction

import pytest

from keyframes.xmeml_files import (
    FILE,
    child,
    clip,
    rate,
    read_items,
    read_text,
    sequence,
    ticks,
    track,
    xmeml,
)

F = Fraction


# What is enabled


@pytest.mark.parametrize(("word", "enabled"), [("FALSE", False), ("False", False), ("TRUE", True), (None, True)])
def test_enabled_of_clip_and_track_in_any_case(word, enabled, tmp_path):
    document = read_text(xmeml(sequence(track(clip(enabled=word), enabled=word))), tmp_path)
    (only,) = document.sequences[0].tracks
    assert (only.enabled, only.clips[0].enabled) == (enabled, enabled)


def test_enabled_of_a_track_may_stand_before_its_clips(tmp_path):
    text = xmeml(sequence(f"<track><enabled>FALSE</enabled>{clip()}{clip(40, 50)}</track>"))
    (only,) = read_text(text, tmp_path).sequences[0].tracks
    assert (only.enabled, len(only.clips)) == (False, 2)


# Sequences


def test_every_top_level_sequence_in_order(tmp_path):
    inner = sequence(track(clip(0, 20)), own_id="in", name="inner")
    outer = sequence(track(clip(0, 20, file=inner)), own_id="out", name="outer")
    third = sequence(own_id="3", name="third")
    bins = f"<project><children><bin><children>{outer}</children></bin>{third}</children></project>"
    document = read_text(xmeml(sequence(own_id="1", name="first"), bins), tmp_path)
    assert [each.name for each in document.sequences] == ["first", "outer", "third"]
    nested = document.sequences[1].tracks[0].clips[0]
    assert (nested.kind, nested.sequence.name, nested.media) == ("nested", "inner", None)
    assert len(nested.sequence.tracks[0].clips) == 1


def test_a_nested_sequence_is_given_once_and_shared(tmp_path):
    reference = '<sequence id="in"/>'
    inner = sequence(track(clip(0, 20)), own_id="in", name="inner")
    text = xmeml(
        sequence(track(clip(0, 9, file=reference)), own_id="1"),
        sequence(track(clip(0, 9, file=inner), clip(9, 18, file=reference)), own_id="2"),
        reference,
    )
    document = read_text(text, tmp_path)
    assert [each.name for each in document.sequences] == ["main", "main", "inner"]
    clips = [clip for each in document.sequences[:2] for clip in each.tracks[0].clips]
    assert all(clip.sequence is document.sequences[2] for clip in clips)


def test_a_sequence_in_an_audio_clip_counts_where_a_video_clip_refers_to_it(tmp_path):
    inner = sequence(track(clip(0, 20)), own_id="in", name="inner")
    audio = f"<audio><track>{clip(file=inner)}</track></audio>"
    document = read_text(xmeml(sequence(track(clip(file='<sequence id="in"/>')), more=audio)), tmp_path)
    assert [each.name for each in document.sequences] == ["main"]
    assert document.sequences[0].tracks[0].clips[0].sequence.name == "inner"
    assert document.notes.ignored["audio track"] == 1


def test_a_sequence_in_a_bin_clip_or_its_tracks_is_none_of_the_timeline(tmp_path):
    master = f"<bin><clip id='m'><media><video><track>{clip()}</track></video></media></clip></bin>"
    document = read_text(xmeml(master, sequence(track(clip(3, 9)))), tmp_path)
    assert [len(each.clips) for each in document.sequences[0].tracks] == [1]


def test_a_sequence_that_contains_itself_is_refused(tmp_path):
    text = xmeml(sequence(track(clip(0, 5, file='<sequence id="s"/>', name="me"), clip(5, 9))))
    document = read_text(text, tmp_path)
    assert len(document.sequences[0].tracks[0].clips) == 1
    assert document.notes.problems == [
        "line 1: clip 'me': its sequence 'main' contains itself, or sequences more than 3 deep; 4 levels are allowed"
    ]


@pytest.mark.parametrize(("max_depth", "kept"), [(3, 1), (2, 0)])
def test_sequences_nest_up_to_max_depth(max_depth, kept, tmp_path):
    nest = sequence(track(clip()), own_id="0")
    for level in "123":
        nest = sequence(track(clip(file=nest)), own_id=level, name=level)
    document = read_text(xmeml(nest), tmp_path, max_depth=max_depth)
    assert len(document.sequences[0].tracks[0].clips) == kept
    assert len(document.notes.problems) == 1 - kept


def test_a_long_chain_of_references_does_not_exhaust_the_stack(tmp_path):
    chain = [sequence(track(clip(file=f'<sequence id="{i + 1}"/>')), own_id=str(i), size=None) for i in range(3000)]
    document = read_text(xmeml(*chain), tmp_path, max_clips=10_000)
    assert len(document.sequences) == 3000
    assert len(document.notes.problems) == 2995  # all but those of the last five sequences


def test_a_sequence_that_is_nowhere_leaves_a_clip_without_media(tmp_path):
    (one,), notes = read_items(tmp_path, clip(file='<sequence id="gone"/>'))
    assert (one.kind, one.media, one.sequence) == ("media", None, None)
    assert notes.guessed["sequence that is only referred to: nothing known"] == 1


def test_duration_size_and_order_of_tracks(tmp_path):
    text = xmeml(
        sequence(track(clip(0, 40, name="low")), track(clip(5, 50, name="high")), duration=300, size=(1080, 1920))
    )
    (only,) = read_text(text, tmp_path).sequences
    assert (only.duration, only.width, only.height) == (10, 1080, 1920)
    assert [each.clips[0].name for each in only.tracks] == ["low", "high"]


@pytest.mark.parametrize("duration", [None, 0, 20])
def test_a_missing_or_too_short_duration_is_the_largest_end(duration, tmp_path):
    document = read_text(xmeml(sequence(track(clip(0, 40)), track(clip(5, 50)), duration=duration)), tmp_path)
    assert document.sequences[0].duration == F(50, 30)
    assert sum(document.notes.guessed.values()) == (duration == 20) + 2  # the two files are only referred to


# Media


def test_a_file_is_given_once_and_its_path_kept_as_text(tmp_path):
    document = read_text(
        xmeml(sequence(track(clip(0, 9), clip(9, 20, file=FILE), clip(20, 30)), track(clip()))), tmp_path
    )
    clips = [clip for each in document.sequences[0].tracks for clip in each.clips]
    assert {(clip.media, clip.media_id, clip.kind) for clip in clips} == {("file:///../../etc/m%20n.mov", "f", "media")}
    assert not document.notes.guessed


def file_of(own_id="f", *, path="m.mov", duration=100, at=30, ntsc=None):
    path = "" if path is None else f"<pathurl>{path}</pathurl>"
    return f'<file id="{own_id}">{path}{child("duration", duration)}{"" if at is None else rate(at, ntsc)}</file>'


def test_the_length_of_media_counts_at_the_rate_of_its_file(tmp_path):
    clips, _ = read_items(
        tmp_path,
        clip(0, 9),
        clip(9, 20, file=file_of(), more=rate(15)),
        clip(20, 30),
        clip(30, 40, file=file_of("g", duration=48, at=24, ntsc="TRUE")),
        clip(40, 50, file=file_of("h", at=None)),
        clip(50, 60, file=file_of("i", at=None), more=rate(25)),
    )
    lengths = [clip.media_duration for clip in clips]
    assert lengths == [F(10, 3), F(10, 3), F(10, 3), F(2002, 1000), F(10, 3), 4]
    assert lengths[0] is lengths[2]


def test_a_file_at_the_stated_rate_of_its_clip_counts_as_the_clip_does(tmp_path):
    frames = 59_000  # 1000 s at the 59 that is stated, 985 s in truth
    spans = [(first, first + 590) for first in range(0, frames, 590)]
    file = file_of(duration=frames, at=59)
    items = [clip(first, last, first, file=file, **ticks(first / 59.9, last / 59.9)) for first, last in spans]
    (*_, last), notes = read_items(tmp_path, *items, own_rate=rate(59))
    assert notes.guessed["frame rate of a sequence, by its clips' ticks"] == 1
    assert float(last.media_duration) == pytest.approx(frames / 59.9)


@pytest.mark.parametrize(
    "settings",
    [{"duration": value} for value in (None, "", 0, "0.0", -5, "x", "nan", "inf", "1e400", 10**12, "1e-9", "9" * 400)]
    + [{"at": value} for value in (0, -30, "x", 1e9)]
    + [{"path": "still.PNG"}, {"path": "file://localhost/a%20b.jpg"}],
)
def test_of_impossible_lengths_stills_and_generators_nothing_is_known(settings, tmp_path):
    document = read_text(xmeml(sequence(track(clip(file=file_of(**settings))))), tmp_path)
    (one,) = document.sequences[0].tracks[0].clips
    assert one.media_duration is None
    assert not document.notes.problems


def test_generators_and_sequences_have_no_length(tmp_path):
    graphic = '<file id="g"><mediaSource>Slug</mediaSource><duration>100</duration></file>'
    inner = sequence(track(clip(0, 20)), own_id="in", duration=100)
    clips, _ = read_items(tmp_path, clip(0, 9, file=graphic), clip(9, 20, file=inner))
    assert [(clip.kind, clip.media_duration) for clip in clips] == [("generator", None), ("nested", None)]


def test_a_file_given_in_an_audio_track_counts(tmp_path):
    audio = f"<audio><track>{clip(file=FILE)}</track></audio>"
    document = read_text(xmeml(sequence(track(clip()), more=audio)), tmp_path)
    assert document.sequences[0].tracks[0].clips[0].media == "file:///../../etc/m%20n.mov"


def test_a_file_that_is_nowhere_and_one_without_path(tmp_path):
    clips, notes = read_items(
        tmp_path, clip(file='<file id="x"/>'), clip(30, 60, file='<file id="y"><name>n</name></file>')
    )
    assert [(clip.kind, clip.media, clip.media_id) for clip in clips] == [("media", None, "x"), ("media", None, "y")]
    assert notes.guessed == {"file that is only referred to: no path": 1, "file without a path": 1}


def test_generators_and_graphics(tmp_path):
    graphic = '<file id="g"><name>G</name><mediaSource>GraphicAndType</mediaSource></file>'
    clips, notes = read_items(
        tmp_path,
        clip(0, 9, tag="generatoritem", file="<effect><effectid>Color</effectid></effect>"),
        clip(9, 20, file=""),
        clip(20, 30, file=graphic),
        clip(30, 40, file='<file id="g"/>'),
    )
    assert [clip.kind for clip in clips] == ["generator"] * 4
    assert not notes.guessed


def test_a_multiclip_shows_its_active_angle(tmp_path):
    angles = "".join(
        f"<angle><activevideoangle>{active}</activevideoangle>"
        f"<clip><file id='{name}'><pathurl>{name}.mov</pathurl></file></clip></angle>"
        for name, active in (("one", "FALSE"), ("two", "TRUE"))
    )
    (one,), _ = read_items(tmp_path, clip(file=f"<multiclip>{angles}</multiclip>"))
    assert (one.kind, one.media) == ("media", "two.mov")
