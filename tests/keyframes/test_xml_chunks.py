"""Files are read in chunks and freed behind them: where a chunk ends must not matter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from keyframes.fcpxml_files import COMPOUND, RESOURCES, A
from keyframes.timelines import sequences
from keyframes.xmeml_files import FILE, clip, effect, key, parameter, sequence, track, transition, xmeml
from millrace.keyframes import xml_events
from millrace.keyframes.params import Parse
from millrace.keyframes.reading import read_timeline
from millrace.keyframes.timeline import Document, Sequence
from millrace.keyframes.xmeml.write import write
from millrace.keyframes.xml_events import TimelineError

INNER = sequence(track(clip(0, 9), clip(9, 30, more=effect("crop", parameter("left", 5)))), own_id="in", name="inner")
XMEML = xmeml(
    "<bin><children><clip><name>master</name>" + FILE + "</clip></children></bin>",
    sequence(
        track(clip(0, -1, 10, 50, file=FILE), transition(30, 40), clip(-1, 90, 0, 60, more="<link>\n<a/> </link>" * 9)),
        track(clip(0, 30, more=effect("basic", parameter("scale", 5, key(0, 1), key(9, 2)))), clip(40, 90, file=INNER)),
        track(clip(90, 99, file='<sequence id="in"/>')),
        duration=120,
        more="<marker><name>not the sequence's</name></marker>" * 3,
    ),
)
FCPXML = (
    f'<fcpxml version="1.10"><resources>{RESOURCES}{COMPOUND}</resources><library><event name="e">{A}/>'
    f'<project name="one"><sequence format="r1" duration="20s"><note>n</note><spine>'
    f'{A}><metadata><md key="k"/></metadata>'
    '<title lane="1" ref="e" offset="11s" duration="1s"><text>t</text></title></asset-clip><transition duration="1s"/>'
    '<gap offset="4s" duration="1s"/><ref-clip ref="m" offset="5s" start="3602s" duration="3s"><adjust-transform '
    'scale="2 2"/></ref-clip></spine></sequence></project><project name="two"><sequence format="r1"><spine/></sequence>'
    f'</project></event></library><project name="three"><sequence format="r1"><spine>{A}/></spine></sequence></project>'
    "</fcpxml>"
)


def told(whole: Sequence) -> list[object]:
    """All that a sequence holds, comparable."""
    clips = [
        (
            *(getattr(each, name) for name in ("name", "kind", "start", "end", "local_start", "media_times", "media")),
            {name: curve.keys for name, curve in each.animation.items()},
            None if each.sequence is None else told(each.sequence),
        )
        for row in whole.tracks
        for each in row.clips
    ]
    return [whole.name, whole.frame_rate, whole.width, whole.duration, [row.enabled for row in whole.tracks], clips]


def read_in_chunks(path: Path, chunk: int) -> tuple[list[object], object]:
    before, xml_events.CHUNK = xml_events.CHUNK, chunk
    try:
        document: Document = read_timeline(path, Parse())
    finally:
        xml_events.CHUNK = before
    return [told(each) for each in document.sequences], document.notes


@pytest.mark.parametrize("text", [XMEML, FCPXML], ids=["xmeml", "fcpxml"])
@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 301])
def test_small_files(text, chunk, tmp_path):
    path = tmp_path / "t.xml"
    path.write_text(text)
    whole = read_in_chunks(path, 1 << 20)
    assert whole[0]
    assert read_in_chunks(path, chunk) == whole


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequences(), st.integers(1, 3000))
def test_written_files(tmp_path, whole, chunk):
    path = tmp_path / "t.xml"
    try:
        write(whole, path)
    except TimelineError:  # x is held while y moves, which the format cannot say
        reject()
    assert read_in_chunks(path, chunk) == read_in_chunks(path, 1 << 20)


SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
@pytest.mark.parametrize("chunk", [97, 4096])
def test_real_files(chunk):
    paths = [path for ending in ("xml", "fcpxml") for path in (Path(SHARED or "") / "keyframes").glob(f"*/*.{ending}")]
    assert len(paths) > 15
    for path in paths:
        try:
            whole = read_in_chunks(path, 1 << 22)
        except TimelineError:
            continue
        assert read_in_chunks(path, chunk) == whole, path.name


def test_what_nobody_reads_does_not_pile_up(tmp_path):
    """Not even without any element that the reader knows."""
    unknown = "<marker><in>1</in></marker>" * 100_000
    path = tmp_path / "t.xml"
    path.write_text(xmeml(sequence(track(clip()), more=unknown)))
    most = []
    watched = xml_events.drop_children

    def drop(element, kept=()):
        most.append(len(element))
        watched(element, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("millrace.keyframes.xmeml.read.drop_children", drop)
        assert read_timeline(path, Parse()).sequences
    assert max(most) < xml_events.CHUNK / 20


def test_a_property_given_without_end_is_refused(tmp_path):
    path = tmp_path / "t.xml"
    text = xmeml(sequence(track(clip())))
    path.write_text(text.replace("</sequence>", "<name>n</name>" * 20_000 + "</sequence>"))
    with pytest.raises(TimelineError, match="more than 1000 properties"):
        read_timeline(path, Parse())
