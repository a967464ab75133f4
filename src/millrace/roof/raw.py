"""The data sets of the roof task, each read by the reader of its format."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from millrace.errors import Problem, UserError
from millrace.roof import raw_airs, raw_generic, raw_rid, raw_roofline
from millrace.roof.generic_folder import IMAGES
from millrace.roof.params import Airs, Generic, Prepare, Rid, Roofline, Source
from millrace.roof.scene import Labelled, Scan, Scene, Window

RID_VECTORS = "segments_reviewed.csv"


def scan(source: Source, limits: Prepare) -> Scan:
    """What a source has, and all that is wrong with it, as far as it can be told without reading all pixels.

    Raises:
        UserError: There is nothing at its path, or nothing of its format.
    """
    root = Path(source.path)
    if not root.exists():
        raise UserError(f"{root} does not exist. Set the path of this {source.format} data set in roof.raw.")
    try:
        return _printable(_scan(root, source, limits))
    except OSError as error:
        raise UserError(
            f"{error.filename or root} cannot be read: {error.strerror}. Nothing of {root} was used."
        ) from None


def _scan(root: Path, source: Source, limits: Prepare) -> Scan:
    match source:
        case Rid():
            return raw_rid.scan(root, source, limits)
        case Roofline():
            return raw_roofline.scan(root, source, limits)
        case Airs():
            return raw_airs.scan(root, source, limits)
        case Generic():
            return raw_generic.scan(root, source, limits)


def _printable(scan: Scan) -> Scan:
    """With a mark for what is no text in the names that problems and notes tell of."""

    def text(name: str) -> str:
        return os.fsencode(name).decode(errors="replace")

    problems = [Problem(Path(text(str(problem.path))), text(problem.reason)) for problem in scan.problems]
    return replace(scan, problems=tuple(problems), notes=tuple(map(text, scan.notes)))


def read(source: Source, scene: Scene, window: Window) -> Labelled:
    """The pixels of a window and what the source labels of them.

    Raises:
        DataError: A file is damaged there, or has a value that its format does not know.
        ImageError: The same, where the scene has one file.
    """
    root = Path(source.path)
    match source:
        case Rid():
            return raw_rid.read(root, scene, source, window)
        case Roofline():
            return raw_roofline.read(root, scene, source, window)
        case Airs():
            return raw_airs.read(root, scene, source, window)
        case Generic():
            return raw_generic.read(root, scene, source, window)


def detect(path: Path) -> Source:
    """The source that a folder, or a MATLAB file, is by the names in it, with the usual settings of its format.

    Raises:
        UserError: It is none of the four structures, or more than one.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.is_file():
        if path.suffix.lower() == ".mat":
            return Roofline(format="roofline", path=str(path))
        raise UserError(f"{path} is a file; give the folder of a data set, or the {raw_roofline.FILE} of Roofline")
    sides = [path / side for side in ("train", "val", "test")]
    found: list[Source] = []
    if (path / "images_roof_centered_geotiff").is_dir():
        # Under a name in other letters, or as something that is no file, it is a problem that the scan tells of.
        there = any(child.name.casefold() == RID_VECTORS for child in path.iterdir())
        vectors = RID_VECTORS if there else None
        found.append(Rid(format="rid", path=str(path), vectors=vectors))
    if (path / raw_roofline.FILE).is_file():
        found.append(Roofline(format="roofline", path=str(path)))
    if any((side / "image").is_dir() and (side / "label").is_dir() for side in sides):
        found.append(Airs(format="airs", path=str(path)))
    if (path / IMAGES).is_dir():
        found.append(Generic(format="generic", path=str(path)))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path} looks like {' and '.join(source.format for source in found)}; give a folder with one")
    here = ", ".join(sorted(child.name for child in path.iterdir())[:10]) or "nothing"
    raise UserError(
        f"{path} holds {here}. A data set of roofs has images_roof_centered_geotiff/ (RID), {raw_roofline.FILE} "
        f"(Roofline), train/image/ and train/label/ (AIRS), or {IMAGES}/ (generic; see docs/roof.md)"
    )
