"""Patches: a function of seed, epoch and index alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spheroid_files import QUIET, section, write_raw
from torch.utils.data import DataLoader

from millrace.spheroid import prepare
from millrace.spheroid.augment import change_grey, turn_and_flip
from millrace.spheroid.data import TrainingPatches, ValidationPatches, Window, crop
from millrace.spheroid.params import Augmentation, Patches, Train
from millrace.spheroid.store import Store
from millrace.training.sampling import EpochSampler

STILL = Augmentation(flip=0.0, turn=False, brightness=0.0, contrast=0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_raw(folder / "raw", 10, size=80)
        prepare.run(section(folder / "raw"), QUIET)
        return Store(Path("data/prepared/spheroid").resolve())


def patches(store: Store, **changes) -> TrainingPatches:
    return TrainingPatches(store, list(range(10)), Train(patches=Patches(size_px=32, per_image=4), **changes))


def test_samples_have_the_stated_shapes_and_ranges(store):
    sample = patches(store)[0, 7]
    assert sample["input"].shape == (1, 32, 32)
    assert sample["target"].shape == (2, 32, 32)
    assert set(sample["target"][0].unique().tolist()) <= {0.0, 1.0}
    assert 0 <= sample["target"][1].min() <= sample["target"][1].max() <= 1
    assert sample["name"].startswith("i1[")


def test_a_sample_depends_on_seed_epoch_and_index_alone(store):
    first, second = patches(store), patches(store)
    second[3, 1]  # what was drawn before does not matter
    assert torch.equal(first[2, 5]["input"], second[2, 5]["input"])
    others = [first[2, 6], first[3, 5], patches(store, seed=1)[2, 5]]
    assert all(not torch.equal(first[2, 5]["input"], other["input"]) for other in others)


def test_worker_processes_do_not_change_the_samples(store):
    def drawn(workers: int) -> list[str]:
        dataset = patches(store)
        loader = DataLoader(dataset, 4, sampler=EpochSampler(len(dataset), 4, 1, 0), num_workers=workers)
        return [f"{batch['name']}{batch['input'].sum():.5f}" for batch in loader]

    assert drawn(0) == drawn(2)


def test_positive_patches_hold_objects_and_negative_ones_hardly_any(store):
    def mean_coverage(share: float) -> float:
        settings = Patches(size_px=32, per_image=10, positive_share=share, jitter=0.1)
        dataset = TrainingPatches(store, list(range(10)), Train(patches=settings, augmentation=STILL))
        return float(np.mean([dataset[0, index]["target"][0].mean() for index in range(100)]))

    assert mean_coverage(1.0) > 0.08
    assert mean_coverage(0.0) < 0.02


@settings(deadline=None)
@given(top=st.integers(-100, 100), left=st.integers(-100, 100), side=st.integers(8, 200))
def test_a_window_beyond_the_edge_sees_the_mirrored_image(store, top, left, side):
    image = np.array(store.array("image", 0))
    around = np.pad(image, 320, mode="symmetric")
    expected = around[320 + top : 320 + top + side, 320 + left : 320 + left + side]
    np.testing.assert_array_equal(crop(store, 0, Window(top, left, side))[0], expected)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1.0},
        {"turn": True},
        {"brightness": 0.3},
        {"contrast": 0.5},
        {"gamma": 0.5},
        {"zoom": 2.0},
        {"invert": 1.0},
        {"noise": 0.2},
    ],
)
def test_every_augmentation_parameter_is_used(store, change):
    still = TrainingPatches(store, [0], Train(patches=Patches(size_px=64), augmentation=STILL))
    moving = TrainingPatches(
        store, [0], Train(patches=Patches(size_px=64), augmentation=STILL.model_copy(update=change))
    )
    assert any(not torch.equal(still[0, index]["input"], moving[0, index]["input"]) for index in range(8))
    untouched_truth = "flip" not in change and "turn" not in change and "zoom" not in change
    if untouched_truth:
        assert all(torch.equal(still[0, index]["target"], moving[0, index]["target"]) for index in range(8))


@given(seed=st.integers(0, 1000))
def test_turns_and_flips_move_all_channels_alike(seed):
    image = np.random.default_rng(seed).random((1, 6, 6), dtype=np.float32)
    turned = turn_and_flip(np.concatenate([image, image * 2]), Augmentation(), np.random.default_rng(seed))
    np.testing.assert_array_equal(turned[0] * 2, turned[1])
    np.testing.assert_array_equal(np.sort(turned[0].ravel()), np.sort(image.ravel()))


def test_grey_changes_stay_within_their_limits():
    image = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    limits = STILL.model_copy(update={"brightness": 0.1, "contrast": 0.2})
    for seed in range(50):
        changed = change_grey(image, limits, np.random.default_rng(seed))
        assert abs(changed.mean() - image.mean()) <= 0.1 + 1e-6
        assert 0.8 - 1e-6 <= np.ptp(changed) / np.ptp(image) <= 1.2 + 1e-6


def test_validation_patches_tile_the_images_and_never_change(store):
    dataset = ValidationPatches(store, [0, 1], Train(patches=Patches(size_px=32, validation_per_image=9)))
    assert len(dataset) == 18
    assert torch.equal(dataset[0, 4]["input"], dataset[5, 4]["input"])
    covered = np.zeros((80, 80), bool)
    for position, window in dataset._windows:
        if position == 0:
            covered[window.top : window.top + 32, window.left : window.left + 32] = True
    assert covered.all()
    assert len(ValidationPatches(store, [0], Train(patches=Patches(size_px=32, validation_per_image=4)))) == 4
