"""Contexts in integers: the decoder's, channel by channel, are the encoder's, and both are exact."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.compression.contexts import UNIT, Contexts, Unfolding
from millrace.compression.scales import (
    COUNT,
    DC_FEATURES,
    LARGEST,
    MAGNITUDE_LIMIT,
    SMALLEST,
    ScaleModel,
    around,
    scale_index,
    scale_values,
)
from millrace.compression.transform import CHANNELS

INT16, INT32 = np.iinfo(np.int16), np.iinfo(np.int32)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def random_contexts(random, largest=INT16.max):
    """Weights of all sizes, and thresholds among which many sums lie."""
    below = np.tril(np.ones((CHANNELS, CHANNELS), bool), -1) & (np.arange(CHANNELS) > 0)
    weights = [random.integers(0, largest, (CHANNELS, CHANNELS), endpoint=True) for _ in range(2)]
    same, surrounding = (np.where(below & (random.random(below.shape) < 0.3), each, 0) for each in weights)
    return Contexts(
        bias=random.integers(0, largest, CHANNELS, endpoint=True).astype(np.int32),
        same=same.astype(np.int16),
        around=surrounding.astype(np.int16),
        dc=random.integers(0, largest, DC_FEATURES + 1, endpoint=True).astype(np.int32),
        thresholds=np.unique(random.integers(1, INT32.max, COUNT - 1)).astype(np.int32),
    )


def random_magnitudes(random, shape, largest):
    magnitudes = random.integers(0, largest, (CHANNELS, *shape), endpoint=True)
    magnitudes[random.random(magnitudes.shape) < 0.6] = 0
    magnitudes[0] = 0
    return magnitudes.astype(np.int16)


def exact_sums(contexts, magnitudes):
    """(256, h, w), in int64 and by loops over the positions around."""
    known = np.minimum(magnitudes.astype(np.int64), MAGNITUDE_LIMIT)
    height, width = known.shape[1:]
    padded = np.pad(known, ((0, 0), (1, 1), (1, 1)))
    moves = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    total = sum(padded[:, y : y + height, x : x + width] for y, x in moves)
    sums = np.einsum("cd,dhw->chw", contexts.same.astype(np.int64), known)
    sums += np.einsum("cd,dhw->chw", contexts.around.astype(np.int64), total)
    return sums + contexts.bias[:, None, None]


def unfolded(contexts, magnitudes):
    """Numbers of scales (256, h, w) as a decoder finds them; channel 0, which has none, is 0."""
    known, found = Unfolding(contexts, magnitudes.shape[1:]), np.zeros(magnitudes.shape, np.int64)
    for channel in range(1, CHANNELS):
        found[channel] = known.scales(channel).reshape(magnitudes.shape[1:])
        known.set(channel, magnitudes[channel])
    assert np.array_equal(known.magnitudes[1:], magnitudes[1:])
    return found


@given(SHAPES, st.integers(0, 2**31), st.sampled_from([1, 3, 400, INT16.max]), st.sampled_from([3, 500, INT16.max]))
@example(shape=(4, 5), seed=0, largest=INT16.max, heaviest=INT16.max)
@settings(max_examples=20)
def test_a_decoder_finds_the_scales_of_the_encoder(shape, seed, largest, heaviest):
    random = np.random.default_rng(seed)
    contexts = random_contexts(random, heaviest)
    magnitudes = random_magnitudes(random, shape, largest)
    sums = exact_sums(contexts, magnitudes)
    # Thresholds that sums meet exactly: a sum that is off by anything falls on the other side.
    met = np.unique(sums[(sums > 0) & (sums <= INT32.max)])
    thresholds = np.sort(random.permutation(met)[: COUNT - 1]).astype(np.int32)
    contexts = Contexts(contexts.bias, contexts.same, contexts.around, contexts.dc, thresholds)
    scales = contexts.scales(magnitudes)
    assert np.array_equal(scales, np.searchsorted(thresholds, sums, side="right"))
    assert np.array_equal(scales[1:], unfolded(contexts, magnitudes)[1:])


def test_no_sum_reaches_what_a_double_cannot_hold():
    # The largest that the types of a model allow, whether it was trained or made to do harm.
    same = (CHANNELS - 1) * MAGNITUDE_LIMIT * -INT16.min
    assert same + 8 * same - INT32.min < 2**40 < 2**53
    for weight in (INT16.min, INT16.max):
        full = np.full((CHANNELS, CHANNELS), weight, np.int16)
        contexts = Contexts(
            bias=np.full(CHANNELS, INT32.max if weight > 0 else INT32.min, np.int32),
            same=np.tril(full, -1) * (np.arange(CHANNELS) > 0),
            around=np.tril(full, -1) * (np.arange(CHANNELS) > 0),
            dc=np.full(DC_FEATURES + 1, INT32.max, np.int32),
            thresholds=np.linspace(1, INT32.max, COUNT - 1).astype(np.int32),
        )
        magnitudes = np.full((CHANNELS, 3, 3), INT16.max, np.int16)
        magnitudes[0] = 0
        known = Unfolding(contexts, (3, 3))
        for channel in range(1, CHANNELS):
            known.set(channel, magnitudes[channel])
        assert np.array_equal(known._sums[1:].reshape(-1, 3, 3), exact_sums(contexts, magnitudes)[1:])
        assert abs(int(known._sums[-1, 4])) > 2**33
        assert np.array_equal(contexts.scales(magnitudes)[1:], unfolded(contexts, magnitudes)[1:])
        features = contexts.dc_features(magnitudes)
        assert features[0] == INT32.max * (1 + (DC_FEATURES - 1) * MAGNITUDE_LIMIT)
        assert contexts.dc_scales(features, np.full(9, 1 << 41)).tolist() == [COUNT - 1] * 9


def test_a_magnitude_above_the_limit_counts_as_the_limit():
    contexts = random_contexts(np.random.default_rng(0))
    large, limit = (np.full((CHANNELS, 2, 2), value, np.int16) for value in (INT16.max, MAGNITUDE_LIMIT))
    assert np.array_equal(contexts.scales(large), contexts.scales(limit))
    assert np.array_equal(contexts.dc_features(large), contexts.dc_features(limit))
    assert not np.array_equal(contexts.scales(large), contexts.scales(limit - 1))


@given(st.integers(0, 2**31))
@settings(max_examples=10)
def test_no_scale_depends_on_what_is_decoded_later(seed):
    random = np.random.default_rng(seed)
    contexts, magnitudes = random_contexts(random, 40), random_magnitudes(random, (2, 3), 4)
    changed = magnitudes.copy()
    channel = int(random.integers(1, CHANNELS))
    changed[channel:] = random.integers(0, 300, changed[channel:].shape)
    assert np.array_equal(contexts.scales(magnitudes)[: channel + 1], contexts.scales(changed)[: channel + 1])


def test_integers_take_the_scale_that_training_saw():
    model = ScaleModel()
    with torch.no_grad():
        model._same += 0.4  # weights that rounding changes little: 400 and 3800 times their first size
        model._around += 0.55
    contexts, random = Contexts.of(model), np.random.default_rng(1)
    magnitudes = random_magnitudes(random, (6, 7), 9)
    magnitudes *= random.random(magnitudes.shape) < 0.01
    with torch.no_grad():
        expected = scale_index(model(torch.from_numpy(magnitudes).float()[None]))[0].numpy()
    found = contexts.scales(magnitudes)
    assert len(np.unique(found[1:])) > 40
    assert (found[1:] == expected[1:]).mean() > 0.97
    assert np.abs(found[1:] - expected[1:]).max() <= 1


def test_thresholds_lie_between_the_scales():
    thresholds, scales = Contexts.of(ScaleModel()).thresholds, scale_values().numpy() * UNIT
    assert (scales[:-1] < thresholds).all()
    assert (thresholds < scales[1:]).all()
    assert scale_index(torch.tensor([1e-9, SMALLEST, LARGEST, 1e9])).tolist() == [0, 0, COUNT - 1, COUNT - 1]
    assert scale_index(scale_values()).tolist() == [*range(COUNT)]


def test_weights_beyond_their_type_are_limited():
    model = ScaleModel()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.5
    contexts = Contexts.of(model)
    below = np.tril(np.ones((CHANNELS, CHANNELS), bool), -1) & (np.arange(CHANNELS) > 0)
    for weights in (contexts.same, contexts.around):
        assert (weights[below] == INT16.max).all()
        assert not weights[~below].any()
    assert (contexts.bias > 0).all()
    assert (contexts.dc > 0).all()


def test_the_positions_around_are_eight_and_end_at_the_edges():
    magnitudes = torch.zeros((1, 1, 3, 4))
    magnitudes[..., 1, 1] = 1
    assert around(magnitudes)[0, 0].tolist() == [[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
    corners = torch.ones((1, 1, 3, 3))
    assert around(corners)[0, 0].tolist() == [[3, 5, 3], [5, 8, 5], [3, 5, 3]]
