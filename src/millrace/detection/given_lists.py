"""Lists of a split that came with the data: which images they name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from millrace.detection.coco import read_coco
from millrace.detection.dataset import ImageEntry
from millrace.detection.fields import Problems, shown
from millrace.detection.params import Prepare
from millrace.errors import Problem
from millrace.imagery.read import SUFFIXES

_LABELLED = re.compile(r"(.*\S)\s+(-1|0|1)")


def read_list(path: Path, images: Sequence[ImageEntry], settings: Prepare) -> tuple[frozenset[int], list[Problem]]:
    """Images that a list names.

    A name is that of a file, with or without its folders and its suffix. It may have spaces in it: only where a line is
    no name as a whole, a 1, 0 or -1 at its end is the label of the VOC challenge's lists for one class (which name all
    images of the split), and a line that begins with # is a comment.

    Args:
        path: Text with a name a line, or a COCO file; where one of the set's own has a name that several images have,
            it means its image.
        images: Of the data set.
        settings: `max_megabytes`.

    Returns:
        Their ids; a problem for each name that is of no image, or of several.
    """
    problems = Problems(path)
    wrong: list[Problem] = []
    names: Iterable[tuple[str, str]]
    if path.suffix.lower() == ".json":
        listed, wrong = read_coco(path, settings)
        names = ((f"image {image.id}", image.file_name) for image in listed.images)
    else:
        names = _lines(path, settings, problems)
    known: dict[str, set[str]] = defaultdict(set)
    own = {image.file_name for image in images if image.source == path}
    ids: dict[str, list[int]] = defaultdict(list)
    for image in images:
        ids[image.file_name].append(image.id)
        for key in _keys(image.file_name):
            known[key].add(image.file_name)
    found: set[int] = set()
    for place, name in names:
        labelled = _LABELLED.fullmatch(name)
        spellings = [name, *([labelled[1]] if labelled else [])]
        keys = (key for each in spellings for key in _keys(each) if key in known)
        matches = next(({key} if key in ids else known[key] for key in keys), set())
        if len(matches) > 1 and matches & own:
            matches = matches & own
        if len(matches) == 1:
            found.update(ids[next(iter(matches))])
        elif matches:
            problems.add(f"{place}: {shown(name)} may be {' or '.join(sorted(matches)[:3])}", "names of several")
        elif not name.startswith("#"):
            problems.add(f"{place}: there is no image {shown(name)}", "names of no image")
    return frozenset(found), wrong + problems.told()


def _keys(name: str) -> list[str]:
    """Under what an image can be named, the most exact first."""
    path = PurePosixPath(name.replace("\\", "/"))
    bare = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return list(dict.fromkeys([name, str(path), str(bare), path.name, bare.name]))


def _lines(path: Path, settings: Prepare, problems: Problems) -> Iterator[tuple[str, str]]:
    try:
        if path.stat().st_size > settings.max_megabytes * 1e6:
            problems.add("is larger than detection.prepare.max_megabytes allows", "file")
            return
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"line {number}", line.strip()
    except UnicodeDecodeError:
        problems.add("is not in UTF-8; save it in that encoding", "file")
    except OSError as error:
        problems.add(f"cannot be read: {error.strerror or error}", "file")
