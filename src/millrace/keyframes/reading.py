"""Timeline files of a folder, recognised by what they hold."""

from __future__ import annotations

import os
from pathlib import Path

from millrace.errors import Problem, UserError
from millrace.keyframes.fcpxml import read as fcpxml
from millrace.keyframes.params import Parse
from millrace.keyframes.timeline import Document
from millrace.keyframes.xmeml import read as xmeml
from millrace.keyframes.xml_events import TimelineError, root_name

READERS = {"xmeml": xmeml.read, "fcpxml": fcpxml.read}
ENDINGS = (".xml", ".fcpxml")
BUNDLE, INSIDE = ".fcpxmld", "Info.fcpxml"
MEGABYTE = 1_000_000


def find_timelines(raw: Path) -> tuple[list[tuple[str, Path]], list[Problem]]:
    """Timeline files of a folder and the folders in it, each with its name: its path without its ending.

    Returns:
        Names and files, sorted, and one problem for each that cannot be taken.

    Raises:
        UserError: The folder is missing, or holds no timeline.
    """
    if not raw.is_dir():
        raise UserError(f"Raw folder {raw} does not exist. Set keyframes.raw in params.yaml to your folder.")
    found: dict[str, Path] = {}
    paths, problems = _all_below(raw)
    for path in paths:
        try:
            timeline = _timeline_at(path, raw)
            if timeline is not None:
                name, file = timeline
                if name in found:
                    raise TimelineError(f"it has the same name as {found[name]}; rename one of them")
                found[name] = file
        except TimelineError as error:
            problems.append(Problem(path, str(error)))
        except OSError as error:
            problems.append(Problem(path, f"it cannot be looked at: {error.strerror}"))
    if not found and not problems:
        raise UserError(f"{raw} holds no timeline ({', '.join((*ENDINGS, BUNDLE))})")
    return sorted(found.items()), problems


def _all_below(raw: Path) -> tuple[list[Path], list[Problem]]:
    """All that lies in a folder, sorted; a problem for each folder that cannot be read, and name that is not UTF-8."""
    problems: list[Problem] = []

    def unreadable(error: OSError) -> None:
        problems.append(Problem(_printable(Path(error.filename)), f"the folder cannot be read: {error.strerror}"))

    paths = []
    for folder, folders, files in os.walk(raw, onerror=unreadable):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if _printable(path) == path:
                paths.append(path)
            elif path.suffix.lower() in (*ENDINGS, BUNDLE):
                problems.append(Problem(_printable(path), "its path is not UTF-8; rename it"))
    return sorted(paths), problems


def _printable(path: Path) -> Path:
    """The path with escapes for bytes that are not UTF-8: Python reads them as characters that it refuses to print."""
    return Path(str(path).encode("utf-8", "backslashreplace").decode())


def _timeline_at(path: Path, raw: Path) -> tuple[str, Path] | None:
    """Name and file of a timeline; None for what is none.

    Raises:
        TimelineError: It cannot be taken.
    """
    if path.is_symlink() and path.is_dir():
        raise TimelineError("it is a link to a folder, which is not followed; copy the folder instead")
    bundle = path.suffix.lower() == BUNDLE and path.is_dir()
    if not bundle and (path.suffix.lower() not in ENDINGS or path.parent.suffix.lower() == BUNDLE):
        return None
    file = path / INSIDE if bundle else path
    if not file.is_file():
        raise TimelineError(f"the bundle holds no {INSIDE}" if bundle else "it is not a file")
    if not file.resolve().is_relative_to(raw.resolve()):
        raise TimelineError("it is a link that leaves the raw folder; copy the file instead")
    return path.relative_to(raw).with_suffix("").as_posix(), file


def read_timeline(path: Path, settings: Parse) -> Document:
    """Read a timeline file of either format.

    Raises:
        TimelineError: It cannot be used; the message says why, without the file's name.
    """
    max_bytes = int(settings.max_megabytes * MEGABYTE)
    name = root_name(path, max_bytes=max_bytes)
    if name not in READERS:
        raise TimelineError(f"its root element is <{name}>, neither <xmeml> (FCP7 XML) nor <fcpxml>")
    return READERS[name](path, max_bytes=max_bytes, max_clips=settings.max_clips, max_depth=settings.max_depth)
