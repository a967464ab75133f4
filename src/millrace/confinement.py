"""Nothing outside the raw folder is read, whatever names and links in it say."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from millrace.errors import ImageError

LINK = "is a link that leaves the raw folder; put the file itself there (for DVC, cache.type hardlink or copy)"


def real_path(path: Path) -> Path:
    """Where a path leads, all links followed."""
    # Path.resolve raises an error where links lead in a circle; such a path is no file, which is found later.
    return Path(os.path.realpath(path))


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a path is inside a folder once all links are followed, those of the folder too."""
    return real_path(path).is_relative_to(real_path(folder))


def is_text(name: str) -> bool:
    """Whether a name can be written down: on POSIX a file's name may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def relative_path(name: str) -> PurePosixPath:
    """A path inside a folder, as a name from outside says it; backslashes are slashes.

    Raises:
        ImageError: It leaves the folder as it is written, or is no path; the message does not repeat it.
    """
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or PureWindowsPath(name).is_absolute():
        raise ImageError("has an absolute path; write it relative to the folder of images")
    if ".." in relative.parts or "\0" in name or not relative.parts:
        raise ImageError("has a path that could leave the raw folder, or that is none")
    return relative
