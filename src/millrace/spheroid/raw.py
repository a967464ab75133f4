"""The raw folder of the spheroid task: which image belongs to which mask."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from millrace.errors import Problem, UserError
from millrace.imagery.read import SUFFIXES

MASK_FOLDERS = ("masks", "labels")
MASK_ENDING = re.compile(r"[_\-. ](masks?|labels?|seg|gt)$", re.IGNORECASE)
IGNORED = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `name` is the image's file name without its ending."""

    name: str
    image: Path
    mask: Path


def find_pairs(raw: Path) -> tuple[list[Pair], list[Problem]]:
    """Images of `raw/images` matched by stem with masks of `raw/masks` or `raw/labels`.

    A mask's stem may carry an ending such as `_mask`, `-label`, `_seg` or `_gt`.

    Returns:
        Pairs sorted by name, and one problem for each file that has no place among them.

    Raises:
        UserError: A folder is missing or holds no image.
    """
    mask_folder = _mask_folder(raw)
    image_files, problems = _image_files(raw / "images")
    mask_files, mask_problems = _image_files(mask_folder)
    problems += mask_problems
    images: dict[str, Path] = {}
    for path in image_files:
        if path.stem in images:
            problems.append(Problem(path, f"has the same name as {images[path.stem].name}"))
        else:
            images[path.stem] = path
    masks: dict[str, list[Path]] = defaultdict(list)
    for path in mask_files:
        # A stem that is an image's own name is never cut: `a_mask.png` may be an image.
        masks[path.stem if path.stem in images else MASK_ENDING.sub("", path.stem)].append(path)
    pairs = []
    for name, image in sorted(images.items()):
        found = masks.pop(name, [])
        if len(found) == 1:
            pairs.append(Pair(name, image, found[0]))
        elif found:
            problems.append(Problem(image, f"has {len(found)} masks: {', '.join(path.name for path in found)}"))
        else:
            problems.append(Problem(image, f"has no mask {name}.* or {name}_mask.* in {mask_folder.name}/"))
    problems += [Problem(path, "has no image of this name") for paths in masks.values() for path in paths]
    if not images:
        raise UserError(f"{raw / 'images'} holds no image ({', '.join(sorted(SUFFIXES))})")
    return pairs, problems


def _mask_folder(raw: Path) -> Path:
    if not raw.is_dir():
        raise UserError(f"Raw folder {raw} does not exist. Set spheroid.raw in params.yaml to your folder.")
    found = [raw / name for name in MASK_FOLDERS if (raw / name).is_dir()]
    if len(found) != 1 or not (raw / "images").is_dir():
        here = ", ".join(sorted(path.name for path in raw.iterdir())) or "nothing"
        raise UserError(f"{raw} must hold a folder images/ and one of {' or '.join(MASK_FOLDERS)}/; it holds {here}")
    return found[0]


def _image_files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Files with an image's ending, sorted, and a problem for each other one; hidden and system files do not count."""
    files, problems = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in IGNORED:
            continue
        if path.suffix.lower() in SUFFIXES:
            files.append(path)
        else:
            problems.append(Problem(path, f"is no image file ({', '.join(sorted(SUFFIXES))}); move it elsewhere"))
    return files, problems
