"""Files that Final Cut wrote."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from keyframes.fcpxml_files import (
    at,
    layout,
)
from millrace.keyframes.fcpxml.read import read

SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_files():
    folder = Path(SHARED or "") / "keyframes" / "openfcpxmlkit"
    limits = {"max_bytes": 10**7, "max_clips": 10**4, "max_depth": 8}
    read_documents = {path.name: read(path, **limits) for path in sorted(folder.iterdir())}
    for read_document in read_documents.values():
        assert read_document.notes.problems == []
        assert not any("overlapping" in guess for guess in read_document.notes.guessed)
    assert len(read_documents["KeywordsWithinFolders.fcpxml"].sequences) == 25
    # Final Cut's Ken Burns frame of a 5027 x 3351 still has the sequence's 16:9 if and only if all sides of a crop are
    # in percent of the height.
    tracks = read_documents["TimelineSample.fcpxml"].sequences[0].tracks
    (still,) = [clip for track in tracks for clip in track.clips if clip.name == "shop_front.jpg"]
    left, right, top, bottom = (at(still, f"crop_{side}", 0)[0] / 100 for side in "lrtb")
    assert (1 - left - right) * 5027 / ((1 - top - bottom) * 3351) == pytest.approx(16 / 9, rel=1e-4)
    # Worked out by hand from Occlusion3.fcpxml, whose sequence begins at 3590 s and has 25 frames a second.
    occlusion = read_documents["Occlusion3.fcpxml"]
    frames = [[(name, start * 25, end * 25) for name, start, end in track] for track in layout(occlusion)]
    assert [[(name, round(start), round(end)) for name, start, end in track] for track in frames] == [
        [("Basic Title", 0, 126), ("2-1-5", 126, 209), ("1-X-1", 209, 266)],
        [("TestVideo", 126, 209), ("1-2-2 MOS", 209, 266)],
        [("VFX - Add SFX", 126, 209), ("TestAudio2", 209, 266)],
        [("VFX - Set extension", 209, 266)],
        [("Watermark", 0, 8436)],
    ]
    synced = occlusion.sequences[0].tracks[0].clips[1]
    # The synced clip begins at 107089700/2500 s, its file at 1070570/25 s: 327 frames later.
    assert synced.media_times[0] == (0, Fraction(327, 25))
    moved = occlusion.sequences[0].tracks[0].clips[2]
    assert {name: curve.keys[0].value for name, curve in moved.animation.items()} == {"y": -0.225729}


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_keyframes():
    """The animated clips of the files, their keys as the file has them."""
    folder = Path(SHARED or "") / "keyframes" / "openfcpxmlkit"
    found = {}
    for name in ("GeneralDemo.fcpxml", "TimelineSample.fcpxml"):
        (sequence,) = read(folder / name, max_bytes=10**7, max_clips=10**4, max_depth=8).sequences
        for clip in (clip for track in sequence.tracks for clip in track.clips):
            for parameter, curve in clip.animation.items():
                if curve.animated:
                    found[clip.name, parameter] = [(key.time, round(key.value, 4)) for key in curve.keys]
    assert found.pop(("Busking Broll-02", "scale")) == [
        (Fraction(43600, 2400), 126.788),
        (Fraction(47100, 2400), 110.559),
    ]
    assert found.pop(("Studio Broll-08", "scale")) == [(Fraction(45, 24), 100), (Fraction(139, 24), 115)]
    assert found.pop(("Studio Broll-08", "opacity")) == [(Fraction(50, 24), 100), (Fraction(139, 24), 0)]
    page = found.pop(("truffle_page.png", "x")), found.pop(("truffle_page.png", "y"))
    assert [value for _, value in page[0]] == [0.4328, 0.3164]  # 76.9444 and 56.25 percent of 720 pixels, in 1280
    assert [value for _, value in page[1]] == [0.3125, -0.6658]
    assert sorted(found) == [
        ("Busking Broll-10", "scale"),
        ("Dipping truffle CU.mov", "scale"),
        ("General Demo - Basic Title", "opacity"),
        ("Opener - Basic Title", "opacity"),
        ("truffle_page.png", "scale"),
    ]
