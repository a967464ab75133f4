"""Which samples a process sees, in which order: a function of seed, epoch and position alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

EpochIndex = tuple[int, int]


class Samples(Dataset[dict[str, Any]], ABC):
    """A task's samples: dicts of tensors, and `name`. What is drawn depends on (epoch, index) and nothing else."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: EpochIndex) -> dict[str, Any]: ...


class EpochSampler(Sampler[EpochIndex]):
    """Shuffled (epoch, index) pairs of one process, such that the global batches do not depend on the process count.

    Each global batch is cut into `accumulate * world_size` micro-batches; process `rank` takes every `world_size`-th.
    The dataset gets the epoch with the index, so what it draws for a sample does not depend on a worker's history.
    A last batch that would be smaller is left out.

    Args:
        length: Samples in the dataset.
        batch_size: Samples behind one optimiser step over all processes.
        accumulate: Micro-batches of a process behind one optimiser step.
        seed: Of the shuffling.
        rank: This process among `world_size`.
        world_size: Number of processes.
    """

    def __init__(
        self, length: int, batch_size: int, accumulate: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        parts = accumulate * world_size
        if batch_size % parts:
            raise ValueError(f"batch_size {batch_size} is not a multiple of accumulate {accumulate} x {world_size}")
        if length < batch_size:
            raise ValueError(f"{length} samples do not fill a batch of {batch_size}")
        self.micro_batch = batch_size // parts
        self.batches = length // batch_size
        self._length, self._batch_size, self._accumulate = length, batch_size, accumulate
        self._seed, self._rank, self._world_size, self._epoch = seed, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self.batches * self._accumulate * self.micro_batch

    def __iter__(self) -> Iterator[EpochIndex]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._length)
        batches = order[: self.batches * self._batch_size].reshape(
            self.batches, self._accumulate, self._world_size, self.micro_batch
        )
        for index in batches[:, :, self._rank].ravel():
            yield self._epoch, int(index)


class ShareSampler(Sampler[EpochIndex]):
    """Every `world_size`-th sample from `rank` on, once each: validation sums stay exact, nothing is padded."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self._indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[EpochIndex]:
        return iter((0, index) for index in self._indices)
