"""True and found boxes, their overlaps, and the prepared store that holds them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask
from raw_folders import QUIET, coco, write_coco_folder
from stores import CATEGORIES, EMPTY, TURNED, WITH_IGNORED, Scene, scenes, write_store
from torchvision.ops import box_iou

from millrace.detection.boxes import Detections, ious
from millrace.detection.params import Prepare
from millrace.detection.prepare import prepare_folder
from millrace.detection.store import BOXES, BYTES, IMAGES, META, Store, instances_file
from millrace.errors import ImageError, UserError


def boxes_of(most: int):
    """(N, 4) of whole pixels; some are empty."""
    corners = arrays.arrays(np.int64, st.tuples(st.integers(0, most), st.just(4)), elements=st.integers(0, 40))
    return corners.map(lambda each: np.concatenate([each[:, :2], each[:, :2] + each[:, 2:]], axis=1).astype(np.float32))


@given(first=boxes_of(5), second=boxes_of(5))
def test_overlaps_are_those_of_torchvision(first, second):
    expected = box_iou(torch.from_numpy(first).double(), torch.from_numpy(second).double()).nan_to_num(0).numpy()
    found = ious(first, second)
    assert found.shape == (len(first), len(second))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(first=boxes_of(4), second=boxes_of(4), data=st.data())
def test_overlaps_with_crowds_are_those_of_coco(first, second, data):
    crowd = np.array(data.draw(st.lists(st.booleans(), min_size=len(second), max_size=len(second))), bool)
    sized = [np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1).astype(float) for each in (first, second)]
    found = ious(first, second, crowd)
    if len(first) and len(second):
        expected = np.nan_to_num(mask.iou(*sized, crowd.astype(np.uint8).tolist()))
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.shape == (len(first), len(second))


def test_boxes_above_a_score_include_those_that_have_it():
    score = np.float32(0.3)
    found = Detections(np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(3), np.array([0.9, score, 0.1], "f4"))
    for threshold in (0.3, float(score)):
        kept = found.above(threshold)
        assert kept.labels.tolist() == [0, 1]
        np.testing.assert_array_equal(kept.boxes, found.boxes[:2])
        np.testing.assert_array_equal(kept.scores, found.scores[:2])
    assert found.above(0.95).boxes.shape == (0, 4)


# The store -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(write_store(tmp_path_factory.mktemp("store") / "prepared"))


def test_the_store_gives_back_pictures_and_boxes(store):
    assert store.categories == CATEGORIES
    assert store.names == ["red", "blue"]
    for number, scene in enumerate(scenes()):
        np.testing.assert_array_equal(store.pixels(number), scene.pixels(number))
        truth = store.truth(number)
        expected = np.array(scene.boxes).reshape(-1, 4)
        np.testing.assert_array_equal(truth.boxes[:, :2], expected[:, :2])
        np.testing.assert_array_equal(truth.boxes[:, 2:] - truth.boxes[:, :2], expected[:, 2:])
        assert truth.labels.tolist() == scene.labels
        assert truth.ignored.tolist() == scene.ignored
        assert (truth.boxes.dtype, truth.labels.dtype, truth.ignored.dtype) == (np.float32, np.int64, bool)
    assert store.pixels(TURNED).shape == (48, 64, 3)
    assert store.truth(EMPTY).boxes.shape == (0, 4)
    assert [bool(store.truth(number).ignored.any()) for number in WITH_IGNORED] == [True, True]


def test_the_store_lists_the_images_of_each_side(store):
    sides = {side: store.positions(side) for side in ("train", "validation", "test", "other")}
    assert sides == {"train": list(range(8)), "validation": [8, 9], "test": [10, 11], "other": []}


def test_prepare_writes_what_these_tests_read(store, tmp_path):
    """The folder that `write_store` writes has the files, columns and types of the real one."""
    raw = write_coco_folder(tmp_path / "raw", coco([[[1, 2, 9, 8, 1]], [], [[3, 3, 20, 20, 2], [8, 8, 9, 9, 1]]]))
    prepare_folder(raw, Prepare(), QUIET, tmp_path / "prepared", "train")
    assert {path.name for path in (tmp_path / "prepared").iterdir()} == {path.name for path in store.folder.iterdir()}
    for name in (IMAGES, BOXES):
        real, ours = (pd.read_parquet(folder / name) for folder in (tmp_path / "prepared", store.folder))
        assert {column: str(kind) for column, kind in real.dtypes.items()} == {
            column: str(kind) for column, kind in ours.dtypes.items()
        }
    for name in (META, instances_file("train")):
        real, ours = (json.loads((folder / name).read_text()) for folder in (tmp_path / "prepared", store.folder))
        assert real.keys() == ours.keys()


def test_a_store_without_any_box_can_be_read(tmp_path):
    store = Store(write_store(tmp_path / "prepared", [Scene(20, 10, [], [], []), Scene(10, 20, [], [], [])]))
    assert [len(store.truth(number).labels) for number in (0, 1)] == [0, 0]
    assert store.pixels(1).shape == (20, 10, 3)


@pytest.mark.parametrize("name", [IMAGES, BOXES, BYTES, META])
@pytest.mark.parametrize("damage", ["missing", "empty", "torn"])
def test_a_damaged_store_says_what_to_do(tmp_path, name, damage):
    folder = write_store(tmp_path / "prepared")
    file = folder / name
    if damage == "missing":
        file.unlink()
    elif name == BYTES and damage == "torn":
        file.write_bytes(file.read_bytes()[:-500])
        with pytest.raises(ImageError):
            Store(folder).pixels(11)
        return
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else 30])
    with pytest.raises(UserError, match=r"holds no prepared data .*dvc repro detection-prepare"):
        Store(folder)


def test_a_store_of_another_version_says_what_to_do(tmp_path):
    folder = write_store(tmp_path / "prepared")
    pd.read_parquet(folder / BOXES).drop(columns="label").to_parquet(folder / BOXES, index=False)
    with pytest.raises(UserError, match="holds no prepared data"):
        Store(folder)
