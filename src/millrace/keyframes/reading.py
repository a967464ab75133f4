"""Timeline files of a folder, recognised by what they hold."""

from __future__ import annotations

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
    problems = []
    for path in sorted(raw.rglob("*")):
        if path.is_symlink() and path.is_dir():
            problems.append(Problem(path, "it is a link to a folder, which is not followed; copy the folder instead"))
            continue
        bundle = path.suffix.lower() == BUNDLE and path.is_dir()
        if not bundle and (path.suffix.lower() not in ENDINGS or path.parent.suffix.lower() == BUNDLE):
            continue
        file = path / INSIDE if bundle else path
        name = path.relative_to(raw).with_suffix("").as_posix()
        if not file.is_file():
            problems.append(Problem(path, f"the bundle holds no {INSIDE}" if bundle else "it is not a file"))
        elif not file.resolve().is_relative_to(raw.resolve()):
            problems.append(Problem(path, "it is a link that leaves the raw folder; copy the file instead"))
        elif name in found:
            problems.append(Problem(path, f"it has the same name as {found[name]}; rename one of them"))
        else:
            found[name] = file
    if not found and not problems:
        raise UserError(f"{raw} holds no timeline ({', '.join((*ENDINGS, BUNDLE))})")
    return sorted(found.items()), problems


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
