"""Peak resident memory of reading very large timelines, each in a process of its own.

    python benchmarks/timeline_memory.py [--megabytes 100] [--kinds real premiere ...]

    real          clips of a real xmeml file (empty_name_tags.xml of $MILLRACE_SHARED_DATA) again and again
    premiere      xmeml with the elements that Premiere writes for a clip, hardly two clips alike
    plain         xmeml as short as programs write it: 0.8 KB a clip
    dense         contrived xmeml: clips of 0.13 KB, a frame long, with little but their times
    fcpxml-real   the primary storyline of a real file (GeneralDemo.fcpxml) again and again: many hours
    fcpxml        short asset clips with a transform each, and keyframes on some
    fcpxml-dense  contrived: asset clips with nothing but their times

Clips lie on 20 tracks, in FCPXML on one. `read` gives sequences of clips; `parse` samples them into the table as well,
ten rows a second. The process's peak is VmHWM; what the imports alone take is said first. Where a table is as long as
the file is (hours of video), the table is what fills the memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import numpy as np
from lxml import etree

from millrace.keyframes.fcpxml.time import seconds
from timeline_parsing import RATE, clip, motion

SOURCE = Path(__file__).resolve().parent.parent / "src"
KEY = '<keyframe time="{0}/30s" value="{1}"/>'
CHILD = """
import sys, time
from pathlib import Path
from millrace.keyframes.params import Parse
from millrace.keyframes.parse import parse_file
from millrace.keyframes.reading import read_timeline
what, path = sys.argv[1], Path(sys.argv[2])
start, clips, rows = time.process_time(), 0, 0
if what == "read":
    document = read_timeline(path, Parse())
    clips = sum(len(track.clips) for sequence in document.sequences for track in sequence.tracks)
    assert not document.notes.problems
elif what == "parse":
    parsed = parse_file("video", path, Parse(max_hours=1000))
    assert parsed.tables, parsed.problems
    clips, rows = (sum(row[name] for row in parsed.report) for name in ("clips", "rows"))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(clips, rows, int(peak.split()[1]), time.process_time() - start)
"""


def xmeml(clips: Iterator[str], size: int, path: Path, tracks: int = 20) -> None:
    """One sequence of `size` bytes."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(f'<?xml version="1.0"?>\n<xmeml version="4"><sequence id="s"><name>s</name>{RATE}<media><video>')
        for track in range(1, tracks + 1):
            stream.write("<track>")
            while stream.tell() < size * track / tracks:
                stream.writelines(next(clips) for _ in range(20))
            stream.write("</track>")
        stream.write("</video></media></sequence></xmeml>")


def real(size: int, path: Path) -> None:
    source = Path(os.environ["MILLRACE_SHARED_DATA"]) / "keyframes/otio-fcp-adapter/empty_name_tags.xml"
    found = re.findall(r"<clipitem.*?</clipitem>", source.read_text(encoding="utf-8"), re.DOTALL)
    found = [text for text in found if "<sequence" not in text and "<sourcetrack" not in text]

    def clips() -> Iterator[str]:
        for number in count():
            start = number % 1500 * 40
            text = re.sub(r"<start>.*?</start>", f"<start>{start}</start>", found[number % len(found)])
            yield re.sub(r"<end>.*?</end>", f"<end>{start + 40}</end>", text)

    xmeml(clips(), size, path)


def generated(size: int, path: Path, *, heavy: bool) -> None:
    generator = np.random.default_rng(0)

    def clips() -> Iterator[str]:
        for number in count():
            filters = motion(float(generator.uniform(17, 547)), *generator.normal(0, 0.3, 2)) if number % 2 else ""
            name, first = f"media_{generator.integers(60)}.mp4", int(generator.integers(9000))
            start = number % 7000 * 30
            text = clip(number, name, start, start + 30, first, filters, heavy=heavy)
            yield text.replace("><", ">\n" + 18 * " " + "<") if heavy else text

    xmeml(clips(), size, path)


def dense(size: int, path: Path) -> None:
    def clips() -> Iterator[str]:
        for number in count():
            start = number % 50_000
            yield f"<clipitem><name>a</name><start>{start}</start><end>{start + 1}</end>"
            yield f"<in>{number % 999}</in><out>{number % 999 + 1}</out><file id='f'/></clipitem>\n"

    xmeml(clips(), size, path)


