"""AIRS as it was published: large tiles with roof masks, read window by window."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path, PurePosixPath

from millrace.errors import ImageError, Problem, UserError
from millrace.roof.optional_files import misfits
from millrace.roof.params import Airs, Prepare
from millrace.roof.raw_files import TIFF, contents, files_by_stem, new_scene, read_labels, read_list, read_rgb, some
from millrace.roof.scene import Labelled, Scan, Scene, Window

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
VIEWING = "_vis"
"""Ending of the names of label files that show roofs as 255; only the others hold labels."""


def scan(root: Path, settings: Airs, limits: Prepare) -> Scan:
    """Look at the headers of all tiles of `{train,val,test}/{image,label}/<name>.tif`.

    A side without a folder or list is a note. Tiles of a folder that its list leaves out are used.

    Raises:
        UserError: The folder holds none of the three sides, or no tile.
    """
    found = {side: root / name for side, name in FOLDERS.items() if (root / name).is_dir()}
    if not found:
        raise UserError(f"{root} must hold train/, val/ or test/, each with image/ and label/; {contents(root)}")
    missing = [f"{name}/" for side, name in FOLDERS.items() if side not in found]
    notes = [f"{root} has no {', '.join(missing)}"] if missing else []
    problems: list[Problem] = []
    images: dict[str, dict[str, Path]] = {}
    labels: dict[str, dict[str, Path]] = {}
    for side, folder in found.items():
        for kind, files in (("image", images), ("label", labels)):
            files[side], wrong, ignored = files_by_stem(root, folder / kind, TIFF)
            problems += wrong
            notes += ignored
        labels[side] = {stem: path for stem, path in labels[side].items() if not stem.endswith(VIEWING)}
    if not any(images.values()):
        raise UserError(f"{root} holds no image ({', '.join(TIFF)}) in {' or '.join(FOLDERS.values())}/image/")
    misnamed = misfits(root, [f"{name}.txt" for name in FOLDERS.values()], list(FOLDERS.values()))
    problems += misnamed
    of_lists = _check_lists(root, images, {problem.path.name for problem in misnamed})
    scenes = []
    max_pixels = int(limits.max_megapixels * 1e6)
    repeated = _repeated(images)
    for side, folder in found.items():
        for stem, image in sorted(images[side].items()):
            try:
                if stem in repeated[side]:
                    raise ImageError(f"{repeated[side][stem]} has a tile of this name too; remove one of them")
                if stem not in labels[side]:
                    raise ImageError(
                        f"has no label {image.name} in {folder / 'label'} (`{VIEWING}` files do not count)"
                    )
                both = {"image": image, "roof": labels[side][stem]}
                name = image.relative_to(root).with_suffix("").as_posix()
                scenes.append(new_scene(name, side, both, settings.pixel_size_m, max_pixels))
            except ImageError as error:
                problems.append(Problem(image, str(error)))
        unused = sorted(labels[side].keys() - images[side].keys())
        problems += [Problem(labels[side][stem], "has no image of this name") for stem in unused]
    scenes.sort(key=lambda scene: scene.name)
    problems += of_lists[0]
    return Scan(tuple(scenes), tuple(sorted(problems)), (*notes, *of_lists[1]), ("roof", "lines"))


def read(root: Path, scene: Scene, settings: Airs, window: Window) -> Labelled:
    """Pixels and roof mask of a window; of the file no more is decoded than the strips or tiles that it touches.

    Raises:
        DataError: A file is damaged, has changed since the scan, or holds a label that is not 0 or 1 (255 is taken
            as 1); its problems name the file, the value and the place.
    """
    image = read_rgb(scene, window)
    return Labelled(image, roof=read_labels(scene, "roof", window, 1, "0 beside roofs and 1 on them", {255: 1}))


def _check_lists(root: Path, images: dict[str, dict[str, Path]], refused: set[str]) -> tuple[list[Problem], list[str]]:
    """What `train.txt`, `val.txt` and `test.txt` say against the tiles that are there, but for the refused ones."""
    problems, notes, missing = [], [], []
    for side, files in images.items():
        path = root / f"{FOLDERS[side]}.txt"
        if path.name in refused:
            continue
        if not path.exists():
            missing.append(path.name)
            continue
        try:
            listed = {_stem(name) for name in read_list(root, path)}
        except ImageError as error:
            problems.append(Problem(path, str(error)))
            continue
        absent = sorted(listed - files.keys())
        if absent:
            elsewhere = [FOLDERS[other] for other in images if other != side and images[other].keys() & set(absent)]
            where = f" (some are in {' and '.join(elsewhere)}/)" if elsewhere else ""
            folder = f"{FOLDERS[side]}/image/"
            problems.append(Problem(path, f"lists {len(absent)} tile(s) that {folder} lacks: {some(absent)}{where}"))
        more = sorted(files.keys() - listed)
        if more:
            notes.append(f"{path} leaves out {len(more)} tile(s) of its folder, which are used: {some(more)}")
    if missing:
        notes.append(f"{root} has no {', '.join(missing)}; the folders say which tile is for what")
    return problems, notes


def _stem(name: str) -> str:
    """Of a tile, named in a list with or without its folder and ending."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return last[: last.rindex(".")] if last.lower().endswith(TIFF) else last


def _repeated(images: dict[str, dict[str, Path]]) -> dict[str, dict[str, Path]]:
    """By side and stem, the file of the same name on a later side: the earlier one would leak into it."""
    repeated: dict[str, dict[str, Path]] = {side: {} for side in images}
    for earlier, later in combinations(images, 2):
        repeated[earlier].update({stem: images[later][stem] for stem in images[earlier].keys() & images[later].keys()})
    return repeated
