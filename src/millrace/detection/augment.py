"""Random changes of a training picture and its boxes, by torchvision's kernels; the same for both backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from millrace.detection.boxes import Truth
from millrace.detection.params import Augmentation, Resize

GREY = 114
"""What a mosaic shows where none of its pictures reaches."""
MOSAIC_CENTRE = 0.3, 0.7
"""Where the four pictures of a mosaic meet, as a share of each side."""
SMALLEST_PX = 1.0


class Labelled(NamedTuple):
    """A picture and its boxes.

    Attributes:
        picture: RGB (3, H, W), uint8.
        boxes: Left, top, right, bottom in pixels, (N, 4), float32.
        labels: (N,), int64.
    """

    picture: Tensor
    boxes: Tensor
    labels: Tensor


def as_labelled(pixels: NDArray[np.uint8], truth: Truth) -> Labelled:
    """Arrays of a store as tensors; boxes that are ignored, or too narrow for float32, are not there to train on."""
    kept = ~truth.ignored & (truth.boxes[:, 2:] > truth.boxes[:, :2]).all(axis=1)
    return Labelled(to_tensor(pixels), torch.from_numpy(truth.boxes[kept]), torch.from_numpy(truth.labels[kept]))


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """RGB (H, W, 3) as (3, H, W)."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def shape_of(picture: Tensor) -> tuple[int, int]:
    """Height and width of (3, H, W)."""
    return picture.shape[-2], picture.shape[-1]


def with_size(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (3, H, W), uint8, at another height and width."""
    if size == shape_of(picture):
        return picture
    changed: Tensor = F.resize(picture, list(size), antialias=True)
    return changed


def network_size(height: int, width: int, resize: Resize, factor: float = 1.0) -> tuple[int, int]:
    """Height and width of a picture of this shape as the network sees it: short side as asked for, long one at most."""
    short, long = min(height, width), max(height, width)
    scale = min(resize.short_side_px * factor / short, resize.long_side_px * factor / long)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(sample: Labelled, size: tuple[int, int]) -> Labelled:
    """Picture and boxes at another height and width."""
    height, width = shape_of(sample.picture)
    factors = torch.tensor([size[1] / width, size[0] / height] * 2, dtype=torch.float32)
    return Labelled(with_size(sample.picture, size), sample.boxes * factors, sample.labels)


class Frame(NamedTuple):
    """What decides whether an augmented picture is upright.

    Attributes:
        mosaic: Whether it has the shape of the picture and holds four.
        window: Else, what is taken of the picture: top, left, height, width; None takes all.
        turns: And how often that is turned by 90 degrees.
    """

    mosaic: bool
    window: tuple[int, int, int, int] | None
    turns: int

    def upright(self, height: int, width: int) -> bool:
        """Whether a picture of this shape becomes higher than wide."""
        if self.window is not None:
            height, width = self.window[2:]
        return width > height if self.turns % 2 else height > width


def draw_frame(height: int, width: int, settings: Augmentation, rng: np.random.Generator) -> Frame:
    """The first that `augmented` draws, so that a picture's shape can be told without the picture."""
    if rng.random() < settings.mosaic:
        return Frame(True, None, 0)
    window = _random_window(height, width, settings, rng) if rng.random() < settings.crop else None
    return Frame(False, window, _turns(settings, rng))


def augmented(
    sample: Labelled,
    resize: Resize,
    settings: Augmentation,
    rng: np.random.Generator,
    another: Callable[[], Labelled],
) -> Labelled:
    """A changed copy, at the size that the network sees.

    Args:
        sample: As stored.
        resize: Size before the scale is jittered.
        settings: What may happen.
        rng: Decides all of it.
        another: Draws further samples for a mosaic.
    """
    frame = draw_frame(*shape_of(sample.picture), settings, rng)
    if frame.mosaic:
        parts = [sample, *(another() for _ in range(3))]
        parts = [_turned(_scaled(part, resize, settings, rng), _turns(settings, rng), settings, rng) for part in parts]
        height, width = network_size(*shape_of(sample.picture), resize)
        sample = _mosaic(parts, height, width, settings.min_visible, rng)
    else:
        if frame.window is not None:
            sample = cropped(sample, *frame.window, settings.min_visible)
        sample = _turned(_scaled(sample, resize, settings, rng), frame.turns, settings, rng)
    return Labelled(_recoloured(sample.picture, settings, rng), sample.boxes, sample.labels)


def cropped(sample: Labelled, top: int, left: int, height: int, width: int, min_visible: float) -> Labelled:
    """The part of a picture in a window inside it. Boxes are cut to it; those that mostly vanish are dropped."""
    offset = torch.tensor([left, top, left, top], dtype=torch.float32)
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    cut = torch.minimum((sample.boxes - offset).clamp(min=0), limits)
    sides, before = (boxes[:, 2:] - boxes[:, :2] for boxes in (cut, sample.boxes))
    visible = sides.clamp(min=0).prod(dim=1) / before.prod(dim=1)
    kept = (visible >= min_visible) & (sides.amin(dim=1) >= SMALLEST_PX)
    picture = sample.picture[:, top : top + height, left : left + width]
    return Labelled(picture, cut[kept], sample.labels[kept])


def _scaled(sample: Labelled, resize: Resize, settings: Augmentation, rng: np.random.Generator) -> Labelled:
    doublings = np.log2(settings.scale)
    factor = 2 ** rng.uniform(-doublings, doublings)
    return resized(sample, network_size(*shape_of(sample.picture), resize, factor))


def _turns(settings: Augmentation, rng: np.random.Generator) -> int:
    return int(rng.integers(4)) if settings.turn else 0


def _turned(sample: Labelled, turns: int, settings: Augmentation, rng: np.random.Generator) -> Labelled:
    picture, boxes, labels = sample
    for _ in range(turns):
        width = picture.shape[-1]
        picture = torch.rot90(picture, 1, (1, 2))  # anticlockwise: the right edge becomes the top
        left, top, right, bottom = boxes.unbind(1)
        boxes = torch.stack([top, width - right, bottom, width - left], dim=1)
    height, width = shape_of(picture)
    if rng.random() < settings.flip:
        picture = picture.flip(2)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    if rng.random() < settings.flip_vertical:
        picture = picture.flip(1)
        boxes = torch.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], dim=1)
    return Labelled(picture, boxes, labels)


