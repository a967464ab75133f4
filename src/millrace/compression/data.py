"""Training samples: crops of prepared patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from millrace.compression.params import Train
from millrace.compression.store import Store
from millrace.training.sampling import EpochIndex, Samples


class Crops(Samples):
    """Squares of patches: anywhere, turned and mirrored in training; the middle of each patch in validation.

    Args:
        store: Prepared patches.
        side: `train` or `validation`.
        settings: Size and number of crops, and the seed.
        training: Whether to draw them.
    """

    def __init__(self, store: Store, side: str, settings: Train, *, training: bool) -> None:
        self._store, self._settings, self._training = store, settings, training
        self._patches = store.patches(side)
        self._size = min(settings.crop_px, store.patch_px)

    def __len__(self) -> int:
        return len(self._patches) * (self._settings.per_patch if self._training else 1)

    def __getitem__(self, key: EpochIndex) -> dict[str, Any]:
        epoch, index = key
        place = index % len(self._patches)
        row = self._patches.iloc[place]
        values, valid = self._store.patch(int(self._patches.index[place]))
        room = self._store.patch_px - self._size
        if self._training:
            random = np.random.default_rng((self._settings.seed, epoch, index))
            top, left = random.integers(0, room + 1, 2)
            turns, mirror = int(random.integers(4)), bool(random.integers(2))
        else:
            top, left, turns, mirror = room // 2, room // 2, 0, False
        part = slice(top, top + self._size), slice(left, left + self._size)
        pair = [np.rot90(each[part], turns)[:, :: -1 if mirror else 1] for each in (values, valid)]
        image, mask = (torch.from_numpy(np.ascontiguousarray(each))[None] for each in pair)
        return {"input": image, "valid": mask, "name": f"{row['scene']}#{row['band']} {row['y']},{row['x']}"}
