from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyframes.xmeml_files import (
    FILE,
    LIMITS,
    clip,
    edges,
    effect,
    key,
    parameter,
    rate,
    read_items,
    read_text,
    remap,
    sequence,
    ticks,
    track,
    transition,
    xmeml,
)
from millrace.keyframes.timeline import Document
from millrace.keyframes.xmeml.read import read
from millrace.keyframes.xml_events import TimelineError

F = Fraction


# Impossible things


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (clip(20, 10, name="bad"), "end 10 is before start 20"),
        (clip("x", 10, name="bad"), "start is 'x', not a number"),
        (clip(None, 10, name="bad"), "it has no start"),
        (clip(0, "nan", name="bad"), "end is 'nan'"),
        (clip(0, "1e300", name="bad"), "end is '1e300'"),
        (clip(-7, 10, name="bad"), "start is -7, before the sequence begins"),
        (clip(0, 10, -3, name="bad"), "in is -3, before the media begins"),
        (clip(0, 10, rate="<timebase>0</timebase>", name="bad"), "timebase is 0, not between 1 and 1000"),
        (clip(0, 10, rate="<timebase>often</timebase>", name="bad"), "timebase is 'often', not a number"),
        (clip(0, 10, name="bad", more=effect("basic", parameter("scale", "NaN"))), "scale value is 'NaN'"),
        (
            clip(0, 10, name="bad", more=effect("crop", parameter("left", 0, key(0, "1e300")))),
            "left at frame 0 is '1e300'",
        ),
        (clip(0, 10, name="bad", more=effect("basic", parameter("center", ("", "x")))), "center value is 'x'"),
        (
            clip(0, 10, name="bad", more=effect("opacity", parameter("opacity", 5, key("", 3)))),
            "a keyframe of opacity has no time",
        ),
        (clip(0, 10, name="bad", more=remap("fast")), "speed is 'fast'"),
    ],
)
def test_an_impossible_clip_is_left_out_and_named(broken, reason, tmp_path):
    clips, notes = read_items(tmp_path, "\n", broken, clip(50, 60, name="good"))
    assert [clip.name for clip in clips] == ["good"]
    (problem,) = notes.problems
    assert problem.startswith("line 2: clip 'bad': ")
    assert reason in problem


@pytest.mark.parametrize("own_rate", ["", rate(0), rate("nan"), rate(-30), rate(1e6)])
def test_a_sequence_without_a_possible_rate_is_refused(own_rate, tmp_path):
    with pytest.raises(TimelineError, match=r"^line 2: sequence 'main'.*(no rate|timebase)"):
        read_text(xmeml("\n", sequence(track(clip()), own_rate=own_rate)), tmp_path)


@pytest.mark.parametrize(("duration", "size"), [("long", None), (10, ("x", 1)), (10, (-1, 5)), (10, (1e9, 5))])
def test_a_sequence_with_an_impossible_duration_or_size_is_refused(duration, size, tmp_path):
    with pytest.raises(TimelineError, match=r"^line 1: sequence 'main': (duration|width) is "):
        read_text(xmeml(sequence(duration=duration, size=size)), tmp_path)


def test_overlapping_clips_are_cut_at_the_later_one(tmp_path):
    clips, notes = read_items(tmp_path, clip(20, 60), clip(0, 30, 5), clip(20, 70, name="over"))
    assert edges(clips) == [(0, 20, 5), (20, 70, 0)]
    assert clips[0].media_times == ((0, F(5, 30)), (F(20, 30), F(25, 30)))
    assert clips[1].name == "over"
    assert notes.guessed["overlapping clips: the earlier one ends where the later one starts"] == 2
    assert notes.ignored["clip wholly under another of its track"] == 1


def test_a_clip_of_no_length_is_counted(tmp_path):
    clips, notes = read_items(tmp_path, clip(5, 5), clip(5, 9))
    assert len(clips) == 1
    assert notes.ignored["clip of no length"] == 1


