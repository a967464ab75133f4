"""Augmentation moves boxes with what they show: each is painted in a channel of its own and found again there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from millrace.detection.augment import (
    GREY,
    SMALLEST_PX,
    Labelled,
    as_labelled,
    augmented,
    cropped,
    network_size,
    resized,
    to_tensor,
    with_size,
)
from millrace.detection.boxes import Truth
from millrace.detection.params import Augmentation, Resize

STILL = Augmentation(flip=0.0, scale=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
CHANNELS = 3
LEAST_BOX = 14
SEEN = 127
"""Above the grey of a mosaic's ground."""
MARK = 33
ROUNDING = 1e-4
"""Of float32 pixels."""


def painted(width: int, height: int, boxes: dict[int, tuple[int, int, int, int]]) -> Labelled:
    """A black picture in which channel c is full inside box c, which has the label c. Boxes may overlap."""
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    for channel, (left, top, right, bottom) in boxes.items():
        picture[channel, top:bottom, left:right] = 255
    corners = torch.tensor(list(boxes.values()), dtype=torch.float32).reshape(-1, 4)
    return Labelled(picture, corners, torch.tensor(list(boxes), dtype=torch.int64))


def extent(channel: torch.Tensor) -> list[int] | None:
    """Left, top, right, bottom of what is painted in a channel (H, W)."""
    rows, columns = (np.flatnonzero((channel > SEEN).any(dim).numpy()) for dim in (1, 0))
    if not len(rows):
        return None
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def check(sample: Labelled, tolerance: float = 0.0) -> None:
    """Each box is where its channel is painted, and in the frame."""
    height, width = sample.picture.shape[-2:]
    assert sample.picture.dtype == torch.uint8
    assert (sample.boxes.dtype, sample.labels.dtype) == (torch.float32, torch.int64)
    assert sample.boxes.shape == (len(sample.labels), 4)
    assert len(set(sample.labels.tolist())) == len(sample.labels)
    for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
        np.testing.assert_allclose(box, extent(sample.picture[label]), atol=tolerance)
        left, top, right, bottom = box
        assert -ROUNDING <= left < right <= width + ROUNDING
        assert -ROUNDING <= top < bottom <= height + ROUNDING


@st.composite
def pictures(draw, channels=(0, 1, 2), least: int = 40, most: int = 90):
    width, height = (draw(st.integers(least, most)) for _ in range(2))
    boxes = {}
    for channel in channels:
        if draw(st.booleans()):
            left, top = draw(st.integers(0, width - LEAST_BOX)), draw(st.integers(0, height - LEAST_BOX))
            right = draw(st.integers(left + LEAST_BOX, width))
            boxes[channel] = left, top, right, draw(st.integers(top + LEAST_BOX, height))
    return painted(width, height, boxes)


def seeds():
    return st.integers(0, 10_000)


def never() -> Labelled:
    raise AssertionError("no other picture is needed")


def same_size(sample: Labelled) -> Resize:
    height, width = sample.picture.shape[-2:]
    return Resize(short_side_px=min(height, width), long_side_px=max(height, width))


# Geometry ------------------------------------------------------------------------------------------------------------


@given(sample=pictures(), seed=seeds())
def test_flips_and_turns_keep_each_box_on_what_it_shows(sample, seed):
    settings = STILL.model_copy(update={"flip": 0.5, "flip_vertical": 0.5, "turn": True})
    changed = augmented(sample, same_size(sample), settings, np.random.default_rng(seed), never)
    check(changed)
    assert changed.labels.tolist() == sample.labels.tolist()
    assert sorted(changed.picture.shape) == sorted(sample.picture.shape)


def test_every_turn_and_flip_comes_up_and_is_the_stated_one():
    sample = painted(50, 40, {0: (1, 2, 30, 20)})
    resize = same_size(sample)

    def all_of(**changes) -> set[bytes]:
        settings = STILL.model_copy(update=changes)
        drawn = (augmented(sample, resize, settings, np.random.default_rng(seed), never) for seed in range(60))
        return {each.picture.numpy().tobytes() + bytes(each.picture.shape) for each in drawn}

    assert len(all_of(flip=0.5)) == len(all_of(flip_vertical=0.5)) == 2
    assert len(all_of(turn=True)) == 4
    assert len(all_of(turn=True, flip=0.5)) == 8
    assert len(all_of()) == 1
    mirrored = augmented(sample, resize, STILL.model_copy(update={"flip": 1.0}), np.random.default_rng(0), never)
    assert torch.equal(mirrored.picture, sample.picture.flip(2))
    upended = augmented(
        sample, resize, STILL.model_copy(update={"flip_vertical": 1.0}), np.random.default_rng(0), never
    )
    assert torch.equal(upended.picture, sample.picture.flip(1))


