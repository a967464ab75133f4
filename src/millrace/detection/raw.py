"""The raw folder of the detection task: which files hold boxes, where the images are, which split came with them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from millrace.confinement import LINK, relative_path, stays_inside
from millrace.detection.coco import why_no_boxes
from millrace.detection.coco_files import read_coco_files
from millrace.detection.dataset import Dataset, ImageEntry
from millrace.detection.given_lists import read_list
from millrace.detection.params import Prepare
from millrace.detection.voc import REST, read_voc_folders
from millrace.errors import ImageError, Problem, UserError
from millrace.imagery.read import SUFFIXES

Format = Literal["coco", "voc"]
_KINDS = {"coco": "a COCO file", "voc": "a folder with VOC's XML files"}
_SIDES = {"train": {"train", "training"}, "validation": {"val", "valid", "validation"}, "test": {"test", "testing"}}
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "data", "imgs")


@dataclass(frozen=True)
class Raw:
    """What a raw folder holds.

    Attributes:
        folder: The raw folder.
        format: Of the annotations.
        annotations: COCO files, or VOC folders, sorted.
        images: Of each of these, the folders that its file names may be relative to; the first that has a file counts.
        skipped: JSON files that are no annotations of boxes, and why.
        lists: Ids of the images that a given list names, by side.
    """

    folder: Path
    format: Format
    annotations: tuple[Path, ...]
    images: Mapping[Path, tuple[Path, ...]]
    skipped: Mapping[Path, str] = field(default_factory=dict)
    lists: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def path_of(self, image: ImageEntry) -> Path:
        """File of an image; where it is in none of the folders, its place in the first.

        Raises:
            ImageError: Its path leaves the raw folder, as it is written or by a link; the message does not name it.
        """
        folders = next(self.images[each] for each in (image.source, *image.source.parents) if each in self.images)
        relative = relative_path(image.file_name)
        paths = [folder / relative for folder in folders]
        try:
            path = next((path for path in paths if path.is_file()), None)
            if path is not None and not stays_inside(self.folder, path):
                raise ImageError(LINK)
        except OSError as error:  # too long a name, no permission
            raise ImageError(f"has a path that cannot be followed: {error.strerror}") from None
        return path or paths[0]

    def same_file(self, first: ImageEntry, second: ImageEntry) -> bool:
        """Whether two entries mean one file: `a.jpg` may be in the folders of several annotation files. Where a file is
        missing, the name decides.
        """
        names = first.file_name.replace("\\", "/"), second.file_name.replace("\\", "/")
        if PurePosixPath(names[0]).name != PurePosixPath(names[1]).name:
            return False
        try:
            paths = self.path_of(first), self.path_of(second)
            return paths[0] == paths[1] or (names[0] == names[1] and not any(path.is_file() for path in paths))
        except ImageError:
            return names[0] == names[1]


def find(raw: Path, settings: Prepare) -> Raw:
    """Look what is in a raw folder; of JSON files only the first entries are read, and no list.

    Without `prepare.annotations`, COCO files are those JSON files of the folder, of its `annotations/`, and of the
    folders of a Roboflow export, that hold boxes; VOC folders are all that are called `Annotations` and hold XML files,
    else the raw folder itself. COCO files come first. Images are in `prepare.images`, or beside the annotations, in a
    folder that the file is named for (`instances_train2017.json`: `train2017/`), in `JPEGImages/`, `images/`, `data/`.

    Raises:
        UserError: The folder does not exist, holds no annotations, or not those that the settings name.
    """
    if not raw.is_dir():
        raise UserError(f"Raw folder {raw} does not exist. Set detection.raw in params.yaml to your folder.")
    skipped: dict[Path, str] = {}
    if settings.annotations:
        paths = sorted({_named(raw, name, "annotations") for name in settings.annotations})
        guess: Format = "voc" if paths[0].is_dir() else "coco"
        form = guess if settings.format == "auto" else settings.format
        wrong = [path for path in paths if path.is_dir() != (form == "voc")]
        if wrong:
            raise UserError(f"detection.prepare.annotations: {wrong[0]} is not {_KINDS[form]} (the format is {form})")
        return _with_images(raw, form, paths, settings, skipped)
    wanted: tuple[Format, ...] = ("coco", "voc") if settings.format == "auto" else (settings.format,)
    for form in wanted:
        paths = _coco_files(raw, settings, skipped) if form == "coco" else _voc_folders(raw)
        if paths:
            return _with_images(raw, form, paths, settings, skipped)
    lacking = " nor ".join(_KINDS[form] for form in wanted)
    reasons = "".join(f"\n  {path}: {reason}" for path, reason in sorted(skipped.items()))
    raise UserError(
        f"{raw} does not hold {lacking}. If it does elsewhere, name them in detection.prepare.annotations.{reasons}"
    )


def split_files(found: Raw) -> dict[str, str]:
    """Files of a raw folder, relative to it, that look like the lists of a split, by side; none unless there is one for
    training and one for validation.
    """
    if found.format == "coco":
        paths = [path for path in found.annotations if path.is_file()]
    else:
        paths = sorted(path for folder in found.annotations for path in folder.parent.glob("ImageSets/Main/*.txt"))
    sides: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(found.folder).as_posix()
        words = re.split(r"[^a-z]+", name.lower())
        side = next((side for side, spellings in _SIDES.items() if spellings & set(words)), None)
        if side in sides:
            return {}  # several files a side: which of them are the split is not ours to guess
        if side is not None:
            sides[side] = name
    return sides if {"train", "validation"} <= sides.keys() else {}


def load(raw: Path, settings: Prepare, *, extra: bool = False) -> tuple[Raw, Dataset, list[Problem]]:
    """Find and read annotations and given lists.

    Returns:
        What was found, with its lists; the data set as stated; what is wrong in the structure of the files, and names
        on lists that no image has.

    Raises:
        UserError: As `find`, or a given list is not there.
    """
    found = find(raw, settings)
    if found.format == "coco":
        dataset, problems = read_coco_files(found.annotations, settings, found.same_file, extra=extra)
        dataset = replace(dataset, images=_named_apart(found, dataset.images))
    else:
        folders = {path: found.images[path][0] for path in found.annotations}
        dataset, problems = read_voc_folders(folders, settings, extra=extra)
    lists = {}
    for side, name in settings.split.given.lists.items():
        path = _named(raw, name, f"split.given.{side}")
        lists[side], wrong = read_list(path, dataset.images, settings)
        problems += wrong
    return replace(found, lists=lists), dataset, problems


def _named_apart(found: Raw, images: Sequence[ImageEntry]) -> tuple[ImageEntry, ...]:
    """Entries, those whose names stand for different files in the folders of several annotation files named by the path
    from the raw folder: everything after this takes a name for one image.
    """
    counts = Counter(image.file_name for image in images)
    paths: dict[str, set[Path]] = defaultdict(set)
    own: dict[int, Path] = {}
    for place, image in enumerate(images):
        if counts[image.file_name] > 1:
            try:
                own[place] = found.path_of(image)
            except ImageError:
                continue
            paths[image.file_name].add(own[place])
    return tuple(
        replace(image, file_name=own[place].relative_to(found.folder).as_posix())
        if place in own and len(paths[image.file_name]) > 1 and own[place].is_file()
        else image
        for place, image in enumerate(images)
    )


def _named(raw: Path, name: str, setting: str) -> Path:
    """A file or folder that the settings name."""
    try:
        path = raw / relative_path(name)
        if not path.exists():
            raise ImageError("does not exist")
        if not stays_inside(raw, path):
            raise ImageError(LINK)
    except ImageError as error:
        raise UserError(f"detection.prepare.{setting}: {name!r} {error}") from None
    return path


def _coco_files(raw: Path, settings: Prepare, skipped: dict[Path, str]) -> list[Path]:
    folders = [raw, *(path for path in raw.iterdir() if path.name.lower() == "annotations" and path.is_dir())]
    files = {path for folder in folders for path in folder.iterdir() if path.suffix.lower() == ".json"}
    files |= set(raw.glob("*/_annotations.coco.json"))
    for path in sorted(files):
        if path.name == REST and any(path.parent.rglob("*.xml")):
            skipped[path] = "it belongs to the XML files beside it"
        elif (reason := why_no_boxes(path, settings) if stays_inside(raw, path) else LINK) is not None:
            skipped[path] = reason
    return sorted(path for path in files - skipped.keys() if not path.name.startswith("."))


def _voc_folders(raw: Path) -> list[Path]:
    named = [path for depth in ("*", "*/*", "*/*/*") for path in raw.glob(depth) if path.name.lower() == "annotations"]
    found = [path for path in sorted(named) if path.is_dir() and stays_inside(raw, path) and _has_files(path, {".xml"})]
    return found or ([raw] if _has_files(raw, {".xml"}) else [])


def _has_files(folder: Path, suffixes: Container[str]) -> bool:
    """Whether it, or a folder in it, has a file with one of these suffixes."""
    return any(path.suffix.lower() in suffixes for path in folder.rglob("*"))


def _with_images(raw: Path, form: Format, paths: Sequence[Path], settings: Prepare, skipped: Mapping[Path, str]) -> Raw:
    images: dict[Path, tuple[Path, ...]] = {}
    for path in paths:
        if settings.images is not None:
            images[path] = (_named(raw, settings.images, "images"),)
        else:
            images[path] = _beside_coco(raw, path) if form == "coco" else _beside_voc(raw, path)
    return Raw(raw, form, tuple(paths), images, skipped)


def _beside_coco(raw: Path, path: Path) -> tuple[Path, ...]:
    """Folders that may have the images of a COCO file, those that are called as it is first."""
    bases = list(dict.fromkeys([path.parent, path.parent if path.parent == raw else path.parent.parent, raw]))
    usual = [base / name for base in bases for name in IMAGE_FOLDERS if (base / name).is_dir()]
    stem = re.split(r"[_\-. ]", path.stem)
    endings = {"_".join(stem[start:]) for start in range(len(stem))}
    own = [child for parent in (*bases, *usual) for child in sorted(parent.iterdir()) if child.is_dir()]
    own = [child for child in own if re.sub(r"[\-. ]", "_", child.name) in endings]
    return tuple(dict.fromkeys([*own, *usual, *bases]))


def _beside_voc(raw: Path, path: Path) -> tuple[Path, ...]:
    """The folder that has the images of a folder of XML files."""
    base = path if path == raw else path.parent
    usual = (base / name for name in IMAGE_FOLDERS if (base / name).is_dir())
    return (next(usual, path if _has_files(path, SUFFIXES) else base),)
