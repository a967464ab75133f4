"""Prepared data are the raw ones, checked and split, and nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from raw_folders import QUIET, bccd_folder, coco, noise, section, write_coco_folder, write_image

from millrace.detection import prepare
from millrace.detection.params import Prepare
from millrace.detection.prepare import prepare_folder
from millrace.detection.store import Store
from millrace.errors import DataError, UserError

DISC, SQUARE = [5, 5, 10, 10, 1], [20.25, 5, 10.5, 10, 2]


def folder(raw: Path, images: int = 12) -> Path:
    """Images with a disc, every second one with a square too."""
    return write_coco_folder(raw, coco([[DISC, SQUARE] if number % 2 else [DISC] for number in range(images)]))


def test_prepared_data_are_the_images_and_their_boxes(workspace):
    raw = folder(workspace / "raw")
    prepare.run(section(raw), QUIET)
    store = Store()
    assert store.images["image_id"].tolist() == list(range(1, 13))
    assert store.images["split"].value_counts().to_dict() == {"train": 10, "validation": 1, "test": 1}
    assert store.categories == [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    for position in range(12):
        np.testing.assert_array_equal(store.pixels(position), noise(40, 30, position + 1))
    assert store.truth(1).boxes.tolist() == [[5, 5, 15, 15], [20.25, 5, 30.75, 15]]
    assert store.truth(1).labels.tolist() == [0, 1]
    assert store.truth(2).boxes.tolist() == [[5, 5, 15, 15]]
    assert not store.boxes["ignored"].any()
    assert list(store.images) == prepare._OF_IMAGES
    assert list(store.boxes) == prepare._OF_BOXES
    data = json.loads(Path("metrics/detection/data.json").read_text())
    assert (data["images"], data["boxes"], data["train"]) == (12, 18, {"boxes": 14, "images": 10})
    balance = pd.read_csv("metrics/detection/data/class_balance.csv")
    assert balance[["split", "category", "boxes"]].to_numpy().tolist() == [
        [side, name, count]
        for side, *counts in (("all", 12, 6), ("train", 10, 4), ("validation", 1, 1), ("test", 1, 1))
        for name, count in zip(("disc", "square"), counts, strict=True)
    ]
    assert {path.name for path in Path("metrics/detection/data").iterdir()} == {
        "box_sizes.csv",
        "class_balance.csv",
        "findings.csv",
        "sheet.png",
    }


def test_coco_files_of_the_sides_have_the_ids_of_the_source(workspace):
    content = coco([[DISC, SQUARE], [[30, 20, 30, 30, 2]], [DISC], [SQUARE]])
    ids = {1: 900, 2: 7, 3: 12, 4: 5}
    content["images"] = [each | {"id": ids[each["id"]]} for each in content["images"]]
    for each in content["annotations"]:
        each |= {
            "id": 1000 - each["id"],
            "image_id": ids[each["image_id"]],
            "category_id": {1: 30, 2: 4}[each["category_id"]],
        }
    content["annotations"][0]["iscrowd"] = 1
    content["categories"] = [{"id": 30, "name": "disc"}, {"id": 4, "name": "square"}]
    raw = write_coco_folder(workspace / "raw", content)
    prepare_folder(raw, Prepare(), QUIET, Path("out"), "test")
    empty, whole = (json.loads(Path(f"out/instances_{side}.json").read_text()) for side in ("train", "test"))
    assert (empty["images"], empty["annotations"]) == ([], [])
    assert whole["categories"] == empty["categories"] == [{"id": 4, "name": "square"}, {"id": 30, "name": "disc"}]
    assert [(each["id"], each["file_name"]) for each in whole["images"]] == [
        (900, "1.png"),
        (7, "2.png"),
        (12, "3.png"),
        (5, "4.png"),
    ]
    assert [(each["id"], each["image_id"], each["category_id"], each["bbox"]) for each in whole["annotations"]] == [
        (999, 900, 30, [5, 5, 10, 10]),
        (998, 900, 4, [20.25, 5, 10.5, 10]),
        (997, 7, 4, [30, 20, 10, 10]),
        (996, 12, 30, [5, 5, 10, 10]),
        (995, 5, 4, [20.25, 5, 10.5, 10]),
    ]
    assert [each["iscrowd"] for each in whole["annotations"]] == [1, 0, 0, 0, 0]
    assert [each["area"] for each in whole["annotations"]] == [100, 105, 100, 100, 105]
    assert Store(Path("out")).boxes["label"].tolist() == [1, 0, 0, 1, 0]


def test_everything_that_stops_is_listed_at_once_and_nothing_is_written(workspace):
    raw = folder(workspace / "raw")
    content = json.loads((raw / "instances.json").read_text())
    content["annotations"][3]["category_id"] = 9
    content["annotations"][4]["image_id"] = 99
    (raw / "instances.json").write_text(json.dumps(content))
    (raw / "images/5.png").unlink()
    with pytest.raises(DataError) as error:
        prepare.run(section(raw), QUIET)
    for kind in ("undeclared_category", "unknown_image", "image_missing"):
        assert f"({kind})" in str(error.value)
    assert [path.name for path in workspace.iterdir()] == ["raw"]
    policy = {"undeclared_category": "drop", "unknown_image": "drop", "image_missing": "drop"}
    prepare.run(section(raw, policy=policy), QUIET)
    assert len(Store().images) == 11
    findings = pd.read_csv("metrics/detection/data/findings.csv")
    assert findings[["kind", "done"]].drop_duplicates().to_numpy().tolist()[:3] == [
        ["image_missing", "dropped"],
        ["unknown_image", "dropped"],
        ["undeclared_category", "dropped"],
    ]


def test_what_was_prepared_before_stays_when_a_run_stops(workspace):
    raw = folder(workspace / "raw")
    prepare.run(section(raw), QUIET)
    before = Path("data/prepared/detection/images.bin").read_bytes()
    (raw / "images/5.png").unlink()
    with pytest.raises(DataError):
        prepare.run(section(raw), QUIET)
    assert Path("data/prepared/detection/images.bin").read_bytes() == before


def test_two_runs_write_the_same_bytes(workspace):
    def written() -> dict[str, bytes]:
        prepare.run(section(workspace / "raw"), QUIET)
        folders = (Path("data"), Path("metrics"))
        return {str(path): path.read_bytes() for top in folders for path in top.rglob("*") if path.is_file()}

    folder(workspace / "raw")
    assert written() == written()


def test_turned_images_are_read_turned_and_their_boxes_are_as_shown(workspace):
    content = coco([[DISC], [[2, 28, 10, 11, 1]], [DISC]])
    raw = write_coco_folder(workspace / "raw", content)
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(raw / "images/2.png", noise(40, 30), exif=exif)
    content["images"][1] |= {"width": 30, "height": 40}
    (raw / "instances.json").write_text(json.dumps(content))
    prepare.run(section(raw), QUIET)
    store = Store()
    np.testing.assert_array_equal(store.pixels(1), np.rot90(noise(40, 30), -1))
    assert store.images.loc[1, ["width", "height", "orientation"]].tolist() == [30, 40, 6]
    assert store.truth(1).boxes.tolist() == [[2, 28, 12, 39]]


def test_copies_go_to_one_side(workspace):
    content = coco([[DISC]] * 12)
    raw = write_coco_folder(workspace / "raw", content, {number: number % 4 for number in range(1, 13)})
    prepare.run(section(raw), QUIET)
    images = Store().images
    assert images["content"].nunique() == 4
    assert images.groupby("content")["split"].nunique().max() == 1
    assert json.loads(Path("metrics/detection/data.json").read_text())["copies"] == 8


def test_given_lists_decide_and_leaks_stop_or_are_dropped(workspace):
    raw = folder(workspace / "raw", 6)
    for name, numbers in (("train", (2, 3)), ("validation", (4, 3)), ("test", (6,))):
        (raw / f"{name}.txt").write_text("".join(f"{number}\n" for number in numbers))
    given = {"given": {side: f"{side}.txt" for side in ("train", "validation", "test")}}
    with pytest.raises(DataError, match=r"image 3 \(3.png\): is for train, and it for validation"):
        prepare.run(section(raw, split=given), QUIET)
    prepare.run(section(raw, split=given, policy={"leakage": "drop"}), QUIET)
    store = Store()
    sides = {2: "train", 3: "validation", 4: "validation", 6: "test"}
    assert dict(zip(store.images["image_id"], store.images["split"], strict=True)) == sides
    for position, number in enumerate(sides):
        np.testing.assert_array_equal(store.pixels(position), noise(40, 30, number))
        assert len(store.truth(position).boxes) == 2 - number % 2
    assert store.boxes["split"].tolist() == [sides[number] for number in store.boxes["image_id"]]


def test_boxes_may_stand_in_any_order(workspace):
    raw = folder(workspace / "raw")
    content = json.loads((raw / "instances.json").read_text())
    content["annotations"] = content["annotations"][::-2] + content["annotations"][::2]
    (raw / "instances.json").write_text(json.dumps(content))
    prepare.run(section(raw), QUIET)
    store = Store()
    for position in range(12):
        own = [each for each in content["annotations"] if each["image_id"] == position + 1]
        assert store.truth(position).labels.tolist() == [each["category_id"] - 1 for each in own]


def test_one_side_for_a_folder_that_is_only_scored(workspace):
    raw = folder(workspace / "raw", 2)
    with pytest.raises(UserError, match="too few"):
        prepare_folder(raw, Prepare(), QUIET, Path("out"))
    assert not Path("out").exists()
    settings = Prepare.model_validate({"split": {"given": {"train": "nowhere.txt"}}})
    report = prepare_folder(raw, settings, QUIET, Path("out"), "test")
    assert set(Store(Path("out")).images["split"]) == {"test"}
    assert len(report.checked.boxes) == 3


def test_names_of_any_kind_come_back(workspace):
    content = coco([[DISC, SQUARE]] * 3)
    content["categories"] = [{"id": 1, "name": 'a/b "c", é\\'}, {"id": 2, "name": "鶏" * 300}]
    content["images"][0]["file_name"] = "ordner ä/鶏 1.png"
    raw = write_coco_folder(workspace / "raw", content)
    prepare.run(section(raw), QUIET)
    store = Store()
    assert store.names == [each["name"] for each in content["categories"]]
    assert store.boxes["category"].tolist()[:2] == store.names
    assert store.images["file_name"][0] == "ordner ä/鶏 1.png"


def test_real_voc_files_are_prepared_with_their_given_lists(workspace):
    given = {
        "train": "ImageSets/Main/train.txt",
        "validation": "ImageSets/Main/val.txt",
        "test": "ImageSets/Main/test.txt",
    }
    prepare.run(section(bccd_folder(), format="voc", split={"given": given}), QUIET)
    store = Store()
    assert store.images["split"].value_counts().to_dict() == {"train": 205, "validation": 87, "test": 72}
    assert store.boxes["category"].value_counts().to_dict() == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    assert store.pixels(0).shape == (480, 640, 3)
    counts = [
        json.loads((store.folder / f"instances_{side}.json").read_text()) for side in ("train", "validation", "test")
    ]
    assert [len(each["images"]) for each in counts] == [205, 87, 72]
    assert sum(len(each["annotations"]) for each in counts) == 4886
