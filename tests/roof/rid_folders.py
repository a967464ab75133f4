"""How data sets in the form of RID are read in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.roof.params import Prepare, Rid
from millrace.roof.raw_rid import read, scan
from millrace.roof.scene import Labelled, Scan, Scene, Window
from roof.builders import (
    RID_SIDE,
)

ALL = Window(0, 0, RID_SIDE, RID_SIDE)
CSV = "segments_reviewed.csv"


def settings(root: Path, **changes: Any) -> Rid:
    return Rid(format="rid", path=str(root), **{"vectors": CSV} | changes)


def scanned(root: Path, limits: Prepare | None = None, **changes: Any) -> Scan:
    return scan(root, settings(root, **changes), limits or Prepare())


def told(found: Scan, path: str) -> str:
    """The one reason that is given for a file or folder."""
    reasons = [problem.reason for problem in found.problems if problem.path.as_posix().endswith(path)]
    assert len(reasons) == 1, found.problems
    return reasons[0]


def scene_of(found: Scan, name: str) -> Scene:
    return next(scene for scene in found.scenes if scene.name == name)


def labelled(root: Path, name: str, window: Window = ALL, **changes: Any) -> Labelled:
    return read(root, scene_of(scanned(root, **changes), name), settings(root, **changes), window)