@given(sample=pictures(), seed=seeds(), short=st.integers(32, 90), scale=st.sampled_from([1.0, 1.5, 2.0]))
def test_scaling_keeps_each_box_on_what_it_shows(sample, seed, short, scale):
    resize = Resize(short_side_px=short, long_side_px=2 * short)
    settings = STILL.model_copy(update={"scale": scale})
    changed = augmented(sample, resize, settings, np.random.default_rng(seed), never)
    check(changed, tolerance=1.0)
    assert changed.labels.tolist() == sample.labels.tolist()


def test_magnifications_are_spread_evenly_between_the_largest_and_its_inverse():
    sample = painted(200, 100, {})
    resize = Resize(short_side_px=100, long_side_px=200)
    settings = STILL.model_copy(update={"scale": 2.0})
    shapes = [
        augmented(sample, resize, settings, np.random.default_rng(seed), never).picture.shape for seed in range(200)
    ]
    factors = np.array([height / 100 for _, height, _ in shapes])
    assert factors.min() >= 0.5
    assert factors.max() <= 2.0
    quarters = np.histogram(np.log2(factors), bins=4, range=(-1, 1))[0]
    assert quarters.min() > 30
    assert all(abs(width - 2 * height) <= 1 for _, height, width in shapes)


@given(sample=pictures(), seed=seeds(), share=st.floats(0.3, 1), visible=st.floats(0, 1))
def test_crops_keep_each_box_on_what_it_shows(sample, seed, share, visible):
    settings = STILL.model_copy(update={"crop": 1.0, "crop_share": share, "min_visible": visible})
    changed = augmented(
        sample, Resize(short_side_px=64, long_side_px=640), settings, np.random.default_rng(seed), never
    )
    check(changed, tolerance=64 / (share * 40))  # a pixel before it is magnified
    assert set(changed.labels.tolist()) <= set(sample.labels.tolist())


@given(sample=pictures(), data=st.data(), visible=st.floats(0, 1))
def test_a_crop_drops_the_boxes_that_mostly_vanish_and_cuts_the_others(sample, data, visible):
    height, width = sample.picture.shape[-2:]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    tall, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    part = cropped(sample, top, left, tall, wide, visible)
    assert torch.equal(part.picture, sample.picture[:, top : top + tall, left : left + wide])
    check(part)
    shares = [
        float((part.picture[label] > SEEN).sum() / (sample.picture[label] > SEEN).sum()) for label in sample.labels
    ]
    expected = [
        label for label, share in zip(sample.labels.tolist(), shares, strict=True) if share > 0 and share >= visible
    ]
    assert part.labels.tolist() == expected


def test_a_sliver_of_less_than_a_pixel_is_no_box():
    sample = Labelled(
        torch.zeros(3, 20, 20, dtype=torch.uint8),
        torch.tensor([[0.0, 0.0, 10.5, 10.0], [9.5, 2.0, 11.5, 3.5], [12.0, 12.0, 12.0, 15.0]]),
        torch.tensor([0, 1, 2]),
    )
    part = cropped(sample, 0, 10, 20, 10, 0.0)
    assert part.labels.tolist() == [1]
    assert part.boxes.tolist() == [[0.0, 2.0, 1.5, 3.5]]
    assert SMALLEST_PX == 1


def test_crops_have_the_stated_least_side():
    sample = painted(80, 60, {})
    settings = STILL.model_copy(update={"crop": 1.0, "crop_share": 0.5})
    shapes = []
    for seed in range(100):
        # The long side gives the magnification away: a crop of 30 rows is shown twice as large as one of 60.
        changed = augmented(
            sample, Resize(short_side_px=60, long_side_px=60), settings, np.random.default_rng(seed), never
        )
        shapes.append(changed.picture.shape[-2:])
        assert max(changed.picture.shape[-2:]) == 60
    ratios = [width / height for height, width in shapes]
    assert min(ratios) < 1 < max(ratios)  # sides are drawn apart
    assert all(40 / 60 - 0.05 <= ratio <= 80 / 30 + 0.05 for ratio in ratios)


# Mosaics -------------------------------------------------------------------------------------------------------------


