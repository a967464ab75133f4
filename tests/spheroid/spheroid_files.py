"""Small raw folders for the spheroid tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from millrace.params import Params
from millrace.settings import Runtime
from millrace.spheroid.params import Spheroid

QUIET = Runtime(jobs=1, progress=False, threads=1, accelerator="cpu")


def disks(size: int = 48, count: int = 2, seed: int = 0, radius: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Bright disks on a noisy dark ground (uint8) and their ids (uint16)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.uint16)
    rows, columns = np.mgrid[:size, :size]
    for number in range(1, count + 1):
        row, column = rng.integers(radius, size - radius, 2)
        labels[((rows - row) ** 2 + (columns - column) ** 2 <= radius**2) & (labels == 0)] = number
    image = rng.normal(40, 8, labels.shape) + 140 * (labels > 0)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_pair(raw: Path, name: str, image: np.ndarray, labels: np.ndarray) -> None:
    for folder, pixels, ending in (("images", image, ""), ("masks", labels, "_mask")):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(raw / folder / f"{name}{ending}.png")


def write_raw(raw: Path, images: int = 8, **options: Any) -> Path:
    for index in range(images):
        write_pair(raw, f"i{index}", *disks(seed=index, count=1 + index % 3, **options))
    return raw


def section(raw: Path, **changes: Any) -> Spheroid:
    """The default section with another raw folder; changes are nested dicts, `prepare={"bad_files": "drop"}`."""

    def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        nested = {key: merged(base[key], value) if isinstance(value, dict) else value for key, value in extra.items()}
        return base | nested

    return Spheroid.model_validate(merged(Params().spheroid.model_dump(), {"raw": str(raw), **changes}))
