"""Found boxes as files that other tools read."""

from __future__ import annotations

import json

import faster_coco_eval
import numpy as np
import pandas as pd
from pycocotools.coco import COCO

from millrace.detection.boxes import Detections
from millrace.detection.results import Found, write_results

CATEGORIES = [{"id": 7, "name": "red, cell"}, {"id": 90, "name": 'Zelle/ü\n"', "supercategory": "s"}]
NAMES = ["a/b,c.jpg", 'größe "1".png', "empty.png"]


def detections(boxes, labels, scores) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32)
    )


FOUND = [
    Found(1, NAMES[0], 640, 480, detections([[1.25, 2.5, 11.75, 12.5], [0, 0, 640, 480]], [1, 0], [0.9, 0.125])),
    Found(3, NAMES[1], 20_000, 30_000, detections([[12345.678, 10, 19999.5, 29999.25]], [0], [1 / 3])),
    Found(4, NAMES[2], 5, 6, detections([], [], [])),
]


def test_results_have_the_original_category_ids_and_corner_and_size(tmp_path):
    write_results(tmp_path, FOUND, CATEGORIES)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results[:2] == [
        {"image_id": 1, "category_id": 90, "bbox": [1.25, 2.5, 10.5, 10.0], "score": 0.9},
        {"image_id": 1, "category_id": 7, "bbox": [0.0, 0.0, 640.0, 480.0], "score": 0.125},
    ]
    assert results[2]["bbox"] == [12345.678, 10.0, 7653.822, 29989.25]
    assert results[2]["score"] == 0.333333
    images = json.loads((tmp_path / "images.json").read_text())
    assert images["images"][1] == {"id": 3, "file_name": NAMES[1], "width": 20_000, "height": 30_000}
    assert [image["id"] for image in images["images"]] == [1, 3, 4]
    assert (images["categories"], images["annotations"]) == (CATEGORIES, [])


def test_tools_load_both_files_together(tmp_path):
    write_results(tmp_path, FOUND, CATEGORIES)
    for tool in (COCO, faster_coco_eval.COCO):
        loaded = tool(str(tmp_path / "images.json")).loadRes(str(tmp_path / "results.json"))
        assert [annotation["category_id"] for annotation in loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))] == [90, 7]
        assert loaded.getAnnIds(imgIds=[4]) == []


def test_the_table_keeps_any_name(tmp_path):
    write_results(tmp_path, FOUND, CATEGORIES)
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert list(table.columns) == ["file_name", "category", "score", "x", "y", "width", "height"]
    assert list(table["file_name"]) == [NAMES[0], NAMES[0], NAMES[1]]
    assert list(table["category"]) == [CATEGORIES[1]["name"], CATEGORIES[0]["name"], CATEGORIES[0]["name"]]
    assert table.iloc[2][["x", "y", "width", "height"]].tolist() == [12345.678, 10.0, 7653.822, 29989.25]


def test_nothing_found_is_an_empty_list_and_a_table_with_a_head(tmp_path):
    write_results(tmp_path, FOUND[2:], CATEGORIES)
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert (tmp_path / "boxes.csv").read_text() == "file_name,category,score,x,y,width,height\n"


def test_class_numbers_are_the_order_of_the_categories_not_their_ids(tmp_path):
    write_results(tmp_path, FOUND, [{"id": 90, "name": "b"}, {"id": 7, "name": "a"}])
    assert [each["category_id"] for each in json.loads((tmp_path / "results.json").read_text())] == [7, 90, 90]
    assert list(pd.read_csv(tmp_path / "boxes.csv")["category"]) == ["a", "b", "b"]