def _random_window(
    height: int, width: int, settings: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    tall, wide = (max(1, round(side * rng.uniform(settings.crop_share, 1))) for side in (height, width))
    return int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1)), tall, wide


def _mosaic(parts: list[Labelled], height: int, width: int, min_visible: float, rng: np.random.Generator) -> Labelled:
    """Four pictures around a point, each with one of its corners there."""
    row, column = (round(side * rng.uniform(*MOSAIC_CENTRE)) for side in (height, width))
    canvas = torch.full((3, height, width), GREY, dtype=torch.uint8)
    boxes, labels = [], []
    for place, part in enumerate(parts):
        below, right = divmod(place, 2)
        room = (height - row if below else row), (width - column if right else column)
        tall, wide = (min(side, space) for side, space in zip(part.picture.shape[-2:], room, strict=True))
        # The corner that touches the point stays, so what is cut off lies outside of the canvas.
        top = 0 if below else part.picture.shape[-2] - tall
        left = 0 if right else part.picture.shape[-1] - wide
        piece = cropped(part, top, left, tall, wide, min_visible)
        y, x = (row if below else row - tall), (column if right else column - wide)
        canvas[:, y : y + tall, x : x + wide] = piece.picture
        boxes.append(piece.boxes + torch.tensor([x, y, x, y], dtype=torch.float32))
        labels.append(piece.labels)
    return Labelled(canvas, torch.cat(boxes), torch.cat(labels))


def _recoloured(picture: Tensor, settings: Augmentation, rng: np.random.Generator) -> Tensor:
    for largest, change in (
        (settings.brightness, F.adjust_brightness),
        (settings.contrast, F.adjust_contrast),
        (settings.saturation, F.adjust_saturation),
    ):
        if largest:
            picture = change(picture, 1 + rng.uniform(-largest, largest))
    if settings.hue:
        picture = F.adjust_hue(picture, rng.uniform(-settings.hue, settings.hue))
    return picture
