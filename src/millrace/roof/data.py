"""Patches of prepared tiles from several data sets, each a function of seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.imagery.tiling import tile_starts
from millrace.roof.augment import randomly_turned, recoloured, scaled_side
from millrace.roof.classes import ALL_LINES, HEADS, NO_SUPERSTRUCTURE, UNKNOWN, background_class, flat_class
from millrace.roof.losses import OF_HEAD, TERMS, term_weights
from millrace.roof.params import Train
from millrace.roof.resample import resampled
from millrace.roof.scene import Labelled, Window
from millrace.roof.store import FIELDS, Store
from millrace.training.sampling import EpochIndex, Samples

UNLABELLED: dict[str, float] = {**dict.fromkeys(FIELDS, UNKNOWN), "lines": 0, "lines_known": 0, "height": np.nan}
PLACING_TRIES = 10
TALL_M = 2.0
"""From this height on a pixel is something to place a patch on."""


def mix_shares(stores: Sequence[Store], mix: dict[str, float]) -> NDArray[np.float64]:
    """Share of the patches that each source gives, (D,): its weight over the sum of all."""
    weights = np.array([mix.get(store.name, 1.0) for store in stores])
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def training_labels(store: Store) -> NDArray[np.bool_]:
    """Which of `losses.TERMS` a source's training tiles label, (T,)."""
    counts = store.meta["class_counts"]
    kinds = iter(counts["lines_known"])
    return np.array([next(kinds) > 0 if head == "lines" else sum(counts[head]) > 0 for head, _ in TERMS])


def crop(tile: Labelled, window: Window) -> Labelled:
    """A window of a tile, which may reach beyond its edges: there the image is mirrored and nothing is labelled.

    All rasters of the result are set; vectors are left out.
    """
    height, width = tile.image.shape[:2]
    rows, columns = (
        np.arange(start, start + length) for start, length in ((window.top, window.height), (window.left, window.width))
    )
    inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    rasters: dict[str, Any] = {}
    for name, dtype in FIELDS.items():
        array = np.full((window.height, window.width), UNLABELLED[name], dtype)
        given = getattr(tile, name)
        if given is not None:
            array[np.ix_(*inside)] = given[np.ix_(rows[inside[0]], columns[inside[1]])]
        rasters[name] = array
    image = tile.image[np.ix_(_mirrored(rows, height), _mirrored(columns, width))]
    return replace(tile, image=image, vectors=None, vector_kinds=0, **rasters)


def taken_as_background(patch: Labelled) -> Labelled:
    """What is not labelled becomes background, as if the data set had said so; all rasters must be set."""
    background = {"segments": background_class(patch.azimuths), "superstructures": NO_SUPERSTRUCTURE, "roof": 0}
    classes: dict[str, Any] = {}
    for name, value in background.items():
        given = getattr(patch, name)
        classes[name] = np.where(given == UNKNOWN, np.uint8(value), given)
    assert patch.height is not None
    known = np.full(patch.height.shape, ALL_LINES, np.uint8)
    return replace(patch, **classes, lines_known=known, height=np.nan_to_num(patch.height, nan=0.0))


class _Patches(Samples):
    """Patches of side S: a dict of

    - `input`: RGB (3, S, S), float32 from 0 to 1,
    - `segments`, `superstructures`, `roof`: classes (S, S), uint8, UNKNOWN where not labelled,
    - `lines`, `lines_known`: bits of `classes.LINES` (S, S), uint8,
    - `height`: metres above ground (S, S), float32, NaN where not labelled,
    - `weights`: of `losses.TERMS` in the loss (T,), float32,
    - `name` and `source`.
    """

    _weights: NDArray[np.float32]

    @property
    def heads(self) -> list[str]:
        """Heads that anything is labelled for."""
        return [head for head in HEADS if self._weights[:, OF_HEAD[head]].any()]


class TrainingPatches(_Patches):
    """Augmented patches: `patches.per_epoch` of them, of each source as many as its weight in the mix asks for.

    Args:
        stores: Sources with training tiles and a weight above 0.
        settings: The `roof.train` section.
    """

    def __init__(self, stores: Sequence[Store], settings: Train) -> None:
        self._stores, self._settings = list(stores), settings
        self._positions = [np.array(store.positions("train")) for store in stores]
        areas = [(store.index["height"] * store.index["width"]).to_numpy() for store in stores]
        own = [area[positions] for area, positions in zip(areas, self._positions, strict=True)]
        self._area_ends = [np.cumsum(area) / area.sum() for area in own]
        shares = mix_shares(stores, settings.mix)
        self._share_ends = np.cumsum(shares)
        labels = np.array([training_labels(store) for store in stores])
        self._weights = term_weights(labels if settings.loss.masked else np.ones_like(labels), shares)

    def __len__(self) -> int:
        return self._settings.patches.per_epoch

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        epoch, index = key
        settings, side = self._settings, self._settings.patches.size_px
        rng = np.random.default_rng((settings.seed, epoch, index))
        which = self._source(epoch, index)
        position, window = self._place(which, scaled_side(side, settings.augmentation, rng), rng)
        patch = crop(self._stores[which].tile(position), window)
        patch = randomly_turned(resampled(patch, side / window.height), settings.augmentation, rng)
        if not settings.loss.masked:
            patch = taken_as_background(patch)
        image = recoloured(_as_floats(patch.image), settings.augmentation, rng)
        return _as_sample(patch, image, self._stores[which], position, window, self._weights[which])

    def _source(self, epoch: int, index: int) -> int:
        # Systematic sampling: an epoch has the wanted number of each source, to less than one.
        offset = np.random.default_rng((self._settings.seed, epoch)).random()
        return _drawn(self._share_ends, (index + offset) / len(self))

    def _place(self, which: int, side: int, rng: np.random.Generator) -> tuple[int, Window]:
        """A tile and a window of it: mostly around a pixel of something, else anywhere."""
        placed = rng.random() < self._settings.patches.roof_share
        for _ in range(PLACING_TRIES):
            position = int(self._positions[which][_drawn(self._area_ends[which], rng.random())])
            tile = self._stores[which].tile(position)
            pixel = _pixel_of_something(tile, rng) if placed else None
            if pixel is not None or not placed:
                break
        shape = tile.image.shape[:2]
        if pixel is None:
            pixel = tuple(int(rng.integers(max(side, length))) for length in shape)
        row, column = (place - int(rng.integers(side)) for place in pixel)
        return position, _inside(row, column, side, shape)


