"""Bands to `.mrz` files and back, and a file whose latents are known on every machine."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from codec_models import codec_of, rows_of, small_network, speckled
from mrz_files import header_of

from millrace.compression import container, mrz
from millrace.compression.block_coding import BlockCoder
from millrace.compression.container import Reader
from millrace.compression.contexts import Contexts
from millrace.compression.entropy import KINDS, LIMIT, TOTAL, Tables
from millrace.compression.header import Header
from millrace.compression.scales import COUNT

GOLDEN = Path(__file__).parent / "golden" / "latents.mrz"
LATENTS_SHA256 = "650b83f8944418a335f4eb376524738f8eaa31abe6f02fbaf9d71a0734cb19e9"
CHANNELS = 256
SHAPES = ((2, 2), (2, 1))
"""Latent positions of the golden file's two blocks."""


def integer_coder() -> BlockCoder:
    """Contexts and tables that no floating point number had a part in."""
    y, x = np.mgrid[:CHANNELS, :CHANNELS]
    below = (x > 0) & (x < y)
    contexts = Contexts(
        bias=(60 + np.arange(CHANNELS) % 7).astype(np.int32),
        same=np.where(below, (7 * y + 3 * x) % 11, 0).astype(np.int16),
        around=np.where(below, (5 * y + x) % 3, 0).astype(np.int16),
        dc=np.array([500, *range(9)], np.int32) * 10,
        thresholds=(50 + np.arange(COUNT - 1) ** 2 * 40).astype(np.int32),
    )
    tables = np.zeros((KINDS, COUNT, 2 * LIMIT + 1), np.int64)
    for kind in range(KINDS):
        for scale in range(COUNT):
            limit = min(LIMIT, 1 + scale)
            weights = 1 + 4096 // (1 + np.abs(np.arange(-limit, limit + 1)) * (64 + kind) // (scale + 1)) ** 2
            counts = 1 + weights * (TOTAL - len(weights)) // weights.sum()
            counts[limit] += TOTAL - counts.sum()
            tables[kind, scale, LIMIT - limit : LIMIT + limit + 1] = counts
    return BlockCoder(contexts, Tables(tables.astype(np.int32)))


def integer_indices(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Mostly small indices (256, h, w), a few of them far beyond all tables."""
    numbers = np.arange(CHANNELS * shape[0] * shape[1], dtype=np.uint64) + np.uint64(1000 * seed)
    mixed = (numbers * np.uint64(2654435761) ^ numbers * np.uint64(40503)) % np.uint64(1 << 31)
    sizes = np.where(mixed % 97 == 0, mixed % 16_000, np.where(mixed % 5 == 0, mixed % 6, 0)).astype(np.int64)
    indices: np.ndarray = np.where(mixed % 2 == 0, sizes, -sizes).reshape(CHANNELS, *shape)
    indices[200:] = 0
    return indices


def golden_header() -> Header:
    return header_of(width=45, height=32, block_px=32)


def golden_bytes() -> bytes:
    coder, stream = integer_coder(), io.BytesIO()
    blocks = [coder.encode(integer_indices(shape, seed)) for seed, shape in enumerate(SHAPES)]
    container.write(stream, golden_header(), [blocks])
    return stream.getvalue()


def test_the_golden_file_holds_the_latents_it_always_held():
    coder, digest = integer_coder(), hashlib.sha256()
    with Reader(GOLDEN) as reader:
        assert reader.header == golden_header()
        for column, shape in enumerate(SHAPES):
            latents = coder.decode(reader.payload(0, 0, column), shape)
            assert latents.dtype == np.int16
            digest.update(latents.astype("<i2").tobytes())
    assert digest.hexdigest() == LATENTS_SHA256


def test_the_golden_file_is_written_as_it_always_was():
    assert golden_bytes() == GOLDEN.read_bytes()


@pytest.fixture(scope="module")
def model():
    return codec_of(small_network())


def written(model, bands, valid, **fields) -> tuple[io.BytesIO, Header]:
    height, width = bands[0].shape
    ranges = ((0.0, 1.0),) * len(bands)
    header = header_of(height=height, width=width, ranges=ranges, block_px=32, **fields)
    stream = io.BytesIO()
    rows = [rows_of(band, mask) for band, mask in zip(bands, valid, strict=True)]
    assert mrz.encode(stream, header, rows, model, 1) == len(stream.getvalue())
    return stream, header


def read(stream, model, threads=1):
    with Reader(stream) as reader:
        values, valid = (
            np.concatenate(parts, axis=1) for parts in zip(*mrz.decode(reader, model, threads), strict=True)
        )
        return values, valid, reader.damaged


def test_bands_and_masks_come_back(model):
    bands = [speckled(70, 50, seed) for seed in (1, 2)]
    valid = [np.arange(50) > np.arange(70)[:, None] / 3, np.ones((70, 50), bool)]
    stream, _ = written(model, bands, valid, step=0.5)
    values, known, damaged = read(stream, model)
    assert values.dtype == np.float32
    assert damaged == []
    assert np.array_equal(known, np.stack(valid))
    assert np.sqrt(np.mean((values - np.stack(bands))[known] ** 2)) < 0.1
    assert 0 <= values.min() <= values.max() <= 1


def test_blocks_without_a_valid_pixel_take_no_bytes(model):
    image, valid = speckled(128, 128), np.zeros((128, 128), bool)
    valid[100:, 100:] = True
    stream, _ = written(model, [image], [valid])
    with Reader(stream) as reader:
        sizes = [[len(reader.payload(0, row, column)) for column in range(4)] for row in range(4)]
    assert sizes[3][3] > 0
    assert sum(map(sum, sizes[:2])) == 0


def test_a_lost_mask_loses_its_block_in_all_bands_that_share_it(model):
    bands = [speckled(64, 64, seed) for seed in (1, 2)]
    valid = np.arange(64) > np.arange(64)[:, None] / 2
    stream, _ = written(model, bands, [valid, valid])
    with Reader(stream) as reader:
        assert reader.mask_planes == 1
        place = int(reader._starts[0, 0])
    data = bytearray(stream.getvalue())
    data[place] ^= 0xFF
    _, known, damaged = read(io.BytesIO(data), model)
    assert [str(each).partition(":")[0] for each in damaged] == ["mask of all bands, block row 1, block column 1"]
    assert not known[:, :32, :32].any()
    assert np.array_equal(known[:, 32:], np.stack([valid[32:]] * 2))


def test_a_block_with_a_right_checksum_and_wrong_content_is_listed(model):
    stream = io.BytesIO()
    header = header_of(height=32, width=64, block_px=32, ranges=((0.0, 1.0),))
    container.write(stream, header, [[b"\xff" * 200, b""]])
    _, known, damaged = read(stream, model)
    assert [(each.part, each.band, each.row, each.column) for each in damaged] == [("pixels", 0, 0, 0)]
    assert not known[0, :, :32].any()
    assert known[0, :, 48:].all()
