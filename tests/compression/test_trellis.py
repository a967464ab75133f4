"""The trellis: the best path is found, follows from the indices alone, and is worth its trouble."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from millrace.compression import block_coding
from millrace.compression.scales import bits_table
from millrace.compression.trellis import EVEN, LARGEST, ODD, STATES, TRANSITIONS, magnitude, quantise

SCALES = 5


def reconstructed(indices):
    """Magnitudes in steps along a sequence of indices, from the definition of the two quantisers."""
    state, found = 0, []
    for index in indices:
        size = abs(int(index))
        found.append(2 * size if state % 2 == EVEN else max(2 * size - 1, 0))
        state = TRANSITIONS[state, size % 2]
    return np.array(found)


def rising_bits(random):
    """A table (5, 2, 4) of bits that grow with the index."""
    return torch.tensor(random.uniform(0.1, 4, (SCALES, 2, 4)).cumsum(2), dtype=torch.float32)


def cost_of(latents, indices, scales, bits, multiplier):
    """Squared error + multiplier * bits of one sequence."""
    state, total = 0, 0.0
    for latent, index, scale, steps in zip(latents, indices, scales, reconstructed(indices), strict=True):
        kind = ODD if state % 2 else EVEN
        total += (abs(latent) - steps) ** 2 + multiplier * float(bits[scale, kind, min(index, bits.shape[2] - 1)])
        state = TRANSITIONS[state, index % 2]
    return total


def test_each_state_has_two_predecessors_and_two_followers():
    assert TRANSITIONS.shape == (STATES, 2)
    assert sorted(TRANSITIONS.ravel().tolist()) == sorted([*range(STATES)] * 2)
    assert (TRANSITIONS[:, 0] != TRANSITIONS[:, 1]).all()


def test_the_trellis_is_the_one_that_files_were_written_with():
    assert TRANSITIONS.tolist() == [[0, 2], [5, 7], [1, 3], [4, 6], [2, 0], [7, 5], [3, 1], [6, 4]]


def test_paths_that_part_do_not_meet_within_three_indices():
    ends = {state: [state] for state in range(STATES)}
    for _ in range(3):
        ends = {start: [int(TRANSITIONS[end, parity]) for end in found for parity in (0, 1)]
                for start, found in ends.items()}  # fmt: skip
        assert all(len(set(found)) == len(found) for found in ends.values())


def test_the_two_quantisers_share_the_zero_and_part_the_other_steps():
    index = torch.arange(6)
    assert magnitude(index, EVEN).tolist() == [0, 2, 4, 6, 8, 10]
    assert magnitude(index, ODD).tolist() == [0, 1, 3, 5, 7, 9]
    assert magnitude(index, index % 2).tolist() == [0, 1, 4, 5, 8, 9]


@given(st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([0.0, 0.37, 2.0]))
@settings(max_examples=25)
def test_no_other_indices_cost_less(length, seed, multiplier):
    random = np.random.default_rng(seed)
    latents, scales = random.uniform(-4, 4, length), random.integers(0, SCALES, length)
    bits = rising_bits(random)
    found, _ = quantise(
        torch.tensor(latents[:, None], dtype=torch.float32), torch.tensor(scales[:, None]), bits, multiplier
    )
    chosen = cost_of(latents, np.abs(found[:, 0].numpy()), scales, bits, multiplier)
    # By brute force over all sequences of indices, one column each.
    every = np.array([*product(range(4), repeat=length)]).T
    state, total = np.zeros(every.shape[1], int), np.zeros(every.shape[1])
    for latent, index, scale in zip(latents, every, scales, strict=True):
        steps = np.where(state % 2 == EVEN, 2 * index, np.maximum(2 * index - 1, 0))
        total += (abs(latent) - steps) ** 2 + multiplier * bits[scale].numpy()[state % 2, index]
        state = TRANSITIONS[state, index % 2]
    assert chosen == pytest.approx(total.min(), rel=1e-5, abs=1e-5)


def test_sequences_are_quantised_each_by_itself():
    random = np.random.default_rng(0)
    latents = torch.tensor(random.normal(0, 3, (40, 7)), dtype=torch.float32)
    scales, bits = torch.tensor(random.integers(0, SCALES, (40, 7))), rising_bits(random)
    together = quantise(latents, scales, bits, 0.37)
    for place in range(7):
        alone = quantise(latents[:, [place]], scales[:, [place]], bits, 0.37)
        assert [part[:, place].tolist() for part in together] == [part[:, 0].tolist() for part in alone]


@given(st.integers(1, 60), st.floats(0.1, 50), st.integers(0, 2**31))
@settings(max_examples=25)
def test_indices_tell_the_quantisers_and_the_values(length, spread, seed):
    random = np.random.default_rng(seed)
    latents = torch.tensor(random.normal(0, spread, (length, 3)), dtype=torch.float32)
    scale = torch.zeros((length, 3), dtype=torch.long)
    indices, quantisers = quantise(latents, scale, bits_table(40)[:1], 0.0)
    assert (indices.sign() * latents.sign() >= 0).all()
    assert np.array_equal(block_coding.quantisers_of(indices.numpy()), quantisers.numpy())
    steps = magnitude(indices.abs(), quantisers).numpy()
    assert np.array_equal(steps, np.stack([reconstructed(column) for column in indices.T], axis=1))
    assert np.array_equal(steps, block_coding.steps(indices.abs().numpy(), quantisers.numpy()))
    assert np.abs(steps - latents.abs().numpy()).max() <= 2


@pytest.mark.parametrize("latent", [LARGEST - 3.0, 2.0 * LARGEST - 7, 2.0 * LARGEST, 1e6, 1e30])
def test_no_index_exceeds_what_the_decoder_takes(latent):
    latents = torch.tensor([[latent], [-latent], [latent]])
    indices, quantisers = quantise(latents, torch.zeros_like(latents, dtype=torch.long), bits_table(40)[:1], 0.37)
    assert indices.abs().max() < LARGEST
    steps = magnitude(indices.abs(), quantisers)
    assert steps.max() <= np.iinfo(np.int16).max
    assert ((steps - latents.abs()).abs() <= 2).all() or latent > LARGEST


def test_a_dear_bit_makes_latents_zero():
    latents = torch.full((30, 1), 1.4)
    bits = bits_table(40)[10:11]
    counts = [int(quantise(latents, torch.zeros(30, 1, dtype=torch.long), bits, each)[0].count_nonzero())
              for each in (0.0, 0.37, 10.0)]  # fmt: skip
    assert counts[0] >= counts[1] > counts[2] == 0


def test_a_gaussian_source_gains_nearly_a_decibel_over_a_scalar_quantiser():
    # Measured 0.99 dB; the most that any quantiser can gain at high rates is 1.53 dB.
    spread = 12.0
    latents = spread * torch.randn((256, 300), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros((1, 2, 2))
    indices, quantisers = quantise(latents, torch.zeros(latents.shape, dtype=torch.long), nothing, 0.0)
    values = magnitude(indices.abs(), quantisers) * latents.sign()
    error = float((values - latents).square().mean())
    bits = sum(entropy(indices[quantisers == kind]) * float((quantisers == kind).float().mean()) for kind in (0, 1))
    step = brentq(lambda step: scalar_entropy(step / spread) - bits, 0.1, 8)
    assert 10 * np.log10(scalar_error(step / spread) * spread**2 / error) > 0.9


def entropy(symbols):
    """Bits a symbol."""
    _, counts = symbols.unique(return_counts=True)
    shares = counts / counts.sum()
    return -float((shares * shares.log2()).sum())


def scalar_entropy(step):
    """Bits of a normal variable rounded to multiples of a step."""
    shares = np.diff(norm.cdf((np.arange(-2000, 2002) - 0.5) * step))
    shares = shares[shares > 0]
    return -float(shares @ np.log2(shares))


def scalar_error(step):
    """Mean squared error of that rounding."""
    grid = (np.arange(400_001) - 200_000) * 4e-5
    weights = norm.pdf(grid)
    return float(weights @ (grid - np.round(grid / step) * step) ** 2 / weights.sum())
