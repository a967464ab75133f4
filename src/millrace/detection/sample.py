"""Stage `detection-sample`: a small synthetic data set, as a COCO file and as VOC files of the same boxes."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from millrace.detection.params import Detection, Sample
from millrace.detection.sample_parts import Plane
from millrace.detection.sample_scene import Thing, draw_scene
from millrace.files import whole_folder, write_text
from millrace.parallel import parallel_map
from millrace.settings import Runtime

FOLDER = Path("data/sample/detection")
CATEGORY_IDS = {"nut": 1, "washer": 3, "screw": 7, "bolt": 8}
"""With gaps, as in many real files."""
JPEG_QUALITY = 90
UPRIGHT_EVERY, UPRIGHT_FIRST = 5, 2
HEAP_EVERY, HEAP_FIRST = 12, 6
EMPTY_EVERY, EMPTY_FIRST = 20, 13


def run(params: Detection, runtime: Runtime) -> None:
    """Write `images/NAME.jpg`, `instances.json` and `Annotations/NAME.xml` under data/sample/detection.

    Both forms hold the same boxes, in whole pixels from the frame's left and top edge. A heap is one box: a crowd in
    COCO's form; in that of VOC, which knows none, `difficult`. Image i depends on the seed, i and the size alone, so a
    larger set begins with the images of the smaller one, byte for byte.
    """
    with whole_folder(FOLDER) as folder:
        (folder / "images").mkdir()
        (folder / "Annotations").mkdir()
        write = partial(_write_picture, folder=folder, sample=params.sample)
        everything = parallel_map(write, range(params.sample.images), runtime, "detection sample")
        text = json.dumps(_coco(everything), sort_keys=True, separators=(",", ":"))
        write_text(folder / "instances.json", lambda stream: stream.write(text + "\n"))


def _write_picture(index: int, folder: Path, sample: Sample) -> tuple[str, int, int, list[Thing]]:
    """Returns the file's name relative to the folder, width, height, and what is to be found."""
    generator = np.random.default_rng((sample.seed, index))
    width, height = sample.width_px, sample.height_px
    if index % UPRIGHT_EVERY == UPRIGHT_FIRST:
        width, height = height, width
    empty, heap = index % EMPTY_EVERY == EMPTY_FIRST, index % HEAP_EVERY == HEAP_FIRST
    light, things = draw_scene(generator, width, height, empty, heap)
    name = f"images/bench_{index:04d}.jpg"
    Image.fromarray(_photograph(generator, light)).save(folder / name, quality=JPEG_QUALITY)
    voc = folder / "Annotations" / f"bench_{index:04d}.xml"
    voc.write_bytes(etree.tostring(_voc(Path(name), width, height, things), pretty_print=True))
    return name, width, height, things


def _photograph(generator: np.random.Generator, light: Plane) -> NDArray[np.uint8]:
    """A camera's picture of `light` (H, W, 3): focus, white balance, exposure, shot noise and read noise."""
    focus = math.exp(generator.uniform(math.log(0.3), math.log(1.1)))
    sharp = ndimage.gaussian_filter(light, focus, axes=(0, 1))
    balance = generator.normal(math.exp(generator.uniform(-0.35, 0.15)), 0.03, 3).astype(np.float32)
    exposed = np.maximum(0, sharp * balance)
    noise = np.sqrt(generator.uniform(0.005, 0.03) ** 2 * exposed + generator.uniform(0.004, 0.015) ** 2)
    exposed += noise * generator.standard_normal(exposed.shape, np.float32)
    seen: NDArray[np.uint8] = np.rint(255 * np.clip(exposed, 0, 1)).astype(np.uint8)
    return seen


def _coco(everything: list[tuple[str, int, int, list[Thing]]]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, width, height, things) in enumerate(everything, start=1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for thing in things:
            left, top, right, bottom = thing.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CATEGORY_IDS[thing.name],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(thing.crowd),
                }
            )
    return {
        "info": {"description": "Synthetic parts on a workbench", "version": "1"},
        "licenses": [],
        "categories": [{"id": number, "name": name, "supercategory": "part"} for name, number in CATEGORY_IDS.items()],
        "images": images,
        "annotations": annotations,
    }


def _voc(name: Path, width: int, height: int, things: list[Thing]) -> etree._Element:
    def add(parent: etree._Element, **texts: object) -> etree._Element:
        for tag, text in texts.items():
            etree.SubElement(parent, tag).text = str(text)
        return parent

    root = add(etree.Element("annotation"), folder=name.parent, filename=name.name)
    add(etree.SubElement(root, "source"), database="Synthetic parts on a workbench")
    add(etree.SubElement(root, "size"), width=width, height=height, depth=3)
    add(root, segmented=0)
    for thing in things:
        entry = add(
            etree.SubElement(root, "object"),
            name=thing.name,
            pose="Unspecified",
            truncated=int(thing.truncated),
            occluded=int(thing.occluded),
            difficult=int(thing.crowd),
        )
        left, top, right, bottom = thing.box
        add(etree.SubElement(entry, "bndbox"), xmin=left, ymin=top, xmax=right, ymax=bottom)
    return root
