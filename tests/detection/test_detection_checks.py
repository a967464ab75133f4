"""Every kind of finding, each from a minimal set; properties of the rules that look at many boxes."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raw_folders import QUIET, bccd_folder, coco, noise, section, write_coco_folder, write_image

from millrace.detection.box_checks import corners_mistaken, repeats
from millrace.detection.boxes import ious
from millrace.detection.check import box_sizes, check_folder, class_balance, print_check
from millrace.detection.checks import Checked, check_dataset
from millrace.detection.dataset import Annotation, Category, Dataset, ImageEntry
from millrace.detection.findings import Finding
from millrace.detection.image_checks import Inspected, content_of, deal_given
from millrace.detection.params import Policy, Prepare

SOURCE = Path("raw/a.json")
WIDTH, HEIGHT = 100, 80
GOOD = (10.0, 10.0, 20.0, 20.0)


def box(number: int, place: tuple[float, ...] = GOOD, image: int = 1, category: int = 1, **more: Any) -> Annotation:
    fields = {"crowd": False, "difficult": False, "source": SOURCE} | more
    return Annotation(number, image, category, *place, **fields)


def dataset(*boxes: Annotation, images: int = 1, categories: tuple[tuple[int, str], ...] = ((1, "disc"),)) -> Dataset:
    return Dataset(
        tuple(Category(*each) for each in categories),
        tuple(ImageEntry(number, f"{number}.png", WIDTH, HEIGHT, SOURCE) for number in range(1, images + 1)),
        boxes,
    )


def files(of: Dataset, **changes: Inspected) -> list[Inspected]:
    sound = {
        image.file_name: Inspected(Path(image.file_name), WIDTH, HEIGHT, 1, image.file_name) for image in of.images
    }
    return [changes.get(f"i{image.id}", sound[image.file_name]) for image in of.images]


def check(
    of: Dataset, lists: dict[str, set[int]] | None = None, files_: list[Inspected] | None = None, **prepare: Any
) -> Checked:
    settings = Prepare.model_validate(prepare)
    return check_dataset(of, files_ or files(of), lists or {}, settings, Path("raw"))


def of_kind(checked: Checked, kind: str) -> list[Finding]:
    return [finding for finding in checked.findings if finding.kind == kind]


def kinds(checked: Checked) -> list[str]:
    return [finding.kind for finding in checked.findings]


def test_a_sound_set_has_no_finding():
    checked = check(dataset(box(1), box(2, (0, 0, WIDTH, HEIGHT))))
    assert checked.findings == []
    assert checked.boxes[["x", "y", "width", "height"]].to_numpy().tolist() == [list(GOOD), [0, 0, WIDTH, HEIGHT]]
    assert checked.images["image_id"].tolist() == [1]


# Boxes


@pytest.mark.parametrize(
    ("kind", "wrong", "what"),
    [
        ("unknown_image", box(9, image=5), "there is no such image"),
        ("undeclared_category", box(9, category=0), "category 0 is not declared"),
        ("box_not_finite", box(9, (math.nan, 1, 2, 3)), "x nan, y 1, width 2, height 3"),
        ("box_not_finite", box(9, (0, 1, math.inf, 3)), "x 0, y 1, width inf, height 3"),
        ("box_empty", box(9, (5, 5, 0, 3)), "x 5, y 5, width 0, height 3"),
        ("box_empty", box(9, (5, 5, 3, -4)), "x 5, y 5, width 3, height -4"),
        ("box_outside", box(9, (-3, 1, 10, 3)), "reaches 3 px beyond the left edge"),
        ("box_outside", box(9, (90, 1, 10.5, 3)), "reaches 0.5 px beyond the right edge"),
        ("box_outside", box(9, (90, 75, 12, 30)), "reaches 25 px beyond the bottom edge"),
        ("box_outside", box(9, (120, 1, 10, 3)), "lies outside"),
        ("box_outside", box(9, (1, -3, 10, 3)), "lies outside"),
        ("box_outside", box(9, (1e308, 1, 1e308, 3)), "lies outside"),
        ("box_repeated", box(9, (10, 10, 21, 20)), "is nearly that of annotation 1"),
    ],
)
def test_bad_boxes_stop_or_are_dropped_as_the_policy_says(kind, wrong, what):
    of = dataset(box(1), wrong)
    for policy, done in (("stop", "stopped"), ("drop", "dropped")):
        checked = check(of, policy={kind: policy})
        (finding,) = checked.findings
        place = ("", 5) if kind == "unknown_image" else ("1.png", 1)
        assert finding == Finding(kind, "a.json", place[1], place[0], 9, what, done)
        assert checked.boxes["annotation_id"].tolist() == [1]


def test_boxes_are_cut_to_their_image():
    checked = check(dataset(box(1, (-3, 10, 10, 20)), box(2, (120, 1, 10, 3)), box(3, (90, 70, 20, 20))))
    assert [(each.annotation_id, each.done) for each in of_kind(checked, "box_outside")] == [
        (1, "clipped"),
        (3, "clipped"),
        (2, "dropped"),
    ]
    assert checked.boxes[["x", "y", "width", "height"]].to_numpy().tolist() == [[0, 10, 7, 20], [90, 70, 10, 10]]


def test_noise_at_the_edge_is_cut_without_a_finding_and_other_boxes_keep_every_bit():
    inner = (0.1, 0.1, 0.2, 0.2)  # 0.1 + 0.2 - 0.1 is not 0.2
    checked = check(dataset(box(1, (50.004, 60, 50, 20.01)), box(2, inner)), policy={"box_outside": "stop"})
    assert checked.findings == []
    (x, y, width, height), other = checked.boxes[["x", "y", "width", "height"]].to_numpy().tolist()
    assert (x, y) == (50.004, 60)
    assert x + width <= WIDTH
    assert y + height <= HEIGHT
    assert tuple(other) == inner
    sliver = check(dataset(box(1), box(2, (99.999999, 0, 0.02, 5)), box(3, (WIDTH, 0, 0.02, 5))))
    assert [each.annotation_id for each in of_kind(sliver, "box_outside")] == [3]


@pytest.mark.parametrize("image", ["i1", None])
def test_boxes_of_an_image_that_nobody_could_read_are_held_against_its_stated_size(image):
    of = dataset(box(1, image=2), box(9, (90, 1, 30, 3)), images=2)
    read = files(of, **({image: Inspected(kind="image_missing", reason="gone")} if image else {}))
    assert [each.what for each in of_kind(check(of, files_=read), "box_outside")] == [
        "reaches 20 px beyond the right edge"
    ]
    unknown = replace(of, images=tuple(replace(each, width=None, height=None) for each in of.images))
    read = files(unknown, i1=Inspected(kind="image_missing", reason="gone"))
    checked = check(unknown, files_=read, policy={"image_missing": "drop"})
    assert kinds(checked) == ["image_missing"]
    assert checked.boxes["annotation_id"].tolist() == [1]


def test_repeated_boxes_are_kept_unless_told_otherwise():
    of = dataset(box(1), box(2), box(3, (10, 10, 21, 20)), box(4, category=2), box(5, image=2), images=2)
    of = replace(of, categories=(Category(1, "disc"), Category(2, "square")))
    checked = check(of)
    assert [(each.annotation_id, each.done) for each in of_kind(checked, "box_repeated")] == [(2, "kept"), (3, "kept")]
    assert len(checked.boxes) == 5
    dropped = check(of, policy={"box_repeated": "drop"}).boxes
    assert dropped["annotation_id"].tolist() == [1, 4, 5]
    assert kinds(check(of, repeated_iou=0.99)).count("box_repeated") == 1


PLACES = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 1), st.integers(0, 9), st.integers(0, 1), st.integers(1, 9), st.integers(8, 9)
    ),
    max_size=30,
)


@given(places=PLACES, iou=st.sampled_from([0.2, 0.5, 0.75, 0.9]), crowd=st.integers(0, 5))
def test_repeated_boxes_are_those_of_a_comparison_of_all_pairs(places, iou, crowd):
    boxes = pd.DataFrame(places, columns=["image", "label", "x", "y", "width", "height"], dtype=float)
    boxes["crowd"] = np.arange(len(boxes)) % 6 == crowd
    found = repeats(boxes, iou)
    corners = np.array([[x, y, x + w, y + h] for *_, x, y, w, h in places]).reshape(-1, 4)
    overlap = ious(corners, corners)
    for later in range(len(boxes)):
        partners = [
            earlier
            for earlier in range(later)
            if places[earlier][:2] == places[later][:2]
            and overlap[earlier, later] >= iou - 1e-12
            and not boxes["crowd"][earlier]
            and not boxes["crowd"][later]
        ]
        assert found[later] in partners if partners else found[later] == -1


def test_crowds_and_difficult_boxes():
    of = dataset(box(1), box(2, (40, 40, 9, 9), crowd=True), box(3, (60, 40, 9, 9), difficult=True))
    checked = check(of)
    assert checked.boxes["ignored"].tolist() == [False, True, False]
    assert [(each.kind, each.annotation_id, each.done) for each in checked.findings] == [
        ("crowd", 2, "kept"),
        ("difficult", 3, "kept"),
    ]
    assert check(of, difficult="ignore").boxes["ignored"].tolist() == [False, True, True]
    dropped = check(of, difficult="drop", crowds="drop")
    assert dropped.boxes["annotation_id"].tolist() == [1]
    assert {each.done for each in dropped.findings} == {"dropped"}


# Corners in place of sizes


def table(corners: np.ndarray, frame: tuple[float, float], *, mistaken: bool) -> pd.DataFrame:
    """Boxes by their corners (N, 4), stated as corners (which is the mistake) or as corner and size."""
    stated = corners if mistaken else np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    boxes = pd.DataFrame(stated, columns=["x", "y", "width", "height"], dtype=float)
    return boxes.assign(frame_width=frame[0], frame_height=frame[1], crowd=False, file="a.json")


def random_corners(seed: int, count: int, frame: tuple[float, float], least: float = 0.0) -> np.ndarray:
    ends = np.random.default_rng(seed).uniform(0, 1, (count, 2, 2))
    low, high = ends.min(axis=1), np.minimum(1, ends.max(axis=1) + least)
    return np.concatenate([low * frame, high * frame], axis=1)


FRAMES = st.tuples(st.integers(8, 4000), st.integers(8, 4000))


@given(seed=st.integers(0, 10**6), count=st.integers(1, 200), frame=FRAMES)
def test_boxes_inside_their_images_are_never_taken_for_corners(seed, count, frame):
    assert corners_mistaken(table(random_corners(seed, count, frame), frame, mistaken=False)) == []


@given(seed=st.integers(0, 10**6), count=st.integers(20, 200), frame=FRAMES)
def test_corners_are_recognised_in_random_sets(seed, count, frame):
    (finding,) = corners_mistaken(table(random_corners(seed, count, frame), frame, mistaken=True))
    assert (finding.kind, finding.done, finding.file) == ("boxes_as_corners", "stopped", "a.json")


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(20, 200),
    frame=FRAMES,
    share=st.floats(0, 0.9),
    least=st.sampled_from([-0.5, 0]),
)
def test_boxes_that_leave_their_images_are_not_taken_for_corners(seed, count, frame, share, least):
    corners = random_corners(seed, count, frame)
    far = np.random.default_rng(seed + 1).uniform(size=count) < share
    corners[far] += np.random.default_rng(seed + 2).uniform(least, 0.5, (far.sum(), 1)) * np.array([*frame, *frame])
    assert corners_mistaken(table(corners, frame, mistaken=False)) == []


@given(seed=st.integers(0, 10**6), count=st.integers(3, 60), frame=FRAMES)
def test_one_object_that_fills_each_picture_is_not_taken_for_corners(seed, count, frame):
    slack = np.random.default_rng(seed).uniform(-0.015, 0.2, (count, 4)) * np.array([*frame, *frame])
    corners = np.array([0, 0, *frame]) + slack * np.array([1, 1, -1, -1])
    assert corners_mistaken(table(corners, frame, mistaken=False)) == []


def test_a_few_objects_larger_than_their_pictures_are_not_taken_for_corners():
    corners = np.tile([1.0, 1, 99, 79], (100, 1))
    corners[:5, 2:] *= 1.1
    assert corners_mistaken(table(corners, (100, 80), mistaken=False)) == []


def test_corners_stop_and_the_message_says_how_to_convert():
    corners = [box(number, (50 + number, 40 + number, 80, 70)) for number in range(1, 9)]
    (finding,) = of_kind(check(dataset(*corners)), "boxes_as_corners")
    assert finding.done == "stopped"
    assert "8 boxes" in finding.what
    assert check(dataset()).findings  # statistics of nothing are no error


def test_one_file_of_several_is_found(tmp_path):
    frame = (640, 480)
    right = table(random_corners(0, 400, frame), frame, mistaken=False)
    wrong = table(random_corners(1, 20, frame), frame, mistaken=True).assign(file="b.json")
    (finding,) = corners_mistaken(pd.concat([right, wrong], ignore_index=True))
    assert finding.file == "b.json"
    assert "of 20 boxes" in finding.what
    scattered = table(random_corners(1, 90, frame), frame, mistaken=True)
    scattered["file"] = [f"{number % 9}.json" for number in range(90)]
    (finding,) = corners_mistaken(scattered)
    assert finding.file == ""


def bccd_boxes() -> pd.DataFrame:
    content = json.loads((bccd_folder() / "instances.json").read_text())
    places = np.array([each["bbox"] for each in content["annotations"]], float)
    return table(np.concatenate([places[:, :2], places[:, :2] + places[:, 2:]], axis=1), (640, 480), mistaken=False)


def test_real_boxes_are_told_from_corners():
    boxes = bccd_boxes()
    assert corners_mistaken(boxes) == []
    mistaken = boxes.assign(width=boxes["x"] + boxes["width"], height=boxes["y"] + boxes["height"])
    assert len(corners_mistaken(mistaken)) == 1
    for seed in range(30):
        assert len(corners_mistaken(mistaken.sample(20, random_state=seed))) == 1
        assert corners_mistaken(boxes.sample(20, random_state=seed)) == []


# Images, ids, categories, lists


def test_images_without_a_box_are_kept_unless_told_otherwise():
    of = dataset(box(1), box(2, (5, 5, 0, 1), image=2), images=3)
    checked = check(of)
    assert [(each.image_id, each.what, each.done) for each in of_kind(checked, "image_empty")] == [
        (2, "none of its 1 stated box(es) is left", "kept"),
        (3, "nothing is marked in it", "kept"),
    ]
    assert checked.images["image_id"].tolist() == [1, 2, 3]
    for policy, done in (("drop", "dropped"), ("stop", "stopped")):
        checked = check(of, policy={"image_empty": policy})
        assert {each.done for each in of_kind(checked, "image_empty")} == {done}
        assert checked.images["image_id"].tolist() == [1]


@pytest.mark.parametrize("kind", ["image_missing", "image_unreadable", "image_escapes"])
def test_an_image_that_cannot_be_used_goes_with_its_boxes(kind):
    of = dataset(box(1), box(2, image=2), box(3, image=3), images=3)
    read = files(of, i2=Inspected(kind=kind, reason="why"))
    (finding,) = check(of, files_=read).findings
    assert finding == Finding(kind, "a.json", 2, "2.png", None, "why", "stopped")
    chosen = "image_missing" if kind == "image_missing" else "image_unreadable"
    checked = check(of, files_=read, policy={chosen: "drop"})
    assert [each.done for each in checked.findings] == ["dropped"]
    assert checked.images[["entry", "image_id"]].to_numpy().tolist() == [[0, 1], [2, 3]]
    assert checked.boxes[["annotation", "image", "image_id"]].to_numpy().tolist() == [[0, 0, 1], [2, 1, 3]]


def test_the_stated_size_is_held_against_the_file():
    of = dataset(box(1, (0, 0, 95, 80)))
    read = files(of, i1=Inspected(Path("1.png"), 90, 80, 1, "c"))
    checked = check(of, files_=read)
    assert [(each.kind, each.what, each.done) for each in checked.findings[:1]] == [
        ("image_size", "is 90x80, stated is 100x80", "stopped")
    ]
    checked = check(of, files_=read, policy={"image_size": "keep"})
    assert {(each.kind, each.done) for each in checked.findings} == {("image_size", "kept"), ("box_outside", "clipped")}
    assert checked.images[["width", "height"]].to_numpy().tolist() == [[90, 80]]
    assert kinds(check(of, files_=read, policy={"image_size": "drop"}))[-1] == "no_image"


@pytest.mark.parametrize(
    ("number", "stated", "policy", "done", "applied", "size"),
    [
        (6, (WIDTH, HEIGHT), "stop", "kept", 1, (WIDTH, HEIGHT)),  # the stated size tells
        (6, (HEIGHT, WIDTH), "stop", "turned", 6, (HEIGHT, WIDTH)),
        (8, (HEIGHT, WIDTH), "drop", "turned", 8, (HEIGHT, WIDTH)),
        (6, None, "stop", "stopped", None, None),  # nothing tells
        (6, None, "drop", "dropped", None, None),
        (6, None, "turn", "turned", 6, (HEIGHT, WIDTH)),
        (6, None, "ignore", "kept", 1, (WIDTH, HEIGHT)),
        (3, (WIDTH, HEIGHT), "stop", "stopped", None, None),  # upside down: both sizes are equal
        (3, (WIDTH, HEIGHT), "turn", "turned", 3, (WIDTH, HEIGHT)),
        (3, (WIDTH, HEIGHT), "ignore", "kept", 1, (WIDTH, HEIGHT)),
        (1, (WIDTH, HEIGHT), "stop", None, 1, (WIDTH, HEIGHT)),
    ],
)
def test_exif_orientation(number, stated, policy, done, applied, size):
    of = dataset(box(1))
    width, height = stated or (None, None)
    of = replace(of, images=(replace(of.images[0], width=width, height=height),))
    read = [Inspected(Path("1.png"), WIDTH, HEIGHT, number, "c")]
    checked = check(of, files_=read, policy={"image_turned": policy})
    assert [each.done for each in of_kind(checked, "image_turned")] == ([done] if done else [])
    assert "image_size" not in kinds(checked)
    if applied is None:
        assert len(checked.images) == 0
    else:
        assert checked.images[["orientation", "width", "height"]].to_numpy().tolist() == [[applied, *size]]


def test_a_wrong_size_is_found_in_a_turned_image_too():
    of = dataset(box(1))
    read = [Inspected(Path("1.png"), 60, 40, 6, "c")]
    assert kinds(check(of, files_=read))[:2] == ["image_size", "image_turned"]


def test_ids_and_names_that_are_there_twice_always_stop():
    of = dataset(box(1), box(1, (40, 40, 5, 5)), images=2)
    twin = replace(of.images[0], id=2, file_name="./1.png")
    of = replace(of, images=(*of.images, twin), categories=(*of.categories, Category(1, "cell"), Category(3, "disc")))
    checked = check(of, files_=[*files(of)])
    stopping = [
        (each.kind, each.image_id, each.annotation_id, each.what) for each in checked.findings if each.done == "stopped"
    ]
    assert stopping == [
        ("image_repeated", 2, None, "2.png has this id too"),
        ("file_name_repeated", 2, None, "image 1 has this file too"),
        ("category_repeated", None, None, "2 categories have the id 1"),
        ("category_repeated", None, None, "2 categories have the name disc"),
        ("annotation_repeated", 1, 1, "an earlier box has this id"),
    ]


@pytest.mark.parametrize("ids", [(0, 1), (1, 3), (90, 7)])
def test_category_ids_are_mapped_in_their_order_and_told(ids):
    names = {number: f"name of {number}" for number in ids}
    of = dataset(
        *(box(number, image=number, category=each) for number, each in enumerate(ids, 1)),
        images=2,
        categories=tuple(names.items()),
    )
    checked = check(of)
    assert set(kinds(checked)) == {"category_numbers"}
    assert checked.categories == [{"id": number, "name": names[number]} for number in sorted(ids)]
    for each in checked.boxes.itertuples():
        assert checked.categories[each.label] == {"id": each.category_id, "name": each.category}


def test_categories_from_1_need_no_word_and_one_without_a_box_is_told():
    checked = check(dataset(box(1), categories=((2, "b"), (1, "a"))))
    assert [(each.kind, each.what, each.done) for each in checked.findings] == [("category_unused", "b (id 2)", "kept")]


def test_a_category_without_a_box_is_left_out_and_the_classes_close_up():
    of = dataset(box(1, category=7), box(2, category=9), categories=((0, "all"), (7, "b"), (9, "c")))
    checked = check(of, policy={"category_unused": "drop"})
    assert [(each.what, each.done) for each in of_kind(checked, "category_unused")] == [("all (id 0)", "dropped")]
    assert checked.categories == [{"id": 7, "name": "b"}, {"id": 9, "name": "c"}]
    assert checked.boxes["label"].tolist() == [0, 1]
    stopping = check(of, policy={"category_unused": "stop"})
    assert [each.done for each in of_kind(stopping, "category_unused")] == ["stopped"]


def test_copies_are_told():
    of = dataset(box(1), box(2, image=2), images=2)
    read = [Inspected(Path(name), WIDTH, HEIGHT, 1, "same") for name in ("1.png", "2.png")]
    (finding,) = check(of, files_=read).findings
    assert (finding.kind, finding.image_id, finding.done) == ("picture_repeated", 2, "kept")
    assert finding.what.endswith("as image 1 (1.png)")


def test_leakage_by_id_by_name_and_by_content():
    images = pd.DataFrame(
        [
            (1, "a.png", "A"),
            (2, "b.png", "B"),
            (3, "c.png", "B"),
            (4, "d.png", "D"),
            (5, "./d.png", "E"),
            (6, "f.png", "F"),
        ],
        columns=["image_id", "file_name", "content"],
    ).assign(file="a.json")
    lists = {"train": {1, 2, 4, 6}, "validation": {1, 5}, "test": {1, 3}}
    found, sides = deal_given(images, lists, Policy(leakage="drop"))
    assert [(each.image_id, each.what, each.done) for each in found] == [
        (1, "is for train, and it for test", "dropped"),
        (1, "is for validation, and it for test", "dropped"),
        (2, "is for train, and its copy c.png (image 3) for test", "dropped"),
        (4, "is for train, and its copy ./d.png (image 5) for validation", "dropped"),
    ]
    assert sides == ["test", None, "test", None, "validation", "train"]
    assert {each.done for each in deal_given(images, lists, Policy())[0]} == {"stopped"}
    assert deal_given(images, {"train": {1, 2}, "validation": {4}}, Policy())[0] == []


@given(
    contents=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    lists=st.fixed_dictionaries({side: st.sets(st.integers(0, 11)) for side in ("train", "validation", "test")}),
)
def test_after_dropping_nothing_is_on_two_sides_and_no_list_loses_all_its_pictures(contents, lists):
    images = pd.DataFrame({"image_id": range(len(contents)), "content": list(map(str, contents))})
    images = images.assign(file_name=images["image_id"].map("{}.png".format), file="a.json")
    found, sides = deal_given(images, lists, Policy(leakage="drop"))
    assert pd.Series(sides).groupby(images["content"]).nunique().max() <= 1
    for row, side in enumerate(sides):
        assert side is None or row in lists[side]
    listed = [row for row in range(len(contents)) if any(row in own for own in lists.values())]
    assert {contents[row] for row in listed} == {contents[row] for row, side in enumerate(sides) if side}
    assert bool(found) == any(
        len({side for side, own in lists.items() for row in own if row < len(contents) and contents[row] == each}) > 1
        for each in set(contents)
    )


def test_a_set_without_images_or_boxes_stops():
    empty = Dataset((), (), ())
    assert [(each.kind, each.done) for each in check(empty).findings] == [("no_image", "stopped")]
    assert [(each.kind, each.done) for each in check(dataset(images=2)).findings if each.done == "stopped"] == [
        ("no_box", "stopped")
    ]
    only_crowds = check(dataset(box(1, crowd=True)))
    assert kinds(only_crowds) == ["crowd", "no_box"]
    assert class_balance(check(empty)).empty
    assert len(box_sizes(check(empty))) == 0


@given(
    turns=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 99),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    levels=st.integers(1, 3),
)
def test_content_is_that_of_all_turned_and_flipped_copies_and_of_no_other_picture(
    turns, flip, seed, height, width, levels
):
    picture = np.random.default_rng(seed).integers(0, levels, (height, width, 3), np.uint8)
    copy = np.rot90(picture[:, ::-1] if flip else picture, turns)
    assert content_of(np.ascontiguousarray(copy)) == content_of(picture)
    other = picture.copy()
    other[-1, -1, -1] = 9
    assert content_of(other) != content_of(picture)


# Folders


def found_in(raw: Path, **prepare: Any) -> dict[str, list[Finding]]:
    settings = section(raw, **prepare).prepare
    found: dict[str, list[Finding]] = {}
    for finding in check_folder(raw, settings, QUIET).checked.findings:
        found.setdefault(finding.kind, []).append(finding)
    return found


DISC = [5, 5, 10, 10, 1]
SQUARE = [20, 5, 10, 10, 2]


def jpeg_bomb() -> bytes:
    """Header of a JPEG that claims 65,500 x 65,500 pixels, with next to no data."""
    frame = struct.pack(">BHHB", 8, 65_500, 65_500, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def png_bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in 4 kB or so."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(1_000_000), 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_files_that_cannot_be_used_are_all_found_at_once(tmp_path):
    raw = write_coco_folder(tmp_path / "raw", coco([[DISC, SQUARE]] * 9))
    images = raw / "images"
    write_image(tmp_path / "outside.png", noise())
    (images / "2.png").unlink()
    (images / "3.png").write_bytes((images / "3.png").read_bytes()[:300])
    (images / "4.png").write_bytes(jpeg_bomb())
    (images / "5.png").write_bytes(png_bomb())
    (images / "6.png").unlink()
    (images / "6.png").symlink_to(tmp_path / "outside.png")
    (images / "7.png").write_text("<html>")
    (images / "8.png").unlink()
    (images / "8.png").mkdir()
    write_image(images / "9.png", noise(41, 30, 9))
    found = found_in(raw)
    assert {kind: [each.image_id for each in own] for kind, own in found.items()} == {
        "image_missing": [2],
        "image_unreadable": [3, 4, 5, 7, 8],
        "image_escapes": [6],
        "image_size": [9],
    }
    assert {each.done for own in found.values() for each in own} == {"stopped"}
    assert str(tmp_path) not in found["image_missing"][0].what
    dropped = found_in(raw, policy={"image_missing": "drop", "image_unreadable": "drop", "image_size": "drop"})
    assert {each.done for own in dropped.values() for each in own} == {"dropped"}


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/hostname", "images/../../outside.png", "a" * 300 + ".png", "a\0.png"]
)
def test_names_that_lead_elsewhere_are_not_followed(tmp_path, name):
    content = coco([[DISC, SQUARE]] * 2)
    raw = write_coco_folder(tmp_path / "raw", content)
    write_image(tmp_path / "outside.png", noise())
    content["images"][1]["file_name"] = name
    (raw / "instances.json").write_text(json.dumps(content))
    found = found_in(raw)
    assert [each.image_id for each in found.pop("image_escapes")] == [2]
    assert not found


def test_an_exif_tag_is_read_from_the_file(tmp_path):
    content = coco([[DISC, SQUARE]] * 2)
    raw = write_coco_folder(tmp_path / "raw", content)
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(raw / "images/2.jpg", noise(40, 30), exif=exif)
    content["images"][1] |= {"file_name": "2.jpg", "width": 30, "height": 40}
    (raw / "instances.json").write_text(json.dumps(content))
    (turned,) = found_in(raw)["image_turned"]
    assert (turned.image_id, turned.done) == (2, "turned")
    report = check_folder(raw, Prepare(), QUIET)
    assert report.checked.images[["orientation", "width", "height"]].to_numpy().tolist()[1] == [6, 30, 40]


def test_what_the_reader_found_is_told_with_the_rest(tmp_path):
    content = coco([[DISC, SQUARE, [1, 2, 3, 4, 1]], [[5, 5, 0, 1, 1]]])
    content["annotations"][2]["bbox"] = [1, 2, 3]
    found = found_in(write_coco_folder(tmp_path / "raw", content))
    assert [(each.file, each.done) for each in found["structure"]] == [("instances.json", "stopped")]
    assert "annotations[2].bbox" in found["structure"][0].what
    assert "box_empty" in found


@pytest.mark.parametrize("name", ["a/b\\c", 'quote " and , comma', "Zelle 細胞 🧫", "x" * 5000, "=cmd()", "two\nlines"])
def test_category_names_of_any_kind_are_reported(tmp_path, capsys, name):
    content = coco([[DISC, SQUARE]] * 3)
    content["categories"][1]["name"] = name
    raw = write_coco_folder(tmp_path / "raw", content)
    assert print_check(raw, tmp_path / "out", section(raw), QUIET)
    assert capsys.readouterr().out
    balance = pd.read_csv(tmp_path / "out/class_balance.csv", keep_default_na=False)
    assert balance["category"].tolist() == ["disc", name]
    assert set(pd.read_csv(tmp_path / "out/box_sizes.csv", keep_default_na=False)["category"]) == {"disc", name}


def test_an_image_of_one_pixel_is_an_image(tmp_path):
    content = coco([[DISC, SQUARE], [[0, 0, 1, 1, 1]]])
    content["images"][1] |= {"width": 1, "height": 1}
    raw = write_coco_folder(tmp_path / "raw", content)
    assert found_in(raw) == {}
    assert print_check(raw, tmp_path / "out", section(raw), QUIET)


@pytest.mark.parametrize(("boxes", "kind"), [([], "no_image"), ([[], []], "no_box")])
def test_a_folder_without_images_or_boxes_is_told(tmp_path, capsys, boxes, kind):
    raw = write_coco_folder(tmp_path / "raw", coco(boxes))
    assert not print_check(raw, tmp_path / "out", section(raw), QUIET)
    assert f"stopped: 1 set without a usable {kind[3:]} ({kind})" in capsys.readouterr().out


def test_the_check_prints_and_leaves_tables_and_a_picture(tmp_path, capsys):
    raw = write_coco_folder(tmp_path / "raw", coco([[DISC, SQUARE], [[30, 20, 30, 30, 2]], []]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("stays")
    assert print_check(raw, tmp_path / "out", section(raw), QUIET)
    printed = capsys.readouterr().out
    assert "clipped: 1 box that leaves its image (box_outside)" in printed
    assert "detection.prepare.policy.box_outside: clip" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "box_sizes.csv",
        "class_balance.csv",
        "data.json",
        "findings.csv",
        "mine.txt",
        "sheet.png",
    ]
    assert pd.read_csv(tmp_path / "out/class_balance.csv").to_dict("list") == {
        "category": ["disc", "square"],
        "split": ["all", "all"],
        "images": [1, 2],
        "boxes": [1, 2],
        "share": [pytest.approx(1 / 3), pytest.approx(2 / 3)],
    }
    sizes = pd.read_csv(tmp_path / "out/box_sizes.csv")
    assert sizes.groupby("category")["boxes"].sum().to_dict() == {"disc": 1, "square": 2}
    assert sizes[(sizes["category"] == "disc") & (sizes["boxes"] > 0)]["start_px"].tolist() == [10]
    counts = json.loads((tmp_path / "out/data.json").read_text())
    assert (counts["images"], counts["boxes"], counts["images_without_box"]) == (3, 3, 1)
    assert counts["findings"] == {"box_outside": 1, "image_empty": 1}
    with Image.open(tmp_path / "out/sheet.png") as picture:
        assert picture.width > 400


def test_real_voc_files_have_two_boxes_without_an_area():
    report = check_folder(bccd_folder(), Prepare(format="voc"), QUIET)
    checked = report.checked
    assert [(each.file_name.split("/")[-1], each.done) for each in of_kind(checked, "box_empty")] == [
        ("BloodImage_00338.jpg", "dropped"),
        ("BloodImage_00343.jpg", "dropped"),
    ]
    assert (len(checked.images), len(checked.boxes)) == (364, 4886)
    assert not [each for each in checked.findings if each.done == "stopped"]


def test_a_published_split_has_its_validation_images_in_training():
    lists = {
        side: f"ImageSets/CBC/{name}.txt"
        for side, name in (("train", "training"), ("validation", "validation"), ("test", "testing"))
    }
    settings = Prepare.model_validate({"annotations": ["instances.json"], "split": {"given": lists}})
    checked = check_folder(bccd_folder(), settings, QUIET).checked
    leaks = of_kind(checked, "leakage")
    assert len(leaks) == 60
    assert {each.done for each in leaks} == {"stopped"}
    assert {each.what for each in leaks} == {"is for train, and it for validation"}
    assert checked.images["split"].value_counts().to_dict() == {"train": 240, "validation": 60, "test": 60}
