"""Prediction on files of any name, number and state."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from raw_folders import bccd_folder

from millrace.detection import predict
from millrace.detection.boxes import Detections
from millrace.detection.params import Detection
from millrace.detection.predict import predict_files
from millrace.errors import UserError
from millrace.settings import Runtime

QUIET = Runtime(jobs=1, progress=False, threads=1, accelerator="cpu")
CATEGORIES = [{"id": 3, "name": "red"}, {"id": 9, "name": "a/b ü"}]
BOX = [4.5, 6.0, 20.5, 18.0]


class FakeFinder:
    """Finds a red box in every picture, and below the threshold one of the other class that fills it."""

    categories = CATEGORIES
    score_threshold = 0.4
    made: list[float] = []  # noqa: RUF012  emptied for each test

    def __init__(self, folder, settings, runtime) -> None:
        self.made.append(settings.score_floor)

    def find(self, pictures):
        found = []
        for picture in pictures:
            height, width = picture.shape[:2]
            boxes = np.clip(np.array([BOX, [0, 0, width, height]], np.float32), 0, [width, height] * 2)
            found.append(Detections(boxes.astype(np.float32), np.array([0, 1]), np.array([0.75, 0.25], np.float32)))
        return found


@pytest.fixture(autouse=True)
def finder(monkeypatch):
    FakeFinder.made.clear()
    monkeypatch.setattr(predict, "Finder", FakeFinder)


def draw(path: Path, width: int = 40, height: int = 30, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[6:18, 5:20] = (200, 30, 30)
    Image.fromarray(picture).save(path, **options)
    return path


def run(inputs, out, params=None, **options):
    inputs = [Path(each) for each in (inputs if isinstance(inputs, list) else [inputs])]
    return predict_files(inputs, out, Path("model"), params or Detection(), QUIET, **options)


def names(out: Path) -> list[str]:
    return [image["file_name"] for image in json.loads((out / "images.json").read_text())["images"]]


def results(out: Path) -> list[dict]:
    return json.loads((out / "results.json").read_text())


def settings(**changes) -> Detection:
    return Detection.model_validate({"predict": changes})


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_gives_results_table_and_overlay(tmp_path):
    assert run(draw(tmp_path / "in/a.png"), tmp_path / "out") == []
    assert results(tmp_path / "out") == [{"image_id": 1, "category_id": 3, "bbox": [4.5, 6, 16, 12], "score": 0.75}]
    assert json.loads((tmp_path / "out/images.json").read_text())["categories"] == CATEGORIES
    table = pd.read_csv(tmp_path / "out/boxes.csv")
    assert table.to_dict("records") == [
        {"file_name": "a.png", "category": "red", "score": 0.75, "x": 4.5, "y": 6.0, "width": 16.0, "height": 12.0}
    ]
    assert files(tmp_path / "out") == ["boxes.csv", "images.json", "overlays/a.png", "results.json"]
    with Image.open(tmp_path / "in/a.png") as before, Image.open(tmp_path / "out/overlays/a.png") as after:
        assert after.size == before.size
        assert (np.asarray(after) != np.asarray(before)).any()


def test_equal_names_of_two_folders_are_told_apart(tmp_path):
    for folder in ("one", "two", "two/deep"):
        draw(tmp_path / folder / "x.jpg")
    assert run([tmp_path / "two", tmp_path / "one"], tmp_path / "out") == []
    assert names(tmp_path / "out") == ["two/deep/x.jpg", "two/x.jpg", "one/x.jpg"]
    assert [each["image_id"] for each in results(tmp_path / "out")] == [1, 2, 3]
    assert files(tmp_path / "out/overlays") == ["one/x.jpg", "two/deep/x.jpg", "two/x.jpg"]


def test_names_in_one_folder_are_relative_to_it(tmp_path):
    draw(tmp_path / "in/b.png")
    draw(tmp_path / "in/deep/a.PNG")
    (tmp_path / "in/notes.txt").write_text("no image")
    draw(tmp_path / "in/.hidden.png")
    draw(tmp_path / "in/.cache/a.png")
    assert run(tmp_path / "in", tmp_path / "out") == []
    assert names(tmp_path / "out") == ["b.png", "deep/a.PNG"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", ["a.png", "b.png"]),
        ("in/**/*.png", ["a.png", "b.png", "deep/c.png"]),
        ("in/[b]*", ["b.png"]),
        ("in/d*/?.png", ["deep/c.png"]),
    ],
)
def test_patterns(workspace, pattern, expected):
    for name in ("a.png", "b.png", "deep/c.png", "bad.txt", "out/overlays/a.png"):
        draw(workspace / "in" / name, format="PNG")
    assert run(pattern, workspace / "in/out") == []
    assert names(workspace / "in/out") == expected


def test_a_pattern_without_a_match_and_a_missing_file_are_problems(workspace):
    draw(workspace / "a.png")
    problems = run(["a.png", "*.jpg", "b.png"], workspace / "out")
    assert [(each.path.name, each.reason) for each in problems] == [
        ("*.jpg", "no image file has such a name"),
        ("b.png", "does not exist"),
    ]
    assert names(workspace / "out") == ["a.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    draw(tmp_path / "a[1].png")
    draw(tmp_path / "a1.png")
    assert run(tmp_path / "a[1].png", tmp_path / "out") == []
    assert names(tmp_path / "out") == ["a[1].png"]


def test_a_file_given_twice_is_predicted_once(workspace):
    draw(workspace / "in/a.png")
    assert run(["in", "in/a.png", str(workspace / "in/a.png"), "in/../in/a.png"], workspace / "out") == []
    assert names(workspace / "out") == ["a.png"]


def test_one_bad_file_never_stops_the_rest_and_keeps_its_number(tmp_path):
    draw(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    (tmp_path / "in/c.jpg").write_bytes(draw(tmp_path / "whole.jpg").read_bytes()[:300])
    draw(tmp_path / "in/d.png", 400, 300)
    draw(tmp_path / "in/e.png")
    params = Detection.model_validate({"prepare": {"max_megapixels": 0.1}})
    problems = run(tmp_path / "in", tmp_path / "out", params)
    assert [each.path.name for each in problems] == ["b.png", "c.jpg", "d.png"]
    assert all(str(tmp_path) not in each.reason for each in problems)
    assert names(tmp_path / "out") == ["a.png", "e.png"]
    assert [each["image_id"] for each in results(tmp_path / "out")] == [1, 5]


def test_a_result_that_cannot_be_written_is_a_failure_of_that_file_alone(tmp_path):
    draw(tmp_path / "in/a.png")
    draw(tmp_path / "in/b.png")
    (tmp_path / "out/overlays/a.png/x").mkdir(parents=True)
    assert [each.path.name for each in run(tmp_path / "in", tmp_path / "out")] == ["a.png"]
    assert names(tmp_path / "out") == ["b.png"]
    assert files(tmp_path / "out/overlays") == ["b.png"]


def test_an_output_inside_the_input_never_becomes_an_input(tmp_path):
    draw(tmp_path / "in/a.png")
    out = tmp_path / "in/found"
    for _ in range(2):
        assert run(tmp_path / "in", out, settings(crops=True)) == []
        assert names(out) == ["a.png"]


def test_the_input_folder_itself_is_no_output(tmp_path):
    draw(tmp_path / "in/a.png")
    with pytest.raises(UserError, match="a folder to read; name another"):
        run(tmp_path / "in", tmp_path / "in")
    assert files(tmp_path / "in") == ["a.png"]


def test_no_output_takes_the_place_of_an_input(tmp_path):
    image = draw(tmp_path / "out/overlays/a.png")
    before = image.read_bytes()
    (problem,) = run(image, tmp_path / "out")
    assert "would take the place of the image" in problem.reason
    assert image.read_bytes() == before
    original = draw(tmp_path / "in/b.png")
    (tmp_path / "out/overlays/b.png").symlink_to(original)
    before = original.read_bytes()
    assert len(run(tmp_path / "in", tmp_path / "out")) == 1
    assert original.read_bytes() == before


def test_links_that_leave_the_folder_are_refused(tmp_path):
    draw(tmp_path / "in/a.png")
    draw(tmp_path / "else/b.png")
    (tmp_path / "in/b.png").symlink_to(tmp_path / "else/b.png")
    (tmp_path / "in/c.png").symlink_to(tmp_path / "in/a.png")
    (tmp_path / "in/d").symlink_to(tmp_path / "else")
    (tmp_path / "in/e.png").symlink_to(tmp_path / "in/e.png")
    problems = run(tmp_path / "in", tmp_path / "out")
    assert [each.path.name for each in problems] == ["b.png", "d", "e.png"]
    assert names(tmp_path / "out") == ["a.png", "c.png"]


@pytest.mark.parametrize("name", ["größe ü.png", 'a, "b".png', "new\nline.png", "-x.png", "50%.png", "名.png"])
def test_names_of_any_characters(tmp_path, name):
    draw(tmp_path / "in" / name)
    assert run(tmp_path / "in", tmp_path / "out", settings(crops=True)) == []
    assert names(tmp_path / "out") == [name]
    assert pd.read_csv(tmp_path / "out/boxes.csv")["file_name"].to_list() == [name]
    assert (tmp_path / "out/overlays" / name).is_file()


def test_a_name_that_is_no_text_is_a_problem(tmp_path):
    draw(tmp_path / "in/a.png")
    os.rename(tmp_path / "in/a.png", os.fsencode(tmp_path) + b"/in/\xff.png")  # noqa: PTH104  pathlib takes no bytes
    draw(tmp_path / "in/b.png")
    (problem,) = run(tmp_path / "in", tmp_path / "out")
    assert "not valid UTF-8" in problem.reason
    assert names(tmp_path / "out") == ["b.png"]


def test_overlays_of_one_name_are_not_written_over_each_other(tmp_path):
    draw(tmp_path / "in/a.bmp")
    draw(tmp_path / "in/a.bmp.png")
    (problem,) = run(tmp_path / "in", tmp_path / "out")
    assert (problem.path.name, "its overlay has the name of that of" in problem.reason) == ("a.bmp.png", True)
    assert names(tmp_path / "out") == ["a.bmp"]


def test_an_overlay_is_a_jpeg_of_a_jpeg_and_never_larger_than_a_screen(tmp_path):
    draw(tmp_path / "in/a.JPG", 3000, 100)
    draw(tmp_path / "in/b.tif", 60, 50)
    assert run(tmp_path / "in", tmp_path / "out") == []
    with (
        Image.open(tmp_path / "out/overlays/a.JPG") as first,
        Image.open(tmp_path / "out/overlays/b.tif.png") as second,
    ):
        assert (first.format, first.size) == ("JPEG", (2048, 68))
        assert (second.format, second.size) == ("PNG", (60, 50))
    assert json.loads((tmp_path / "out/images.json").read_text())["images"][0]["width"] == 3000


def test_sizes_and_boxes_are_of_the_picture_as_it_is_shown(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(tmp_path / "in/a.jpg", 40, 30, exif=turned)
    assert run(tmp_path / "in", tmp_path / "out") == []
    image = json.loads((tmp_path / "out/images.json").read_text())["images"][0]
    assert (image["width"], image["height"]) == (30, 40)


def test_crops_show_each_box_and_those_of_an_earlier_run_go(tmp_path):
    draw(tmp_path / "in/a.png")
    out = tmp_path / "out"
    run(tmp_path / "in", out, settings(crops=True, score=0.2))
    assert files(out / "crops") == ["a.png/001_red.png", "a.png/002_a_b_ü.png"]
    with Image.open(out / "crops/a.png/001_red.png") as crop, Image.open(tmp_path / "in/a.png") as whole:
        assert (np.asarray(crop) == np.asarray(whole)[6:18, 4:21]).all()
    (out / "crops/a.png/mine.png").write_bytes(b"")
    run(tmp_path / "in", out, settings(crops=True))
    assert files(out / "crops") == ["a.png/001_red.png", "a.png/mine.png"]


def test_the_least_score_is_the_parameter_or_else_the_model_s(tmp_path):
    draw(tmp_path / "in/a.png")
    found = {}
    for score in (None, 0.2, 0.76, 0.001):
        assert run(tmp_path / "in", tmp_path / "out", settings(score=score)) == []
        found[score] = [each["score"] for each in results(tmp_path / "out")]
    assert found == {None: [0.75], 0.2: [0.75, 0.25], 0.76: [], 0.001: [0.75, 0.25]}
    assert FakeFinder.made == [0.02, 0.02, 0.02, 0.001]


def test_on_request_the_files_list_boxes_below_the_least_score(tmp_path):
    draw(tmp_path / "in/a.png")
    run(tmp_path / "in", tmp_path / "few", settings(crops=True))
    run(tmp_path / "in", tmp_path / "all", settings(crops=True), probabilities=True)
    assert [each["category_id"] for each in results(tmp_path / "all")] == [3, 9]
    for folder in ("overlays", "crops"):
        few, every = tmp_path / "few" / folder, tmp_path / "all" / folder
        assert files(few) == files(every)
        assert all((few / name).read_bytes() == (every / name).read_bytes() for name in files(few))


def test_large_pictures_are_searched_in_tiles(tmp_path):
    draw(tmp_path / "in/a.png", 200, 100)
    assert run(tmp_path / "in", tmp_path / "out", settings(tile_px=100, overlap=0.5)) == []
    # The same box in each of the three tiles; the last one begins at 100.
    assert sorted(each["bbox"] for each in results(tmp_path / "out")) == [
        [4.5, 6, 16, 12],
        [54.5, 6, 16, 12],
        [104.5, 6, 16, 12],
    ]


def test_equal_runs_are_equal_bytes(tmp_path):
    for number in range(3):
        draw(tmp_path / f"in/{number}.jpg", 40 + number)
    for out in ("first", "second"):
        assert run(tmp_path / "in", tmp_path / out, settings(crops=True)) == []
    assert files(tmp_path / "first") == files(tmp_path / "second")
    for name in files(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(UserError, match="No image file"):
        run(tmp_path, tmp_path / "out")
    assert FakeFinder.made == []


def test_real_photos(tmp_path):
    photos = sorted((bccd_folder() / "JPEGImages").glob("*.jpg"))[:3]
    assert run(photos, tmp_path / "out") == []
    images = json.loads((tmp_path / "out/images.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [photo.name for photo in photos]
    assert {(image["width"], image["height"]) for image in images} == {(640, 480)}
