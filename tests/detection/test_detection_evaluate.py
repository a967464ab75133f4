"""The stage that scores a model, and the command that scores one on a folder of the user's."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from box_sets import EMPTY, NOTHING, found, pycocotools, truth
from PIL import Image

from millrace.detection import evaluate, evaluate_folder
from millrace.detection.box_pictures import class_colour, draw_boxes
from millrace.detection.boxes import Detections
from millrace.detection.evaluate import evaluate_split
from millrace.detection.params import Detection, Evaluate
from millrace.detection.store import Store
from millrace.errors import DataError, UserError
from millrace.settings import Runtime

WIDTH, HEIGHT = 160, 120
QUIET = Runtime(progress=False, jobs=1)
CATEGORIES = [{"id": 7, "name": "Bär/ä"}, {"id": 9, "name": "background"}, {"id": 40, "name": 'unused, "so"'}]
SUMMARY = {
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100"),
    *("ar_small", "ar_medium", "ar_large", "precision", "recall", "f1", "score_threshold", "per_class"),
    *("images", "boxes", "detections"),
}
TABLES = {
    "per_class.csv": ["category", "boxes", "ap", "ap50", "precision", "recall", "f1"],
    "pr_curve.csv": ["category", "recall", "precision", "score"],
    "f1_curve.csv": ["score", "precision", "recall", "f1", "f1_validation"],
    "precision_recall.csv": ["recall", "model", "baseline"],
    "confusion.csv": ["actual", "predicted", "count"],
    "errors.csv": ["kind", "count", "share", "ap50_gain"],
    "sizes.csv": ["size", "boxes", "ap", "ar"],
    "per_image.csv": [
        *("file_name", "boxes", "detections", "true_positives", "false_positives", "missed", "f1", "score"),
    ],
}


def png(number: int) -> bytes:
    """A picture that can be told from others by its first pixel."""
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (number, 90, 120)).save(stream, "PNG")
    return stream.getvalue()


def prepared(folder, **sides):
    """Prepared data with these true boxes; images are numbered over all sides, and their ids are 100 more."""
    images, boxes, content = [], [], b""
    for side, truths in sides.items():
        for each in truths:
            number, data = len(images), png(len(images))
            name = f"{side}/{number}.png"
            row = {"image_id": 100 + number, "file_name": name, "split": side}
            images.append(
                {**row, "width": WIDTH, "height": HEIGHT, "orientation": 1, "content": name}
                | {"offset": len(content), "length": len(data)}
            )
            content += data
            for box, label, ignored in zip(each.boxes.tolist(), each.labels.tolist(), each.ignored, strict=True):
                place = {"x": box[0], "y": box[1], "width": box[2] - box[0], "height": box[3] - box[1]}
                boxes.append({**row, **place, "annotation_id": len(boxes) + 1, "image": number, "label": label})
                boxes[-1]["ignored"] = bool(ignored)
    folder.mkdir(parents=True)
    pd.DataFrame(images).to_parquet(folder / "images.parquet")
    columns = ["annotation_id", "image", "label", "x", "y", "width", "height", "ignored", "split"]
    pd.DataFrame(boxes, columns=columns).to_parquet(folder / "boxes.parquet")
    (folder / "images.bin").write_bytes(content)
    (folder / "meta.json").write_text(json.dumps({"categories": CATEGORIES}))
    return Store(folder)


class Found:
    """A model that finds what it is told to find in each image."""

    categories = CATEGORIES
    score_threshold = 0.5

    def __init__(self, *detections: Detections) -> None:
        self.detections, self.sizes = detections, []

    def find(self, pictures):
        self.sizes.append(len(pictures))
        return [self.detections[picture[0, 0, 0]] for picture in pictures]


@pytest.fixture
def case(tmp_path):
    """Three validation images, whose best threshold is .6, and four test images."""
    one, two = (0, 10, 10, 60, 60), (1, 80, 20, 150, 110)
    store = prepared(
        tmp_path / "prepared",
        validation=[truth(one), truth(two), EMPTY],
        test=[truth(one, two), truth(one), EMPTY, truth(two, (0, 5, 5, 30, 30), ignored=[1])],
    )
    at_one, at_two = (10, 10, 60, 60), (80, 20, 150, 110)
    model = Found(
        found((0, 0.9, *at_one), (1, 0.3, 100, 0, 120, 20)),
        found((1, 0.6, *at_two)),
        found((1, 0.4, *at_two)),
        found((0, 0.95, *at_one), (1, 0.9, *at_two), (1, 0.8, 80, 25, 150, 110)),
        found((1, 0.7, *at_one), (0, 0.65, 10, 10, 60, 25)),
        NOTHING,
        found((0, 0.62, 5, 5, 30, 28), (1, 0.5, *at_two)),
    )
    return store, model


def score(case, out, settings=None):
    store, model = case
    finds = {"model": model.find, "baseline": lambda pictures: [NOTHING] * len(pictures)}
    evaluate_split(store, finds, settings or Evaluate(), out, progress=False)
    return json.loads((out / "evaluate.json").read_text())


def test_everything_of_the_contract_is_written(case, tmp_path):
    result = score(case, tmp_path / "out")
    assert result.keys() == {"model", "baseline", "validation"}
    for block in result.values():
        assert block.keys() == SUMMARY
        assert list(block["per_class"]) == sorted(category["name"] for category in CATEGORIES)
    folder = tmp_path / "out/evaluate"
    pictures = {"examples.png", "worst.png", "errors.png"}
    assert {path.name for path in folder.iterdir()} == {*TABLES, *pictures, "detections.json"}
    for name, columns in TABLES.items():
        own = list(pd.read_csv(folder / name).columns)
        assert own[: len(columns)] == columns
        assert own[len(columns) :] == ([f"{each}_baseline" for each in columns[2:]] if name == "per_class.csv" else [])
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert picture.width > 200


def test_the_threshold_of_validation_is_applied_to_test(case, tmp_path):
    result = score(case, tmp_path / "out")
    assert result["model"]["score_threshold"] == result["validation"]["score_threshold"] == 0.6
    assert result["validation"]["f1"] == 1
    # Of the test images: two right, a duplicate, a wrong class, a place; the box of score .5 is missed.
    assert result["model"]["boxes"] == 4
    assert result["model"]["detections"] == 5
    assert result["model"]["precision"] == pytest.approx(2 / 5)
    assert result["model"]["recall"] == pytest.approx(2 / 4)
    assert result["model"]["f1"] == pytest.approx(4 / 9, abs=1e-6)
    errors = pd.read_csv(tmp_path / "out/evaluate/errors.csv").set_index("kind")["count"].to_dict()
    kinds = {"classification": 1, "localisation": 1, "both": 0, "duplicate": 1, "background": 0, "missed": 1}
    assert errors == kinds


def test_what_was_never_seen_is_null_and_what_was_not_found_is_zero(case, tmp_path):
    result = score(case, tmp_path / "out")
    unused = result["model"]["per_class"]['unused, "so"']
    assert unused == {"boxes": 0, "ap": None, "ap50": None, "precision": None, "recall": None, "f1": None}
    assert result["model"]["ap_large"] is None
    assert result["baseline"]["ap"] == result["baseline"]["recall"] == result["baseline"]["f1"] == 0
    assert result["baseline"]["precision"] is None
    assert result["baseline"]["score_threshold"] == 0.5


def test_the_tables_agree_with_the_summary(case, tmp_path):
    model = score(case, tmp_path / "out")["model"]
    folder = tmp_path / "out/evaluate"
    images = pd.read_csv(folder / "per_image.csv")
    assert images["file_name"].tolist() == ["test/4.png", "test/6.png", "test/3.png", "test/5.png"]
    assert images["score"].is_monotonic_increasing
    assert images["score"].iloc[-1] == images["f1"].iloc[-1] == 1
    assert images[["boxes", "detections", "true_positives"]].sum().tolist() == [4, 5, 2]
    assert (images["boxes"] == images["true_positives"] + images["missed"]).all()
    confusion = pd.read_csv(folder / "confusion.csv", keep_default_na=False)
    table = confusion.pivot_table(index="actual", columns="predicted", values="count", sort=False)
    assert list(table.columns)[-1] == "(background)"
    assert table.loc["Bär/ä", "Bär/ä"] == table.loc["background", "background"] == 1
    assert table.loc["Bär/ä", "background"] == 1
    assert table.loc["(background)"].sum(skipna=True) == 2
    assert pd.read_csv(folder / "sizes.csv")["boxes"].tolist() == [0, 4, 0]
    curve = pd.read_csv(folder / "pr_curve.csv")
    assert set(curve["category"]) == {"Bär/ä", "background"}
    own = curve[curve["category"] == "Bär/ä"]
    assert own["precision"].sum() / 101 == pytest.approx(model["per_class"]["Bär/ä"]["ap50"], abs=1e-6)
    f1 = pd.read_csv(folder / "f1_curve.csv")
    at = f1[f1["score"] == 0.6].iloc[0]
    assert at["f1"] == pytest.approx(model["f1"], abs=1e-6)
    mean = pd.read_csv(folder / "precision_recall.csv")["model"].mean()
    assert mean == pytest.approx(model["ap50"], abs=1e-6)


def test_the_boxes_that_are_written_score_as_they_were_scored(case, tmp_path):
    model = score(case, tmp_path / "out")["model"]
    entries = json.loads((tmp_path / "out/evaluate/detections.json").read_text())
    assert {entry["category_id"] for entry in entries} == {7, 9}
    store, labels = case[0], {category["id"]: label for label, category in enumerate(CATEGORIES)}
    positions = store.positions("test")
    detections = []
    for position in positions:
        own = [entry for entry in entries if entry["image_id"] == 100 + position]
        rows = [
            (labels[e["category_id"]], e["score"], *e["bbox"][:2], *np.add(e["bbox"][:2], e["bbox"][2:])) for e in own
        ]
        detections.append(found(*rows))
    reference = pycocotools([store.truth(position) for position in positions], detections, 3)
    assert model["ap"] == pytest.approx(reference.stats[0], abs=1e-6)


def test_equal_runs_write_equal_bytes(case, tmp_path):
    score(case, tmp_path / "first")
    score(case, tmp_path / "second")
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) == 13
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


def test_pictures_are_read_a_batch_at_a_time(case, tmp_path):
    score(case, tmp_path / "out", Evaluate(batch_size=2))
    assert case[1].sizes == [2, 1, 2, 2]


def test_no_pictures_where_none_are_wanted(case, tmp_path):
    score(case, tmp_path / "out", Evaluate(examples=0))
    assert not list((tmp_path / "out/evaluate").glob("*.png"))


@pytest.mark.parametrize("side", ["test", "validation"])
def test_a_side_without_images_is_refused(tmp_path, side):
    sides = {"test": [truth((0, 0, 0, 9, 9))], "validation": [truth((0, 0, 0, 9, 9))]}
    del sides[side]
    with pytest.raises(UserError, match=f"The {side} split holds no image; detection.prepare.split.{side}"):
        score((prepared(tmp_path / "prepared", **sides), Found(NOTHING)), tmp_path / "out")


@pytest.mark.parametrize("true", [EMPTY, truth((0, 0, 0, 9, 9))])
@pytest.mark.parametrize("said", [NOTHING, found((2, 0.9, 0, 0, 9, 9))])
def test_one_image_of_which_there_is_hardly_anything_to_say(tmp_path, true, said):
    store = prepared(tmp_path / "prepared", validation=[EMPTY], test=[true])
    result = score((store, Found(NOTHING, said)), tmp_path / "out")["model"]
    assert result["score_threshold"] == 0.5
    assert result["ap"] == (0 if len(true.labels) else None)
    assert result["f1"] == (0 if len(true.labels) + len(said.labels) else None)
    image = pd.read_csv(tmp_path / "out/evaluate/per_image.csv").iloc[0]
    assert image["score"] == image["f1"] == (0 if len(true.labels) + len(said.labels) else 1)
    assert (tmp_path / "out/evaluate/worst.png").exists()


def test_the_stage_refuses_a_model_of_other_classes(tmp_path, monkeypatch):
    store = prepared(tmp_path / "prepared", validation=[EMPTY], test=[EMPTY])
    other = Found()
    other.categories = CATEGORIES[:2]
    monkeypatch.setattr(evaluate, "Store", lambda: store)
    monkeypatch.setattr(evaluate, "Finder", lambda *_: other)
    with pytest.raises(UserError, match=r"trained for other classes.*dvc repro detection-train"):
        evaluate.run(Detection(), QUIET)


def raw_folder(folder, names, *annotations):
    """A COCO folder of two images, with boxes as image, category name, x, y, width, height; ids begin with 1."""
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(png(number))
    content = {
        "images": [{"id": i + 1, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(2)],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": i + 1, "image_id": image, "category_id": names.index(name) + 1, "bbox": list(box)}
            for i, (image, name, *box) in enumerate(annotations)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder_model(monkeypatch):
    def use(*detections):
        model = Found(*detections)
        monkeypatch.setattr(evaluate_folder, "Finder", lambda *_: model)
        return model

    return use


def test_a_folder_is_scored_by_the_names_of_its_categories(tmp_path, folder_model):
    folder_model(found((0, 0.9, 10, 10, 60, 60), (1, 0.45, 0, 0, 20, 20)), found((1, 0.8, 80, 20, 150, 110)))
    raw = raw_folder(
        tmp_path / "raw",
        ["strange", "background", "Bär/ä"],
        *[(1, "Bär/ä", 10, 10, 50, 50), (2, "background", 80, 20, 70, 90), (2, "strange", 0, 0, 30, 30)],
    )
    out = tmp_path / "out"
    scored = evaluate_folder.evaluate_folder(raw, out, tmp_path / "model", Detection(), QUIET)
    result = json.loads((out / "evaluate.json").read_text())
    assert result["unknown_categories"] == ["strange"]
    model = result["model"]
    assert model.keys() == SUMMARY
    assert model["score_threshold"] == 0.5
    assert {name: each["ap50"] for name, each in model["per_class"].items()} == {
        **{"Bär/ä": 1, "background": 1, "strange": 0, 'unused, "so"': None},
    }
    assert (model["precision"], model["recall"]) == (1, pytest.approx(2 / 3, abs=1e-6))
    assert scored.coco.ap50 == pytest.approx(2 / 3)
    entries = json.loads((out / "detections.json").read_text())
    assert [(each["image_id"], each["category_id"]) for each in entries] == [(1, 3), (1, 2), (2, 2)]
    latency = json.loads((out / "latency.json").read_text())
    assert latency["pixels_median"] == WIDTH * HEIGHT
    assert latency["images_timed"] == 2
    assert 0 < latency["ms_median"] <= latency["ms_p95"]
    assert not list(out.glob(".prepared*"))


def test_a_folder_that_shares_no_name_with_the_model_is_refused(tmp_path, folder_model):
    folder_model(NOTHING, NOTHING)
    raw = raw_folder(tmp_path / "raw", ["bär/ä"], (1, "bär/ä", 10, 10, 50, 50))
    with pytest.raises(UserError, match="boxes of 'bär/ä', and the model knows 'Bär/ä', 'background'"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Detection(), QUIET)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_with_findings_that_stop_is_not_scored(tmp_path, folder_model):
    folder_model(NOTHING, NOTHING)
    raw = raw_folder(tmp_path / "raw", ["background"], (1, "background", 10, 10, 50, 50))
    (raw / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Detection(), QUIET)
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_without_boxes_is_refused(tmp_path, folder_model):
    folder_model(NOTHING, NOTHING)
    raw = raw_folder(tmp_path / "raw", ["background"])
    with pytest.raises(UserError, match="without a usable box"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Detection(), QUIET)


def test_results_do_not_go_into_a_file(tmp_path, folder_model):
    folder_model(NOTHING, NOTHING)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file; --out names a folder"):
        evaluate_folder.evaluate_folder(tmp_path, tmp_path / "out", tmp_path / "model", Detection(), QUIET)


def test_boxes_are_drawn_where_they_are_and_in_the_colours_of_their_classes():
    picture = np.full((100, 200, 3), 50, np.uint8)
    drawn = draw_boxes(picture, [[20, 30, 60, 80], [100, 30, 140, 80]], [0, 1], None)
    assert tuple(drawn[50, 20]) == class_colour(0)
    assert tuple(drawn[80, 120]) == class_colour(1)
    assert tuple(drawn[50, 40]) == (50, 50, 50)
    assert (picture == 50).all()
    assert class_colour(7) == class_colour(0) != class_colour(6)
    larger = draw_boxes(picture, [[20, 30, 60, 80]], [0], None, colour=(1, 2, 3), shown_px=400)
    assert larger.shape == (200, 400, 3)
    assert tuple(larger[100, 40]) == (1, 2, 3)


def test_what_cannot_be_drawn_is_left_out():
    picture = np.full((40, 60, 3), 50, np.uint8)
    for box in ([np.nan, 0, 9, 9], [0, 0, np.inf, 9], [500, 500, 600, 600]):
        assert (draw_boxes(picture, [box], [0], None) == 50).all()
    far = draw_boxes(picture, [[-1e12, 10, 1e12, 20]], [0], ["a\nvery long name, " * 9], [0.5])
    assert tuple(far[20, 50]) == class_colour(0)
    assert draw_boxes(picture, np.zeros((0, 4)), [], ["name"]).shape == picture.shape
    np.testing.assert_array_equal(
        draw_boxes(picture, [[30, 30, 9, 9]], [0], None), draw_boxes(picture, [[9, 9, 30, 30]], [0], None)
    )