def fcpxml_real(size: int, path: Path) -> None:
    source = Path(os.environ["MILLRACE_SHARED_DATA"]) / "keyframes/openfcpxmlkit/GeneralDemo.fcpxml"
    tree = etree.parse(str(source))
    sequence = next(tree.iterfind(".//project/sequence"))
    spine = next(sequence.iterfind("spine"))
    items = list(spine)
    starts = [seconds(item.get("offset", "0s"), "offset") for item in items]
    length = seconds(sequence.attrib.pop("duration"), "duration")
    for item in items:
        spine.remove(item)
    spine.text = "HERE"
    head, _, tail = etree.tostring(tree, encoding="unicode").partition("HERE")
    with path.open("w", encoding="utf-8") as stream:
        stream.write(head)
        for turn in count():
            for item, start in zip(items, starts, strict=True):
                item.set("offset", f"{(start + turn * length).numerator}/{(start + turn * length).denominator}s")
                stream.write(etree.tostring(item, encoding="unicode"))
            if stream.tell() > size:
                break
        stream.write(tail)


def fcpxml(size: int, path: Path, *, heavy: bool) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(
            '<?xml version="1.0"?><!DOCTYPE fcpxml><fcpxml version="1.10"><resources>'
            '<format id="r1" frameDuration="1/30s" width="1920" height="1080"/>'
            '<asset id="r2" name="a" start="0s" duration="9999s" hasVideo="1" format="r1" src="file:///a.mov"/>'
            '</resources><library><event><project name="p"><sequence format="r1" tcStart="0s"><spine>'
        )
        number = 0
        while stream.tell() < size:
            for _ in range(100):
                times = f'offset="{number}/30s" start="{number % 999}/30s" duration="1/30s"'
                if heavy:
                    first = number % 999
                    keys = KEY.format(first, "1 1") + KEY.format(first + 50, "1.2 1.2")
                    animation = f'<param name="scale"><keyframeAnimation>{keys}</keyframeAnimation></param>'
                    stream.write(
                        f'<asset-clip name="shot {number}" ref="r2" {times} audioRole="dialogue" tcFormat="NDF">\n'
                        f'<adjust-transform position="{number % 40} 5" scale="1.{number % 10} 1.{number % 10}">'
                        f"{animation if number % 8 == 0 else ''}</adjust-transform>\n"
                        f'<adjust-volume amount="-3dB"/><metadata><md key="scene" value="{number}"/></metadata>\n'
                        "</asset-clip>\n"
                    )
                else:
                    stream.write(f'<asset-clip name="a" ref="r2" enabled="1" format="r1" {times}/>\n')
                number += 1
        stream.write("</spine></sequence></project></event></library></fcpxml>")


KINDS: dict[str, Callable[[int, Path], None]] = {
    "real": real,
    "premiere": lambda size, path: generated(size, path, heavy=True),
    "plain": lambda size, path: generated(size, path, heavy=False),
    "dense": dense,
    "fcpxml-real": fcpxml_real,
    "fcpxml": lambda size, path: fcpxml(size, path, heavy=True),
    "fcpxml-dense": lambda size, path: fcpxml(size, path, heavy=False),
}


def measure(what: str, path: Path, source: Path) -> tuple[int, int, float, float]:
    """Clips, rows, peak in MB and CPU seconds of a process that does it."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(source)},
    )
    clips, rows, kilobytes, seconds = done.stdout.split()
    return int(clips), int(rows), int(kilobytes) * 1024 / 1e6, float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder with the millrace to measure")
    options = parser.parse_args()
    print(f"imports alone: {measure('nothing', Path(), options.source)[2]:.0f} MB")
    print(f"{'file':14}{'MB':>6}{'clips':>9}{'rows':>9}{'read':>9}{'parse':>9}  peak MB; CPU s of parse")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            path = Path(folder) / f"{kind}.xml"
            KINDS[kind](int(options.megabytes * 1e6), path)
            read = measure("read", path, options.source)
            parse = measure("parse", path, options.source)
            size = path.stat().st_size / 1e6
            print(
                f"{kind:14}{size:6.0f}{read[0]:9}{parse[1]:9}{read[2]:9.0f}{parse[2]:9.0f}{parse[3]:9.1f}", flush=True
            )
            path.unlink()


if __name__ == "__main__":
    main()
