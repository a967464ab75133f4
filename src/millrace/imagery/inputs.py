"""The image files that a user names on the command line: files, folders of them, or patterns for names."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from millrace.confinement import is_text, real_path
from millrace.errors import Problem, UserError
from millrace.imagery.read import SUFFIXES


class InputImage(NamedTuple):
    """A file, and its path from the folder that all inputs have in common, with slashes."""

    name: str
    path: Path


def input_images(inputs: Sequence[Path], out: Path) -> tuple[list[InputImage], list[Problem]]:
    """Image files in the order given, those of a folder or a pattern sorted, each once.

    Args:
        inputs: Files; folders, whose image files are taken, and those of the folders in them; or patterns for names
            (`photos/**/*.jpg`). Hidden files and what lies in `out` do not count.
        out: Folder for results.

    Returns:
        The files, and what is wrong with others.

    Raises:
        UserError: There is no image file and nothing wrong, or `out` is one of the folders.
    """
    files: dict[Path, None] = {}
    roots, problems = [], []
    for given in inputs:
        root, paths, own = _expanded(given.absolute(), real_path(out))
        files |= dict.fromkeys(paths)
        roots += [root] if paths else []
        problems += own
    if not files and not problems:
        raise UserError(f"No image file ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, inputs))}")
    base = os.path.commonpath([os.path.normpath(root) for root in roots]) if roots else ""
    named = []
    for path in files:
        name = os.path.relpath(path, base).replace(os.sep, "/")
        if is_text(name):
            named.append(InputImage(name, path))
        else:
            problems.append(Problem(path, "its name is not valid UTF-8; rename it"))
    return named, problems


def _expanded(given: Path, out: Path) -> tuple[Path, list[Path], list[Problem]]:
    """The folder that names are relative to, its image files, and what is wrong."""
    if given.is_dir():
        if real_path(given) == out:
            raise UserError(f"--out is {given}, a folder to read; name another, which may lie in it")
        return given, *_walk(given, out)
    if given.exists() or not glob.has_magic(str(given)):
        return given.parent, *(([given], []) if given.exists() else ([], [Problem(given, "does not exist")]))
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), given.parts)
    matches = (Path(path) for path in sorted(glob.glob(str(given), recursive=True)))  # noqa: PTH207  Path.glob takes hidden files
    paths = [path for path in matches if _is_image(path) and not real_path(path).is_relative_to(out)]
    return Path(*parts), paths, [] if paths else [Problem(given, "no image file has such a name")]


def _walk(folder: Path, out: Path) -> tuple[list[Path], list[Problem]]:
    paths, problems = [], []
    inside = real_path(folder)
    for here, subfolders, names in os.walk(folder):
        visible = [Path(here, name) for name in subfolders if not name.startswith(".")]
        problems += [
            Problem(path, "is a link to a folder, which is not followed") for path in visible if path.is_symlink()
        ]
        subfolders[:] = [path.name for path in visible if real_path(path) != out]
        for path in (Path(here, name) for name in names):
            if not _is_image(path):
                continue
            if real_path(path).is_relative_to(inside):
                paths.append(path)
            else:
                problems.append(Problem(path, f"is a link that leaves the folder {folder}"))
    return sorted(paths), problems


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
