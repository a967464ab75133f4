"""Training samples: a function of seed, epoch and index alone, in the stated shares."""

from __future__ import annotations

import hashlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stores import EMPTY, TURNED, WITH_BLUE, WITH_IGNORED, Scene, scenes, write_store
from torch.utils.data import DataLoader

from millrace.detection.boxes import Truth
from millrace.detection.data import TrainingImages, ValidationImages, repeat_factors, training_boxes
from millrace.detection.params import Augmentation, Resize, Train
from millrace.detection.store import Store
from millrace.training.sampling import EpochSampler

RESIZE = Resize(short_side_px=48, long_side_px=64)
STILL = Augmentation(flip=0.0, scale=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
TRAIN = list(range(8))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(write_store(tmp_path_factory.mktemp("store") / "prepared"))


def settings(**changes) -> Train:
    return Train(**({"resize": RESIZE, "batch_size": 2} | changes))


def classes_of(*images: set[int], shapes: list[tuple[int, int]] | None = None) -> SimpleNamespace:
    """A stand-in for a store of three classes, of images with one box of each class named."""
    sizes = shapes or [(32, 32)] * len(images)
    return SimpleNamespace(
        categories=[{"id": number} for number in range(3)],
        images=pd.DataFrame(
            {
                "height": [height for height, _ in sizes],
                "width": [width for _, width in sizes],
                "file_name": [str(number) for number in range(len(images))],
            }
        ),
        truth=lambda position: Truth(
            np.tile(np.array([[4, 4, 20, 20]], np.float32), (len(images[position]), 1)),
            np.array(sorted(images[position]), np.int64),
            np.zeros(len(images[position]), bool),
        ),
        pixels=lambda position: np.zeros((*sizes[position], 3), np.uint8),
    )


def equal(first, second) -> bool:
    targets = [(first["targets"][key], second["targets"][key]) for key in ("boxes", "labels")]
    return all(torch.equal(*pair) for pair in [(first["images"], second["images"]), *targets])


# Samples -------------------------------------------------------------------------------------------------------------


def test_samples_have_the_stated_shapes_types_and_ranges(store):
    dataset = TrainingImages(store, TRAIN, settings())
    for index in range(len(dataset)):
        sample = dataset[0, index]
        assert sample["images"].dtype == torch.float32
        assert sample["images"].shape[0] == 3
        assert 0 <= sample["images"].min() <= sample["images"].max() <= 1
        boxes, labels = sample["targets"]["boxes"], sample["targets"]["labels"]
        assert (boxes.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert boxes.shape == (len(labels), 4)
        assert sample["name"] == f"scene-{sample['position']}.png"
        assert sample["targets"].keys() == {"boxes", "labels"}


def test_unchanged_samples_are_the_stores_without_ignored_boxes(store):
    dataset = TrainingImages(store, TRAIN, settings(augmentation=STILL))
    samples = {sample["position"]: sample for sample in (dataset[0, index] for index in range(8))}
    assert sorted(samples) == TRAIN
    for position, sample in samples.items():
        pixels = torch.from_numpy(store.pixels(position)).permute(2, 0, 1)
        torch.testing.assert_close(sample["images"], pixels / 255)
        truth = store.truth(position)
        assert sample["targets"]["boxes"].tolist() == truth.boxes[~truth.ignored].tolist()
        assert sample["targets"]["labels"].tolist() == truth.labels[~truth.ignored].tolist()
    assert samples[EMPTY]["targets"]["boxes"].shape == (0, 4)
    assert len(samples[WITH_IGNORED[0]]["targets"]["labels"]) == len(store.truth(WITH_IGNORED[0]).labels) - 1
    assert samples[TURNED]["images"].shape == (3, 48, 64)


def test_a_sample_depends_on_seed_epoch_and_index_alone(store):
    augmentation = Augmentation(mosaic=0.5, crop=0.5)
    first, second = (TrainingImages(store, TRAIN, settings(augmentation=augmentation)) for _ in range(2))
    second[3, 1]  # what was drawn before does not matter
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  # nor does the global generator
    for index in range(8):
        assert equal(first[2, index], second[2, index])
    others = TrainingImages(store, TRAIN, settings(augmentation=augmentation, seed=1))
    assert not equal(first[2, 5], first[3, 5])
    assert not equal(first[2, 5], others[2, 5])


def test_worker_processes_do_not_change_the_batches(store):
    def drawn(workers: int) -> list[str]:
        dataset = TrainingImages(store, TRAIN, settings(augmentation=Augmentation(mosaic=0.5)))
        sampler = EpochSampler(len(dataset), 4, 1, 0, groups=dataset.groups)
        loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=dataset.collate)
        return [
            f"{batch['name']} {[float(image.sum()) for image in batch['input']['images']]} {batch['input']['targets']}"
            for batch in loader
        ]

    assert drawn(0) == drawn(2)


def test_drawing_samples_changes_nothing_in_the_store(store):
    def digest() -> str:
        parts = [part for number in range(12) for part in (store.pixels(number), *store.truth(number))]
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    before = digest()
    everything = Augmentation(flip_vertical=0.5, turn=True, scale=2.0, crop=0.5, mosaic=0.5, hue=0.2)
    for augmentation in (STILL, everything):
        dataset = TrainingImages(store, TRAIN, settings(augmentation=augmentation))
        for index in range(8):
            sample = dataset[0, index]
            for part in (sample["images"], sample["targets"]["boxes"], sample["targets"]["labels"]):
                part.fill_(0)
    for part in (ValidationImages(store, [8], RESIZE)[0, 0]["targets"]).values():
        part.fill_(0)
    assert digest() == before


def test_a_mosaic_takes_boxes_of_several_training_images_and_of_no_other(store):
    dataset = TrainingImages(store, [0, 1], settings(augmentation=STILL.model_copy(update={"mosaic": 1.0})))
    counts = [len(dataset[epoch, 0]["targets"]["labels"]) for epoch in range(20)]
    assert max(counts) > max(len(store.truth(position).labels) for position in (0, 1))
    red_only = TrainingImages(store, [0, 2], settings(augmentation=STILL.model_copy(update={"mosaic": 1.0})))
    labels = torch.cat([red_only[epoch, 0]["targets"]["labels"] for epoch in range(20)])
    assert set(labels.tolist()) == {0}  # every image beside these two has blue or would be a stranger


def test_validation_images_are_resized_only_and_the_same_in_every_epoch(store):
    dataset = ValidationImages(store, [8, 9, 2], Resize(short_side_px=96, long_side_px=200))
    assert len(dataset) == 3
    for index, position in enumerate([8, 9, 2]):
        first, later = dataset[0, index], dataset[7, index]
        assert equal(first, later)
        assert first["position"] == position
        scene = scenes()[position]
        assert first["images"].shape == (3, 2 * scene.height, 2 * scene.width)
        truth = store.truth(position)
        torch.testing.assert_close(first["targets"]["boxes"], torch.from_numpy(2 * truth.boxes[~truth.ignored]))


def test_boxes_too_narrow_for_float32_are_not_trained_on(tmp_path):
    """What clipping leaves of a box at an edge may be wider than nothing in a file, and not in a tensor."""
    boxes = [[1000.0, 4.0, 1e-6, 10.0], [100.0, 4.0, 20.0, 10.0]]
    store = Store(write_store(tmp_path / "prepared", [Scene(1100, 32, boxes, [0, 1], [False, False])]))
    resize = Resize(short_side_px=32, long_side_px=1100)
    training = TrainingImages(store, [0], settings(resize=resize, augmentation=STILL))
    for sample in (training[0, 0], ValidationImages(store, [0], resize)[0, 0]):
        sides = sample["targets"]["boxes"][:, 2:] - sample["targets"]["boxes"][:, :2]
        assert (sides > 0).all()
        assert sample["targets"]["labels"].tolist() == [1]


def test_a_batch_keeps_pictures_of_different_sizes_apart(store):
    dataset = ValidationImages(store, [0, 2], RESIZE)
    batch = dataset.collate([dataset[0, 0], dataset[0, 1]])
    assert [tuple(image.shape) for image in batch["input"]["images"]] == [(3, 48, 64), (3, 64, 48)]
    assert [len(target["labels"]) for target in batch["input"]["targets"]] == [1, 1]
    assert batch["name"] == ["scene-0.png", "scene-2.png"]
    assert batch["position"] == [0, 2]


def test_boxes_to_fit_anchors_to_are_those_of_the_network_without_ignored_ones(store):
    boxes, labels = training_boxes(store, [0, 1, EMPTY, *WITH_IGNORED], Resize(short_side_px=96, long_side_px=200))
    kept = [store.truth(position) for position in (0, 1, *WITH_IGNORED)]
    np.testing.assert_allclose(boxes, np.concatenate([2 * truth.boxes[~truth.ignored] for truth in kept]), rtol=1e-6)
    assert labels.tolist() == [label for truth in kept for label in truth.labels[~truth.ignored]]
    assert [part.shape for part in training_boxes(store, [EMPTY], RESIZE)] == [(0, 4), (0,)]


# Repetition ----------------------------------------------------------------------------------------------------------


def test_repeat_factors_by_hand():
    """LVIS (Gupta et al. 2019), section 4.2: r(c) = max(1, sqrt(t / f(c))), and the largest of an image's classes."""
    images = [{0}] * 12 + [{0, 1}] * 3 + [{2}] + [set()] * 4
    # f: class 0 in 15 of 20, class 1 in 3, class 2 in 1; t = .6.
    factors = repeat_factors(classes_of(*images), list(range(20)), 0.6)
    np.testing.assert_allclose(factors, [1] * 12 + [2] * 3 + [12**0.5] + [1] * 4)
    assert (repeat_factors(classes_of(*images), list(range(20)), 0.0) == 1).all()
    # Shares are those of the images that are trained on.
    np.testing.assert_allclose(repeat_factors(classes_of(*images), [12, 13, 14, 15], 0.6), [1, 1, 1, 2.4**0.5])


def test_ignored_boxes_make_no_class_present(store):
    factors = repeat_factors(store, TRAIN, 1.0)
    shares = {0: 7 / 8, 1: sum(position in WITH_BLUE for position in TRAIN) / 8}
    expected = [
        max([1.0, *(shares[label] ** -0.5 for label in set(scene.labels))]) for scene in (scenes()[p] for p in TRAIN)
    ]
    np.testing.assert_allclose(factors, expected)
    only_ignored = classes_of({0}, {1})
    only_ignored.truth = lambda position: Truth(np.zeros((1, 4), "f4"), np.array([position]), np.array([position == 1]))
    np.testing.assert_allclose(repeat_factors(only_ignored, [0, 1], 1.0), [2**0.5, 1.0])


@given(frequent=st.integers(0, 40), rare=st.integers(1, 4), share=st.floats(0, 1), epoch=st.integers(0, 50))
def test_each_image_is_drawn_at_least_once_an_epoch_and_about_as_often_as_stated(frequent, rare, share, epoch):
    images = [{0}] * frequent + [{1}] * rare
    fake, positions = classes_of(*images), list(range(len(images)))
    factors = repeat_factors(fake, positions, share)
    dataset = TrainingImages(fake, positions, settings(repeat=share, augmentation=STILL))
    assert abs(len(dataset) - factors.sum()) < 1
    drawn = Counter(dataset[epoch, index]["position"] for index in range(len(dataset)))
    assert set(drawn) == set(positions)
    for position, factor in enumerate(factors):
        assert abs(drawn[position] - factor) < 1.5


def test_fractions_of_a_repetition_add_up_over_the_epochs():
    images = [{0}] * 12 + [{0, 1}] * 3 + [{2}] + [set()] * 4
    dataset = TrainingImages(classes_of(*images), list(range(20)), settings(repeat=0.6, augmentation=STILL))
    factors = np.array([1] * 12 + [2] * 3 + [12**0.5] + [1] * 4)
    drawn = Counter(dataset[epoch, index]["position"] for epoch in range(80) for index in range(len(dataset)))
    counts = np.array([drawn[position] for position in range(20)]) / 80
    np.testing.assert_allclose(counts, factors * len(dataset) / factors.sum(), atol=0.2)


def test_without_repetition_each_image_is_drawn_once(store):
    dataset = TrainingImages(store, TRAIN, settings())
    for epoch in range(5):
        assert sorted(dataset[epoch, index]["position"] for index in range(len(dataset))) == TRAIN


# Groups --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [0.0, 0.7])
@pytest.mark.parametrize(
    "changes", [{}, {"turn": True}, {"crop": 0.5, "crop_share": 0.3}, {"mosaic": 0.5, "turn": True}]
)
def test_groups_say_which_samples_are_upright(repeat, changes):
    shapes = [(32, 48) if number % 2 else (48, 32) for number in range(15)]
    fake = classes_of(*([{0}] * 12 + [{1}] * 3), shapes=shapes)
    dataset = TrainingImages(fake, list(range(15)), settings(repeat=repeat, augmentation=Augmentation(**changes)))
    for epoch in range(5):
        groups = dataset.groups(epoch)
        assert groups.shape == (len(dataset),)
        assert groups.dtype == np.int64
        for index, group in enumerate(groups.tolist()):
            height, width = dataset[epoch, index]["images"].shape[-2:]
            assert group == int(height > width) or height == width
    assert TrainingImages(fake, list(range(15)), settings(group_by_shape=False)).groups(0) is None


def test_batches_are_of_one_shape_as_far_as_that_can_be():
    shapes = [(32, 48) if number % 3 else (48, 32) for number in range(26)]  # 17 wide, 9 upright
    dataset = TrainingImages(classes_of(*([{0}] * 26), shapes=shapes), list(range(26)), settings(augmentation=STILL))

    def mixed(groups) -> list[int]:
        counts = []
        for epoch in range(10):
            sampler = EpochSampler(len(dataset), 4, 1, 0, groups=groups)
            sampler.set_epoch(epoch)
            order = [dataset[key]["images"].shape[1] for key in sampler]
            batches = [set(order[start : start + 4]) for start in range(0, len(order), 4)]
            assert len(batches) == 6
            counts.append(sum(len(batch) > 1 for batch in batches))
        return counts

    assert mixed(dataset.groups) == [0] * 10  # four wide and two upright batches, one of each left over
    assert min(mixed(lambda epoch: None)) > 2
