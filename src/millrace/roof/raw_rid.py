"""RID 1.0 as it was published: images, two masks each, one of its five official folds, and eaves from its vectors.

Krapf et al. 2022, https://doi.org/10.3390/rs14102299; data https://doi.org/10.14459/2022mp1655470, vectors
`data/segments_reviewed.csv` of https://github.com/TUMFTM/RID.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import shapely

from millrace.errors import DataError, ImageError, Problem, UserError
from millrace.roof.classes import NO_SUPERSTRUCTURE, SUPERSTRUCTURES, background_class, flat_class
from millrace.roof.params import Prepare, Rid
from millrace.roof.raw_files import (
    TIFF,
    contents,
    files_by_stem,
    new_scene,
    read_labels,
    read_list,
    read_rgb,
    some,
)
from millrace.roof.rid_vectors import EAVE, check_vectors, eaves_of, ground_of, placed, vectors_of
from millrace.roof.scene import Labelled, Scan, Scene, Window

IMAGES = "images_roof_centered_geotiff"
MASKS = {"segments": "masks_segments_reviewed", "superstructures": "masks_superstructures_reviewed"}
LISTS = "filenames_train_val_test_split"
SIDES = {"train": "train", "validation": "val", "test": "test"}
AZIMUTHS = 16
_LISTED_ENDING = re.compile(r"\.(png|tiff?)$", re.IGNORECASE)


def scan(root: Path, settings: Rid, limits: Prepare) -> Scan:
    """Look at the headers of all images and masks, at the lists of the fold, and at the vectors.

    Refused are, beside files that cannot be used, an image that the fold has on two sides or on none, and one that is
    pixel by pixel the same as a test image. Copies across training and validation are a note, because no score depends
    on them. Where a list is missing, that is a problem, and no image has a side.

    Raises:
        UserError: A folder of images or masks is missing, or there is no image.
    """
    images, masks, problems, notes = _files(root)
    sides, refused, of_lists = _fold(root, settings.fold, images)
    problems += of_lists
    max_pixels = int(limits.max_megapixels * 1e6)
    scenes = []
    for stem, image in sorted(images.items()):
        try:
            lacking = [f"{MASKS[kind]}/{stem}.png" for kind, found in masks.items() if stem not in found]
            if lacking:
                raise ImageError(f"has no {' and no '.join(lacking)}")
            files = {"image": image, **{kind: found[stem] for kind, found in masks.items()}}
            scene = new_scene(stem, sides.get(stem), files, settings.pixel_size_m, max_pixels)
        except ImageError as error:
            problems.append(Problem(image, str(error)))
            continue
        if stem not in refused:
            scenes.append(scene)
    left_out, of_copies, on_copies = _copies(scenes)
    scenes = [scene for scene in scenes if scene.name not in left_out]
    of_vectors, on_vectors = check_vectors(root, settings.vectors, scenes)
    return Scan(
        tuple(scenes),
        tuple(sorted([*problems, *of_copies, *of_vectors])),
        (*notes, *on_copies, *_shared_ground(scenes), *on_vectors),
        ("segments", "superstructures", "roof", "lines"),
    )


def read(root: Path, scene: Scene, settings: Rid, window: Window) -> Labelled:
    """Pixels of a window, both masks with the published numbers, and eaves from the gutters that lie in it.

    `vector_kinds` has the eaves where they are all known: not where a segment of the vectors that is not flat lacks a
    gutter, nor where the mask has segments and the vectors none.

    Raises:
        DataError: A file is damaged, has changed since the scan, or holds a value outside its map; the problems name
            the file, the value and the place.
    """
    flat, background = flat_class(AZIMUTHS), background_class(AZIMUTHS)
    meaning = f"0 (north) to {flat} (flat) and {background} (background)"
    segments = read_labels(scene, "segments", window, background, meaning)
    meaning = f"0 ({SUPERSTRUCTURES[0]}) to {NO_SUPERSTRUCTURE} (background)"
    superstructures = read_labels(scene, "superstructures", window, NO_SUPERSTRUCTURE, meaning)
    eaves, known = None, False
    place = placed(scene)
    if settings.vectors is not None and place is not None:
        path = root / settings.vectors
        try:
            vectors = vectors_of(path)
        except ImageError as error:
            raise DataError(f"{scene.name} cannot be read", [Problem(path, str(error))]) from None
        eaves, known = eaves_of(vectors, place, window, bool((segments < flat).any()))
    return Labelled(
        read_rgb(scene, window),
        segments,
        AZIMUTHS,
        superstructures,
        vectors=eaves,
        vector_kinds=1 << EAVE if known else 0,
    )


def _files(root: Path) -> tuple[dict[str, Path], dict[str, dict[str, Path]], list[Problem], list[str]]:
    """Images and, by kind, masks, each by id; what is wrong with others, and notes on what is passed over."""
    if not all((root / name).is_dir() for name in (IMAGES, *MASKS.values())):
        needed = ", ".join(f"{name}/" for name in (IMAGES, *MASKS.values()))
        raise UserError(f"{root} must hold {needed} and {LISTS}/; {contents(root)}")
    images, problems, notes = files_by_stem(root, root / IMAGES, TIFF)
    if not images:
        raise UserError(f"{root / IMAGES} holds no image ({', '.join(TIFF)})")
    masks = {}
    for kind, name in MASKS.items():
        masks[kind], wrong, passed = files_by_stem(root, root / name, (".png",))
        problems += wrong
        notes += passed
        unused = sorted(masks[kind].keys() - images.keys())
        problems += [Problem(masks[kind][stem], f"has no image {stem}.tif in {IMAGES}/") for stem in unused]
    return images, masks, problems, notes


def _fold(root: Path, fold: int, images: dict[str, Path]) -> tuple[dict[str, str], set[str], list[Problem]]:
    """Side of each image in a fold, images that have none or several, and what is wrong.

    Nobody has a side where a list is missing: which images are its own cannot be told.
    """
    folder = root / LISTS
    if not folder.is_dir():
        return {}, set(), [Problem(folder, "is missing; it says which image is for training, validation and test")]
    lists: dict[str, set[str]] = {}
    problems: list[Problem] = []
    for side, name in SIDES.items():
        path = folder / f"{name}_filenames_{fold}_rev.txt"
        try:
            lists[side] = {_LISTED_ENDING.sub("", line) for line in read_list(root, path)}
        except ImageError as error:
            problems.append(Problem(path, f"{error}; it says which image is for {side}"))
            continue
        absent = sorted(lists[side] - images.keys())
        if absent:
            problems.append(Problem(path, f"lists {len(absent)} id(s) without an image in {IMAGES}/: {some(absent)}"))
    refused: set[str] = set()
    for first, second in combinations(lists, 2):
        both = sorted(lists[first] & lists[second])
        if both:
            what = f"fold {fold} has {len(both)} id(s) for {first} and for {second}: {some(both)}"
            problems.append(Problem(folder, f"{what}; take the lists as published, of one fold"))
            refused.update(both)
    if len(lists) < len(SIDES):
        return {}, refused, problems
    unlisted = sorted(images.keys() - set().union(*lists.values()))
    if unlisted:
        what = f"{len(unlisted)} image(s) are in no list of fold {fold}: {some(unlisted)}"
        problems.append(Problem(folder, f"{what}; add them to one, or remove the files"))
    sides = {stem: side for side, listed in lists.items() for stem in listed}
    return sides, refused.union(unlisted), problems


def _copies(scenes: Sequence[Scene]) -> tuple[set[str], list[Problem], list[str]]:
    """Scenes that repeat a test image or cannot be read, what is wrong with them, and notes on other copies."""
    alike: dict[bytes, list[Scene]] = defaultdict(list)
    problems: list[Problem] = []
    notes, left_out = [], set()
    for scene in scenes:
        try:
            # One row tells nearly all apart, and takes a hundredth of the time.
            alike[_content(scene, scene.height // 2, 1)].append(scene)
        except DataError as error:
            problems += error.problems
            left_out.add(scene.name)
    same: dict[bytes, list[Scene]] = defaultdict(list)
    for several in alike.values():
        for scene in several if len(several) > 1 else []:
            try:
                same[_content(scene, 0, scene.height)].append(scene)
            except DataError as error:
                problems += error.problems
                left_out.add(scene.name)
    for group in same.values():
        tested = [scene for scene in group if scene.side == "test"]
        for scene in group:
            if tested and scene.side not in ("test", None):
                what = f"is the same picture as test image {tested[0].name}, so that training would know the test"
                cure = f"take {scene.name}.png out of the {scene.side} list together with this file and its masks"
                problems.append(Problem(scene.files["image"], f"{what}; {cure}, or set bad_files to drop"))
                left_out.add(scene.name)
        if {scene.side for scene in group} >= {"train", "validation"}:
            notes.append(f"training and validation share the same picture: {some([scene.name for scene in group])}")
    return left_out, problems, notes


def _content(scene: Scene, top: int, height: int) -> bytes:
    pixels = read_rgb(scene, Window(top, 0, height, scene.width))
    return hashlib.sha256(f"{scene.height} {scene.width} ".encode() + pixels.tobytes()).digest()


def _shared_ground(scenes: Sequence[Scene]) -> list[str]:
    """Notes on images that overlap those of another side: the crops of neighbours do, in the published folds too."""
    boxes = {side: ground_of(scene for scene in scenes if scene.side == side) for side in SIDES}
    notes = []
    for first, second in combinations([side for side in SIDES if boxes[side]], 2):
        own, others = np.array(boxes[second]), np.array(boxes[first])
        pairs = shapely.STRtree(others).query(own, predicate="intersects")
        shared = np.unique(pairs[0][~shapely.touches(own[pairs[0]], others[pairs[1]])])
        if shared.size:
            notes.append(f"{len(shared)} of {len(own)} {second} images show ground that a {first} image shows too")
    return notes
