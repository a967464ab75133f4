"""Raster files to `.mrz` files and back."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from millrace.compression import container, mrz
from millrace.compression.check import max_pixels
from millrace.compression.codec import Rows
from millrace.compression.codec_model import Trained, load, rate_points, settings_of
from millrace.compression.container import Reader, info
from millrace.compression.decibels import Scaling, Values, with_logarithm
from millrace.compression.header import BLOCK_MULTIPLE, Header
from millrace.compression.measure import measure_band
from millrace.compression.params import Prepare
from millrace.compression.targets import PROBE_PX, PROBES, Found, RatePoint, RatePoints, for_psnr, for_rate
from millrace.errors import ImageError, UserError
from millrace.imagery.metadata import Metadata
from millrace.imagery.raster import Raster
from millrace.imagery.raster_writer import write_raster
from millrace.settings import Runtime

_IN_HEADER = {"width", "height", "dtype", "nodata"}
_ZERO_FILL = "fill"
MAX_STRIP_PIXELS = 5 << 24
"""Of a row of blocks, over all bands: about 16 bytes each while they are decoded."""
RATE_TOLERANCE = 0.05
PSNR_TOLERANCE_DB = 0.3


@dataclass(frozen=True)
class Request:
    """What a compressed file is to be like: at most one of the first three, or the middle rate point.

    Attributes:
        quality: Name or number of a rate point.
        rate: Bits per pixel of the whole file.
        psnr: Of normalised values, in decibels.
        values: What the pixels are; None takes what the model was trained on.
        percentiles: Of each band, that become 0 and 1; what lies outside is saturated. None takes the model's, or the
            fixed range that it was trained on.
        block_px: Side of the blocks that are damaged or read one by one.

    Raises:
        UserError: A number is out of its range.
    """

    quality: str | None = None
    rate: float | None = None
    psnr: float | None = None
    values: Values | None = None
    percentiles: tuple[float, float] | None = None
    block_px: int = 512

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise UserError(f"rate {self.rate:g} must be a number above 0, in bits per pixel")
        if self.psnr is not None and not math.isfinite(self.psnr):
            raise UserError(f"psnr {self.psnr:g} must be a number, in decibels")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            low, high = self.percentiles
            raise UserError(f"percentiles {low:g} {high:g} must ascend, from 0 to 100")


@dataclass(frozen=True)
class Compressed:
    """A file that was written."""

    bytes: int
    bits_per_pixel: float
    ratio: float
    """Of the pixels' own size, uncompressed."""
    rate_point: str
    multiplier: float
    missed: str | None
    """What was asked for and what these models reach, where that is not the same."""


def compress(
    source: Path, target: Path, models: Path, request: Request, settings: Prepare, runtime: Runtime
) -> Compressed:
    """Compress a raster file.

    Args:
        source: GeoTIFF, TIFF or PNG.
        target: The file to write.
        models: Folder of rate points.
        request: What is asked for.
        settings: Its `max_megapixels`: a larger raster is refused.
        runtime: Its threads.

    Raises:
        UserError: A file or model cannot be used, or the request not be met.
    """
    _check_target(source, target)
    points = RatePoints(models)
    trained = settings_of(models / points.points[0].name)
    try:
        with Raster(source, max_pixels=max_pixels(settings)) as raster:
            header, bands = _plan(raster, trained, request)
            _check_size(header, max_pixels(settings))
            found = _chosen(points, request, header, bands)
            header = replace(header, step=found.multiplier, fingerprint=found.point.fingerprint)
            size = mrz.encode(target, header, bands, found.point.model, runtime.threads)
    except ImageError as error:
        raise UserError(f"{source}: {error}") from None
    stored, rate = header.pixels * np.dtype(header.dtype).itemsize, 8 * size / header.pixels
    return Compressed(size, rate, stored / size, found.point.name, header.step, _missed(request, rate, found.value))