def test_too_many_clips_are_refused_and_audio_does_not_count(tmp_path):
    audio = f"<audio><track>{clip() * 9}</track></audio>"
    text = xmeml(sequence(track(clip(0, 9), clip(9, 20)), more=audio))
    assert len(read_text(text, tmp_path, max_clips=2).sequences) == 1
    with pytest.raises(TimelineError, match="more than the 1 clips that max_clips allows"):
        read_text(text, tmp_path, max_clips=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (xmeml(), "it holds no sequence"),
        (xmeml("<clip/>"), "it holds no sequence"),
        (xmeml('<sequence id="x"/>'), "only references"),
        ("<fcpxml version='1.9'/>", "no Final Cut Pro 7 XML: its first element is 'fcpxml'"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><xmeml/>", "entities"),
        (xmeml(sequence(track(clip())))[:-30], "not well-formed"),
        ("", "not well-formed"),
    ],
)
def test_files_that_are_no_timeline(text, reason, tmp_path):
    with pytest.raises(TimelineError, match=reason):
        read_text(text, tmp_path)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_all_versions_are_read(version, tmp_path):
    assert len(read_text(xmeml(sequence(track(clip())), version=version), tmp_path).sequences) == 1


def test_a_clip_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("millrace.keyframes.xmeml.read.MAX_CLIP_ELEMENTS", 100)
    monkeypatch.setattr("millrace.keyframes.xml_events.CHUNK", 64)  # after each they are counted
    many = clip(more="<link/>" * 101)
    fewer = clip(more="<link/>" * 60) + clip(40, 50, more="<link/>" * 60)
    assert read_text(xmeml(sequence(track(fewer))), tmp_path)
    with pytest.raises(TimelineError, match="more than 100 elements in one clip"):
        read_text(xmeml(sequence(track(many))), tmp_path)


def test_audio_and_bins_do_not_stay_in_memory(tmp_path):
    audio = "<track>" + clip(more="<link><mediatype>audio</mediatype><trackindex>1</trackindex></link>" * 20) * 5000
    master = "<clip><name>m</name><logginginfo><scene/></logginginfo></clip>" * 40_000
    marked = sequence(track(clip()), more=f"<audio>{audio}</track></audio>") + f"<bin>{master}</bin>"
    path = tmp_path / "long.xml"
    path.write_text(xmeml(marked))
    assert path.stat().st_size > 9_000_000
    code = (
        "import resource, sys; from pathlib import Path; from millrace.keyframes.xmeml.read import read\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); read(Path(sys.argv[1]), max_bytes=10**8, max_clips=9, max_depth=1); print(peak() - before)"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    # Kept whole, the tree takes over 60 MB; the largest piece that is kept here is one clip.
    assert int(done.stdout) < 20_000


# Anything at all

WHOLE = xmeml(
    sequence(
        track(
            clip(0, -1, 10, 50, name="one", file=FILE, duration=300, **ticks(F(1, 3), F(5, 3))),
            transition(30, 40),
            clip(
                -1,
                90,
                0,
                60,
                more=effect("basic", parameter("scale", 5, key(0, 1, "hold"), key(9, 2, "bezier", inbez=(1, 2)))),
            ),
            clip(90, 99, file=sequence(track(clip(more=remap(50, "TRUE"))), own_id="in")),
        ),
        track(clip(more=effect("basic", parameter("center", (0, 1), key(3, (1, 2)), key(4, (5, 6)))))),
        duration=120,
    )
).encode()
WORDS = st.sampled_from(
    [b"<", b"/>", b"&x;", b"-1", b"0", b"1e300", b"nan", b"99999999", b"s", b"in", b"\xff", b"<sequence id='s'/>"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_give_a_document_or_a_timeline_error(tmp_path, data):
    text = bytearray(WHOLE)
    if data.draw(st.booleans(), label="cut"):
        del text[data.draw(st.integers(0, len(text))) :]
    for _ in range(data.draw(st.integers(0, 4), label="changes")):
        place = data.draw(st.integers(0, len(text)))
        text[place : place + data.draw(st.integers(0, 6))] = data.draw(WORDS | st.binary(max_size=5))
    path = tmp_path / "damaged.xml"
    path.write_bytes(bytes(text))
    try:
        document = read(path, **LIMITS)
    except TimelineError:
        return
    assert isinstance(document, Document)
    for each in document.sequences:
        for clips in (row.clips for row in each.tracks):
            assert all(clip.start < clip.end <= each.duration for clip in clips)
            assert all(left.end <= right.start for left, right in pairwise(clips))
