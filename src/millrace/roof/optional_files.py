"""Files and folders that a data set may have or lack: none is passed over because of its kind or of its spelling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millrace.confinement import stays_inside
from millrace.errors import Problem


def misfits(root: Path, files: Sequence[str] = (), folders: Sequence[str] = ()) -> list[Problem]:
    """What stands under the names of optional files and folders and is none, or differs from a name in case alone.

    Args:
        root: The data set.
        files: Names of files that it may have, some perhaps in folders.
        folders: Names of folders that it may have.
    """
    problems = []
    for name in (*files, *folders):
        path = root / name
        here = {child.name for child in path.parent.iterdir()} if path.parent.is_dir() else set()
        alike = sorted(other for other in here - {path.name} if other.casefold() == path.name.casefold())
        cure = f"there is {path.name} too, so remove it" if path.name in here else f"call it {path.name}"
        problems += [Problem(path.with_name(other), f"is not looked at; {cure}") for other in alike]
        if path.name not in here:
            continue
        if path.is_symlink() and not path.exists():
            problems.append(Problem(path, "is a link that leads to nothing; put the file itself there"))
        elif not stays_inside(root, path):
            problems.append(Problem(path, f"is a link that leaves {root}; put the file itself there"))
        elif name in files and not path.is_file():
            problems.append(Problem(path, "is no file"))
        elif name in folders and not path.is_dir():
            problems.append(Problem(path, "is no folder"))
    return problems