def decompress(source: Path, target: Path, models: Path, settings: Prepare, runtime: Runtime) -> list[str]:
    """Write the raster that an `.mrz` file holds, as GeoTIFF.

    Args:
        source: The `.mrz` file.
        target: The raster to write.
        models: Folder of rate points; the one that the file was written with must be among them.
        settings: Its `max_megapixels`: a larger image is refused, all bands together.
        runtime: Its threads; the result does not depend on them.

    Returns:
        What of the file was damaged; these blocks have no data.

    Raises:
        UserError: The file, or the model that it needs, cannot be used.
    """
    _check_target(source, target)
    with Reader(source, max_pixels(settings)) as reader:
        point = _writer_of(reader, models, source)
        try:
            metadata, fill = _metadata_of(reader.header)
            _check_size(reader.header, max_pixels(settings))
            write_raster(target, metadata, _strips(reader, point, metadata, runtime.threads), fill)
        except ImageError as error:
            raise UserError(f"{source}: {error}") from None
        return [str(damage) for damage in reader.damaged]


def describe(source: Path, settings: Prepare) -> dict[str, Any]:
    """What an `.mrz` file says of itself, and what of it is damaged; no model is needed."""
    described = info(source, max_pixels(settings))
    nodata = described["nodata"]
    if isinstance(nodata, float) and not math.isfinite(nodata):
        described["nodata"] = str(nodata)  # JSON has no such numbers
    return described


def _plan(raster: Raster, trained: Trained, request: Request) -> tuple[Header, list[Rows]]:
    metadata, clip, values = raster.metadata, trained.clip, request.values or trained.values
    percentiles = request.percentiles or (clip.low_percentile, clip.high_percentile)
    measured = [measure_band(raster, band, values, *percentiles) for band in metadata.image_bands]
    fixed = clip.fixed if request.percentiles is None and values == trained.values else None
    scalings = [Scaling(*(fixed or (each.low, each.high)), values) for each in measured]
    kept = {name: value for name, value in metadata.as_dict().items() if name not in _IN_HEADER}
    if metadata.count == len(measured):
        del kept["count"]
    if metadata.nodata is None and "float" in metadata.dtype and not any(math.isnan(each.fill) for each in measured):
        kept[_ZERO_FILL] = 0
    header = Header(
        metadata.width,
        metadata.height,
        metadata.dtype,
        values,
        tuple((each.low, each.high) for each in scalings),
        1.0,
        bytes(8),
        request.block_px,
        metadata.nodata_value,
        kept,
    )
    # The ranges as the header rounds them, which the decoder will use.
    rounded = [Scaling(low, high, values) for low, high in header.ranges]
    return header, [_rows(raster, band, each) for band, each in zip(metadata.image_bands, rounded, strict=True)]


def _rows(raster: Raster, band: int, scaling: Scaling) -> Rows:
    def read(first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values, readable = raster.read(band, Window(0, first, raster.metadata.width, last - first))
        return scaling.normalise(values), with_logarithm(values, readable, scaling.values)

    return read


def _check_target(source: Path, target: Path) -> None:
    if target.is_dir():
        raise UserError(f"{target} is a folder; --out names a file")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target} is the same file as {source}, which would be lost; name another one with --out")
    if not next(parent for parent in target.absolute().parents if parent.exists()).is_dir():
        raise UserError(f"{target} cannot be written: a part of its path is a file")


