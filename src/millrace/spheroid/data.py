"""Patches of the prepared images, each a function of seed, epoch and index alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from millrace.imagery.tiling import tile_starts
from millrace.spheroid.augment import change_grey, turn_and_flip, zoomed_side
from millrace.spheroid.params import Train
from millrace.spheroid.store import Store
from millrace.training.sampling import EpochIndex, Samples

EMPTY_COVERAGE = 0.05
EMPTY_TRIES = 10
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A square window of an image; it may reach beyond the edges."""

    top: int
    left: int
    side: int


def crop(store: Store, position: int, window: Window) -> Array:
    """Image, foreground and distance (3, S, S) in a window; beyond the edge the image is mirrored."""
    height, width = store.array("image", position).shape
    rows = _mirrored(np.arange(window.top, window.top + window.side), height)
    columns = _mirrored(np.arange(window.left, window.left + window.side), width)
    inside = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    picked = np.ix_(rows - rows.min(), columns - columns.min())
    image, labels, distance = (store.array(name, position)[inside][picked] for name in ("image", "labels", "distance"))
    return np.stack([image, labels > 0, distance]).astype(np.float32)


def _mirrored(indices: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Indices reflected at both ends as often as needed, the edge pixel repeated."""
    position = indices % (2 * length)
    return np.where(position < length, position, 2 * length - 1 - position)


def _as_sample(channels: Array, name: str) -> dict[str, Any]:
    tensor = torch.from_numpy(np.ascontiguousarray(channels))
    return {"input": tensor[:1], "target": tensor[1:], "name": name}


class TrainingPatches(Samples):
    """Augmented patches: `patches.per_image` of each image an epoch, most of them around an object.

    A sample is a dict of `input` (1, S, S), `target` (2, S, S: foreground and distance) and `name`, floats 0 to 1.

    Args:
        store: Prepared images.
        positions: Which of them to train on.
        settings: Patch size and number, augmentation, seed.
    """

    def __init__(self, store: Store, positions: list[int], settings: Train) -> None:
        self._store, self._positions, self._settings = store, positions, settings
        self._boxes = [_boxes(store.array("labels", position)) for position in positions]

    def __len__(self) -> int:
        return len(self._positions) * self._settings.patches.per_image

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        epoch, index = key
        settings = self._settings
        rng = np.random.default_rng((settings.seed, epoch, index))
        which = index // settings.patches.per_image
        position = self._positions[which]
        window = self._window(which, zoomed_side(settings.patches.size_px, settings.augmentation, rng), rng)
        channels = _resized(crop(self._store, position, window), settings.patches.size_px)
        channels = turn_and_flip(channels, settings.augmentation, rng)
        channels = np.concatenate([change_grey(channels[0], settings.augmentation, rng)[None], channels[1:]])
        name = f"{self._store.index['name'].iloc[position]}[{window.top}:{window.left}:{window.side}]"
        return _as_sample(channels, name)

    def _window(self, which: int, side: int, rng: np.random.Generator) -> Window:
        labels = self._store.array("labels", self._positions[which])
        boxes = self._boxes[which]
        if len(boxes) and rng.random() < self._settings.patches.positive_share:
            top, left, bottom, right = boxes[rng.integers(len(boxes))]
            jitter = self._settings.patches.jitter * side
            row = rng.integers(top, bottom) + rng.uniform(-jitter, jitter)
            column = rng.integers(left, right) + rng.uniform(-jitter, jitter)
            return _inside(row - side / 2, column - side / 2, side, labels.shape)
        return _emptiest(labels, side, rng)


def _boxes(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Bounding boxes of all objects as rows (top, left, bottom, right)."""
    slices = [found for found in ndimage.find_objects(labels) if found is not None]
    return np.array([(y.start, x.start, y.stop, x.stop) for y, x in slices], dtype=np.int64).reshape(-1, 4)


def _inside(top: float, left: float, side: int, shape: tuple[int, ...]) -> Window:
    """The window moved into the image, or centred on it along an axis where the image is smaller."""
    corner = []
    for start, length in zip((top, left), shape, strict=True):
        room = length - side
        corner.append(room // 2 if room < 0 else min(max(round(start), 0), room))
    return Window(corner[0], corner[1], side)


def _emptiest(labels: NDArray[np.int32], side: int, rng: np.random.Generator) -> Window:
    """The first of a few random windows with hardly any object in it, else the emptiest of them."""
    best, best_coverage = None, np.inf
    for _ in range(EMPTY_TRIES):
        top, left = (rng.uniform(0, max(length - side, 0)) for length in labels.shape)
        window = _inside(top, left, side, labels.shape)
        rows = slice(max(window.top, 0), window.top + side)
        coverage = float((labels[rows, max(window.left, 0) : window.left + side] > 0).mean())
        if coverage < best_coverage:
            best, best_coverage = window, coverage
        if coverage < EMPTY_COVERAGE:
            break
    assert best is not None
    return best


def _resized(channels: Array, side: int) -> Array:
    """Channels (C, N, N) scaled to (C, side, side); the foreground, channel 1, stays 0 or 1."""
    if channels.shape[1] == side:
        return channels
    tensor: Tensor = torch.from_numpy(channels)[None]
    antialias = channels.shape[1] > side
    scaled = F.interpolate(tensor, size=(side, side), mode="bilinear", align_corners=False, antialias=antialias)[0]
    scaled[1] = (scaled[1] >= 0.5).float()
    return scaled.numpy()


class ValidationPatches(Samples):
    """Unaugmented patches that tile the validation images: the same in every epoch.

    Args:
        store: Prepared images.
        positions: Which of them to validate on.
        settings: Patch size, and the most tiles taken of one image (evenly picked).
    """

    def __init__(self, store: Store, positions: list[int], settings: Train) -> None:
        self._store = store
        side, most = settings.patches.size_px, settings.patches.validation_per_image
        self._windows = [(position, window) for position in positions for window in _tiles(store, position, side, most)]

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        position, window = self._windows[key[1]]
        return _as_sample(crop(self._store, position, window), str(self._store.index["name"].iloc[position]))


def _tiles(store: Store, position: int, side: int, most: int) -> list[Window]:
    height, width = store.array("image", position).shape
    windows = [
        _inside(top, left, side, (height, width))
        for top in tile_starts(height, side, 0)
        for left in tile_starts(width, side, 0)
    ]
    picks = np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)
    return [windows[pick] for pick in picks]
