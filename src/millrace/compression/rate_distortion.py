"""Rate and distortion of the model and of other codecs on images, from whole files written and read back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.compression import mrz
from millrace.compression.codecs import CODECS
from millrace.compression.container import Reader
from millrace.compression.header import Dtype, Header
from millrace.compression.params import Evaluate
from millrace.compression.scores import scores
from millrace.compression.targets import RatePoint, RatePoints

MODEL = "model"
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Case:
    """An image to score codecs on.

    Attributes:
        name: Unique.
        image: What each codec is given (H, W), uint8 or uint16; invalid pixels are filled smoothly.
        valid: Pixels that count (H, W).
        decibels: What 0 and the largest value stand for; None where values are no decibels.
    """

    name: str
    image: Pixels
    valid: NDArray[np.bool_]
    decibels: tuple[float, float] | None

    @classmethod
    def of(
        cls,
        name: str,
        normalised: NDArray[np.float32],
        valid: NDArray[np.bool_],
        decibels: tuple[float, float] | None,
        bits: int,
    ) -> Case:
        """A case from a filled normalised image, at so many bits a pixel."""
        levels = (1 << bits) - 1
        image: Any = np.rint(normalised * levels).astype(np.uint8 if bits == 8 else np.uint16)
        return cls(name, image, valid, decibels)

    @property
    def levels(self) -> int:
        return int(np.iinfo(self.image.dtype).max)


@dataclass(frozen=True)
class Job:
    """A case and what to score on it; it may travel to another process."""

    case: Case
    models: Path
    names: tuple[str, ...] | None
    """Rate points; None takes all that are there."""
    settings: Evaluate


def rows_of(job: Job) -> list[dict[str, Any]]:
    """One row for each codec and point: `image`, `codec`, `point`, `multiplier`, `bits_per_pixel` and all scores.

    A codec that does not take the image's depth has none.
    """
    torch.set_num_threads(1)  # images are what is done in parallel
    case, rows = job.case, []
    for point, multiplier in _model_points(job):
        data = encode_case(case, point, multiplier)
        rows.append(_row(case, MODEL, point.name, multiplier, data, decode_case(data, point)))
    for name in job.settings.codecs:
        codec = CODECS[name]
        if not codec.takes(case.image):
            continue
        for rate in job.settings.rates:
            data = codec.encode(case.image, rate)
            rows.append(_row(case, name, f"{rate:g}", 1.0, data, codec.decode(data)))
    return rows


def _model_points(job: Job) -> Iterator[tuple[RatePoint, float]]:
    for point in RatePoints(job.models, job.names).points:
        for multiplier in sorted({1.0, *job.settings.multipliers}, reverse=True):
            yield point, multiplier


def encode_case(case: Case, point: RatePoint, multiplier: float) -> bytes:
    """A whole `.mrz` file of a case."""
    height, width = case.image.shape
    dtype: Dtype = "uint8" if case.image.dtype == np.uint8 else "uint16"
    header = Header(width, height, dtype, "linear", ((0.0, case.levels),), multiplier, point.fingerprint)
    stream = io.BytesIO()
    mrz.encode(stream, header, [_rows(case)], point.model)
    return stream.getvalue()


def decode_case(data: bytes, point: RatePoint) -> Pixels:
    """The image in a file of `encode_case`."""
    with Reader(io.BytesIO(data)) as reader:
        values = np.concatenate([strip[0] for strip, _ in mrz.decode(reader, point.model)])
        levels = int(reader.header.ranges[0][1])
        image: Pixels = np.rint(values * levels).astype(reader.header.dtype)
        return image


def _rows(case: Case) -> Callable[[int, int], tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    def read(first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return case.image[first:last].astype(np.float32) / np.float32(case.levels), case.valid[first:last]

    return read


def _row(case: Case, codec: str, point: str, multiplier: float, data: bytes, decoded: Pixels) -> dict[str, Any]:
    original, found = (image.astype(np.float32) / np.float32(case.levels) for image in (case.image, decoded))
    return {
        "image": case.name,
        "codec": codec,
        "point": point,
        "multiplier": multiplier,
        "bits_per_pixel": 8 * len(data) / case.image.size,
        **scores(original, found, case.valid, case.decibels),
    }
