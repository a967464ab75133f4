"""Prediction of an image of any size, tile by tile, in memory that does not grow with the image's height."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import ImageError

SIGMA_SCALE = 0.125
MIN_WEIGHT = 1e-3
GREY_AXES = 2


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """First pixels of the tiles along one axis, strictly increasing; together the tiles cover the axis.

    The stride is that of MONAI's `sliding_window_inference`. The last tile is flush with the edge; an axis no longer
    than a tile has the one tile that starts at 0.

    Args:
        length: Pixels along the axis.
        tile: Side of a tile in pixels.
        overlap: Share of a tile that it has in common with the next, in [0, 1).

    Raises:
        ValueError: `overlap` is outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}, must be at least 0 and below 1")
    stride = max(1, int(tile * (1 - overlap)))
    last = max(0, length - tile)
    return [*range(0, last, stride), last]


def gaussian_window(tile: int) -> NDArray[np.float32]:
    """Weight of each pixel of a tile, (tile, tile): a Gaussian about the centre, 1 at its peak.

    Its standard deviation is an eighth of the tile and its least value 0.001, or the Gaussian's own least if larger:
    MONAI's `compute_importance_map` in mode `gaussian` with `sigma_scale=0.125`.
    """
    offset = np.arange(tile, dtype=np.float32) - np.float32((tile - 1) / 2)
    profile = np.exp(offset**2 / np.float32(-2 * (SIGMA_SCALE * tile) ** 2))
    window = np.outer(profile, profile)
    return np.maximum(window, max(float(window.min()), MIN_WEIGHT), dtype=np.float32)