class ValidationPatches(_Patches):
    """Unaugmented patches: windows of the tiles without overlap, at most `patches.validation_per_source` of a source.

    Args:
        stores: Sources; those without a validation tile add nothing.
        settings: The `roof.train` section.
    """

    def __init__(self, stores: Sequence[Store], settings: Train) -> None:
        side, most = settings.patches.size_px, settings.patches.validation_per_source
        self._windows = [(store, *window) for store in stores for window in _validation_windows(store, side, most)]
        labels = [_labels(crop(store.tile(position), window)) for store, position, window in self._windows]
        # Here it is known which samples are labelled, so the loss is the mean over just those.
        count = len(self._windows)
        self._weights = term_weights(np.array(labels).reshape(count, len(TERMS)), np.full(count, 1 / max(1, count)))

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        store, position, window = self._windows[key[1]]
        patch = crop(store.tile(position), window)
        return _as_sample(patch, _as_floats(patch.image), store, position, window, self._weights[key[1]])


def _as_sample(
    patch: Labelled,
    image: NDArray[np.float32],
    store: Store,
    position: int,
    window: Window,
    weights: NDArray[np.float32],
) -> dict[str, Any]:
    place = f"{window.top}:{window.left}:{window.height}"
    return {
        "input": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        **{field: torch.from_numpy(np.ascontiguousarray(getattr(patch, field))) for field in FIELDS},
        "weights": torch.from_numpy(weights),
        "name": f"{store.name}/{store.index['scene'].iloc[position]} tile {position} [{place}]",
        "source": store.name,
    }


def _as_floats(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def _mirrored(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Indices reflected at both ends as often as needed, the edge pixel repeated."""
    position = indices % (2 * length)
    return np.where(position < length, position, 2 * length - 1 - position)


def _drawn(ends: NDArray[np.float64], place: float) -> int:
    """In which of the parts that end there a place from 0 to 1 lies."""
    return min(int(np.searchsorted(ends, place, side="right")), len(ends) - 1)


def _inside(row: int, column: int, side: int, shape: tuple[int, ...]) -> Window:
    """The window moved into the tile, or centred on it along an axis where the tile is smaller."""
    corner = []
    for start, length in zip((row, column), shape, strict=True):
        room = length - side
        corner.append(room // 2 if room < 0 else min(max(start, 0), room))
    return Window(corner[0], corner[1], side, side)


def _pixel_of_something(tile: Labelled, rng: np.random.Generator) -> tuple[int, ...] | None:
    """A pixel that one head, drawn first, has as more than background; None where nothing is."""
    masks = {
        "segments": None if tile.segments is None else tile.segments <= flat_class(tile.azimuths),
        "superstructures": None if tile.superstructures is None else tile.superstructures < NO_SUPERSTRUCTURE,
        "roof": None if tile.roof is None else tile.roof == 1,
        "lines": None if tile.lines is None else tile.lines != 0,
        "height": None if tile.height is None else tile.height > TALL_M,
    }
    for head in rng.permutation(HEADS):
        mask = masks[head]
        pixels = np.zeros(0, np.int64) if mask is None else np.flatnonzero(mask)
        if len(pixels):
            row, column = divmod(int(pixels[rng.integers(len(pixels))]), tile.image.shape[1])
            return row, column
    return None


def _labels(patch: Labelled) -> list[bool]:
    """Which of `losses.TERMS` a patch, with all rasters set, has a labelled pixel of."""
    assert patch.lines_known is not None
    assert patch.height is not None
    kinds = int(np.bitwise_or.reduce(patch.lines_known, axis=None))
    known = {head: bool((getattr(patch, head) != UNKNOWN).any()) for head in ("segments", "superstructures", "roof")}
    known["height"] = bool(np.isfinite(patch.height).any())
    places = iter(range(len(TERMS)))
    return [bool(kinds >> next(places) & 1) if head == "lines" else known[head] for head, _ in TERMS]


def _validation_windows(store: Store, side: int, most: int) -> list[tuple[int, Window]]:
    """Positions and windows that tile the validation tiles, evenly picked."""
    windows = []
    for position in store.positions("validation"):
        height, width = (int(length) for length in store.index[["height", "width"]].iloc[position])
        windows += [
            (position, _inside(top, left, side, (height, width)))
            for top in tile_starts(height, side, 0)
            for left in tile_starts(width, side, 0)
        ]
    picks = np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)
    return [windows[pick] for pick in picks]
