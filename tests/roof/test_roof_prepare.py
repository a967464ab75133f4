"""Prepared tiles are the scenes, checked, split and cut; what is not labelled stays unknown."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_sources import QUIET, Fake, generic_roof, scene_image, sided_roof, with_roof
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import DataError, Problem, UserError
from millrace.roof import prepare
from millrace.roof.classes import LINES, UNKNOWN
from millrace.roof.params import Airs, Prepare, Rid, Roof
from millrace.roof.scene import Labelled, Lines
from millrace.roof.source_check import check_source
from millrace.roof.split import dealt, leaks
from millrace.roof.store import PREPARED, Store
from millrace.roof.windows import SIDE_MULTIPLE, parts, tiles_of
from roof import builders

OUTLINE = 1 << LINES.index("outline")
SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def many(count=12, **options):
    return {f"s{number:02}": with_roof(number, **options) for number in range(count)}


def stored(name="own") -> Store:
    return Store(PREPARED / name)


def data(name="own"):
    return json.loads((prepare.METRICS / name / "data.json").read_text())


# Windows


@given(st.integers(1, 5000), st.sampled_from([64, 96, 256, 512]), st.sampled_from([1.0, 0.375, 0.5, 1.9, 3.0]))
def test_parts_cover_an_axis_once_are_about_equal_and_never_too_large(length, tile_px, factor):
    found = parts(length, factor, Prepare(tile_px=tile_px))
    assert found[0][0] == 0
    assert sum(own for _, own in found) == length
    assert all(start + own == after for (start, own), (after, _) in pairwise(found))
    lengths = [own for _, own in found]
    assert max(round(own * factor) for own in lengths) <= tile_px
    assert min(lengths) >= 0.7 * length / len(found)
    assert (len(found) - 1) * int(tile_px / factor) < length


def test_windows_are_multiples_where_that_leaves_no_sliver():
    assert parts(10_000, 1, Prepare(tile_px=512))[-1] == (9728, 272) or all(
        own % SIDE_MULTIPLE == 0 for _, own in parts(10_000, 1, Prepare(tile_px=512))[:-1]
    )
    assert parts(1000, 1, Prepare(tile_px=512)) == [(0, 512), (512, 488)]
    assert parts(65, 1, Prepare(tile_px=64)) == [(0, 33), (33, 32)]
    assert parts(512, 1, Prepare(tile_px=512)) == [(0, 512)]


def test_a_cut_scene_has_the_targets_of_the_whole(workspace, monkeypatch):
    segments = np.full((150, 200), 17, np.uint8)
    # Rows are cut at 50 and 100, where the roof begins and at its ridge.
    segments[50:100, 10:190], segments[100:148, 10:190] = 0, 8
    eave = Lines(np.array([LINES.index("eave")] * 2, np.uint8), np.array([[130.0, 10, 130, 190], [3, 3, 9, 9]]))
    whole = Labelled(image=scene_image(1, 150, 200), segments=segments, vectors=eave, vector_kinds=8)
    fake = Fake({"one": whole}).install(monkeypatch)
    roof = generic_roof({"train": 1, "validation": 0, "test": 0})
    scene = fake.scan(roof.raw["own"], None).scenes[0]
    settings = [Prepare(tile_px=px, line_width_px=3) for px in (64, 512)]
    pieces, (expected,) = (list(tiles_of(scene, roof.raw["own"], own)) for own in settings)
    assert len(pieces) == 12
    covered = np.zeros((150, 200), int)
    for piece in pieces:
        height, width = piece.labelled.image.shape[:2]
        part = slice(piece.top, piece.top + height), slice(piece.left, piece.left + width)
        covered[part] += 1
        for name in ("image", "segments", "roof", "lines", "lines_known"):
            np.testing.assert_array_equal(getattr(piece.labelled, name), getattr(expected.labelled, name)[part], name)
        ends = piece.labelled.vectors.ends
        assert (ends >= 0).all()
        assert (ends <= [height, width, height, width]).all()
    assert (covered == 1).all()
    length = sum(float(np.abs(piece.labelled.vectors.ends @ [-1, -1, 1, 1]).sum()) for piece in pieces)
    assert length == pytest.approx(180 + 12)
    # One read for the windows that lie beside each other.
    assert fake.reads == 3 + 1


def test_windows_are_read_with_the_scale_of_their_scene(workspace, monkeypatch):
    metres = np.full((300, 200), 4, np.float32)
    metres[0, 0], metres[299, 199] = 9999, -9999
    scene = Labelled(image=scene_image(0, 300, 200), height=metres)
    Fake({"one": scene}, pixel_size_m=0.1).install(monkeypatch)
    params = generic_roof({"train": 1, "validation": 0, "test": 0}, pixel_size_m=0.25, tile_px=64)
    prepare.run(params, QUIET, "own")
    index = stored().index
    assert index["pixel_size_m"].tolist() == [0.25] * len(index)
    assert index["height"].max() <= 64
    assert index.groupby("left")["height"].sum().tolist() == pytest.approx([120] * index["left"].nunique(), abs=1)
    assert sorted(set(index["top"])) == [0, 60]
    assert sorted(set(index["left"])) == [0, 40]
    assert index.groupby("top")["width"].sum().tolist() == pytest.approx([80] * index["top"].nunique(), abs=1)
    assert data()["heights_outside"] == 2
    heights = np.concatenate([stored().tile(number).height.ravel() for number in range(len(index))])
    assert np.nanmax(np.abs(heights - 4)) < 1e-5


# What is written


def test_the_store_has_the_scenes_in_order_with_their_sides(workspace, monkeypatch):
    fake = Fake(many(), pixel_size_m=0.2).install(monkeypatch)
    prepare.run(generic_roof(SHARES), QUIET, "own")
    store = stored()
    assert store.index["scene"].tolist() == sorted(fake.scenes)
    assert Counter(store.index["side"]) == {"train": 6, "validation": 3, "test": 3}
    for number, name in enumerate(sorted(fake.scenes)):
        np.testing.assert_array_equal(store.tile(number).image, fake.scenes[name].image)
        np.testing.assert_array_equal(store.tile(number).roof, fake.scenes[name].roof)
    assert store.meta["heads"] == ["roof", "lines"]
    assert store.meta["fields"] == ["roof", "lines", "lines_known"]
    assert store.meta["format"] == "generic"
    assert store.meta["class_counts"]["roof"] == [6 * (64 * 64 - 256), 6 * 256]
    assert store.meta["class_counts"]["segments"] == [0] * 10
    assert {path.name for path in (prepare.METRICS / "own").iterdir()} == {
        "classes.csv",
        "data.json",
        "failed.csv",
        "sheet.png",
    }


def test_what_one_scene_does_not_label_is_unknown_and_not_absent(workspace, monkeypatch):
    # Bugs (b) and (d) of the source system.
    gutter = Lines(np.array([3], np.uint8), np.array([[4.0, 4, 4, 40]]))
    scenes = {
        "height": Labelled(image=scene_image(0), height=np.full((64, 64), 3, np.float32)),
        "lines": Labelled(image=scene_image(1), vectors=gutter, vector_kinds=8),
        "roof": with_roof(2),
        "segments": Labelled(image=scene_image(3), segments=np.full((64, 64), 17, np.uint8)),
    }
    Fake(scenes).install(monkeypatch)
    prepare.run(generic_roof({"train": 1, "validation": 0, "test": 0}), QUIET, "own")
    store = stored()
    tiles = dict(zip(store.index["scene"], (store.tile(number) for number in range(4)), strict=True))
    assert store.meta["vector_kinds"] == 0
    assert store.index["pixel_size_m"].tolist() == [0.2] * 4
    for name, tile in tiles.items():
        assert (np.isnan(tile.height).all(), (tile.segments == UNKNOWN).all(), (tile.roof == UNKNOWN).all()) == (
            name != "height",
            name != "segments",
            name in ("height", "lines"),
        )
    known = {name: int(np.bitwise_or.reduce(tile.lines_known, axis=None)) for name, tile in tiles.items()}
    assert known == {"height": 0, "lines": 8, "roof": 16, "segments": 23}
    assert data()["known_share"] | {"lines": None} == {
        "segments": 0.25,
        "superstructures": 0.0,
        "roof": 0.5,
        "lines": None,
        "height": 0.25,
    }
    assert data()["known_share"]["lines"] == {"ridge": 0.25, "valley": 0.25, "hip": 0.25, "eave": 0.25, "outline": 0.5}
    assert data()["class_share"]["segments"]["background"] == 1
    assert data()["class_share"]["superstructures"]["chimney"] is None


def test_tiles_without_any_label_are_left_out_and_counted(workspace, monkeypatch):
    roof = np.full((64, 128), UNKNOWN, np.uint8)
    roof[:, :40] = 1
    Fake({"half": with_roof(0, 64, 128, roof=roof)}).install(monkeypatch)
    prepare.run(generic_roof({"train": 1, "validation": 0, "test": 0}, tile_px=64), QUIET, "own")
    assert stored().index["left"].tolist() == [0]
    assert data()["tiles_without_label"] == 1


def test_two_runs_write_the_same_bytes(workspace, monkeypatch):
    Fake(many(height=90), pixel_size_m=0.1).install(monkeypatch)
    params = generic_roof(SHARES, pixel_size_m=0.13, tile_px=64)
    folders = PREPARED, prepare.METRICS
    written = []
    for portion in (prepare.PIXELS_AT_ONCE, 1):
        monkeypatch.setattr(prepare, "PIXELS_AT_ONCE", portion)
        prepare.run(params, QUIET, "own")
        written.append({path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert len(written[0]) == 10


# Sides


def test_groups_and_copies_stay_on_one_side(workspace, monkeypatch):
    scenes = many(12)
    scenes["s11"] = with_roof(0, roof=np.ones((64, 64), np.uint8))
    groups = {"s01": "a", "s02": "a", "s11": "b", "s05": "b"}
    Fake(scenes, groups=groups).install(monkeypatch)
    for seed in range(5):
        params = generic_roof(SHARES | {"seed": seed})
        report = check_source("own", params.raw["own"], params.prepare, QUIET)
        side = dict(zip(report.tiles["scene"], report.tiles["side"], strict=True))
        assert side["s01"] == side["s02"]
        # The picture of s11 is that of s00.
        assert side["s00"] == side["s11"] == side["s05"]
        assert set(side.values()) == {"train", "validation", "test"}
        assert report.copies == 1


def test_a_share_of_nothing_is_an_empty_side(workspace, monkeypatch):
    Fake(many(3)).install(monkeypatch)
    prepare.run(generic_roof({"train": 0, "validation": 0, "test": 1}), QUIET, "own")
    assert set(stored().index["side"]) == {"test"}
    assert data()["sides"]["train"] == {"megapixels": 0.0, "scenes": 0, "tiles": 0}


def test_too_few_groups_for_the_sides_are_told(workspace, monkeypatch):
    Fake(many(6), groups=dict.fromkeys(many(6), "all")).install(monkeypatch)
    with pytest.raises(UserError, match="6 scenes form 1 independent units"):
        prepare.run(generic_roof(SHARES), QUIET, "own")
    assert not PREPARED.exists()


def test_leaks_between_given_sides_stop_or_leave_training_first(workspace, monkeypatch):
    # Bug (f) of the source system: images of validation were trained on.
    scenes = many(10)
    scenes["s01"] = scenes["s00"]
    sides = dict.fromkeys(scenes, "train") | {"s00": "test", "s08": "validation", "s09": "test"}
    Fake(scenes, sides=sides, groups={"s07": "g", "s08": "g"}).install(monkeypatch)
    with pytest.raises(DataError) as error:
        prepare.run(sided_roof(), QUIET, "own")
    assert "s01.tif: is for train and is the same image as s00, which is for test" in str(error.value)
    assert "s07.tif: is for train and is of the same group (g) as s08, which is for validation" in str(error.value)
    assert not Path("data").exists()
    assert not Path("metrics").exists()
    prepare.run(sided_roof(bad_files="drop", max_bad_share=0.2), QUIET, "own")
    assert stored().index["scene"].tolist() == ["s00", "s02", "s03", "s04", "s05", "s06", "s08", "s09"]


def test_notes_are_shown(workspace, monkeypatch, caplog):
    Fake(many(6)).install(monkeypatch)
    prepare.run(generic_roof(SHARES), QUIET, "own")
    assert "own: a note" in [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_scene_that_no_list_names_has_no_side(workspace, monkeypatch):
    Fake(many(3), sides={"s00": "train", "s01": "test"}).install(monkeypatch)
    with pytest.raises(DataError, match=r"s02\.tif: is on no list"):
        prepare.run(sided_roof(), QUIET, "own")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=3, max_size=20), st.integers(0, 9))
def test_no_group_or_image_is_ever_on_two_sides(keys, seed):
    names = [f"s{number}" for number in range(len(keys))]
    groups = dict(zip(names, (group for group, _ in keys), strict=True))
    contents = dict(zip(names, (content for _, content in keys), strict=True))
    fake = Fake(dict.fromkeys(names, with_roof(0)), groups=groups)
    scenes = fake.scan(generic_roof().raw["own"], None).scenes
    try:
        sides = dealt(scenes, contents, generic_roof(SHARES | {"seed": seed}).raw["own"].split)
    except UserError:
        return
    fake.sides = sides
    assert not leaks(fake.scan(generic_roof().raw["own"], None).scenes, contents)
    fake.sides = dict(zip(names, np.random.default_rng(seed).choice(["train", "validation", "test"], 20), strict=False))
    scenes = fake.scan(generic_roof().raw["own"], None).scenes
    left = leaks(scenes, contents)
    kept = [scene for scene in scenes if scene.name not in left]
    assert not leaks(kept, contents)
    assert {scene.side for scene in kept} >= {"test"} & set(fake.sides.values())


# Failures


def test_failed_scenes_are_all_listed_and_nothing_is_written(workspace, monkeypatch):
    # Bug (i) of the source system: a failed sample was replaced by the next.
    missing = Problem(Path("raw/s99.tif"), "has no mask")
    Fake(many(), damaged=("s03", "s07"), problems=(missing,)).install(monkeypatch)
    with pytest.raises(DataError) as error:
        prepare.run(generic_roof(SHARES), QUIET, "own")
    assert [str(problem) for problem in error.value.problems] == [
        "raw/s03.tif: ends too early",
        "raw/s07.tif: ends too early",
        "raw/s99.tif: has no mask",
    ]
    assert "3 of 13 samples cannot be used" in str(error.value)
    assert "bad_files to drop" in str(error.value)
    assert list(workspace.iterdir()) == []


def test_failed_scenes_are_dropped_up_to_a_limit_and_none_takes_their_place(workspace, monkeypatch):
    fake = Fake(many(), damaged=("s03", "s07")).install(monkeypatch)
    with pytest.raises(DataError, match=r"2 of 12 samples.*max_bad_share 0.05"):
        prepare.run(generic_roof(SHARES, bad_files="drop"), QUIET, "own")
    assert list(workspace.iterdir()) == []
    prepare.run(generic_roof(SHARES, bad_files="drop", max_bad_share=0.2), QUIET, "own")
    assert stored().index["scene"].tolist() == sorted(set(fake.scenes) - {"s03", "s07"})
    failed = pd.read_csv(prepare.METRICS / "own" / "failed.csv")
    assert failed.to_numpy().tolist() == [["raw/s03.tif", "ends too early"], ["raw/s07.tif", "ends too early"]]
    assert data()["failed_samples"] == 2


def test_when_all_fail_the_run_ends(workspace, monkeypatch):
    # Bug (i) again: this recursed without end.
    scenes = many()
    Fake(scenes, damaged=tuple(scenes)).install(monkeypatch)
    with pytest.raises(DataError, match="12 of 12 samples"):
        prepare.run(generic_roof(SHARES, bad_files="drop", max_bad_share=1), QUIET, "own")
    Fake({}).install(monkeypatch)
    with pytest.raises(UserError, match="there is no scene"):
        prepare.run(generic_roof(SHARES), QUIET, "own")
    assert list(workspace.iterdir()) == []


def test_a_scene_in_which_nothing_is_labelled_is_refused(workspace, monkeypatch):
    nodata = Labelled(image=scene_image(99), height=np.full((64, 64), np.nan, np.float32))
    Fake(many() | {"empty": nodata}).install(monkeypatch)
    with pytest.raises(DataError, match=r"empty\.tif: has no labelled pixel"):
        prepare.run(generic_roof(SHARES), QUIET, "own")


@pytest.mark.parametrize("wanted", [None, 0.2])
def test_pixels_of_unknown_size_are_refused(workspace, monkeypatch, wanted):
    Fake(many(), pixel_size_m=None).install(monkeypatch)
    with pytest.raises(
        UserError, match=r"12 scene\(s\) do not say how large a pixel is .*: s00, s01.* Set pixel_size_m"
    ):
        prepare.run(generic_roof(SHARES, pixel_size_m=wanted), QUIET, "own")
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("head", ["segments", "superstructures", "roof"])
def test_masks_of_black_and_white_are_refused(workspace, monkeypatch, head):
    black_and_white = np.where(np.arange(64) < 20, 0, UNKNOWN).astype(np.uint8)[:, None].repeat(64, axis=1)
    scenes = {name: Labelled(image=tile.image, **{head: black_and_white}) for name, tile in many().items()}
    Fake(scenes).install(monkeypatch)
    with pytest.raises(UserError, match=rf"All labels of {head} are 0 .* A mask of roofs belongs in roofs/"):
        prepare.run(generic_roof(SHARES), QUIET, "own")


def test_a_place_without_roofs_is_no_mistake(workspace, monkeypatch):
    scenes = {name: with_roof(number, roof=np.zeros((64, 64), np.uint8)) for number, name in enumerate(many())}
    Fake(scenes).install(monkeypatch)
    prepare.run(generic_roof(SHARES), QUIET, "own")
    assert data()["class_share"]["roof"]["roof"] == 0


@pytest.mark.parametrize(("ground_m", "refused"), [(0.0, False), (430.0, True)])
def test_heights_above_the_sea_are_refused(workspace, monkeypatch, ground_m, refused):
    height = np.full((64, 64), ground_m, np.float32)
    height[10:30, 10:30] += 6
    Fake({name: Labelled(image=tile.image, height=height) for name, tile in many().items()}).install(monkeypatch)
    if refused:
        with pytest.raises(UserError, match=r"No height is below 430 m, .* above the sea: take a terrain model"):
            prepare.run(generic_roof(SHARES), QUIET, "own")
    else:
        prepare.run(generic_roof(SHARES), QUIET, "own")
        assert data()["known_share"]["height"] == 1


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (300.0, "has pixels of 300 m; at the 0.2 m that are wanted they would be enlarged over 4 times"),
        (0.7, "has more pixels than roof.prepare.max_megapixels allows"),
        (1e-7, "nothing is left of it"),
    ],
)
def test_scenes_that_cannot_be_resampled_are_refused_unread(workspace, monkeypatch, own, message):
    fake = Fake(many(), pixel_size_m=own).install(monkeypatch)
    with pytest.raises(DataError, match=f"s00.tif: .*{message}"):
        prepare.run(generic_roof(SHARES, pixel_size_m=0.2, max_megapixels=0.01), QUIET, "own")
    assert fake.reads == 0


def test_coarser_azimuths_than_wanted_are_refused(workspace, monkeypatch):
    coarse = Labelled(image=scene_image(0), segments=np.full((64, 64), 5, np.uint8), azimuths=4)
    Fake({"coarse": coarse}).install(monkeypatch)
    with pytest.raises(DataError, match=r"coarse.tif: has 4 azimuth classes, and roof.prepare.azimuths is 8"):
        prepare.run(generic_roof({"train": 1, "validation": 0, "test": 0}), QUIET, "own")


def test_what_was_prepared_before_stays_when_a_run_stops(workspace, monkeypatch):
    Fake(many()).install(monkeypatch)
    prepare.run(generic_roof(SHARES), QUIET, "own")
    before = (PREPARED / "own/image.npy").read_bytes()
    Fake(many(), damaged=("s00",)).install(monkeypatch)
    with pytest.raises(DataError):
        prepare.run(generic_roof(SHARES), QUIET, "own")
    assert (PREPARED / "own/image.npy").read_bytes() == before


# Data sets as published


@pytest.fixture
def published(workspace) -> Roof:
    builders.write_rid(Path("rid"))
    builders.write_airs(Path("airs"))
    sources = {
        "rid": Rid(format="rid", path="rid", vectors="segments_reviewed.csv"),
        "airs": Airs(format="airs", path="airs"),
    }
    return Roof(raw=sources, prepare=Prepare(azimuths=8))


def test_rid_is_prepared_with_north_as_a_roof_and_ridge_and_eaves(published):
    # Bug (a) of the source system: background became roof, and planes to the north became background.
    prepare.run(published, QUIET, "rid")
    store = stored("rid")
    assert dict(zip(store.index["scene"], store.index["side"], strict=True)) == {
        "1": "train",
        "2": "train",
        "30": "train",
        "4": "validation",
        "5": "test",
    }
    tile = store.tile(0)
    rows, columns = builders.ROOF
    assert (tile.segments[rows.start : 16, columns] == 0).all()
    assert (tile.segments[16 : rows.stop, columns] == 4).all()
    assert (tile.roof[rows, columns] == 1).all()
    assert tile.roof.sum() == 16 * 20 + 4 * 10
    lines = {kind: (tile.lines >> number & 1).astype(bool) for number, kind in enumerate(LINES)}
    assert lines["ridge"][15:17, columns].all()
    assert lines["ridge"].sum() == 2 * 20
    assert lines["eave"][7:9, 7:25].all()
    assert not lines["valley"].any()
    assert len(tile.vectors.kinds) == 2
    assert store.meta["vector_kinds"] == 1 << LINES.index("eave")


def test_airs_labels_roof_and_outline_and_nothing_else(published):
    prepare.run(published, QUIET, "airs")
    store = stored("airs")
    assert store.meta["heads"] == ["roof", "lines"]
    assert store.meta["fields"] == ["roof", "lines", "lines_known"]
    for number in range(len(store)):
        tile = store.tile(number)
        np.testing.assert_array_equal(tile.roof, builders.airs_label())
        assert (tile.lines_known == OUTLINE).all()
        assert set(np.unique(tile.lines)) == {0, OUTLINE}


def test_the_same_tile_in_training_and_test_is_found(published):
    training, test = (
        Path("airs", side, "image", f"christchurch_{number}.tif") for side, number in (("train", 1), ("test", 4))
    )
    training.write_bytes(test.read_bytes())
    report = check_source("airs", published.raw["airs"], published.prepare, QUIET)
    assert training in {problem.path for problem in report.problems}
    assert report.bad == 1
    assert len(report.scenes) == 3