@given(data=st.data(), seed=seeds(), visible=st.floats(0, 1), empty=st.integers(0, 3))
def test_mosaics_keep_each_box_on_what_it_shows(data, seed, visible, empty):
    channels = iter(range(CHANNELS))
    parts = [data.draw(pictures(() if place == empty else (next(channels),))) for place in range(4)]
    size = Resize(short_side_px=60, long_side_px=100)
    settings = STILL.model_copy(update={"mosaic": 1.0, "min_visible": visible})
    others = iter(parts[1:])
    changed = augmented(parts[0], size, settings, np.random.default_rng(seed), lambda: next(others))
    assert tuple(changed.picture.shape[-2:]) == network_size(*parts[0].picture.shape[-2:], size)
    check(changed, tolerance=1.0)
    for part in parts:
        for box, label in zip(part.boxes, part.labels.tolist(), strict=True):
            before = network_size(*part.picture.shape[-2:], size)
            scale = before[0] / part.picture.shape[-2] * before[1] / part.picture.shape[-1]
            area = float((box[2:] - box[:2]).prod()) * scale
            share = float((changed.picture[label] > SEEN).sum()) / area
            blur = 4 * 2 / area**0.5  # of the edges, as a share of the box
            if label in changed.labels:
                assert share >= visible - blur
            else:
                assert share <= visible + blur


def test_a_mosaic_shows_four_pictures_around_its_middle():
    """Each part is one grey level, so that the quarters tell where they meet; the corners that do are marked."""
    parts = [
        Labelled(
            torch.full((3, 60, 80), level, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
        )
        for level in (10, 60, 180, 250)
    ]
    for place, part in enumerate(parts):
        below, right = divmod(place, 2)
        rows, columns = (slice(0, 4) if second else slice(-4, None) for second in (below, right))
        part.picture[1, rows, columns] = MARK
    settings, meeting = STILL.model_copy(update={"mosaic": 1.0}), []
    for seed in range(60):
        others = iter(parts[1:])
        changed = augmented(
            parts[0],
            Resize(short_side_px=60, long_side_px=80),
            settings,
            np.random.default_rng(seed),
            others.__next__,
        )
        levels = changed.picture[0]
        assert set(levels.unique().tolist()) == {10, 60, 180, 250}  # parts of full size leave no gap
        assert [int(levels[row, column]) for row in (0, -1) for column in (0, -1)] == [10, 60, 180, 250]
        row, column = int((levels[:, 0] == 10).sum()), int((levels[0] == 10).sum())
        assert (changed.picture[1, row - 4 : row + 4, column - 4 : column + 4] == MARK).all()
        assert int((changed.picture[1] == MARK).sum()) == 64
        meeting.append((row / 60, column / 80))
    low, high = np.min(meeting, axis=0), np.max(meeting, axis=0)
    assert (low >= 0.29).all()
    assert (high <= 0.71).all()
    assert (high - low > 0.25).all()


def test_what_no_part_of_a_mosaic_reaches_is_grey():
    small = Labelled(
        torch.full((3, 40, 400), 200, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    )
    large = Labelled(
        torch.full((3, 64, 64), 200, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    )
    settings = STILL.model_copy(update={"mosaic": 1.0})
    changed = augmented(
        large, Resize(short_side_px=64, long_side_px=64), settings, np.random.default_rng(0), lambda: small
    )
    assert set(changed.picture.unique().tolist()) == {GREY, 200}


# All of it -----------------------------------------------------------------------------------------------------------

EVERYTHING = Augmentation(
    flip=0.5, flip_vertical=0.5, turn=True, scale=1.5, crop=0.5, mosaic=0.5, saturation=0.3, contrast=0.2, hue=0.1
)


@given(sample=pictures(), seed=seeds())
def test_a_sample_is_a_function_of_the_seed_and_changes_nothing_it_is_given(sample, seed):
    kept = Labelled(*(part.clone() for part in sample))
    resize = Resize(short_side_px=48, long_side_px=96)

    def drawn(number: int) -> Labelled:
        torch.rand(3)  # the global generator has no part in it
        return augmented(sample, resize, EVERYTHING, np.random.default_rng(number), lambda: sample)

    state = torch.get_rng_state()
    first, second = drawn(seed), drawn(seed)
    torch.set_rng_state(state)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(kept, sample, strict=True))


@given(sample=pictures(), seed=seeds())
def test_no_box_leaves_the_frame_or_is_empty(sample, seed):
    changed = augmented(
        sample, Resize(short_side_px=48, long_side_px=96), EVERYTHING, np.random.default_rng(seed), lambda: sample
    )
    height, width = changed.picture.shape[-2:]
    limits = torch.tensor([width, height, width, height])
    assert changed.boxes.shape == (len(changed.labels), 4)
    assert (changed.boxes >= -ROUNDING).all()
    assert (changed.boxes <= limits + ROUNDING).all()
    assert (changed.boxes[:, 2:] > changed.boxes[:, :2]).all()
    assert torch.isfinite(changed.boxes).all()


@pytest.mark.parametrize("change", ["flip", "flip_vertical", "turn", "scale", "crop", "mosaic", "brightness", "hue"])
def test_pictures_without_a_box_come_through(change):
    value = {"turn": True, "scale": 2.0, "brightness": 0.5, "hue": 0.5}.get(change, 1.0)
    sample = painted(50, 40, {})
    for seed in range(4):
        changed = augmented(
            sample,
            Resize(short_side_px=40, long_side_px=80),
            STILL.model_copy(update={change: value}),
            np.random.default_rng(seed),
            lambda: sample,
        )
        assert changed.boxes.shape == (0, 4)
        assert changed.labels.shape == (0,)
        assert (changed.boxes.dtype, changed.labels.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1.0},
        {"flip_vertical": 1.0},
        {"turn": True},
        {"scale": 1.5},
        {"crop": 1.0},
        {"mosaic": 1.0},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"saturation": 0.3},
        {"hue": 0.3},
    ],
)
def test_every_augmentation_parameter_is_used(change):
    sample = painted(50, 40, {0: (3, 3, 30, 20), 2: (8, 10, 40, 40)})

    def drawn(settings: Augmentation, seed: int) -> Labelled:
        return augmented(sample, same_size(sample), settings, np.random.default_rng(seed), lambda: sample)

    moved = STILL.model_copy(update=change)
    pairs = [(drawn(STILL, seed), drawn(moved, seed)) for seed in range(6)]
    assert any(not torch.equal(still.picture, other.picture) for still, other in pairs)
    if set(change) & {"brightness", "contrast", "saturation", "hue"}:
        assert all(torch.equal(still.boxes, other.boxes) for still, other in pairs)


