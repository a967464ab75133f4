"""Which rate point and step give a file of the quality, size or error that was asked for."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from millrace.compression import mrz
from millrace.compression.codec_model import CodecModel, load, rate_points
from millrace.compression.container import Reader
from millrace.compression.header import Header
from millrace.errors import UserError

MULTIPLIERS = 0.4, 2.5
"""Of a rate point's step, beyond which its model is no longer good."""
PROBE_PX = 512
PROBES = 16
_TRIALS = 7
_NEAR_ENOUGH = 0.01  # of a rate, in natural logarithm; of decibels ten times as much
_DECIBELS_PER_STEP = -7.0  # how PSNR changes with the logarithm of the step, until two trials tell

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RatePoint:
    """A trained model; its step is in normalised units."""

    name: str
    model: CodecModel
    fingerprint: bytes


class Found(NamedTuple):
    """What a search ended with."""

    point: RatePoint
    multiplier: float
    value: float
    """What was measured there."""


class RatePoints:
    """Rate points of a folder, from the smallest files to the largest.

    Args:
        models: The folder.
        names: Those to take; None takes all.

    Raises:
        UserError: There is none, or one is missing or damaged.
    """

    def __init__(self, models: Path, names: Iterable[str] | None = None) -> None:
        points = [RatePoint(name, *load(models / name)) for name in (rate_points(models) if names is None else names)]
        self.points = tuple(sorted(points, key=lambda point: -point.model.step))
        self._steps = np.log([point.model.step for point in self.points])

    def at_step(self, step: float) -> tuple[RatePoint, float]:
        """The rate point nearest to a step in normalised units, and the multiplier that makes its step this one."""
        point = self.points[int(np.abs(self._steps - math.log(step)).argmin())]
        return point, float(np.clip(step / point.model.step, *MULTIPLIERS))

    def of_quality(self, quality: str) -> tuple[RatePoint, float]:
        """A rate point by name, or by number: 1 the smallest, with fractions for steps between.

        Raises:
            UserError: It is neither.
        """
        for point in self.points:
            if point.name == quality:
                return point, 1.0
        try:
            number = float(quality)
        except ValueError:
            number = math.nan
        if not 1 <= number <= len(self.points):
            names = ", ".join(point.name for point in self.points)
            raise UserError(f"--quality {quality} is neither one of {names} nor a number from 1 to {len(self.points)}")
        places = np.arange(1, len(self.points) + 1)
        return self.at_step(math.exp(np.interp(number, places, self._steps)))

    def search(self, wanted: float, measured: Callable[[RatePoint, float], float], slope: float) -> Found:
        """The rate point and multiplier whose measured value is nearest to the wanted one.

        Args:
            wanted: What is asked for.
            measured: The value at a rate point and multiplier; it falls with the step.
            slope: A first guess of its change with the step's logarithm.
        """
        low, high = self._steps[-1] + math.log(MULTIPLIERS[0]), self._steps[0] + math.log(MULTIPLIERS[1])
        step, tried = float(np.median(self._steps)), list[tuple[float, float]]()
        for _ in range(_TRIALS):
            tried.append((step, measured(*self.at_step(math.exp(step)))))
            if abs(tried[-1][1] - wanted) < _NEAR_ENOUGH * max(1.0, abs(slope)):
                break
            # Values fall with the step; from one model to the next they may jump.
            above = max((trial for trial in tried if trial[1] > wanted), default=None)
            below = min((trial for trial in tried if trial[1] <= wanted), default=None)
            if above and below and above[0] < below[0]:
                share = (above[1] - wanted) / (above[1] - below[1])
                step = above[0] + min(max(share, 0.1), 0.9) * (below[0] - above[0])
            else:
                nearest = above or below
                assert nearest is not None
                step = float(np.clip(nearest[0] + 1.5 * (wanted - nearest[1]) / slope, low, high))
            if any(abs(step - each) < 1e-4 for each, _ in tried):
                break
        step, value = min(tried, key=lambda trial: abs(trial[1] - wanted))
        return Found(*self.at_step(math.exp(step)), value)


def for_rate(
    points: RatePoints, wanted: float, header: Header, probes: Sequence[tuple[Image, Mask]], rest: int
) -> Found:
    """Rate point and multiplier for so many bits per pixel of the whole file; the value is that rate.

    Args:
        points: The models.
        wanted: Bits per pixel.
        header: Of the image.
        probes: Parts of it that stand for all: values and valid pixels.
        rest: Bytes of the file that are no pixels.
    """
    pixels = sum(values.size for values, _ in probes)

    def measured(point: RatePoint, multiplier: float) -> float:
        coded = sum(len(data) for data, _ in (_tried(point, multiplier, header, *probe) for probe in probes))
        return math.log(8 * (coded / pixels + rest / header.pixels))

    found = points.search(math.log(wanted), measured, -1.0)
    return found._replace(value=math.exp(found.value))


def for_psnr(points: RatePoints, wanted: float, header: Header, probes: Sequence[tuple[Image, Mask]]) -> Found:
    """Rate point and multiplier for a PSNR of normalised values, in decibels, over valid pixels."""

    def measured(point: RatePoint, multiplier: float) -> float:
        errors, count = 0.0, 0
        for values, valid in probes:
            decoded = _tried(point, multiplier, header, values, valid)[1]
            errors += float(np.square(decoded - values, dtype=np.float64)[valid].sum())
            count += int(valid.sum())
        return -10 * math.log10(max(errors, 1e-12) / max(count, 1))

    return points.search(wanted, measured, _DECIBELS_PER_STEP)


def _tried(point: RatePoint, multiplier: float, header: Header, values: Image, valid: Mask) -> tuple[bytes, Image]:
    """Coded blocks of a probe, and what they decode to."""
    height, width = values.shape
    small = replace(header, height=height, width=width, ranges=((0.0, 1.0),), step=multiplier, metadata={}, nodata=None)
    stream = io.BytesIO()
    mrz.encode(stream, small, [lambda first, last: (values[first:last], valid[first:last])], point.model)
    with Reader(stream) as reader:
        coded = b"".join(
            reader.payload(0, row, column) or b"" for row in range(small.grid[0]) for column in range(small.grid[1])
        )
        decoded = np.concatenate([strip[0] for strip, _ in mrz.decode(reader, point.model)])
    return coded, decoded
