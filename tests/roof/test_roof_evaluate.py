"""The stage and the command that score a model, with a model that knows the answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prepared_stores import (
    AZIMUTHS,
    EAVE,
    PIXEL_M,
    RIDGE,
    SIDE,
    Oracle,
    house,
    only,
    perfect,
    perfect_lines,
    write_source,
)

from millrace.errors import DataError, UserError
from millrace.roof import evaluate, evaluate_folder
from millrace.roof.classes import HEADS, LINES, UNKNOWN
from millrace.roof.evaluate import Tile, score
from millrace.roof.params import Generic, Prepare, Roof
from millrace.roof.scored import TileCounts, flat
from millrace.roof.vector_lines import VectorLines
from millrace.settings import Runtime

QUIET = Runtime(progress=False, jobs=1)
SETTINGS = Roof().evaluate
CONFIG = {"azimuths": AZIMUTHS, "pixel_size_m": PIXEL_M, "heads": list(HEADS)}
PERFECT = {"azimuth_miou", "superstructure_miou", "roof_iou", "roof_f1", "roof_boundary_f1", "depth_delta"}
KEYS = {
    *PERFECT,
    *("azimuth_error_deg", "line_f1", "line_sap5", "line_sap10", "line_sap15", "line_sap", "calibration_ece"),
    *("depth_rmse_m", "depth_mae_m", "depth_roof_rmse_m", "depth_roof_mae_m", "depth_roof_delta"),
}


def answers(tiles):
    """A method that gives the labels of the tiles back."""
    known = {tile.labels.image.tobytes(): tile.labels for tile in tiles}
    return lambda image, pixel_size_m: (perfect(known[image.tobytes()]), perfect_lines(known[image.tobytes()]))


def scored(tiles, predict=None, **options):
    return score(tiles, {"model": predict or answers(tiles)}, AZIMUTHS, SETTINGS, **options)["model"]


def tile(labels, source="full", name="a"):
    return Tile(name, source, labels, PIXEL_M)


def test_perfect_prediction_is_perfect():
    summary = scored([tile(house(0)), tile(house(1, top=4))]).summary()
    assert {name: summary[name] for name in PERFECT} == dict.fromkeys(PERFECT, 1)
    assert summary["azimuth_error_deg"] == summary["depth_rmse_m"] == summary["calibration_ece"] == 0
    for kind in ("ridge", "eave", "outline", "mean"):
        assert summary["line_f1"][kind] == 1
    assert summary["line_sap5"] == summary["line_sap10"] == summary["line_sap15"] == 1
    assert summary["line_sap"]["ridge"] == summary["line_sap"]["eave"] == {"sap5": 1, "sap10": 1, "sap15": 1}
    assert math.isnan(summary["line_sap"]["valley"]["sap5"])


def test_summary_has_the_documented_keys():
    summary = scored([tile(house())]).summary()
    assert set(summary) == KEYS | {"tiles", "per_source"}
    assert set(summary["per_source"]["full"]) == KEYS
    assert set(summary["line_f1"]) == {*LINES, "mean"}


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        (("roof",), {"roof_iou", "roof_f1", "roof_boundary_f1"}),
        (("height",), {"depth_rmse_m", "depth_mae_m", "depth_delta"}),
        (("segments",), {"azimuth_miou", "azimuth_error_deg", "calibration_ece"}),
        (("superstructures",), {"superstructure_miou"}),
        (("lines",), {"line_sap5", "line_sap10", "line_sap15"}),
    ],
)
def test_what_is_not_labelled_has_no_score(heads, expected):
    """And what the model was not trained for has none either."""
    everything = [tile(house())]
    for summary in (
        scored([tile(only(house(), *heads))], answers(everything)).summary(),
        scored(everything, heads=heads).summary(),
    ):
        numbers = {name for name, value in summary.items() if isinstance(value, float) and not math.isnan(value)}
        assert {name for name in numbers if not name.startswith("depth_roof")} == expected


def test_sources_count_together_and_apart():
    segments, heights = tile(only(house(0), "segments"), "rid"), tile(only(house(1), "height"), "roofline")
    result = scored([segments, heights])
    summary = result.summary()
    assert result.sources == ["rid", "roofline"]
    assert summary["azimuth_miou"] == summary["per_source"]["rid"]["azimuth_miou"] == 1
    assert math.isnan(summary["per_source"]["roofline"]["azimuth_miou"])
    assert summary["per_source"]["roofline"]["depth_rmse_m"] == 0


def disturbed(seed, hidden_share):
    """A house, a share of whose labels is unknown, and two predictions that differ only there."""
    random = np.random.default_rng(seed)
    shape = (SIDE, SIDE)
    hidden = random.random(shape) < hidden_share
    labels = house()
    labels = replace(
        labels,
        segments=np.where(hidden, UNKNOWN, labels.segments),
        superstructures=np.where(hidden, UNKNOWN, labels.superstructures),
        roof=np.where(hidden, UNKNOWN, labels.roof),
        lines_known=np.where(hidden, 0, labels.lines_known).astype(np.uint8),
        height=np.where(hidden, np.nan, labels.height).astype(np.float32),
    )
    maps, other = perfect(labels), perfect(labels)
    for each in (maps, other):
        spots = random.random(shape) < 0.1
        changed = spots if each is maps else hidden
        if each is other:
            for name in ("segments", "confidence", "superstructures", "roof", "lines", "height"):
                getattr(other, name)[...] = getattr(maps, name)
        each.segments[changed] = random.integers(0, AZIMUTHS + 2, changed.sum())
        each.confidence[changed] = random.random(changed.sum())
        each.superstructures[changed] = random.integers(0, 9, changed.sum())
        each.roof[changed] = random.random(changed.sum())
        each.lines[:, changed] = random.random((len(LINES), changed.sum()))
        each.height[changed] = random.random(changed.sum()) * 9
    return labels, maps, other


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.4, 1.0]))
def test_unknown_pixels_never_change_a_score(seed, hidden_share):
    labels, maps, other = disturbed(seed, hidden_share)
    lines = perfect_lines(labels)
    one, two = (TileCounts.of(labels, AZIMUTHS, each, lines, SETTINGS) for each in (maps, other))
    np.testing.assert_equal(one.scores(), two.scores())


@settings(max_examples=5)
@given(st.integers(0, 2**31))
def test_scores_of_tiles_together_do_not_depend_on_their_order(seed):
    cases = [disturbed(seed + number, 0.2) for number in range(3)]
    counts = [TileCounts.of(labels, AZIMUTHS, maps, perfect_lines(labels), SETTINGS) for labels, maps, _ in cases]
    whole = TileCounts.sum(counts)
    nested = TileCounts.sum([counts[2], TileCounts.sum(counts[:2])])
    np.testing.assert_array_equal(whole.segments, sum(each.segments for each in counts))
    assert flat(nested.scores()) == pytest.approx(flat(whole.scores()), nan_ok=True)


def test_tiles_with_other_azimuth_classes_are_refused():
    with pytest.raises(ValueError, match="4 azimuth classes"):
        scored([tile(replace(house(), azimuths=4))])


def test_only_given_kinds_of_vectors_count():
    labels = replace(house(), vector_kinds=1 << RIDGE)
    wrong = VectorLines(np.array([EAVE], np.uint8), np.array([[1.0, 1, 60, 60]]), np.array([0.99]))
    result = scored([tile(labels)], lambda image, size: (perfect(labels), wrong)).summary()
    assert result["line_sap"]["ridge"]["sap10"] == 0
    assert math.isnan(result["line_sap"]["eave"]["sap10"])


def folders(workspace):
    """Two prepared sources, and the parameters that name them."""
    root = workspace / "data/prepared/roof"
    full = {"train": [house(0)], "test": [house(1), house(2, top=4)]}
    roof = {"train": [only(house(3), "roof")], "test": [only(house(4, left=2), "roof")]}
    write_source(root / "full", full)
    write_source(root / "airs", roof)
    raw = {name: Generic(format="generic", path=name) for name in ("full", "airs")}
    return [*full["test"], *roof["test"]], Roof(raw=raw)


def knowing(monkeypatch, module, tiles, config=CONFIG):
    """Let the stage find a model that knows the labels of tiles."""
    monkeypatch.setattr(module.model, "load", lambda folder: (None, config))
    monkeypatch.setattr(module, "Mapper", lambda network, config, settings, runtime: Oracle(tiles))


def test_stage_writes_scores_tables_and_pictures(workspace, monkeypatch):
    tiles, params = folders(workspace)
    knowing(monkeypatch, evaluate, tiles)
    evaluate.run(params, QUIET)
    metrics = workspace / "metrics/roof"
    found = json.loads((metrics / "evaluate.json").read_text(encoding="utf-8"))
    assert found["model"]["azimuth_miou"] == found["model"]["roof_iou"] == 1
    assert found["model"]["line_f1"]["ridge"] == 1
    assert found["model"]["line_sap10"] == pytest.approx(1)
    assert found["model"]["tiles"] == found["baseline"]["tiles"] == 3
    assert found["model"]["per_source"]["airs"]["azimuth_miou"] is None
    for name in ("azimuth_miou", "superstructure_miou", "depth_delta"):
        assert 0 <= found["baseline"][name] < found["model"][name]
    assert "error" not in json.dumps(found).replace("azimuth_error_deg", "")
    folder = metrics / "evaluate"
    assert sorted(path.name for path in folder.iterdir()) == [
        *(
            "azimuth_confusion.csv",
            "azimuth_iou.csv",
            "calibration.csv",
            "line_f1.csv",
            "line_scores.csv",
            "overlays.png",
        ),
        *("per_source.csv", "per_tile.csv", "superstructure_confusion.csv", "superstructure_iou.csv", "worst.png"),
    ]
    iou = pd.read_csv(folder / "azimuth_iou.csv")
    assert list(iou.columns) == ["class", "true_pixels", "model", "baseline"]
    assert iou.loc[iou["class"] == "S", "model"].tolist() == [1]
    assert iou["baseline"].min() < 1
    lines = pd.read_csv(folder / "line_f1.csv").set_index("kind")
    assert lines.loc["ridge", "model"] == 1
    confusion = pd.read_csv(folder / "azimuth_confusion.csv")
    assert confusion["count"].sum() == 2 * SIDE**2
    assert (confusion["count"][confusion["actual"] != confusion["predicted"]] == 0).all()
    per_tile = pd.read_csv(folder / "per_tile.csv")
    assert per_tile[["source", "tile"]].to_numpy().tolist() == [
        ["airs", "test_1"],
        ["full", "test_1"],
        ["full", "test_2"],
    ]
    assert pd.read_csv(folder / "per_source.csv").shape[0] == 4
    with Image.open(folder / "overlays.png") as picture:
        assert picture.width > 900


def test_stage_gives_the_same_bytes_again(workspace, monkeypatch):
    tiles, params = folders(workspace)
    knowing(monkeypatch, evaluate, tiles)
    written = []
    for _ in range(2):
        evaluate.run(params, QUIET)
        files = sorted(path for path in (workspace / "metrics").rglob("*") if path.is_file())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_heads_that_were_not_trained_are_not_scored(workspace, monkeypatch):
    tiles, params = folders(workspace)
    knowing(monkeypatch, evaluate, tiles, {**CONFIG, "heads": ["roof"]})
    evaluate.run(params, QUIET)
    found = json.loads((workspace / "metrics/roof/evaluate.json").read_text(encoding="utf-8"))
    for method in ("model", "baseline"):
        assert found[method]["roof_iou"] is not None
        assert found[method]["azimuth_miou"] is found[method]["depth_rmse_m"] is None


def test_stage_tells_what_is_missing(workspace, monkeypatch):
    tiles, params = folders(workspace)
    knowing(monkeypatch, evaluate, tiles, {**CONFIG, "azimuths": 16})
    with pytest.raises(UserError, match=r"other azimuth classes.*roof-train"):
        evaluate.run(params, QUIET)
    write_source(workspace / "data/prepared/roof/trained", {"train": [house()]})
    knowing(monkeypatch, evaluate, tiles)
    with pytest.raises(UserError, match=r"\(trained\) has a test tile"):
        evaluate.run(Roof(raw={"trained": Generic(format="generic", path="trained")}), QUIET)


def generic_folder(root, houses):
    """Images with masks of the roofs, as a user would lay them out."""
    for name in ("images", "roofs"):
        (root / name).mkdir(parents=True)
    for number, labels in enumerate(houses):
        Image.fromarray(labels.image).save(root / "images" / f"{number}.png")
        Image.fromarray(labels.roof).save(root / "roofs" / f"{number}.png")
    return root


def test_folder_is_scored_for_what_it_labels(tmp_path, monkeypatch, caplog):
    houses = [house(0), house(1, top=4)]
    raw = generic_folder(tmp_path / "raw", houses)
    knowing(monkeypatch, evaluate_folder, houses)
    result = evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Roof(), QUIET)
    assert "taken as 0.25 m" in caplog.text
    found = json.loads((tmp_path / "out/evaluate.json").read_text(encoding="utf-8"))["model"]
    assert found["roof_iou"] == found["line_f1"]["outline"] == result.summary()["roof_iou"] == 1
    assert found["tiles"] == 2
    assert found["azimuth_miou"] is found["depth_rmse_m"] is found["line_f1"]["ridge"] is None
    assert {"overlays.png", "worst.png", "per_tile.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_single_image_is_enough(tmp_path, monkeypatch):
    raw = generic_folder(tmp_path / "raw", [house(0)])
    knowing(monkeypatch, evaluate_folder, [house(0)])
    result = evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Roof(), QUIET)
    assert result.summary()["roof_f1"] == 1


def test_folder_with_a_bad_file(tmp_path, monkeypatch):
    houses = [house(number) for number in range(3)]
    raw = generic_folder(tmp_path / "raw", houses)
    Image.fromarray(np.full((SIDE, SIDE), 7, np.uint8)).save(raw / "roofs/1.png")
    knowing(monkeypatch, evaluate_folder, houses)
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Roof(), QUIET)
    assert not (tmp_path / "out").exists()
    lenient = Roof(prepare=Prepare(bad_files="drop", max_bad_share=0.5))
    result = evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", lenient, QUIET)
    assert result.summary()["tiles"] == 2


def test_folder_that_the_model_knows_nothing_of(tmp_path, monkeypatch):
    raw = generic_folder(tmp_path / "raw", [house(0)])
    knowing(monkeypatch, evaluate_folder, [house(0)], {**CONFIG, "heads": ["height"]})
    with pytest.raises(UserError, match="was trained for height"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "out", tmp_path / "model", Roof(), QUIET)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        evaluate_folder.evaluate_folder(raw, tmp_path / "file", tmp_path / "model", Roof(), QUIET)
