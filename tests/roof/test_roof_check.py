"""The command `check roof` tells everything and writes no data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_sources import QUIET, Fake, generic_roof, sided_roof, with_roof
from PIL import Image

from millrace.roof.check import print_check
from millrace.roof.class_counts import columns, counted, known_shares, labelled_heads, table
from millrace.roof.classes import UNKNOWN
from millrace.roof.data_pictures import LINE_COLOURS, azimuth_colour, head_picture
from millrace.roof.params import Airs, Rid, Roof
from millrace.roof.scene import Labelled
from millrace.roof.source_check import check_source
from roof import builders

TABLES = {"classes.csv", "data.json", "failed.csv", "sheet.png"}


def test_check_tells_of_all_sources_and_writes_no_data(workspace, capsys):
    builders.write_rid(Path("rid"))
    builders.write_airs(Path("airs"))
    sources = {
        "a": Airs(format="airs", path="airs"),
        "gone": Airs(format="airs", path="nowhere"),
        "r": Rid(format="rid", path="rid"),
    }
    assert not print_check(None, Path("out"), Roof(raw=sources), QUIET)
    said = capsys.readouterr().out
    assert "gone: nowhere does not exist" in said
    assert "no test.txt" in said
    assert {path.name for path in workspace.iterdir()} == {"rid", "airs", "out"}
    for name in ("a", "r"):
        assert {path.name for path in Path("out", name).iterdir()} == TABLES
    assert print_check(None, Path("out"), Roof(raw={"a": sources["a"], "r": sources["r"]}), QUIET)


@pytest.mark.parametrize("form", ["rid", "airs"])
def test_check_of_a_folder_finds_what_it_is(workspace, form, capsys):
    {"rid": builders.write_rid, "airs": builders.write_airs}[form](Path("raw"))
    assert print_check(Path("raw"), Path("out"), Roof(), QUIET)
    assert {path.name for path in Path("out").iterdir()} == TABLES
    assert json.loads(Path("out/data.json").read_text())["format"] == form
    assert f"format               {form}" in capsys.readouterr().out


def test_check_lists_what_is_wrong_whatever_the_policy(workspace, monkeypatch, capsys):
    scenes = {f"s{number}": with_roof(number) for number in range(30)}
    Fake(scenes, damaged=tuple(sorted(scenes)[:25])).install(monkeypatch)
    for policy in ("stop", "drop"):
        params = generic_roof(bad_files=policy)
        assert not print_check(None, Path("out"), params, QUIET)
        said = capsys.readouterr().out
        assert said.count("ends too early") == 20
        assert "and 5 more problems" in said
        assert len(pd.read_csv("out/own/failed.csv")) == 25
    Fake(dict(list(scenes.items())[:2])).install(monkeypatch)
    assert not print_check(None, Path("out"), generic_roof(), QUIET)
    assert "too few for train + validation + test" in capsys.readouterr().out


def test_a_source_without_scenes_is_still_reported(workspace, monkeypatch):
    Fake({"s": with_roof(0)}, damaged=("s",)).install(monkeypatch)
    assert not print_check(None, Path("out"), sided_roof(), QUIET)
    assert {path.name for path in Path("out/own").iterdir()} == TABLES - {"sheet.png"}


def test_classes_are_counted_by_side(workspace, monkeypatch):
    scenes = {f"s{number}": with_roof(number) for number in range(4)}
    Fake(scenes, sides={"s0": "train", "s1": "train", "s2": "validation", "s3": "test"}).install(monkeypatch)
    params = sided_roof()
    report = check_source("own", params.raw["own"], params.prepare, QUIET)
    print_check(None, Path("out"), params, QUIET)
    classes = pd.read_csv("out/own/classes.csv")
    roofs = classes[(classes["head"] == "roof") & (classes["class"] == "roof")]
    assert dict(zip(roofs["side"], roofs["pixels"], strict=True)) == {
        "all": 1024,
        "train": 512,
        "validation": 256,
        "test": 256,
    }
    assert roofs["share"].tolist() == [1 / 16] * 4
    assert classes[classes["head"] == "segments"]["share"].isna().all()
    assert report.bad_share == 0


def test_counts_tell_unknown_from_absent():
    segments = np.array([[0, 0, 8, 9, UNKNOWN]], np.uint8)
    tile = Labelled(
        image=np.zeros((1, 5, 3), np.uint8),
        azimuths=8,
        segments=segments,
        lines=np.array([[1, 1, 0, 0, 0]], np.uint8),
        lines_known=np.array([[1, 1, 1, 0, 8]], np.uint8),
        height=np.array([[1, np.nan, 2, 3, np.nan]], np.float32),
    )
    counts = counted(tile)
    found = {key: count for key, count in zip(columns(8), counts.tolist(), strict=True) if count}
    assert found == {
        ("segments", "N"): 2,
        ("segments", "flat"): 1,
        ("segments", "background"): 1,
        ("lines", "ridge"): 2,
        ("lines_known", "ridge"): 3,
        ("lines_known", "eave"): 1,
        ("height", "known"): 3,
    }
    assert labelled_heads(counts, 8) == ["segments", "lines", "height"]
    shares = known_shares(counts, 8, 5)
    assert (shares["segments"], shares["roof"], shares["height"]) == (0.8, 0, 0.6)
    assert shares["lines"] == {"ridge": 0.6, "valley": 0, "hip": 0, "eave": 0.2, "outline": 0}
    rows = table(counts, 8, "all").set_index(["head", "class"])["share"]
    assert rows["lines", "ridge"] == pytest.approx(2 / 3)
    assert rows["lines", "eave"] == 0
    assert np.isnan(rows["lines", "hip"])
    assert rows["segments", "N"] == 0.5


def test_pictures_show_labels_and_hatch_what_is_unknown():
    segments = np.full((40, 40), 9, np.uint8)
    segments[:10], segments[10:20], segments[30:] = 0, 4, UNKNOWN
    image = np.full((40, 40, 3), 200, np.uint8)
    tile = Labelled(image=image, azimuths=8, segments=segments)
    picture = head_picture(tile, "segments").astype(int)
    assert picture[5, 5].argmax() == np.argmax(azimuth_colour(0, 8)) == 0
    assert picture[15, 5].argmin() == np.argmin(azimuth_colour(4, 8)) == 0
    assert (picture[25] == 70).all()
    assert len(np.unique(picture[30:].reshape(-1, 3), axis=0)) == 2
    lines = np.zeros((40, 40), np.uint8)
    lines[5] = 1
    known = np.ones((40, 40), np.uint8)
    known[20:] = 0
    picture = head_picture(Labelled(image=image, lines=lines, lines_known=known), "lines")
    assert (picture[5] == LINE_COLOURS[0]).all()
    assert (picture[15] == 70).all()
    assert len(np.unique(picture[20:].reshape(-1, 3), axis=0)) == 2


def test_the_sheet_has_a_column_a_head(workspace, monkeypatch):
    Fake({f"s{number}": with_roof(number) for number in range(4)}).install(monkeypatch)
    print_check(None, Path("out"), generic_roof(), QUIET)
    width, height = Image.open("out/own/sheet.png").size
    # The image, the roof and the lines, of 170 pixels and their gaps; four rows and the legend.
    assert width == 3 * (170 + 6) + 6
    assert height > 4 * 64
