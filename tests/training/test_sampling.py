"""Which samples a process sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.sampling import EpochSampler, Samples, ShareSampler


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


def batches_of(sampler: EpochSampler, size: int) -> list[list[int]]:
    order = [index for _, index in sampler]
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(
    counts=st.lists(st.integers(0, 25), min_size=1, max_size=4),
    batch=st.integers(1, 6),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_batches_are_of_one_group_as_far_as_that_can_be(counts, batch, seed, epoch):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3 - 1, counts))
    if len(groups) < batch:
        return
    sampler = EpochSampler(len(groups), batch, 1, seed, groups=lambda epoch: groups)
    sampler.set_epoch(epoch)
    batches = batches_of(sampler, batch)
    assert len(batches) == sampler.batches == len(groups) // batch
    drawn = [index for each in batches for index in each]
    assert len(drawn) == len(set(drawn)) == batch * (len(groups) // batch)
    assert set(drawn) <= set(range(len(groups)))
    pure = [each for each in batches if len(set(groups[each].tolist())) == 1]
    assert len(pure) >= sum(count // batch for count in counts)


@given(
    micro=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    world=st.integers(1, 3),
    length=st.integers(30, 70),
    seed=st.integers(0, 3),
)
def test_grouped_batches_do_not_depend_on_the_number_of_processes(micro, accumulate, world, length, seed):
    batch = micro * accumulate * world
    groups = np.random.default_rng(seed).integers(0, 3, length)

    def global_batches(parts: int, processes: int) -> list[set[int]]:
        streams = [
            [index for _, index in EpochSampler(length, batch, parts, seed, rank, processes, lambda epoch: groups)]
            for rank in range(processes)
        ]
        share = batch // processes
        return [
            {index for stream in streams for index in stream[start : start + share]}
            for start in range(0, len(streams[0]), share)
        ]

    assert global_batches(accumulate, world) == global_batches(1, 1)


def test_groups_are_those_of_the_epoch():
    asked = []

    def groups(epoch: int) -> np.ndarray:
        asked.append(epoch)
        return np.arange(20) % 2 if epoch % 2 else np.arange(20) // 10

    sampler = EpochSampler(20, 5, 1, 0, groups=groups)
    for epoch in (0, 1, 5):
        sampler.set_epoch(epoch)
        own = groups(epoch)
        assert all(len(set(own[each].tolist())) == 1 for each in batches_of(sampler, 5))
    assert set(asked) == {0, 1, 5}


def test_groups_come_in_random_order_and_every_sample_in_some_epoch():
    groups = np.repeat([0, 1], [33, 11])
    sampler = EpochSampler(44, 5, 1, 0, groups=lambda epoch: groups)
    seen, first, orders = set(), set(), set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        batches = batches_of(sampler, 5)
        seen |= {index for each in batches for index in each}
        first.add(tuple(sorted(set(groups[batches[0]].tolist()))))
        orders.add(str(batches))
    assert seen == set(range(44))
    assert {(0,), (1,)} <= first
    assert len(orders) == 40
    sampler.set_epoch(3)
    assert batches_of(sampler, 5) == batches_of(sampler, 5)


def test_what_no_batch_takes_is_of_another_group_each_time():
    groups = np.repeat([0, 1, 2], [7, 12, 2])  # two of each beyond the whole batches; one of these six is left out
    sampler = EpochSampler(21, 5, 1, 0, groups=lambda epoch: groups)
    left_out = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        left_out |= set(groups[list(set(range(21)) - {index for _, index in sampler})].tolist())
    assert left_out == {0, 1, 2}


def test_one_group_and_none_draw_the_same_samples_in_each_epoch():
    plain, none, one = (
        EpochSampler(23, 4, 1, 0, **options)
        for options in ({}, {"groups": lambda epoch: None}, {"groups": lambda epoch: np.zeros(23, np.int64)})
    )
    assert list(plain) == list(none)
    assert len(list(one)) == len(list(plain))
    assert {len(set(each)) for each in batches_of(one, 4)} == {4}


def test_samples_are_stacked_and_names_listed_unless_a_task_says_otherwise():
    batch = Samples.collate([{"input": torch.ones(2), "name": "a"}, {"input": torch.zeros(2), "name": "b"}])
    assert batch["input"].tolist() == [[1, 1], [0, 0]]
    assert batch["name"] == ["a", "b"]
