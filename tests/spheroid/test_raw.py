"""Which image belongs to which mask."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.errors import UserError
from millrace.spheroid.raw import find_pairs


def folder(raw: Path, images: list[str], masks: list[str], mask_folder: str = "masks") -> Path:
    for name, files in (("images", images), (mask_folder, masks)):
        (raw / name).mkdir(parents=True)
        for file in files:
            (raw / name / file).touch()
    return raw


@pytest.mark.parametrize("ending", ["", "_mask", "-masks", "_label", ".labels", "_seg", "_GT", " mask"])
@pytest.mark.parametrize("mask_folder", ["masks", "labels"])
def test_masks_are_matched_by_stem_with_an_ending(tmp_path, ending, mask_folder):
    raw = folder(tmp_path, ["b.tif", "a.PNG"], [f"a{ending}.tif", f"b{ending}.png"], mask_folder)
    pairs, problems = find_pairs(raw)
    assert [(pair.name, pair.image.name, pair.mask.name) for pair in pairs] == [
        ("a", "a.PNG", f"a{ending}.tif"),
        ("b", "b.tif", f"b{ending}.png"),
    ]
    assert problems == []


def test_an_image_may_be_named_like_a_mask(tmp_path):
    pairs, problems = find_pairs(folder(tmp_path, ["a.png", "a_mask.png"], ["a.png", "a_mask.png"]))
    assert [(pair.image.name, pair.mask.name) for pair in pairs] == [("a.png", "a.png"), ("a_mask.png", "a_mask.png")]
    assert problems == []


def test_every_file_without_a_place_is_a_problem(tmp_path):
    raw = folder(
        tmp_path,
        ["ok.png", "alone.png", "twice.png", "same.png", "same.tif", "notes.txt", ".hidden", "Thumbs.db"],
        ["ok.png", "twice.png", "twice_mask.png", "same.png", "orphan_mask.png"],
    )
    pairs, problems = find_pairs(raw)
    assert [pair.name for pair in pairs] == ["ok", "same"]
    assert sorted((problem.path.name, problem.reason) for problem in problems) == [
        ("alone.png", "has no mask alone.* or alone_mask.* in masks/"),
        ("notes.txt", "is no image file (.bmp, .jpeg, .jpg, .png, .tif, .tiff); move it elsewhere"),
        ("orphan_mask.png", "has no image of this name"),
        ("same.tif", "has the same name as same.png"),
        ("twice.png", "has 2 masks: twice.png, twice_mask.png"),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda raw: None, "does not exist. Set spheroid.raw"),
        (lambda raw: raw.mkdir(), r"must hold a folder images/ .* it holds nothing"),
        (lambda raw: folder(raw, ["a.png"], [], "truth"), "it holds images, truth"),
        (lambda raw: folder(raw, ["a.png"], ["a.png"]) / "labels", None),
        (lambda raw: folder(raw, [], []), "holds no image"),
    ],
)
def test_unusable_folders_are_refused(tmp_path, make, message):
    raw = tmp_path / "raw"
    made = make(raw)
    if message is None:
        made.mkdir()
        message = "one of masks or labels/; it holds images, labels, masks"
    with pytest.raises(UserError, match=message):
        find_pairs(raw)
