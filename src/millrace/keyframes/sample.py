"""Stage `keyframes-sample`: a small synthetic set of timelines in the raw format that users bring."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from millrace.files import whole_folder
from millrace.keyframes.params import Keyframes
from millrace.keyframes.sample_timeline import draw_timeline
from millrace.keyframes.xmeml.write import write
from millrace.parallel import parallel_map
from millrace.settings import Runtime

FOLDER = Path("data/sample/keyframes")


def run(params: Keyframes, runtime: Runtime) -> None:
    """Write `video_NNNN.xml` under data/sample/keyframes: FCP7 XML of vertical videos, with the shape of real ones.

    Video i depends on the seed and i alone, so a larger set begins with the smaller one, byte for byte. Real videos are
    longer (12 to 443 s, median 58 s) and less regular.
    """
    sample = params.sample
    with whole_folder(FOLDER) as folder:
        draw = partial(_write_video, folder=folder, seed=sample.seed)
        parallel_map(draw, range(sample.videos), runtime, "keyframes sample")


def _write_video(index: int, folder: Path, seed: int) -> None:
    sequence = draw_timeline(seed, index)
    write(sequence, folder / f"{sequence.name}.xml")
