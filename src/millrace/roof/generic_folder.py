"""What lies where in a data set of the generic form, whose layout `raw_generic` describes."""

from __future__ import annotations

import csv
import difflib
import io
from collections import defaultdict
from pathlib import Path

from millrace.errors import ImageError, Problem, UserError
from millrace.roof.classes import LINES
from millrace.roof.optional_files import misfits
from millrace.roof.raw_files import TIFF, composed, contents, files_by_stem, read_list, read_text, some

IMAGES, BUILDINGS, KINDS = "images", "buildings.geojson", "line_kinds.txt"
MASKS = (*TIFF, ".png")
GEOJSON = (".geojson", ".json")
FOLDERS = {
    "segments": ("segments", MASKS),
    "superstructures": ("superstructures", MASKS),
    "roof": ("roofs", MASKS + GEOJSON),
    "lines": ("lines", GEOJSON),
    "height": ("heights", TIFF),
}
"""Of each head, the folder with its labels and the endings of their names."""


def find_labels(
    root: Path, images: dict[str, Path], groups: str | None
) -> tuple[dict[str, dict[str, Path]], list[Problem], list[str]]:
    """Files of labels by kind and stem, what is wrong with others, and what is not looked at.

    Args:
        root: The data set.
        images: By stem. Those without a file in roofs/ have `BUILDINGS` as `roof`, where it is there.
        groups: Name of the file with their groups.

    Raises:
        UserError: There are no labels.
    """
    folders = [name for name, _ in FOLDERS.values()]
    labels: dict[str, dict[str, Path]] = {}
    problems = misfits(root, (BUILDINGS, KINDS), folders)
    wrong_files = {problem.path.name.casefold() for problem in problems}
    told, notes = _others(root, (BUILDINGS, KINDS, groups))
    problems += told
    for kind, (name, endings) in FOLDERS.items():
        if not (root / name).is_dir():
            continue
        labels[kind], wrong, passed = files_by_stem(root, root / name, endings)
        problems += wrong
        notes += passed
        unused = sorted(labels[kind].keys() - images.keys())
        problems += [Problem(labels[kind].pop(stem), f"has no image of this name in {IMAGES}/") for stem in unused]
        lacking = sorted(images.keys() - labels[kind].keys())
        if lacking:
            notes.append(f"{root / name} has nothing for {len(lacking)} image(s): {some(lacking)}")
    if "lines" in labels and KINDS not in wrong_files:
        try:
            listed_kinds(root)
        except ImageError as error:
            problems.append(Problem(root / KINDS, str(error)))
            wrong_files.add(KINDS)
    if "lines" in labels and KINDS in wrong_files:
        labels["lines"] = {}
    if BUILDINGS not in wrong_files and (root / BUILDINGS).is_file():
        of_roofs = labels.setdefault("roof", {})
        for stem in images:
            of_roofs.setdefault(stem, root / BUILDINGS)
    if not labels and not problems:
        wanted = ", ".join(f"{name}/" for name in folders)
        raise UserError(f"{root} must hold labels in {wanted} or {BUILDINGS}; {contents(root)}")
    return labels, problems, notes


def _others(root: Path, files: tuple[str | None, ...]) -> tuple[list[Problem], list[str]]:
    """What is not looked at: a problem where a folder's name probably was meant to be one that has a meaning."""
    known = (IMAGES, *(name for name, _ in FOLDERS.values()))
    lacking = [name for name in known if not (root / name).exists()]
    problems, folders, passed = [], [], []
    for path in sorted(root.iterdir()):
        if path.name in files or path.name.casefold() in (*known, *files) or path.name.startswith("."):
            continue
        if not path.is_dir():
            passed.append(path.name)
        elif close := difflib.get_close_matches(path.name.lower(), lacking, n=1, cutoff=0.75):
            problems.append(Problem(path, f"is not looked at; if it holds {close[0]}, call it {close[0]}"))
        else:
            folders.append(path.name)
    notes = []
    if folders:
        notes.append(f"{root}: folders other than {', '.join(known)} are passed over: {some(folders)}")
    if passed:
        notes.append(f"{root}: {len(passed)} file(s) are passed over: {some(passed)}")
    return problems, notes


def find_groups(root: Path, name: str | None, images: dict[str, Path]) -> tuple[dict[str, str], list[Problem]]:
    """Group of each image from a CSV file, and what is wrong; no group at all without a name of a file."""
    if name is None:
        return {}, []
    path = root / name
    given: dict[str, set[str]] = defaultdict(set)
    try:
        table = csv.DictReader(io.StringIO(read_text(root, path), newline=""))
        columns = table.fieldnames or ()
        if not {"image", "group"} <= set(columns):
            return {}, [Problem(path, f"has the columns {', '.join(columns)}; needed are image and group")]
        if len(set(columns)) < len(columns):
            return {}, [Problem(path, f"has a column twice: {', '.join(columns)}")]
        for row in table:
            if None in row:
                what = "has more fields than columns; put quotes around a field with a comma in it"
                return {}, [Problem(path, f"line {table.line_num} {what}")]
            given[composed((row["image"] or "").strip())].add((row["group"] or "").strip())
    except ImageError as error:
        return {}, [Problem(path, str(error))]
    except csv.Error as error:
        return {}, [Problem(path, f"is no CSV file: {error}")]
    groups = {stem: next(iter(given[stem])) for stem in images if len(given[stem]) == 1 and given[stem] != {""}}
    wrong = sorted(images.keys() - groups.keys())
    problems = [Problem(path, f"{len(wrong)} image(s) have no group or several: {some(wrong)}")] if wrong else []
    return groups, problems


def listed_kinds(root: Path) -> list[str] | None:
    """What `line_kinds.txt` lists; None where it is not there.

    Raises:
        ImageError: It cannot be read, or lists something else; the message does not name it.
    """
    path = root / KINDS
    if not path.exists():
        return None
    kinds = read_list(root, path)
    unknown = sorted(set(kinds) - set(LINES))
    if unknown:
        raise ImageError(f"lists {some(unknown)}; known are {', '.join(LINES)}, one a line")
    return kinds