def test_colours_change_within_their_limits():
    sample = Labelled(
        torch.full((3, 8, 8), 100, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    )
    settings = STILL.model_copy(update={"brightness": 0.2})
    levels = [
        int(augmented(sample, Resize(), settings, np.random.default_rng(seed), never).picture[0, 0, 0])
        for seed in range(100)
    ]
    assert 79 <= min(levels) < 90
    assert 110 < max(levels) <= 120


# Sizes ---------------------------------------------------------------------------------------------------------------


@given(
    height=st.integers(1, 20_000), width=st.integers(1, 20_000), short=st.integers(32, 2000), more=st.integers(0, 2000)
)
def test_a_size_reaches_the_short_side_or_the_long_one_and_passes_neither(height, width, short, more):
    resize = Resize(short_side_px=short, long_side_px=short + more)
    size = network_size(height, width, resize)
    assert min(size) >= 1
    assert max(size) <= resize.long_side_px
    assert min(size) <= resize.short_side_px
    assert min(size) == resize.short_side_px or max(size) == resize.long_side_px
    assert (size[0] >= size[1]) == (height >= width) or abs(size[0] - size[1]) <= 1
    scale = max(size) / max(height, width)
    assert abs(min(size) - max(1, min(height, width) * scale)) <= 0.5 + 0.5 * min(height, width) / max(height, width)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((480, 640), (240, 320)),
        ((640, 480), (320, 240)),
        ((240, 320), (240, 320)),
        ((100, 400), (120, 480)),
        ((1, 20_000), (1, 480)),
        ((20_000, 1), (480, 1)),
        ((1, 1), (240, 240)),
    ],
)
def test_sizes_by_hand(shape, size):
    assert network_size(*shape, Resize(short_side_px=240, long_side_px=480)) == size


@given(sample=pictures(), height=st.integers(20, 120), width=st.integers(20, 120))
def test_resizing_stretches_each_side_by_itself(sample, height, width):
    changed = resized(sample, (height, width))
    assert tuple(changed.picture.shape) == (3, height, width)
    before_height, before_width = sample.picture.shape[-2:]
    factors = torch.tensor([width / before_width, height / before_height] * 2)
    torch.testing.assert_close(changed.boxes, sample.boxes * factors)
    check(changed, tolerance=1.0)


def test_a_picture_of_the_right_size_is_left_alone():
    picture = torch.randint(0, 256, (3, 30, 40), dtype=torch.uint8)
    assert torch.equal(with_size(picture, (30, 40)), picture)
    assert with_size(picture, (15, 20)).dtype == torch.uint8


def test_ignored_boxes_are_not_trained_on_and_arrays_are_copied():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 12, 12]], np.float32)
    truth = Truth(boxes.copy(), np.array([1, 0, 1]), np.array([False, True, False]))
    sample = as_labelled(pixels, truth)
    assert torch.equal(sample.picture, torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    assert sample.boxes.tolist() == boxes[[0, 2]].tolist()
    assert sample.labels.tolist() == [1, 1]
    for part in sample:
        part.fill_(0)
    np.testing.assert_array_equal(truth.boxes, boxes)
    assert pixels.any()
    pixels.flags.writeable = False
    to_tensor(pixels)  # as a store's memory may be: no warning, no error
