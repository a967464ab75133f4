"""How fast timelines become rows, beside OpenTimelineIO's reader of the same files.

    python benchmarks/timeline_parsing.py [--rounds 5] [--clips 500 1000 2000 5000] [--data FOLDER]

First table: CPU time for FCP7 XML, medians of alternating turns. `otio` is OpenTimelineIO's fcp_xml adapter, which
gives objects with effects as raw dictionaries; `read` gives ours with curves, and `parse` the sampled table besides;
`scan` is lxml reading the file and throwing all away, below which no reader on lxml comes. Files are those of --data
(default: $MILLRACE_SHARED_DATA/keyframes, where it is set) and generated ones: `premiere` with the elements, filters,
sound and indents that Premiere writes, `plain` as programs write them, on seven tracks or on one.

Second table: a folder of 110 timelines with the lengths and clips that were counted in 110 real ones (8,067 s, 5,850
clips), drawn from a fixed seed, through `parse_folder` in two processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
import opentimelineio as otio  # type: ignore[import-untyped]
from lxml import etree

from millrace.keyframes.params import Parse
from millrace.keyframes.parse import parse_file, parse_folder
from millrace.keyframes.reading import read_timeline
from millrace.settings import Runtime

TIMEBASE = 60
TRACKS = 7
TICKS_A_FRAME = 254_016_000_000 // TIMEBASE
Generator = np.random.Generator


def parameter(own_id: str, name: str, value: str, low: str = "0", high: str = "1000") -> str:
    return (
        f'<parameter authoringApp="PremierePro"><parameterid>{own_id}</parameterid><name>{name}</name>'
        f"<valuemin>{low}</valuemin><valuemax>{high}</valuemax><value>{value}</value></parameter>"
    )


def motion(scale: float, x: float, y: float) -> str:
    """Basic Motion as Premiere writes it."""
    return (
        "<filter><effect><name>Basic Motion</name><effectid>basic</effectid><effectcategory>motion</effectcategory>"
        "<effecttype>motion</effecttype><mediatype>video</mediatype><pproBypass>false</pproBypass>"
        + parameter("scale", "Scale", f"{scale:g}")
        + parameter("rotation", "Rotation", "0", "-8640", "8640")
        + parameter("center", "Center", f"<horiz>{x:g}</horiz><vert>{y:g}</vert>")
        + parameter("centerOffset", "Anchor Point", "<horiz>0</horiz><vert>0</vert>")
        + parameter("antiflicker", "Anti-flicker Filter", "0", "0.0", "1.0")
        + "</effect></filter>"
    )


RATE = f"<rate><timebase>{TIMEBASE}</timebase><ntsc>FALSE</ntsc></rate>"
REST = (
    "<logginginfo><description/><scene/><shottake/><lognote/><good/><originalvideofilename/><originalaudiofilename/>"
    "</logginginfo><colorinfo><lut/><lut1/><asc_sop/><asc_sat/><lut2/></colorinfo><labels><label2>Iris</label2></labels>"
)


def link(number: int) -> str:
    return (
        f"<link><linkclipref>clipitem-{number}</linkclipref><mediatype>video</mediatype><trackindex>1</trackindex>"
        f"<clipindex>{number}</clipindex></link>"
    )


def clip(number: int, name: str, start: int, end: int, first: int, filters: str, *, heavy: bool) -> str:
    """A clipitem; `heavy` with all that Premiere says of it."""
    last = first + end - start
    text = f"<name>{name}</name><enabled>TRUE</enabled><duration>{last + 900}</duration>{RATE}<start>{start}</start>"
    text += f"<end>{end}</end><in>{first}</in><out>{last}</out>"
    if heavy:
        text = f"<masterclipid>masterclip-{number}</masterclipid>" + text
        text += f"<pproTicksIn>{first * TICKS_A_FRAME}</pproTicksIn><pproTicksOut>{last * TICKS_A_FRAME}</pproTicksOut>"
        text += "<alphatype>none</alphatype>"
    text += f'<file id="file-{name}"><name>{name}</name><pathurl>file://localhost/D%3a/{name}</pathurl></file>{filters}'
    return f'<clipitem id="clipitem-{number}">{text}{3 * link(number) + REST if heavy else ""}</clipitem>\n'


def timeline(generator: Generator, clips: int, frames: int, tracks: int, *, heavy: bool) -> str:
    """A sequence of `frames` with `clips` on `tracks`: some settings come back all through it, as in a real edit."""
    usual = [(float(generator.integers(17, 547)), *generator.normal(0, 0.3, 2).round(4)) for _ in range(5)]
    counts = [clips // tracks + (track < clips % tracks) for track in range(tracks)]
    text, number = [], 0
    for count in counts:
        edges = np.linspace(0, frames, count + 1).astype(int)
        text.append("<track>")
        for start, end in pairwise(edges):
            number += 1
            setting = usual[generator.integers(5)]
            if generator.random() < 0.2:
                setting = (round(float(generator.uniform(17, 547)), 1), *generator.normal(0, 0.3, 2).round(4))
            filters = motion(*setting) if generator.random() < 0.42 else ""
            name = f"media_{generator.integers(60)}.mp4"
            first = int(generator.integers(0, 9000))
            text.append(clip(number, name, int(start), int(end), first, filters, heavy=heavy))
        text.append("<enabled>TRUE</enabled><locked>FALSE</locked></track>")
    shape = f"<samplecharacteristics>{RATE}<width>1080</width><height>1920</height></samplecharacteristics>"
    audio = f"<track>{''.join(clip(0, 'sound.wav', 0, 9, 0, '', heavy=True) for _ in range(clips // 4))}</track>"
    whole = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="4"><sequence id="sequence-1">'
        f"<name>generated</name><duration>{frames}</duration>{RATE}<media><video><format>{shape}</format>{''.join(text)}</video>"
        f"<audio>{audio if heavy else ''}</audio></media></sequence></xmeml>"
    )
    return whole.replace("><", ">\n" + 18 * " " + "<") if heavy else whole


def folder_like_the_real_one(folder: Path, seed: int = 0) -> None:
    """110 timelines, 8,067 s and 5,850 clips in all; lengths about a median of 58 s."""
    generator = np.random.default_rng(seed)
    seconds = np.clip(np.exp(generator.normal(np.log(58), 0.65, 110)), 12, 443)
    seconds *= 8067 / seconds.sum()
    counts = np.diff(np.round(np.cumsum([0, *seconds]) * 5850 / 8067).astype(int))
    for index, (length, clips) in enumerate(zip(seconds, counts, strict=True)):
        text = timeline(generator, int(clips), round(length * TIMEBASE), TRACKS, heavy=True)
        (folder / f"video_{index:03d}.xml").write_text(text, encoding="utf-8")


def scan(path: Path) -> None:
    for _, element in etree.iterparse(str(path), tag=("clipitem", "track"), remove_blank_text=True):
        element.clear()


def cpu_seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU time of each, by turns; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in runs if turn % 2 else reversed(runs):
            start = time.process_time()
            runs[name]()
            if turn:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def compare(path: Path, rounds: int) -> None:
    settings = Parse()
    runs: dict[str, Callable[[], object]] = {
        "otio": lambda: otio.adapters.read_from_file(str(path), "fcp_xml"),
        "read": lambda: read_timeline(path, settings),
        "parse": lambda: parse_file("video", path, settings),
        "scan": lambda: scan(path),
    }
    try:
        runs["otio"]()
    except Exception as error:  # whatever stops it is the answer
        print(f"{path.name:30} otio cannot read it: {error}")
        return
    parsed = parse_file("video", path, settings)
    if not parsed.tables:
        print(f"{path.name:30} refused: {parsed.problems[0]}")
        return
    clips = sum(row["clips"] for row in parsed.report)
    took = cpu_seconds(runs, rounds)
    milliseconds = "".join(f"{1000 * took[name]:10.2f}" for name in runs)
    ratios = "".join(f"{took['otio'] / took[name]:9.1f}" for name in ("read", "parse", "scan"))
    print(f"{path.name:30}{path.stat().st_size / 1e6:7.2f}{clips:7}{milliseconds}{ratios}", flush=True)


def parse_the_folder(folder: Path, rounds: int) -> None:
    folder_like_the_real_one(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    walls = []
    for _ in range(rounds):
        start = time.monotonic()
        parsed, problems = parse_folder(folder, Parse(), Runtime(jobs=2, progress=False))
        walls.append(time.monotonic() - start)
    rows = sum(len(table) for file in parsed for table in file.tables)
    seconds = sum(row["duration_s"] for file in parsed for row in file.report)
    clips = sum(row["clips"] for file in parsed for row in file.report)
    print(
        f"\n110 timelines, {size / 1e6:.1f} MB, {seconds:.0f} s, {clips} clips: {rows} rows, {len(problems)} problems"
    )
    print(
        f"first call {walls[0]:.2f} s of wall time (it starts two processes), median {statistics.median(walls):.2f} s"
    )
    start = time.process_time()
    for path in sorted(folder.iterdir()):
        parse_file(path.stem, path, Parse())
    alone = time.process_time() - start
    start = time.process_time()
    for path in sorted(folder.iterdir()):
        otio.adapters.read_from_file(str(path), "fcp_xml")
    peer = time.process_time() - start
    print(f"one after the other in one process: {alone:.2f} s of CPU time; otio {peer:.2f} s, {peer / alone:.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, nargs="*", default=[500, 1000, 2000, 5000])
    shared = os.environ.get("MILLRACE_SHARED_DATA")
    parser.add_argument("--data", type=Path, default=Path(shared) / "keyframes" if shared else None)
    options = parser.parse_args()
    print("CPU time in ms, median of alternating turns; then how many times as long otio takes as each")
    names = ("otio", "read", "parse", "scan", "/read", "/parse", "/scan")
    print(f"{'file':30}{'MB':>7}{'clips':>7}" + "".join(f"{name:>{10 if name[0] != '/' else 9}}" for name in names))
    for path in sorted(options.data.rglob("*.xml")) if options.data else ():
        compare(path, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        for heavy, tracks in ((True, TRACKS), (False, TRACKS), (False, 1)):
            for clips in options.clips:
                path = Path(folder) / f"{'premiere' if heavy else 'plain'}_{clips}_on_{tracks}.xml"
                # As many frames as real edits have for their clips: 1.38 s each.
                frames = round(clips * 1.38 * TIMEBASE)
                path.write_text(timeline(np.random.default_rng(clips), clips, frames, tracks, heavy=heavy))
                compare(path, min(options.rounds, 3))
    with tempfile.TemporaryDirectory() as folder:
        parse_the_folder(Path(folder), options.rounds)


if __name__ == "__main__":
    main()