def as_float32(window: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(window, dtype=np.float32)


def predict_tiled(
    predict: Callable[[torch.Tensor], torch.Tensor],
    image: NDArray[Any],
    *,
    channels: int,
    tile: int,
    overlap: float,
    batch_size: int,
    load: Callable[[NDArray[Any]], NDArray[np.float32]] = as_float32,
    out: NDArray[Any] | None = None,
    progress: bool = False,
) -> NDArray[Any]:
    """Mean of the predictions of overlapping tiles, each weighted with `gaussian_window`.

    The image is read window by window, and a row of `out` is written, once, as soon as no tile to come touches it. In
    between stands one band of `tile` rows, so image and `out` may be memory-mapped files larger than the memory.

    Args:
        predict: The model: (N, 1, tile, tile) float32 on the CPU to (N, channels, tile, tile) on any device.
        image: (H, W), any dtype. Along an axis shorter than a tile it is continued by reflection on both sides.
        channels: Channels that `predict` gives.
        tile: Side of a tile in pixels.
        overlap: Share of a tile that it has in common with the next, in [0, 1).
        batch_size: Largest number of tiles in one call of `predict`.
        load: Turns a raw window of the image into model input of the same shape.
        out: (channels, H, W) floating-point array to write into; None allocates a float32 one.
        progress: Show a progress bar.

    Returns:
        `out`.

    Raises:
        ImageError: The image is not two-dimensional or has no pixels.
        ValueError: `overlap` is out of range, or `out` or what `predict` gives has the wrong shape or dtype.
    """
    if image.ndim != GREY_AXES or image.size == 0:
        raise ImageError(f"its shape is {image.shape}; a prediction needs a grey image of at least one pixel")
    shape = channels, *image.shape
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    if out.shape != shape or out.dtype.kind != "f":
        raise ValueError(f"out is {out.dtype} {out.shape}, must be floating-point {shape}")
    for top, rows in predicted_bands(
        predict,
        image,
        channels=channels,
        tile=tile,
        overlap=overlap,
        batch_size=batch_size,
        load=load,
        progress=progress,
    ):
        out[:, top : top + rows.shape[1]] = rows
    return out


def predicted_bands(
    predict: Callable[[torch.Tensor], torch.Tensor],
    image: NDArray[Any],
    *,
    channels: int,
    tile: int,
    overlap: float,
    batch_size: int,
    load: Callable[[NDArray[Any]], NDArray[np.float32]] = as_float32,
    progress: bool = False,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """What `predict_tiled` writes, band by band from top to bottom, for results that are not kept as they are.

    Args:
        predict: The model: (N, C, tile, tile) float32 on the CPU to (N, channels, tile, tile) on any device; C is 1 for
            a grey image.
        image: (H, W) or (H, W, C), or what has such a shape and gives arrays when it is sliced. Along an axis shorter
            than a tile it is continued by reflection on both sides.
        channels: As for `predict_tiled`, and so are the others.
        tile: Side of a tile in pixels.
        overlap: Share of a tile that it has in common with the next.
        batch_size: Largest number of tiles in one call.
        load: Turns a raw window into model input.
        progress: Show a progress bar.

    Yields:
        The first row, and the means (channels, rows, W) of it and those that follow; they hold only until the next
        band is asked for.

    Raises:
        ImageError: The image has neither two nor three axes, or no pixels.
        ValueError: `overlap` is out of range, or what `predict` gives has the wrong shape.
    """
    if len(image.shape) not in (GREY_AXES, GREY_AXES + 1) or 0 in image.shape:
        raise ImageError(f"its shape is {image.shape}; a prediction needs an image of at least one pixel")
    height, width, depth = (*image.shape, 1)[:3]
    corners = list(product(tile_starts(height, tile, overlap), tile_starts(width, tile, overlap)))
    batches = [corners[first : first + batch_size] for first in range(0, len(corners), batch_size)]
    inner = _centred(height, tile), _centred(width, tile)
    padding = [*((axis.start, tile - axis.stop) for axis in inner), (0, 0)]
    band = _Band(channels, width, gaussian_window(tile)[inner])
    for batch in tqdm(batches, desc="tiles", unit="batch", disable=not progress):
        tiles = np.empty((len(batch), depth, tile, tile), dtype=np.float32)
        for index, (y, x) in enumerate(batch):
            window = load(image[y : y + tile, x : x + tile])
            window = window.reshape(*window.shape[:2], depth)
            # NumPy's reflection goes to and fro as often as needed, and repeats a single pixel.
            padded = window if window.shape[:2] == (tile, tile) else np.pad(window, padding, mode="reflect")
            tiles[index] = padded.transpose(2, 0, 1)
        # Not around the `yield`: whoever takes the bands would run in that mode too.
        with torch.inference_mode():
            predicted = predict(torch.from_numpy(tiles))
            if predicted.shape != (len(batch), channels, tile, tile):
                raise ValueError(f"predict gave {tuple(predicted.shape)}, not {(len(batch), channels, tile, tile)}")
            predicted = predicted.to("cpu", torch.float32)[:, :, *inner]
        for (y, x), values in zip(batch, predicted, strict=True):
            if y > band.top:
                yield band.top, band.finished(y)
                band.advance(y)
            band.add(x, values)
    yield band.top, band.finished(height)


def _centred(length: int, tile: int) -> slice:
    """Where the pixels of an axis stand in a tile that may be longer."""
    before = max(0, tile - length) // 2
    return slice(before, before + min(length, tile))


class _Band:
    """Running weighted mean over the rows that tiles to come can still touch.

    The mean moves towards each new tile by the tile's share of the weight so far. Unlike a sum divided at the end this
    is exact where tiles agree or only one covers a pixel, and needs no second pass.
    """

    def __init__(self, channels: int, width: int, window: NDArray[np.float32]) -> None:
        self.top = 0
        self.window = torch.from_numpy(window)
        self.mean = torch.zeros(channels, window.shape[0], width)
        self.weight = torch.zeros(window.shape[0], width)
        # Kept from tile to tile: a fresh array's page faults would cost more than the division.
        self.share = torch.empty_like(self.window)

    def add(self, x: int, values: torch.Tensor) -> None:
        """Blend in a tile (channels, h, w) whose upper left corner is at (`top`, x)."""
        columns = slice(x, x + self.window.shape[1])
        weight = self.weight[:, columns].add_(self.window)
        torch.div(self.window, weight, out=self.share)
        self.mean[:, :, columns].lerp_(values, self.share)

    def finished(self, y: int) -> NDArray[np.float32]:
        """The rows above `y`, until `advance` makes room for others."""
        rows: NDArray[np.float32] = self.mean[:, : y - self.top].numpy()
        return rows

    def advance(self, y: int) -> None:
        """Make `y` the first row."""
        done = y - self.top
        left = len(self.window) - done
        for rows in (self.mean, self.weight):
            # Channel by channel: a copy of the whole band would double it.
            for plane in rows.view(-1, *rows.shape[-2:]):
                plane[:left] = plane[done:].clone()
                plane[left:] = 0
        self.top = y
