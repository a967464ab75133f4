"""Pictures and boxes for training, each a function of seed, epoch and index alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.detection.augment import Labelled, as_labelled, augmented, draw_frame, network_size, resized
from millrace.detection.boxes import Truth
from millrace.detection.params import Resize, Train
from millrace.detection.store import Store
from millrace.training.sampling import EpochIndex, Samples


def repeat_factors(store: Store, positions: list[int], share: float) -> NDArray[np.float64]:
    """How often each image is drawn in an epoch: the square root of `share` over the share of images with its rarest
    class, and at least once (Gupta et al., LVIS, 2019, section 4.2).

    Args:
        store: Prepared data.
        positions: Images.
        share: 0 draws each once.
    """
    present = np.zeros((len(positions), len(store.categories)), bool)
    for row, position in enumerate(positions):
        truth = store.truth(position)
        present[row, truth.labels[~truth.ignored]] = True
    shares = np.maximum(present.mean(axis=0), 1 / max(1, len(positions)))
    wanted = np.maximum(1.0, np.sqrt(share / shares))
    factors: NDArray[np.float64] = np.where(present, wanted, 1.0).max(axis=1, initial=1.0)
    return factors


class _Images(Samples):
    """Pictures at the network's size: a dict of `input` (`image` (3, H, W) from 0 to 1 and `target`), and `name`."""

    def __init__(self, store: Store, positions: list[int], resize: Resize) -> None:
        self._store, self._positions, self._resize = store, positions, resize

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pictures differ in size, so they stay a list."""
        return {
            "input": {name: [sample[name] for sample in samples] for name in ("images", "targets")},
            "name": [sample["name"] for sample in samples],
            "position": [sample["position"] for sample in samples],
            "truth": [sample.get("truth") for sample in samples],
        }

    def _labelled(self, position: int) -> Labelled:
        return as_labelled(self._store.pixels(position), self._store.truth(position))

    def _as_sample(self, sample: Labelled, position: int) -> dict[str, Any]:
        return {
            "images": sample.picture.float().div_(255),
            "targets": {"boxes": sample.boxes, "labels": sample.labels},
            "name": str(self._store.images["file_name"].iloc[position]),
            "position": position,
        }


class TrainingImages(_Images):
    """Augmented images.

    Args:
        store: Prepared data.
        positions: Images to train on.
        settings: Size, augmentation, repetition, seed.
    """

    def __init__(self, store: Store, positions: list[int], settings: Train) -> None:
        super().__init__(store, positions, settings.resize)
        self._settings = settings
        self._ends = np.cumsum(repeat_factors(store, positions, settings.repeat))
        self._shapes: list[list[int]] = store.images[["height", "width"]].to_numpy()[positions].tolist()

    def __len__(self) -> int:
        return math.ceil(float(self._ends[-1]))  # so that places are at most 1 apart, and no image falls between two

    def groups(self, epoch: int) -> NDArray[np.int64] | None:
        """Whether each sample of an epoch is upright as it is augmented, so that batches need little padding."""
        if not self._settings.group_by_shape:
            return None
        upright = []
        for index in range(len(self)):
            height, width = self._shapes[self._image(epoch, index)]
            frame = draw_frame(height, width, self._settings.augmentation, self._chance(epoch, index))
            upright.append(frame.upright(height, width))
        return np.array(upright, np.int64)

    def _chance(self, epoch: int, index: int) -> np.random.Generator:
        """What decides a sample's augmentation."""
        return np.random.default_rng((self._settings.seed, epoch, index))

    def _image(self, epoch: int, index: int) -> int:
        # Systematic sampling: an image that is to be drawn 1.3 times is drawn once or twice, and that by the epoch.
        offset = np.random.default_rng((self._settings.seed, epoch)).random()
        place = (index + offset) * self._ends[-1] / len(self)
        return min(int(np.searchsorted(self._ends, place, side="right")), len(self._positions) - 1)

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        epoch, index = key
        rng = self._chance(epoch, index)
        position = self._positions[self._image(epoch, index)]

        def another() -> Labelled:
            return self._labelled(self._positions[int(rng.integers(len(self._positions)))])

        sample = augmented(self._labelled(position), self._resize, self._settings.augmentation, rng, another)
        return self._as_sample(sample, position)


class ValidationImages(_Images):
    """Images as prediction sees them, the same in every epoch; `truth` has their ignored boxes too."""

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        position = self._positions[key[1]]
        pixels, truth = self._store.pixels(position), self._store.truth(position)
        height, width = pixels.shape[:2]
        size = network_size(height, width, self._resize)
        sample = self._as_sample(resized(as_labelled(pixels, truth), size), position)
        factors = np.array([size[1] / width, size[0] / height] * 2, np.float32)
        return sample | {"truth": Truth(truth.boxes * factors, truth.labels, truth.ignored)}


def training_boxes(store: Store, positions: list[int], resize: Resize) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) in pixels of what the network sees, unaugmented, and their labels."""
    boxes, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.int64)]
    for position in positions:
        truth, row = store.truth(position), store.images.iloc[position]
        height, width = int(row["height"]), int(row["width"])
        scale = network_size(height, width, resize)[0] / height
        boxes.append(truth.boxes[~truth.ignored] * np.float32(scale))
        labels.append(truth.labels[~truth.ignored])
    return np.concatenate(boxes), np.concatenate(labels)
