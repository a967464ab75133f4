"""A data set in memory in place of a reader, so that stages can be tested on scenes of any kind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from millrace.errors import ImageError, Problem
from millrace.roof import raw
from millrace.roof.classes import HEADS
from millrace.roof.params import Airs, Generic, Prepare, Roof
from millrace.roof.scene import Labelled, Lines, Scan, Scene
from millrace.settings import Runtime

QUIET = Runtime(jobs=1, progress=False)


def scene_image(number, height=64, width=64):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def with_roof(number, height=64, width=64, **labels):
    """A picture with a roof in the middle, like that of no other number."""
    roof = np.zeros((height, width), np.uint8)
    roof[height // 4 : height // 2, width // 4 : width // 2] = 1
    return Labelled(image=scene_image(number, height, width), **({"roof": roof} | labels))


@dataclass
class Fake:
    """Scenes by name; `damaged` ones cannot be read."""

    scenes: dict[str, Labelled]
    sides: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    pixel_size_m: float | None = 0.2
    problems: tuple[Problem, ...] = ()
    damaged: tuple[str, ...] = ()
    reads: int = 0

    def scan(self, source, limits) -> Scan:
        scenes = [
            Scene(
                name,
                self.sides.get(name),
                self.groups.get(name, name),
                *self.scenes[name].image.shape[:2],
                self.pixel_size_m,
                files={"image": Path(source.path) / f"{name}.tif"},
            )
            for name in sorted(self.scenes)
        ]
        return Scan(tuple(scenes), self.problems, ("a note",), HEADS)

    def read(self, source, scene, window) -> Labelled:
        self.reads += 1
        if scene.name in self.damaged:
            raise ImageError("ends too early")
        tile = self.scenes[scene.name]
        part = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
        names = ("image", "segments", "superstructures", "roof", "lines", "lines_known", "height")
        arrays = {name: array[part] for name in names if (array := getattr(tile, name)) is not None}
        vectors = tile.vectors
        if vectors is not None:
            vectors = Lines(vectors.kinds, vectors.ends - np.array([window.top, window.left] * 2))
        assert arrays["image"].shape == (window.height, window.width, 3)
        return replace(tile, **arrays, vectors=vectors)

    def install(self, patch: pytest.MonkeyPatch) -> Fake:
        patch.setattr(raw, "scan", self.scan)
        patch.setattr(raw, "read", self.read)
        return self


def generic_roof(split=None, **prepare) -> Roof:
    """Parameters of one source that is dealt by shares."""
    source = Generic.model_validate({"format": "generic", "path": "raw"} | ({"split": split} if split else {}))
    return Roof(raw={"own": source}, prepare=Prepare.model_validate(prepare))


def sided_roof(**prepare) -> Roof:
    """Parameters of one source that says itself which scene is for what."""
    return Roof(raw={"own": Airs(format="airs", path="raw")}, prepare=Prepare.model_validate(prepare))
