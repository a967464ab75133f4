"""Which samples a process sees, in which order: a function of seed, epoch and position alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler, default_collate

EpochIndex = tuple[int, int]


class Samples(Dataset[dict[str, Any]], ABC):
    """A task's samples: dicts of tensors, and `name`. What is drawn depends on (epoch, index) and nothing else."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: EpochIndex) -> dict[str, Any]: ...

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Samples as a batch: tensors are stacked, names listed."""
        batch: dict[str, Any] = default_collate(samples)
        return batch

    def groups(self, epoch: int) -> NDArray[np.int64] | None:
        """Number of each sample's group in an epoch; a batch is of one group as far as that can be. None has none."""
        return None


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
        groups: `Samples.groups` of the dataset.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        accumulate: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        groups: Callable[[int], NDArray[np.int64] | None] = lambda _: None,
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
        self._groups = groups

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self.batches * self._accumulate * self.micro_batch

    def __iter__(self) -> Iterator[EpochIndex]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(self._length)
        groups = self._groups(self._epoch)
        if groups is not None:
            order = self._grouped(order, groups, rng)
        batches = order[: self.batches * self._batch_size].reshape(
            self.batches, self._accumulate, self._world_size, self.micro_batch
        )
        for index in batches[:, :, self._rank].ravel():
            yield self._epoch, int(index)

    def _grouped(
        self, order: NDArray[np.int64], groups: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """The same samples such that the batches, in random order, are of one group; what a group has beyond its last
        whole batch goes to mixed batches and, at the end, to none.
        """
        whole, rest = [], []
        for group in np.unique(groups):
            own = order[groups[order] == group]
            end = len(own) - len(own) % self._batch_size
            whole.append(own[:end])
            rest.append(own[end:])
        mixed = rng.permutation(np.concatenate(rest))
        end = len(mixed) - len(mixed) % self._batch_size
        batches = np.concatenate([*whole, mixed[:end]]).reshape(-1, self._batch_size)
        return np.concatenate([rng.permutation(batches).ravel(), mixed[end:]])


class ShareSampler(Sampler[EpochIndex]):
    """Every `world_size`-th sample from `rank` on, once each: validation sums stay exact, nothing is padded."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self._indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[EpochIndex]:
        return iter((0, index) for index in self._indices)
