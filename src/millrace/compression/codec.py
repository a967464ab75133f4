"""Bands of images to blocks of bytes and back, strip by strip: memory does not grow with an image's height.

Every latent is coded once. Transforms see beyond a block: the encoder reads 8 pixels around it, the decoder
computes it from latents around it too. So blocks have no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millrace.compression.codec_model import CodecModel
from millrace.compression.encoding import encode_latents
from millrace.compression.entropy import CorruptBlockError
from millrace.compression.fill import fill
from millrace.compression.model import MIDDLE
from millrace.compression.restorer import REACH
from millrace.compression.transform import CHANNELS, OVERLAP, STRIDE

Rows = Callable[[int, int], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Normalised values and valid pixels (rows, W) from a first row up to a last one."""
_FILL_ROWS = 64  # beyond a strip that take part in filling its holes
_AROUND = REACH // STRIDE + 1  # latent positions around a block that change its pixels

Latents = NDArray[np.int16]


class Codec:
    """A rate point's model for bands of images.

    Args:
        model: The model.
        multiplier: Of its quantisation step: above 1 files are smaller and errors larger.
        threads: That blocks are shared among; the result does not depend on it. 0 is as many as PyTorch uses.
    """

    def __init__(self, model: CodecModel, multiplier: float, threads: int = 0) -> None:
        self._model, self._coder = model, model.block_coder()
        self._step = model.step * multiplier
        self._threads = threads or torch.get_num_threads()

    def encode(self, rows: Rows, shape: tuple[int, int], block_px: int) -> Iterator[bytes]:
        """Bytes of each block in raster order; none for a block that no valid pixel depends on.

        Args:
            rows: Gives parts of the band.
            shape: Of the band (H, W).
            block_px: Side of a block, a multiple of 16.
        """
        for top in range(0, shape[0], block_px):
            latents, needed = self._analyse(rows, shape, top, min(top + block_px, shape[0]))
            across = block_px // STRIDE
            parts = [
                (latents[:, :, left : left + across], bool(needed[:, left : left + across].any()))
                for left in range(0, latents.shape[2], across)
            ]
            with self._pool() as pool:
                blocks = list(pool.map(self._encode_block, parts))
            yield from blocks

    def decode(
        self,
        payload: Callable[[int, int], bytes | None],
        shape: tuple[int, int],
        block_px: int,
        undecodable: Callable[[int, int], None],
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Strips of a block's height, from top to bottom: values 0..1 (rows, W), and which pixels could be decoded.

        Args:
            payload: Bytes of the block in a row and column of blocks; None where they are damaged.
            shape: Of the band (H, W).
            block_px: Side of a block.
            undecodable: Is told of blocks whose bytes are sound but not an encoder's.
        """
        plan = _Plan(shape, block_px)
        known: dict[int, tuple[Latents, list[bool]]] = {}
        for row in range(plan.rows):
            for needed in range(row, min(plan.rows, row + plan.around + 1)):
                if needed not in known:
                    known[needed] = self._decode_row(payload, plan, needed, undecodable)
            known.pop(row - plan.around - 1, None)
            tiles = [(known, plan, row, column) for column in range(plan.columns)]
            with self._pool() as pool:
                strip = np.concatenate(list(pool.map(self._synthesise, tiles)), axis=1)
            height = min(block_px, shape[0] - row * block_px)
            sound = {each: known[each][1] for each in range(row - 1, row + 2) if each in known}
            yield strip[:height, : shape[1]], _decodable(sound, row, block_px, (height, shape[1]))

    def _analyse(self, rows: Rows, shape: tuple[int, int], top: int, bottom: int) -> tuple[Tensor, NDArray[np.bool_]]:
        """Latents (256, h, w) of a strip in steps, and the positions (h, w) that valid pixels depend on."""
        vertical = _reflected(top - OVERLAP, top + _padded(bottom - top) + OVERLAP, shape[0])
        horizontal = _reflected(-OVERLAP, _padded(shape[1]) + OVERLAP, shape[1])
        first, last = max(0, vertical.min() - _FILL_ROWS), min(shape[0], vertical.max() + 1 + _FILL_ROWS)
        values, valid = rows(int(first), int(last))
        place = np.ix_(vertical - first, horizontal)
        padded, codable = fill(values, valid)[place], valid[place]
        with torch.inference_mode():
            image = torch.from_numpy(padded - np.float32(MIDDLE))[None, None]
            latents = self._model.transform.analyse(image)[0] / self._step
        # The pixels of a position are those of two of these steps; the last step has both.
        needed = np.logical_or.reduceat(codable, np.arange(latents.shape[1]) * STRIDE, axis=0)
        needed[:-1] |= needed[1:]
        needed = np.logical_or.reduceat(needed, np.arange(latents.shape[2]) * STRIDE, axis=1)
        needed[:, :-1] |= needed[:, 1:]
        return latents, needed

    def _encode_block(self, part: tuple[Tensor, bool]) -> bytes:
        latents, needed = part
        if not needed:
            return b""
        with torch.inference_mode():
            indices, _ = encode_latents(self._model, latents)
        return self._coder.encode(indices)

    def _decode_row(
        self,
        payload: Callable[[int, int], bytes | None],
        plan: _Plan,
        row: int,
        undecodable: Callable[[int, int], None],
    ) -> tuple[Latents, list[bool]]:
        """Latents (256, h, w) of a row of blocks, and which blocks are sound; the others are 0."""
        height = plan.heights[row]
        data = [payload(row, column) for column in range(plan.columns)]
        jobs = [(each, (height, width)) for each, width in zip(data, plan.widths, strict=True)]
        with self._pool() as pool:
            blocks = list(pool.map(self._decode_block, jobs))
        for column, (each, block) in enumerate(zip(data, blocks, strict=True)):
            if each is not None and block is None:
                undecodable(row, column)
        empty = [np.zeros((CHANNELS, height, width), np.int16) for width in plan.widths]
        found = [blank if block is None else block for block, blank in zip(blocks, empty, strict=True)]
        return np.concatenate(found, axis=2), [block is not None for block in blocks]

    def _decode_block(self, job: tuple[bytes | None, tuple[int, int]]) -> Latents | None:
        data, shape = job
        if data is None:
            return None
        if not data:
            return np.zeros((CHANNELS, *shape), np.int16)
        try:
            return self._coder.decode(data, shape)
        except CorruptBlockError:
            return None

    def _synthesise(self, tile: tuple[dict[int, tuple[Latents, list[bool]]], _Plan, int, int]) -> NDArray[np.float32]:
        """Values (16 h, 16 w) of a block from its latents and those around."""
        known, plan, row, column = tile
        (top, bottom), (left, right) = plan.span(plan.heights, row), plan.span(plan.widths, column)
        first, last = max(0, top - _AROUND), min(plan.height, bottom + _AROUND)
        before, after = max(0, left - _AROUND), min(plan.width, right + _AROUND)
        parts = []
        for each in range(max(0, row - plan.around), min(plan.rows, row + plan.around + 1)):
            start, _ = plan.span(plan.heights, each)
            parts.append(known[each][0][:, max(first - start, 0) : max(last - start, 0), before:after])
        edges = first == 0, last == plan.height, before == 0, after == plan.width
        with torch.inference_mode():
            latents = torch.from_numpy(np.concatenate(parts, axis=1)).float()[None] * self._step
            padded = self._model.transform.mirror(latents, *edges)
            image = self._model.restorer(self._model.transform.synthesise(padded))[0, 0] + MIDDLE
        # What the transform took as surroundings is no part of the image.
        y, x = (top - first - (not edges[0])) * STRIDE, (left - before - (not edges[2])) * STRIDE
        # Only a file that no encoder wrote has latents or a step beyond all numbers.
        image = image.nan_to_num(nan=MIDDLE)
        part = image[y : y + (bottom - top) * STRIDE, x : x + (right - left) * STRIDE]
        pixels: NDArray[np.float32] = part.clamp(0, 1).numpy()
        return pixels

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads for blocks. PyTorch computes each in one thread, in the same order however many there are."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(self._threads) as pool:
                yield pool
        finally:
            torch.set_num_threads(before)


class _Plan:
    """Sizes of blocks in latent positions."""

    def __init__(self, shape: tuple[int, int], block_px: int) -> None:
        self.height, self.width = (-(-side // STRIDE) for side in shape)
        self.side = block_px // STRIDE
        self.around = -(-_AROUND // self.side)  # rows of blocks on each side that change a block's pixels
        self.heights, self.widths = (
            [min(self.side, length - start) for start in range(0, length, self.side)]
            for length in (self.height, self.width)
        )
        self.rows, self.columns = len(self.heights), len(self.widths)

    def span(self, sizes: list[int], number: int) -> tuple[int, int]:
        """First and last position of a row or column of blocks."""
        return number * self.side, number * self.side + sizes[number]


def _decodable(sound: dict[int, list[bool]], row: int, block_px: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels of a row of blocks that no damaged block reaches: basis functions go 8 pixels beyond their block."""
    good = np.ones(shape, bool)
    for each, blocks in sound.items():
        first, last = ((each - row) * block_px - OVERLAP, (each - row + 1) * block_px + OVERLAP)
        for column in np.flatnonzero(~np.array(blocks)):
            left, right = column * block_px - OVERLAP, (column + 1) * block_px + OVERLAP
            good[max(first, 0) : max(last, 0), max(left, 0) : right] = False
    return good


def _padded(length: int) -> int:
    return -(-length // STRIDE) * STRIDE


def _reflected(start: int, end: int, length: int) -> NDArray[np.int64]:
    """Places of start..end on an axis that is mirrored at both ends: at its padded length, and there at its own."""
    places = np.arange(start, end)
    for period in (_padded(length), length):
        places = places % (2 * period)
        places = np.where(places < period, places, 2 * period - 1 - places)
    return places
