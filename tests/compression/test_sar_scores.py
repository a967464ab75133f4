"""Scores against scikit-image and torchmetrics, known values, masks, and what has no value."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from millrace.compression import scores as module
from millrace.compression.scores import (
    edge_preservation,
    enl_ratio,
    histogram_similarity,
    mae,
    ms_ssim,
    paired,
    psnr_db,
    scores,
    ssim,
)

RANGE = (-25.0, 5.0)
NAMES = [
    "psnr_db",
    "ssim",
    "ms_ssim",
    "mae",
    "enl_ratio",
    "epi",
    "epi_ratio",
    "histogram_intersection",
    "bhattacharyya",
]


def speckled(shape, seed=0, looks=4.4, decibel_range=RANGE):
    """Fields of different brightness under independent speckle, and the same smoothed."""
    rng = np.random.default_rng(seed)
    fields = ndimage.zoom(
        rng.uniform(-18, -5, (4, 4)), (shape[0] / 4, shape[1] / 4), order=0, grid_mode=True, mode="nearest"
    )
    power = 10 ** (fields / 10) * rng.gamma(looks, 1 / looks, shape)
    low, high = decibel_range
    original = np.clip((10 * np.log10(power) - low) / (high - low), 0, 1)
    return original.astype(np.float32), ndimage.gaussian_filter(original, 0.7).astype(np.float32)


def everywhere(image):
    return np.ones(image.shape, bool)


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setattr(module, "STRIP_PX", 2000)


# Known values and other implementations


def test_pixel_errors():
    original = np.zeros((4, 5))
    decoded = original.copy()
    decoded[0, 0] = 0.1
    assert psnr_db(original, decoded, everywhere(original)) == pytest.approx(20 + 10 * math.log10(20))
    assert mae(original, decoded, everywhere(original)) == pytest.approx(0.1 / 20)
    only_one = np.zeros((4, 5), bool)
    only_one[0, :2] = True
    assert psnr_db(original, decoded, only_one) == pytest.approx(20 + 10 * math.log10(2))
    assert mae(original, decoded, only_one) == pytest.approx(0.05)


@pytest.mark.parametrize("shape", [(64, 64), (11, 11), (37, 120)])
def test_psnr_and_ssim_are_those_of_scikit_image(shape, small_strips):
    original, decoded = speckled(shape)
    valid = everywhere(original)
    expected = structural_similarity(
        original.astype(float),
        decoded.astype(float),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )
    assert ssim(original, decoded, valid) == pytest.approx(expected, abs=1e-6)
    assert psnr_db(original, decoded, valid) == pytest.approx(peak_signal_noise_ratio(original, decoded, data_range=1))


@pytest.mark.parametrize("shape", [(176, 176), (192, 320)])
def test_ms_ssim_is_that_of_torchmetrics(shape, small_strips):
    original, decoded = speckled(shape)
    images = (torch.from_numpy(each).double()[None, None] for each in (decoded, original))
    expected = multiscale_structural_similarity_index_measure(*images, data_range=1.0)
    # On the coarsest scale torchmetrics also counts windows over the edge, filled by reflection.
    assert ms_ssim(original, decoded, everywhere(original)) == pytest.approx(float(expected), abs=5e-5)


def test_ms_ssim_of_odd_sides_is_near_that_of_even_ones():
    original, decoded = speckled((192, 208))
    even = ms_ssim(original, decoded, everywhere(original))
    odd = ms_ssim(original[:-1, :-1], decoded[:-1, :-1], everywhere(original[1:, 1:]))
    assert odd == pytest.approx(even, abs=0.002)


def test_ms_ssim_needs_more_than_160_pixels():
    original, decoded = speckled((161, 176))
    assert ms_ssim(original, decoded, everywhere(original)) is not None
    assert ms_ssim(original[1:], decoded[1:], everywhere(original[1:])) is None


def test_opposite_images_have_ms_ssim_0():
    original = speckled((176, 176))[0]
    assert ms_ssim(original, 1 - original, everywhere(original)) == 0


def test_scores_do_not_depend_on_the_strips(monkeypatch):
    original, decoded = speckled((203, 171))
    valid = everywhere(original)
    valid[:30, 100:] = False
    whole = scores(original, decoded, valid, RANGE)
    monkeypatch.setattr(module, "STRIP_PX", 1)
    strips = scores(original, decoded, valid, RANGE)
    assert all(value is not None for value in whole.values())
    assert strips == pytest.approx(whole, rel=1e-6)


# Speckle


def test_enl_ratio_of_averaged_speckle(monkeypatch):
    # Four independent images averaged have four times the looks. All windows are equally homogeneous here, so that all
    # are taken: a tenth would be those that are homogeneous by chance in the original, and not in the average.
    monkeypatch.setattr(module, "ENL_SHARE", 1.0)
    power = np.random.default_rng(1).gamma(4.0, 1 / 4.0, (4, 600, 600))
    low, high = -40.0, 10.0
    images = [(10 * np.log10(each) - low) / (high - low) for each in (power[0], power.mean(axis=0))]
    assert enl_ratio(*images, everywhere(images[0]), (low, high)) == pytest.approx(4, rel=0.02)


def test_enl_of_windows_with_known_looks(monkeypatch):
    # Windows of two values a +- d have mean^2 / variance = (a / d)^2; the first is the more homogeneous.
    def window(power_low, power_high):
        tile = np.where(np.arange(15)[:, None] % 2, power_low, power_high) * np.ones((15, 15))
        return 10 * np.log10(tile)

    def share(first, second):  # of 15 rows 8 hold the first value
        values = np.array([first] * 7 + [second] * 8)
        return values.mean() ** 2 / values.var()

    low, high = -10.0, 10.0
    original = (np.hstack([window(0.9, 1.1), window(0.5, 1.5)]) - low) / (high - low)
    decoded = (np.hstack([window(0.1, 1.9), window(0.95, 1.05)]) - low) / (high - low)
    expected = share(0.1, 1.9) / share(0.9, 1.1)
    assert enl_ratio(original, decoded, everywhere(original), (low, high)) == pytest.approx(expected)
    # All windows instead of the first tenth: their looks are averaged harmonically.
    monkeypatch.setattr(module, "ENL_SHARE", 1.0)
    both = (1 / share(0.9, 1.1) + 1 / share(0.5, 1.5)) / (1 / share(0.95, 1.05) + 1 / share(0.1, 1.9))
    assert enl_ratio(original, decoded, everywhere(original), (low, high)) == pytest.approx(both)


def test_enl_ratio_depends_on_the_range_only_through_its_width():
    original, decoded = speckled((150, 150))
    valid = everywhere(original)
    found = enl_ratio(original, decoded, valid, (-25, 5))
    assert found > 1.5  # smoothed
    assert enl_ratio(original, decoded, valid, (0, 30)) == pytest.approx(found)
    assert enl_ratio(original, decoded, valid, (-25, -15)) != pytest.approx(found, rel=0.01)


def test_saturated_windows_say_nothing_of_looks():
    original, decoded = speckled((150, 150))
    expected = enl_ratio(original, decoded, everywhere(original), RANGE)
    saturated = [np.vstack([image, np.full((75, 150), 0.1, np.float32)]) for image in (original, decoded)]
    assert enl_ratio(*saturated, everywhere(saturated[0]), RANGE) == pytest.approx(expected, rel=0.2)


def test_enl_ratio_without_a_value():
    original, decoded = speckled((60, 60))
    flat = np.full_like(original, 0.3)
    assert enl_ratio(original, flat, everywhere(flat), RANGE) is None
    assert enl_ratio(flat, decoded, everywhere(flat), RANGE) is None
    assert enl_ratio(original[:14], decoded[:14], everywhere(original[:14]), RANGE) is None
    assert enl_ratio(original[:, :14], decoded[:, :14], everywhere(original[:, :14]), RANGE) is None
    assert scores(original, decoded, everywhere(original), None)["enl_ratio"] is None


# Edges and histograms


def test_edge_preservation_of_a_scaled_image():
    original = speckled((50, 60))[0]
    correlation, ratio = edge_preservation(original, 0.2 + 0.5 * original, everywhere(original))
    assert correlation == pytest.approx(1)
    assert ratio == pytest.approx(0.5, rel=1e-5)


def test_edge_preservation_by_hand(small_strips):
    original, decoded = speckled((61, 70))
    gradients = [
        np.hypot(ndimage.sobel(each.astype(float), 0), ndimage.sobel(each.astype(float), 1))[1:-1, 1:-1]
        for each in (original, decoded)
    ]
    first, second = gradients
    correlation, ratio = edge_preservation(original, decoded, everywhere(original))
    assert correlation == pytest.approx((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))
    assert ratio == pytest.approx(second.sum() / first.sum())


def test_edges_that_vanish_or_never_were():
    original = speckled((20, 20))[0]
    flat = np.full_like(original, 0.5)
    assert edge_preservation(original, flat, everywhere(flat)) == (0, 0)
    assert edge_preservation(flat, original, everywhere(flat)) == (None, None)


def test_histograms():
    original = np.array([[0.0, 0.1, 0.5, 1.0]])
    valid = everywhere(original)
    assert histogram_similarity(original, original, valid) == (1, 0)
    assert histogram_similarity(original, original + 0.25, valid)[1] > 0
    assert histogram_similarity(np.zeros((2, 2)), np.ones((2, 2)), np.ones((2, 2), bool)) == (0, 1)
    half = np.array([[0.0, 0.0, 0.5, 1.0]])
    # p = (1, 1, 1, 1) / 4, q = (2, 0, 1, 1) / 4
    intersection, distance = histogram_similarity(original, half, valid)
    assert intersection == 0.75
    assert distance == pytest.approx(math.sqrt(1 - (math.sqrt(2) + 2) / 4))
    beyond = histogram_similarity(np.array([[0.0, 1.0]]), np.array([[-3.0, 7.0]]), np.ones((1, 2), bool))
    assert beyond == (1, 0)


# Masks


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e30, -5.0])
def test_invalid_pixels_take_no_part(rubbish):
    original, decoded = speckled((200, 190))
    valid = everywhere(original)
    valid[:20] = False
    valid[150:, 180:] = False
    expected = scores(original, decoded, valid, RANGE)
    assert all(value is not None for value in expected.values())
    original[~valid], decoded[~valid] = rubbish, -1.0
    with np.errstate(all="raise"):
        assert scores(original, decoded, valid, RANGE) == expected
    decoded[~valid] = rubbish
    with np.errstate(all="raise"):
        assert scores(original, decoded, valid, RANGE) == expected


def test_a_masked_border_is_a_smaller_image():
    original, decoded = speckled((200, 220))
    valid = everywhere(original)
    valid[:, 195:] = False
    cropped = scores(original[:, :195], decoded[:, :195], everywhere(original[:, :195]), RANGE)
    masked = scores(original, decoded, valid, RANGE)
    for name in NAMES:
        if name != "ms_ssim":  # whose windows differ where the border falls within a mean of 2 x 2
            assert masked[name] == pytest.approx(cropped[name], rel=1e-9)
    assert masked["ms_ssim"] == pytest.approx(cropped["ms_ssim"], abs=0.02)


def test_a_window_with_an_invalid_pixel_is_left_out():
    original, decoded = speckled((31, 31))
    valid = everywhere(original)
    valid[15, 15] = False
    _, whole = structural_similarity(
        original.astype(float),
        decoded.astype(float),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        full=True,
    )
    inside = np.zeros((31, 31), bool)
    inside[5:-5, 5:-5] = True
    inside[10:21, 10:21] = False
    assert ssim(original, decoded, valid) == pytest.approx(whole[inside].mean(), abs=1e-6)


def test_means_over_invalid_pixels_take_no_part_in_ms_ssim():
    original = np.full((200, 220), 0.4, np.float32)
    valid = everywhere(original)
    valid[:, 197:] = False
    luminance = (2 * 0.4 * 0.5 + 1e-4) / (0.4**2 + 0.5**2 + 1e-4)
    found = ms_ssim(original, original + np.float32(0.1), valid)
    assert found == pytest.approx(luminance ** module.MS_SSIM_WEIGHTS[-1], abs=1e-6)


def test_nothing_valid():
    original, decoded = speckled((200, 200))
    assert scores(original, decoded, np.zeros((200, 200), bool), RANGE) == dict.fromkeys(NAMES)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 2), (10, 300)])
def test_images_too_small_for_windows(shape):
    original, decoded = speckled((40, 300))
    original, decoded = original[: shape[0], : shape[1]], decoded[: shape[0], : shape[1]]
    found = scores(original, decoded, everywhere(original), RANGE)
    assert found["psnr_db"] is not None
    assert found["mae"] is not None
    assert found["histogram_intersection"] is not None
    assert found["ssim"] is None
    assert found["ms_ssim"] is None


def test_an_identical_image():
    original = speckled((180, 170))[0]
    found = scores(original, original.copy(), everywhere(original), RANGE)
    assert found.pop("psnr_db") is None
    assert found == {
        "ssim": pytest.approx(1),
        "ms_ssim": pytest.approx(1),
        "mae": 0,
        "enl_ratio": 1,
        "epi": pytest.approx(1),
        "epi_ratio": 1,
        "histogram_intersection": 1,
        "bhattacharyya": 0,
    }


def test_a_constant_image():
    flat = np.full((180, 170), 0.4)
    found = scores(flat, flat + 0.01, everywhere(flat), RANGE)
    assert found["psnr_db"] == pytest.approx(40)
    assert found["ssim"] == pytest.approx((2 * 0.4 * 0.41 + 1e-4) / (0.4**2 + 0.41**2 + 1e-4))
    assert found["enl_ratio"] is None
    assert found["epi"] is None


def test_what_is_refused():
    original, decoded = speckled((30, 30))
    with pytest.raises(ValueError, match="shapes differ"):
        scores(original, decoded[1:], everywhere(original), RANGE)
    decoded[3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        scores(original, decoded, everywhere(original), RANGE)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(15, 50), st.integers(15, 50), st.floats(0, 0.5), st.floats(0, 0.3))
def test_ranges_and_symmetry(seed, height, width, noise, masked):
    rng = np.random.default_rng(seed)
    original = rng.random((height, width)).astype(np.float32)
    decoded = np.clip(original + noise * rng.standard_normal(original.shape), 0, 1).astype(np.float32)
    valid = rng.random(original.shape) >= masked**3
    there, back = (scores(*pair, valid, RANGE) for pair in ((original, decoded), (decoded, original)))
    for name in ("psnr_db", "ssim", "mae", "epi", "histogram_intersection", "bhattacharyya"):
        assert (there[name] is None) == (back[name] is None)
        if there[name] is not None:
            assert back[name] == pytest.approx(there[name], abs=1e-9)
    limits = {"ssim": (-1, 1), "mae": (0, 1), "epi": (0, 1), "histogram_intersection": (0, 1), "bhattacharyya": (0, 1)}
    for name, (low, high) in limits.items():
        if there[name] is not None:
            assert low - 1e-12 <= there[name] <= high + 1e-12
    if there["epi_ratio"]:
        assert back["epi_ratio"] == pytest.approx(1 / there["epi_ratio"])
    assert json.loads(json.dumps(there)) == there


def test_memory_beside_the_arguments(monkeypatch):
    monkeypatch.setattr(module, "STRIP_PX", 2**16)
    original, decoded = speckled((1024, 1024))
    valid = everywhere(original)
    tracemalloc.start()
    scores(original, decoded, valid, RANGE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    strips = 12 * 8 * 2**16
    assert peak - strips < 5 * original.size


# The paired test


def test_paired_is_wilcoxon():
    rng = np.random.default_rng(0)
    peer = rng.random(20)
    model = peer + rng.normal(0.1, 0.2, 20)
    found = paired(model.tolist(), peer.tolist())
    assert found.n == 20
    assert found.wins == (model > peer).sum()
    assert found.mean_difference == pytest.approx((model - peer).mean())
    assert found.p_value == pytest.approx(stats.wilcoxon(model, peer).pvalue)


def test_a_win_on_each_of_six_images_is_the_least_that_counts():
    peer = [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    model = [value + 0.1 * (rank + 1) for rank, value in enumerate(peer)]
    six = paired(model, peer)
    assert six.p_value == pytest.approx(2 / 2**6)
    assert (six.wins, six.n) == (6, 6)
    five = paired(model[:5], peer[:5])
    assert five.p_value is None
    assert (five.wins, five.n) == (5, 5)


def test_ties_and_missing_scores():
    equal = paired([1.0] * 8, [1.0] * 8)
    assert (equal.n, equal.wins, equal.mean_difference, equal.p_value) == (8, 0, 0, None)
    part = paired([1.0, None, 3.0], [0.5, 1.0, None])
    assert (part.n, part.wins, part.mean_difference) == (1, 1, 0.5)
    none = paired([], [])
    assert (none.n, none.wins, none.mean_difference, none.p_value) == (0, 0, None, None)
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0], [])


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=6, max_size=9))
def test_exchanging_model_and_peer(pairs):
    model, peer = zip(*pairs, strict=True)
    there, back = paired(model, peer), paired(peer, model)
    assert there.mean_difference == -back.mean_difference
    assert there.wins + back.wins <= there.n
    assert (there.p_value is None) == (back.p_value is None)
    if there.p_value is not None:
        assert there.p_value == pytest.approx(back.p_value)
        assert 0 <= there.p_value <= 1