def _check_size(header: Header, limit: int) -> None:
    """Refuse what a decoder would not have the memory for: it holds some rows of blocks of all bands.

    Raises:
        ImageError: It is too large.
    """
    if header.pixels > limit:
        raise ImageError(
            f"{header.pixels} pixels in all bands; {limit} are allowed (compression.prepare.max_megapixels)"
        )
    rows, width = (
        -(-side // BLOCK_MULTIPLE) * BLOCK_MULTIPLE for side in (min(header.block_px, header.height), header.width)
    )
    if rows * width * header.bands > MAX_STRIP_PIXELS:
        raise ImageError(
            f"a row of blocks has {rows} x {width} pixels in {header.bands} bands, which takes too much memory; "
            f"cut the image into parts"
        )


def _chosen(points: RatePoints, request: Request, header: Header, bands: list[Rows]) -> Found:
    if request.rate is not None:
        blocks = header.grid[0] * header.grid[1]
        typical = b"\0" * 200  # of a length that takes two bytes in the table, as most do
        stream, masks = io.BytesIO(), [list(mrz.masks(header, rows)) for rows in bands]
        container.write(stream, header, [[typical] * blocks] * header.bands, masks)
        rest = len(stream.getvalue()) - len(typical) * blocks * header.bands
        return for_rate(points, request.rate, header, _probes(header, bands), rest)
    if request.psnr is not None:
        return for_psnr(points, request.psnr, header, _probes(header, bands))
    middle = str((len(points.points) + 1) / 2)
    return Found(*points.of_quality(middle if request.quality is None else request.quality), math.nan)


def _missed(request: Request, rate: float, value: float) -> str | None:
    if request.rate is not None and abs(math.log(rate / request.rate)) > RATE_TOLERANCE:
        return f"{request.rate:g} bits per pixel were asked for; the nearest that these models reach is {rate:.3g}"
    if request.psnr is not None and abs(value - request.psnr) > PSNR_TOLERANCE_DB:
        return f"{request.psnr:g} dB were asked for; the nearest that these models reach is {value:.3g}"
    return None


def _probes(header: Header, bands: list[Rows]) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """The whole of a small image; of a large one, squares spread evenly over those that have most valid pixels."""
    if header.width * header.height <= PROBES * PROBE_PX**2:
        return [rows(0, header.height) for rows in bands]
    probes = []
    for rows in bands:
        counts = {}
        for top in range(0, header.height, PROBE_PX):
            _, valid = rows(top, min(header.height, top + PROBE_PX))
            for left in range(0, header.width, PROBE_PX):
                counts[top, left] = int(valid[:, left : left + PROBE_PX].sum())
        full = [place for place, count in counts.items() if 2 * count >= max(counts.values())]
        for number in np.unique(np.linspace(0, len(full) - 1, PROBES).astype(int)):
            top, left = full[number]
            values, valid = rows(top, min(header.height, top + PROBE_PX))
            part = slice(left, left + PROBE_PX)
            probes.append((values[:, part].copy(), valid[:, part].copy()))
    return probes


def _writer_of(reader: Reader, models: Path, source: Path) -> RatePoint:
    """The rate point that wrote a file, by its fingerprint.

    Raises:
        UserError: It is not among the models.
    """
    wanted, found = reader.header.fingerprint, []
    for name in rate_points(models):
        try:
            model, fingerprint = load(models / name)
        except UserError as error:  # of another rate point it does not matter
            found.append(str(error))
            continue
        if fingerprint == wanted:
            return RatePoint(name, model, fingerprint)
        found.append(f"{name} {fingerprint.hex()}")
    raise UserError(
        f"{source} was written with the model {wanted.hex()}, which is not in {models} ({', '.join(found)}). "
        f"Name the folder of that model with --model"
    )


def _metadata_of(header: Header) -> tuple[Metadata, float | None]:
    kept = dict(header.metadata)
    fill = kept.pop(_ZERO_FILL, None)
    kept |= {"width": header.width, "height": header.height, "dtype": header.dtype}
    kept.setdefault("count", header.bands)
    if header.nodata is not None:
        kept["nodata"] = header.nodata if math.isfinite(header.nodata) else str(header.nodata)
    metadata = Metadata.from_dict(kept)
    if metadata.count > header.bands + 1:
        raise ImageError(f"its metadata tells of {metadata.count} bands, and {header.bands} are coded")
    if len(metadata.image_bands) != header.bands:
        raise ImageError(f"its metadata tells of {len(metadata.image_bands)} bands, and {header.bands} are coded")
    return metadata, 0.0 if fill == 0 else None


def _strips(
    reader: Reader, point: RatePoint, metadata: Metadata, threads: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    header = reader.header
    scalings = [Scaling(low, high, header.values) for low, high in header.ranges]
    for normalised, valid in mrz.decode(reader, point.model, threads):
        images = iter(
            scaling.denormalise(band, header.dtype, header.nodata)
            for scaling, band in zip(scalings, normalised, strict=True)
        )
        masks = iter(valid)
        opaque = np.iinfo(header.dtype).max if "int" in header.dtype else 1
        values, known = [], []
        for band in range(1, metadata.count + 1):
            if band in metadata.image_bands:
                values.append(next(images))
                known.append(next(masks))
            else:  # alpha: what is valid in any band is opaque
                values.append(np.where(valid.any(0), opaque, 0).astype(header.dtype))
                known.append(np.ones(valid.shape[1:], bool))
        yield np.stack(values), np.stack(known)
