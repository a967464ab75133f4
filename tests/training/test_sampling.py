"""Which samples a process sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.sampling import EpochSampler, ShareSampler


@given(
    micro=st.integers(1, 5),
    accumulate=st.integers(1, 4),
    world=st.integers(1, 4),
    batches=st.integers(1, 5),
    rest=st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_global_batches_do_not_depend_on_the_number_of_processes(micro, accumulate, world, batches, rest, epoch):
    batch = micro * accumulate * world
    length = batch * batches + min(rest, batch - 1)

    def global_batches(parts: int, processes: int) -> list[set[int]]:
        streams = []
        for rank in range(processes):
            sampler = EpochSampler(length, batch, parts, 7, rank, processes)
            sampler.set_epoch(epoch)
            streams.append(list(sampler))
            assert len(streams[-1]) == len(sampler)
            assert {found for found, _ in streams[-1]} == {epoch}
        share = batch // processes
        return [
            {index for stream in streams for _, index in stream[start : start + share]}
            for start in range(0, len(streams[0]), share)
        ]

    several = global_batches(accumulate, world)
    assert several == global_batches(1, 1)
    drawn = [index for found in several for index in found]
    assert len(drawn) == len(set(drawn)) == batch * batches


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, 10, 1, seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize(("length", "batch", "parts"), [(10, 6, 4), (3, 4, 1)])
def test_batches_that_cannot_be_filled_are_refused(length, batch, parts):
    with pytest.raises(ValueError, match=str(batch)):
        EpochSampler(length, batch, parts, 0)


@given(length=st.integers(0, 30), world=st.integers(1, 5))
def test_validation_samples_are_seen_once_each(length, world):
    seen = [index for rank in range(world) for _, index in ShareSampler(length, rank, world)]
    assert sorted(seen) == list(range(length))
