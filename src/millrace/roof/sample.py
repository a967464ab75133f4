"""Stage `roof-sample`: synthetic scenes in the forms of RID, of Roofline-Extraction and of AIRS, and with all truth."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from millrace.files import whole_folder
from millrace.parallel import parallel_map
from millrace.roof import sample_formats as formats
from millrace.roof.sample_truth import make_scene
from millrace.settings import Runtime

if TYPE_CHECKING:
    from millrace.roof.params import Roof, Sample

FOLDER = Path("data/sample/roof")
CROPS_PER_SCENE = 10
"""Crops of Roofline-Extraction that follow each other show the same ground, and overlap."""
ROOFLINE_SCENE_PX = 544
RID, ROOFLINE, AIRS, FULL = range(4)
_RID_FOLDERS = (formats.RID_IMAGES, formats.RID_SEGMENTS, formats.RID_SUPERSTRUCTURES)
_FULL_FOLDERS = ("images", "segments", "superstructures", "roofs", "lines", "heights")
Crop = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]


def run(params: Roof, runtime: Runtime) -> None:
    """Write `rid/`, `roofline/`, `airs/` and `full/` under data/sample/roof.

    No scene is in two of them. Scene i of each depends on the seed, i, its size and the pixel size alone, so a larger
    set has the scenes of the smaller one, byte for byte.
    """
    sample = params.sample
    with whole_folder(FOLDER) as folder:
        for names, parent in ((_RID_FOLDERS, "rid"), (_FULL_FOLDERS, "full"), (("",), "roofline")):
            for name in names:
                (folder / parent / name).mkdir(parents=True)
        for side in ("train", "val", "test"):
            for name in ("image", "label"):
                (folder / "airs" / side / name).mkdir(parents=True)
        blocks = -(-sample.roofline // CROPS_PER_SCENE)
        # The longest first, so that no process waits for the last one.
        jobs = [(AIRS, index) for index in range(sample.airs)]
        jobs += [(ROOFLINE, index) for index in range(blocks)]
        jobs += [(RID, index) for index in range(sample.rid)] + [(FULL, index) for index in range(sample.full)]
        done = parallel_map(partial(_write, folder=folder, sample=sample), jobs, runtime, "roof sample")
        results = dict(zip(jobs, done, strict=True))
        rows = [row for index in range(sample.rid) for row in results[RID, index]]
        formats.write_rid_tables(folder / "rid", sample.rid, rows)
        crops = [crop for index in range(blocks) for crop in results[ROOFLINE, index]]
        formats.write_roofline(folder / "roofline" / "imdb.mat", crops[: sample.roofline])
        formats.write_airs_lists(folder / "airs", sample.airs)
        formats.write_full_kinds(folder / "full")


def _write(job: tuple[int, int], folder: Path, sample: Sample) -> list[Any]:
    """Draw one scene and write it; returns what goes into a file of many: rows of RID's vectors, or crops."""
    form, index = job
    size_px = {
        RID: sample.rid_size_px,
        ROOFLINE: ROOFLINE_SCENE_PX,
        AIRS: sample.airs_size_px,
        FULL: sample.rid_size_px,
    }
    seed = (sample.seed, form, index)
    scene = make_scene(seed, size_px[form], sample.pixel_size_m, centred=form == RID, south=form == AIRS)
    if form == RID:
        return formats.write_rid(folder / "rid", index, scene)
    if form == ROOFLINE:
        generator = np.random.default_rng((*seed, 1))
        corners = generator.integers(0, ROOFLINE_SCENE_PX - formats.ROOFLINE_PX, (CROPS_PER_SCENE, 2), endpoint=True)
        return [formats.roofline_crop(scene, int(top), int(left)) for top, left in corners]
    if form == AIRS:
        formats.write_airs(folder / "airs", index, scene)
    else:
        formats.write_full(folder / "full", index, scene)
    return []
