"""Several COCO files become one set: shared entries once, shared numbers apart, and nothing is guessed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from builders import a_category, an_annotation, an_image, comparable, content, write_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_folders import QUIET, coco, noise, section, write_image

from millrace.detection.check import check_folder, print_check
from millrace.detection.coco import read_coco
from millrace.detection.coco_files import read_coco_files
from millrace.detection.convert import convert
from millrace.detection.dataset import Dataset, ImageEntry
from millrace.detection.findings import FindingsError
from millrace.detection.params import Prepare
from millrace.detection.prepare import prepare_folder
from millrace.detection.store import Store
from millrace.errors import Problem

DEFAULT = Prepare()
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def same_name(first: ImageEntry, second: ImageEntry) -> bool:
    return first.file_name == second.file_name


def read(*paths: Path, extra: bool = False) -> tuple[Dataset, list[Problem]]:
    return read_coco_files(paths, DEFAULT, same_name, extra=extra)


def part(path: Path, *names: str, boxes: int = 1, first: int = 0, **changes) -> Path:
    """A file that numbers its images and boxes from `first`; box i of an image is 3 + i pixels wide."""
    images = [an_image(number, file_name=name) for number, name in enumerate(names, first)]
    places = [(number, width) for number in range(first, first + len(names)) for width in range(3, 3 + boxes)]
    annotations = [
        an_annotation(number, image_id=image, bbox=[1, 2, width, 4])
        for number, (image, width) in enumerate(places, first)
    ]
    return write_json(path, content(images=images, annotations=annotations) | changes)


def by_name(dataset: Dataset) -> dict[str, list[float]]:
    """Widths of the boxes of each image; ids must be unique for it."""
    names = {image.id: image.file_name for image in dataset.images}
    assert len(names) == len(dataset.images)
    assert len({each.id for each in dataset.annotations}) == len(dataset.annotations)
    widths: dict[str, list[float]] = {name: [] for name in names.values()}
    for each in dataset.annotations:
        widths[names[each.image_id]].append(each.width)
    return widths


def roboflow(raw: Path, **sides: list[int]) -> Path:
    """An export with a folder a side, each numbered from 0; a picture is named for its seed."""
    for side, seeds in sides.items():
        value = coco([[[5, 5, 10, 10, 1], [20, 5, 5 + seed, 10, 2]] for seed in seeds])
        for image, seed in zip(value["images"], seeds, strict=True):
            image |= {"id": image["id"] - 1, "file_name": f"{seed}.png"}
            write_image(raw / side / f"{seed}.png", noise(seed=seed))
        for box in value["annotations"]:
            box |= {"id": box["id"] - 1, "image_id": box["image_id"] - 1}
        write_json(raw / side / "_annotations.coco.json", value)
    return raw


# Entries that several files have


def test_what_several_files_have_is_one(tmp_path):
    rest = {"info": {"year": 1}, "licenses": [1]}
    first = write_json(tmp_path / "a.json", content(images=[an_image(1), an_image(2)], **rest))
    annotations = [an_annotation(1), an_annotation(2, image_id=3)]
    second = write_json(
        tmp_path / "b.json",
        content(images=[an_image(2), an_image(3)], annotations=annotations, categories=[a_category(1), a_category(5)]),
    )
    # Image 1 of the second file's box is in the first one alone, and no id stands for two images.
    dataset, problems = read(first, second, extra=True)
    assert (problems, dataset.notes) == ([], ())
    assert [(each.id, each.source) for each in dataset.images] == [(1, first), (2, first), (3, second)]
    assert [(each.id, each.source) for each in dataset.annotations] == [(1, first), (2, second)]
    assert [each.id for each in dataset.categories] == [1, 5]
    assert dataset.extra == rest


CLASHES = {
    "category": (
        {"categories": [a_category(1, name="dog")]},
        "id 1 is the category 'dog' here and the category 'class 1' in ",
    ),
    "name": ({"categories": [a_category(2, name="class 1")]}, "category 'class 1' has the id 2 here and 1 in "),
    "size": (
        {"images": [an_image(1, width=41)]},
        "id 1 is the image '1.jpg' of 41 x 30 pixels here and the image '1.jpg' of 40 x 30 pixels in ",
    ),
    "box": (
        {"annotations": [an_annotation(1, bbox=[1, 2, 3, 5])]},
        "id 1 is the box [1.0, 2.0, 3.0, 5.0] of category 1 in image 1 here and the box [1.0, 2.0, 3.0, 4.0] of "
        "category 1 in image 1 in ",
    ),
}


@pytest.mark.parametrize("case", CLASHES)
def test_files_that_disagree_are_a_problem_of_both(case, tmp_path):
    changes, reason = CLASHES[case]
    first, second = write_json(tmp_path / "a.json", content()), write_json(tmp_path / "b.json", content(**changes))
    (problem,) = read(first, second)[1]
    assert (problem.path, problem.reason) == (second, f"{reason}{first}")


def test_what_one_file_has_twice_stays_twice(tmp_path):
    twice = content(images=[an_image(1), an_image(1)], annotations=[an_annotation(1), an_annotation(1, image_id=2)])
    other = content(images=[an_image(2)], annotations=[an_annotation(2)])
    paths = [write_json(tmp_path / "a.json", twice), write_json(tmp_path / "b.json", other)]
    dataset, problems = read(*paths)
    assert problems == []
    assert [each.id for each in dataset.images] == [1, 1, 2]
    assert [each.id for each in dataset.annotations] == [1, 1, 2]


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_files_are_merged():
    folder = Path(SHARED or "") / "detection/bccd"
    whole, problems = read_coco(folder / "instances.json", DEFAULT)
    assert problems == []
    merged, problems = read(*(folder / f"instances_{side}.json" for side in ("train", "val", "test")))
    assert (problems, merged.notes) == ([], ())
    assert comparable(merged) == comparable(whole)


# Numbers that several files begin at


def test_files_that_number_from_the_same_start_are_renumbered(tmp_path):
    first = part(tmp_path / "a.json", "a.jpg", "b.jpg", boxes=2)
    second = part(tmp_path / "b.json", "c.jpg", "d.jpg", "e.jpg")
    third = part(tmp_path / "c.json", "f.jpg", boxes=0)
    dataset, problems = read(first, second, third)
    assert problems == []
    assert by_name(dataset) == {
        **{f"{name}.jpg": [3, 4] for name in "ab"},
        **{f"{name}.jpg": [3] for name in "cde"},
        "f.jpg": [],
    }
    # Ids that clash with nothing are kept: image 2 is only in the second file, boxes 0 to 3 came first.
    assert [each.id for each in dataset.images] == [0, 1, 3, 4, 2, 5]
    assert [each.id for each in dataset.annotations] == [0, 1, 2, 3, 4, 5, 6]
    assert dataset.notes == (
        Problem(
            second,
            "2 image(s), the first with the id 3 instead of 0; 3 annotation(s), the first with the id 4 instead of 0",
        ),
        Problem(third, "1 image(s), the first with the id 5 instead of 0"),
    )
    assert read(first, second, third)[0] == dataset


def test_no_id_of_a_later_file_is_given_away(tmp_path):
    first, second = part(tmp_path / "a.json", "a.jpg", first=1), part(tmp_path / "b.json", "b.jpg", first=1)
    third = part(tmp_path / "c.json", "c.jpg", "d.jpg", first=2)
    dataset, _ = read(first, second, third)
    assert [(each.id, each.file_name) for each in dataset.images] == [
        (1, "a.jpg"),
        (4, "b.jpg"),
        (2, "c.jpg"),
        (3, "d.jpg"),
    ]


def test_boxes_alone_may_be_numbered_from_the_same_start(tmp_path):
    first = write_json(tmp_path / "a.json", content(images=[an_image(1), an_image(2)]))
    boxes = [an_annotation(1, image_id=2), an_annotation(2, image_id=2)]
    second = write_json(tmp_path / "b.json", content(images=[an_image(2)], annotations=boxes))
    dataset, problems = read(first, second)
    assert problems == []
    assert [(each.id, each.image_id) for each in dataset.annotations] == [(1, 1), (3, 2), (2, 2)]
    assert [each.reason for each in dataset.notes] == ["1 annotation(s), the first with the id 3 instead of 1"]


def test_ids_at_the_end_of_64_bits_leave_room(tmp_path):
    first, second = (part(tmp_path / f"{name}.json", f"{name}.jpg", first=(1 << 63) - 1) for name in "ab")
    dataset, problems = read(first, second)
    assert problems == []
    assert [each.id for each in dataset.images] == [(1 << 63) - 1, 1]


def test_an_id_that_a_file_has_twice_stays_there_twice_when_it_is_renumbered(tmp_path):
    first = part(tmp_path / "a.json", "a.jpg")
    second = part(tmp_path / "b.json", "b.jpg", images=[an_image(0, file_name="b.jpg"), an_image(0, file_name="a.jpg")])
    assert [each.id for each in read(first, second)[0].images] == [0, 1, 1]


def test_a_box_of_another_files_image_is_a_problem_where_numbers_are_each_files_own(tmp_path):
    first = part(tmp_path / "a.json", "a.jpg", "b.jpg")
    stray = [an_annotation(0, image_id=0), an_annotation(1, image_id=1)]
    second = part(tmp_path / "b.json", "c.jpg", annotations=stray)
    (problem,) = read(first, second)[1]
    assert problem.path == second
    assert problem.reason == (
        "annotation 1 is of image 1, which is not in this file, and other files mean different images by one id"
    )


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=4))
def test_every_box_stays_in_its_image_whatever_the_numbers(tmp_path, sizes):
    paths, expected = [], {}
    for number, (images, boxes, first) in enumerate(sizes):
        names = [f"{number}-{each}.jpg" for each in range(images)]
        paths.append(part(tmp_path / f"{number}.json", *names, boxes=boxes, first=first))
        expected |= {name: [3.0 + width for width in range(boxes)] for name in names}
    dataset, problems = read(*paths)
    assert problems == []
    assert by_name(dataset) == expected
    free = [read_coco(path, DEFAULT)[0].images for path in paths]
    stated = [image.id for own in free for image in own]
    kept = {image.file_name: image.id for image in dataset.images}
    for image in (image for own in free for image in own if stated.count(image.id) == 1):
        assert kept[image.file_name] == image.id


# A folder of them


def test_an_export_with_a_file_a_side_is_prepared(tmp_path, capsys):
    raw = roboflow(tmp_path / "raw", test=[1], train=[2, 3, 4], valid=[5, 6])
    lists = {"train": "train", "validation": "valid", "test": "test"}
    given = {"given": {side: f"{folder}/_annotations.coco.json" for side, folder in lists.items()}}
    task = section(raw, split=given)
    report = prepare_folder(raw, task.prepare, QUIET, tmp_path / "out")
    told = [(each.file, each.what, each.done) for each in report.checked.findings if each.kind == "ids_shared"]
    assert told == [
        (
            "train/_annotations.coco.json",
            "1 image(s), the first with the id 3 instead of 0; 2 annotation(s), the first with the id 6 instead of 0",
            "renumbered",
        ),
        (
            "valid/_annotations.coco.json",
            "2 image(s), the first with the id 4 instead of 0; 4 annotation(s), the first with the id 8 instead of 0",
            "renumbered",
        ),
    ]
    store = Store(tmp_path / "out")
    sides = {1: "test", 2: "train", 3: "train", 4: "train", 5: "validation", 6: "validation"}
    for position, row in enumerate(store.images.itertuples()):
        seed = int(row.file_name.removesuffix(".png"))
        assert row.split == sides[seed]
        assert (store.pixels(position) == noise(seed=seed)).all()
        assert store.truth(position).boxes.tolist() == [[5, 5, 15, 15], [20, 5, 25 + seed, 15]]
    assert sorted(store.images["file_name"]) == [f"{seed}.png" for seed in sides]
    assert print_check(raw, tmp_path / "checked", task, QUIET)
    assert "renumbered: 2 files with ids that stand for others in earlier files (ids_shared)" in capsys.readouterr().out
    assert json.loads((tmp_path / "checked/data.json").read_text())["findings"]["ids_shared"] == 2


def kinds(raw: Path, **prepare) -> list[tuple[str, str, str]]:
    findings = check_folder(raw, section(raw, **prepare).prepare, QUIET).checked.findings
    return [(each.kind, each.file_name, each.done) for each in findings if each.kind != "ids_shared"]


def test_a_picture_that_two_files_have_is_still_found(tmp_path):
    raw = roboflow(tmp_path / "raw", train=[1, 2], valid=[3, 4])
    write_image(raw / "valid/3.png", noise(seed=2)[::-1])
    assert ("picture_repeated", "3.png", "kept") in kinds(raw)
    given = {
        "given": {side: f"{folder}/_annotations.coco.json" for side, folder in (("train", "train"), ("test", "valid"))}
    }
    assert ("leakage", "2.png", "stopped") in kinds(raw, split=given)


@pytest.mark.parametrize("valid", [[1], [3, 1]])
def test_one_name_in_two_folders_is_of_two_images_whether_the_ids_are_equal_or_not(tmp_path, valid):
    raw = roboflow(tmp_path / "raw", train=[1, 2], valid=valid)
    write_image(raw / "valid/1.png", noise(seed=9))
    given = {"train": "train/_annotations.coco.json", "validation": "valid/_annotations.coco.json"}
    report = prepare_folder(raw, section(raw, split={"given": given}).prepare, QUIET, tmp_path / "out")
    assert {each.kind for each in report.checked.findings} == {"ids_shared"}
    store = Store(tmp_path / "out")
    sides = dict(zip(store.images["file_name"], store.images["split"], strict=True))
    others = {f"{seed}.png": "validation" for seed in valid if seed != 1}
    assert sides == {"train/1.png": "train", "valid/1.png": "validation", "2.png": "train"} | others
    for position, name in enumerate(store.images["file_name"]):
        seed = {"train/1.png": 1, "valid/1.png": 9, "2.png": 2, "3.png": 3}[name]
        assert (store.pixels(position) == noise(seed=seed)).all()


def test_one_file_that_an_annotation_file_lists_twice_is_found(tmp_path):
    raw = roboflow(tmp_path / "raw", train=[1, 2], valid=[3])
    value = json.loads((raw / "train/_annotations.coco.json").read_text())
    value["images"][1]["file_name"] = "./1.png"
    write_json(raw / "train/_annotations.coco.json", value)
    assert ("file_name_repeated", "./1.png", "stopped") in kinds(raw)


def test_lists_by_name_say_which_of_two_images_with_one_name_they_mean(tmp_path):
    raw = roboflow(tmp_path / "raw", train=[1, 2], valid=[1])
    write_image(raw / "valid/1.png", noise(seed=9))
    (raw / "list.txt").write_text("1.png\n2.png\n")
    with pytest.raises(FindingsError, match=r"line 1: '1.png' may be train/1.png or valid/1.png"):
        prepare_folder(
            raw,
            section(raw, split={"given": {"train": "list.txt", "validation": "list.txt"}}).prepare,
            QUIET,
            tmp_path / "out",
        )


def test_files_in_one_folder_that_share_an_image_have_it_once(tmp_path):
    """As `instances.json` beside `instances_train.json`: each looks for images in folders of its own name first."""
    value = coco([[[5, 5, 10, 10, 1]], [[5, 5, 10, 10, 2]]])
    for name, count in (("instances", 2), ("instances_train", 1)):
        (raw := tmp_path / "raw").mkdir(exist_ok=True)
        write_json(raw / f"{name}.json", value | {key: value[key][:count] for key in ("images", "annotations")})
    for number in (1, 2):
        write_image(raw / f"images/{number}.png", noise(seed=number))
    (raw / "train").mkdir()
    report = check_folder(raw, DEFAULT, QUIET)
    assert report.checked.findings == []
    assert len(report.checked.images) == 2
    for number in (1, 2):  # where the files are gone, the name is all there is
        (raw / f"images/{number}.png").unlink()
    assert [each for each in kinds(raw) if each[1]] == [("image_missing", f"{n}.png", "stopped") for n in (1, 2)]


def test_a_converted_export_is_one_file_and_says_what_was_renumbered(tmp_path, caplog):
    raw = roboflow(tmp_path / "raw", train=[1, 2], valid=[3])
    convert(raw, tmp_path / "out", "coco", DEFAULT)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"Renumbered: {raw}/valid/_annotations.coco.json: 1 image(s), ")
    dataset, problems = read_coco(tmp_path / "out/instances.json", DEFAULT)
    assert problems == []
    assert {name: max(widths) for name, widths in by_name(dataset).items()} == {"1.png": 10, "2.png": 10, "3.png": 10}
