"""Reading RID: what is published comes through unchanged, and what is wrong is told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from millrace.errors import DataError, ImageError, UserError
from millrace.imagery.raster import Raster
from millrace.roof.classes import SUPERSTRUCTURES, background_class, flat_class, segment_names
from millrace.roof.params import Prepare
from millrace.roof.raw_files import ground_size_m
from millrace.roof.raw_rid import IMAGES, LISTS, MASKS, read
from millrace.roof.scene import Georeference, Scene, Window
from roof.builders import (
    BACKGROUND,
    FLAT,
    FLAT_ROOF,
    NORTH,
    RID_SIDE,
    RID_SIDES,
    ROOF,
    SOUTH,
    noise,
    rid_segments,
    rid_superstructures,
    rid_transform,
    write_geotiff,
    write_png,
    write_rid,
    write_rid_fold,
    write_rid_image,
)
from roof.rid_folders import (
    ALL,
    CSV,
    labelled,
    scanned,
    scene_of,
    settings,
    told,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rid(tmp_path_factory.mktemp("rid"))


@pytest.fixture(scope="module")
def scenes(published: Path) -> tuple[Scene, ...]:
    return scanned(published).scenes


@pytest.fixture
def rid(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "rid"))


def test_the_published_structure_is_read_as_it_is(published: Path) -> None:
    found = scanned(published)
    assert not found.problems
    assert not found.notes
    assert {scene.name: scene.side for scene in found.scenes} == {
        "1": "train",
        "2": "train",
        "30": "train",
        "4": "validation",
        "5": "test",
    }
    assert {(scene.height, scene.width) for scene in found.scenes} == {(RID_SIDE, RID_SIDE)}
    assert set(found.heads) == {"segments", "superstructures", "roof", "lines"}
    tile = labelled(published, "2")
    np.testing.assert_array_equal(tile.image, noise(RID_SIDE, RID_SIDE, 1))
    assert tile.azimuths == 16


def test_background_is_the_last_value_and_north_is_the_first(published: Path) -> None:
    """The source system took `mask > 0` for the roof: background became roof, and north background."""
    tile = labelled(published, "1")
    assert tile.segments is not None
    assert (tile.segments[10, 10], tile.segments[20, 10], tile.segments[28, 10], tile.segments[0, 0]) == (
        NORTH,
        SOUTH,
        FLAT,
        BACKGROUND,
    )
    assert segment_names(16)[tile.segments[10, 10]] == "N"
    assert (flat_class(16), background_class(16)) == (FLAT, BACKGROUND)
    roof = np.zeros_like(tile.segments, bool)
    roof[ROOF] = roof[FLAT_ROOF] = True
    np.testing.assert_array_equal(tile.segments != BACKGROUND, roof)
    assert tile.superstructures is not None
    assert SUPERSTRUCTURES[tile.superstructures[20, 14]] == "pvmodule"
    assert SUPERSTRUCTURES[tile.superstructures[0, 0]] == "background"
    np.testing.assert_array_equal(tile.superstructures, rid_superstructures())


@hypothesis_settings(max_examples=30)
@given(
    segments=arrays(np.uint8, (RID_SIDE, RID_SIDE), elements=st.integers(0, 17)),
    superstructures=arrays(np.uint8, (RID_SIDE, RID_SIDE), elements=st.integers(0, 8)),
    corner=st.tuples(st.integers(0, RID_SIDE - 1), st.integers(0, RID_SIDE - 1)),
)
def test_no_value_falls_to_another(
    published: Path,
    scenes: tuple[Scene, ...],
    segments: np.ndarray,
    superstructures: np.ndarray,
    corner: tuple[int, int],
) -> None:
    """The source system let 9 to 17 fall to 0."""
    scene = scenes[0]
    masks = {kind: published.parent / f"{kind}.png" for kind in MASKS}
    write_png(masks["segments"], segments)
    write_png(masks["superstructures"], superstructures)
    scene = Scene(**vars(scene) | {"files": scene.files | masks})
    top, left = corner
    tile = read(published, scene, settings(published), Window(top, left, RID_SIDE - top, RID_SIDE - left))
    np.testing.assert_array_equal(tile.segments, segments[top:, left:])
    np.testing.assert_array_equal(tile.superstructures, superstructures[top:, left:])


@pytest.mark.parametrize(("kind", "value", "highest"), [("segments", 18, 17), ("superstructures", 255, 8)])
def test_a_value_outside_the_map_is_told_with_its_place(rid: Path, kind: str, value: int, highest: int) -> None:
    mask = rid_segments() if kind == "segments" else rid_superstructures()
    mask[13, 7] = mask[20, 3] = value
    write_png(rid / MASKS[kind] / "2.png", mask)
    with pytest.raises(DataError) as error:
        labelled(rid, "2", Window(10, 0, 20, 30))
    (problem,) = error.value.problems
    assert problem.path == rid / MASKS[kind] / "2.png"
    assert f"row 13, column 7 holds {value}" in problem.reason
    assert f"{highest} (background)" in problem.reason
    labelled(rid, "2", Window(0, 8, 10, 10))


def test_folds_are_never_united(published: Path) -> None:
    """The source system trained on the union of all five, whose training and validation images overlap."""
    validation = []
    for fold in range(1, 6):
        found = scanned(published, fold=fold)
        assert not found.problems
        assert len(found.scenes) == 5
        sides = {side: {s.name for s in found.scenes if s.side == side} for side in ("train", "validation", "test")}
        assert sides["test"] == {"5"}
        assert len(sides["train"]) == 3
        validation.append(sides["validation"])
    assert validation[0] == {"4"}
    assert validation[1] == {"30"}
    assert len(set().union(*validation)) == 4


def test_a_fold_whose_sides_overlap_is_refused_with_the_ids(rid: Path) -> None:
    write_rid_fold(rid, 1, RID_SIDES | {"val": ["4", "2", "30"]})
    found = scanned(rid)
    assert "2 id(s) for train and for validation: 2, 30;" in told(found, LISTS)
    assert [scene.name for scene in found.scenes] == ["1", "4", "5"]
    assert not scanned(rid, fold=2).problems


def test_a_listed_id_without_an_image_is_a_problem(rid: Path) -> None:
    write_rid_fold(rid, 1, RID_SIDES | {"train": ["1", "2", "30", "7", "../../1"]})
    found = scanned(rid)
    assert "2 id(s) without an image" in told(found, "train_filenames_1_rev.txt")
    assert "../../1, 7" in told(found, "train_filenames_1_rev.txt")
    assert len(found.scenes) == 5


def test_an_image_in_no_list_is_a_problem(rid: Path) -> None:
    write_rid_image(rid, "6", 7)
    found = scanned(rid)
    assert "1 image(s) are in no list of fold 1: 6" in told(found, LISTS)
    assert "6" not in {scene.name for scene in found.scenes}


def test_without_a_list_no_image_has_a_side(rid: Path) -> None:
    (rid / LISTS / "val_filenames_1_rev.txt").unlink()
    found = scanned(rid)
    assert "cannot be read" in told(found, "val_filenames_1_rev.txt")
    assert {scene.side for scene in found.scenes} == {None}
    shutil.rmtree(rid / LISTS)
    found = scanned(rid)
    assert "is missing" in told(found, LISTS)
    assert len(found.scenes) == 5


def test_a_list_that_is_no_text_is_a_problem(rid: Path) -> None:
    (rid / LISTS / "test_filenames_1_rev.txt").write_bytes(b"\xff\xfe5.png")
    assert "is no UTF-8 text" in told(scanned(rid), "test_filenames_1_rev.txt")
    (rid / LISTS / "test_filenames_1_rev.txt").write_bytes(b"\xef\xbb\xbf5.png\r\n\r\n")
    assert not scanned(rid).problems


def test_folders_that_are_missing_are_named(rid: Path, tmp_path: Path) -> None:
    shutil.rmtree(rid / MASKS["superstructures"])
    with pytest.raises(UserError, match=r"must hold .*masks_superstructures_reviewed/.*it holds .*README_data\.md"):
        scanned(rid)
    for name in (IMAGES, *MASKS.values()):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image"):
        scanned(tmp_path / "empty")


def test_missing_partners_are_told(rid: Path) -> None:
    (rid / MASKS["segments"] / "2.png").unlink()
    (rid / IMAGES / "4.tif").unlink()
    found = scanned(rid)
    assert told(found, f"{IMAGES}/2.tif") == f"has no {MASKS['segments']}/2.png"
    assert "has no image 4.tif" in told(found, f"{MASKS['segments']}/4.png")
    assert "has no image 4.tif" in told(found, f"{MASKS['superstructures']}/4.png")
    assert [scene.name for scene in found.scenes] == ["1", "30", "5"]


def _smaller_mask(rid: Path) -> None:
    write_png(rid / MASKS["segments"] / "2.png", rid_segments()[:, 1:])


def _truncated(rid: Path) -> None:
    path = rid / IMAGES / "2.tif"
    path.write_bytes(path.read_bytes()[:-100])


def _empty(rid: Path) -> None:
    (rid / IMAGES / "2.tif").write_bytes(b"")


def _deep(rid: Path) -> None:
    write_geotiff(rid / IMAGES / "2.tif", np.zeros((RID_SIDE, RID_SIDE, 3), np.uint16), photometric="MINISBLACK")


def _grey(rid: Path) -> None:
    write_geotiff(rid / IMAGES / "2.tif", np.zeros((RID_SIDE, RID_SIDE), np.uint8))


def _deep_mask(rid: Path) -> None:
    write_png(rid / MASKS["superstructures"] / "2.png", rid_superstructures().astype(np.uint16))


def _link(rid: Path) -> None:
    outside = rid.parent / "outside.tif"
    shutil.move(rid / IMAGES / "2.tif", outside)
    (rid / IMAGES / "2.tif").symlink_to(outside)


def _circle(rid: Path) -> None:
    (rid / IMAGES / "2.tif").unlink()
    (rid / IMAGES / "2.tif").symlink_to(rid / IMAGES / "2.tif")


def _twice(rid: Path) -> None:
    shutil.move(rid / IMAGES / "2.tif", rid / IMAGES / "2.TIFF")
    shutil.copy(rid / IMAGES / "2.TIFF", rid / IMAGES / "2.tif")


def _oblong(rid: Path) -> None:
    place = rid_transform(1) @ Affine.scale(1.2, 1)
    pixels = noise(RID_SIDE, RID_SIDE, 1)
    write_geotiff(rid / IMAGES / "2.tif", pixels, crs="EPSG:4326", transform=place, photometric="MINISBLACK")


def _nowhere(rid: Path) -> None:
    place = Affine(1e-6, 0, 11.98, 0, -1e-6, 484.04)
    pixels = noise(RID_SIDE, RID_SIDE, 1)
    write_geotiff(rid / IMAGES / "2.tif", pixels, crs="EPSG:4326", transform=place, photometric="MINISBLACK")


@pytest.mark.parametrize(
    ("spoil", "file", "reason"),
    [
        (_smaller_mask, "2.tif", "it has 32 x 32 pixels, but"),
        (_truncated, "2.tif", "truncated"),
        (_empty, "2.tif", "the file is empty"),
        (_deep, "2.tif", "its values are uint16"),
        (_grey, "2.tif", "it has 1 band(s) besides alpha, needed are red, green and blue"),
        (_deep_mask, "2.tif", "2.png: its values are uint16"),
        (_link, "2.tif", "is a link that leaves"),
        (_circle, "2.tif", "there is no such file"),
        (_twice, "2.tif", "has the same name as 2.TIFF"),
        (_oblong, "2.tif", "warp it to square ones"),
        (_nowhere, "2.tif", "is no place on earth"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_left_out(
    rid: Path, spoil: Callable[[Path], None], file: str, reason: str
) -> None:
    spoil(rid)
    found = scanned(rid)
    assert reason in told(found, f"{IMAGES}/{file}")
    if spoil is not _twice:
        assert [scene.name for scene in found.scenes] == ["1", "30", "4", "5"]


def test_an_absurd_size_is_refused_before_anything_is_read(rid: Path) -> None:
    found = scanned(rid, Prepare(max_megapixels=RID_SIDE * (RID_SIDE - 1) / 1e6))
    assert not found.scenes
    assert all("more than the 992 that are allowed" in problem.reason for problem in found.problems)


def test_all_problems_are_told_at_once(rid: Path) -> None:
    _truncated(rid)
    write_png(rid / MASKS["segments"] / "30.png", rid_segments()[1:])
    (rid / MASKS["superstructures"] / "1.png").unlink()
    (rid / LISTS / "test_filenames_1_rev.txt").unlink()
    (rid / CSV).unlink()
    assert len(scanned(rid).problems) == 5


def _metres(place: Georeference, side: int) -> float:
    """Side of a pixel in a projection about the middle of the image, where distances are true."""
    crs = rasterio.crs.CRS.from_user_input(place.crs)
    a, b, c, d, e, f = place.transform
    middle = a * side / 2 + b * side / 2 + c, d * side / 2 + e * side / 2 + f
    (longitude,), (latitude,) = transform_points(crs, "EPSG:4326", [middle[0]], [middle[1]])
    local = f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +datum=WGS84"
    corners = [(0, 0), (side, 0), (side, side), (0, side)]
    x, y = (np.array(v) for v in zip(*((a * u + b * v + c, d * u + e * v + f) for u, v in corners), strict=True))
    x, y = (np.array(values) for values in transform_points(crs, local, x, y))
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return float(np.sqrt(area)) / side


@pytest.mark.parametrize(
    ("crs", "corner"),
    [
        ("EPSG:4326", (11.985, 48.404)),
        ("EPSG:4326", (172.6, -43.5)),
        ("EPSG:32632", (720_000, 5_365_000)),
        ("EPSG:3857", (1_334_000, 6_171_000)),
        ("EPSG:2263", (980_000, 200_000)),
    ],
)
@pytest.mark.parametrize("turn", [0, 30])
def test_the_pixel_size_is_that_on_the_ground(crs: str, corner: tuple[float, float], turn: float) -> None:
    """In degrees, UTM, the stretched metres of Web Mercator, and feet."""
    scale = (1e-6 / np.cos(np.radians(corner[1])), 1e-6) if crs == "EPSG:4326" else (0.3, 0.3)
    turned = Affine.translation(*corner) @ Affine.scale(scale[0], -scale[1]) @ Affine.rotation(turn)
    place = Georeference(crs, tuple(turned)[:6])
    assert ground_size_m(place, 500, 500) == pytest.approx(_metres(place, 500), rel=6e-4)


@given(latitude=st.floats(-80, 80), longitude=st.floats(-180, 180), metres=st.floats(0.02, 2))
def test_degrees_become_metres_at_any_latitude(latitude: float, longitude: float, metres: float) -> None:
    degrees = metres / 111_195
    affine = degrees / np.cos(np.radians(latitude)), 0, longitude, 0, -degrees, latitude
    assert ground_size_m(Georeference("EPSG:4326", affine), 10, 10) == pytest.approx(metres, rel=6e-3)


def test_the_settings_overrule_the_pixel_size(rid: Path) -> None:
    assert scene_of(scanned(rid), "1").pixel_size_m == pytest.approx(0.1047, rel=1e-3)
    assert {scene.pixel_size_m for scene in scanned(rid, pixel_size_m=0.25).scenes} == {0.25}


def test_an_image_without_georeference_has_no_pixel_size_and_no_eaves(rid: Path) -> None:
    pixels = noise(RID_SIDE, RID_SIDE, 1)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_geotiff(rid / IMAGES / "2.tif", pixels, photometric="MINISBLACK")
    found = scanned(rid)
    assert not found.problems
    assert scene_of(found, "2").pixel_size_m is None
    assert scene_of(found, "2").georeference is None
    assert any("1 image(s) are not in EPSG:4326: their eaves are unknown" in note for note in found.notes)
    tile = labelled(rid, "2")
    assert (tile.vectors, tile.vector_kinds) == (None, 0)


def test_a_copy_of_a_test_image_is_not_trained_on(rid: Path) -> None:
    pixels = noise(RID_SIDE, RID_SIDE, 4)
    place = {"crs": "EPSG:4326", "transform": rid_transform(1), "compress": "deflate"}
    write_geotiff(rid / IMAGES / "2.tif", pixels, photometric="RGB", **place)
    found = scanned(rid)
    reason = told(found, f"{IMAGES}/2.tif")
    assert "is the same picture as test image 5" in reason
    assert "take 2.png out of the train list" in reason
    assert "set bad_files to drop" in reason
    assert [scene.name for scene in found.scenes] == ["1", "30", "4", "5"]


def test_a_copy_across_training_and_validation_is_a_note(rid: Path) -> None:
    shutil.copy(rid / IMAGES / "4.tif", rid / IMAGES / "1.tif")
    found = scanned(rid)
    assert not found.problems
    assert "training and validation share the same picture: 1, 4" in found.notes


def test_pictures_that_agree_in_one_row_are_no_copies(rid: Path) -> None:
    pixels = noise(RID_SIDE, RID_SIDE, 4)
    pixels[-1, -1] ^= 1
    place = {"crs": "EPSG:4326", "transform": rid_transform(1)}
    write_geotiff(rid / IMAGES / "2.tif", pixels, photometric="MINISBLACK", **place)
    assert not scanned(rid).problems


def test_ground_that_two_sides_share_is_a_note(rid: Path) -> None:
    place = rid_transform(4) @ Affine.translation(10, 10)
    pixels = noise(RID_SIDE, RID_SIDE, 1)
    write_geotiff(rid / IMAGES / "2.tif", pixels, photometric="MINISBLACK", crs="EPSG:4326", transform=place)
    assert scanned(rid).notes == ("1 of 1 test images show ground that a train image shows too",)
    place = rid_transform(4) @ Affine.translation(RID_SIDE, 0)
    write_geotiff(rid / IMAGES / "2.tif", pixels, photometric="MINISBLACK", crs="EPSG:4326", transform=place)
    assert not scanned(rid).notes


def test_a_file_that_changes_after_the_scan_is_refused(rid: Path) -> None:
    found = scanned(rid)
    write_png(rid / MASKS["segments"] / "1.png", rid_segments()[:-1])
    with pytest.raises(DataError, match="has changed since it was checked"):
        read(rid, scene_of(found, "1"), settings(rid), ALL)
    (rid / IMAGES / "2.tif").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read(rid, scene_of(found, "2"), settings(rid), ALL)


@pytest.mark.parametrize(
    "file", [f"{IMAGES}/2.tif", f"{MASKS['segments']}/2.png", f"{LISTS}/val_filenames_1_rev.txt", CSV]
)
def test_damage_of_any_kind_is_told_and_never_crashes(rid: Path, file: str) -> None:
    whole = (rid / file).read_bytes()
    dice = random.Random(1)
    wrong = 0
    for _ in range(15):
        copy = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randrange(1, 4) if copy else 0):
            copy[dice.randrange(min(len(copy), 400))] = dice.randrange(256)
        (rid / file).write_bytes(copy)
        try:
            found = scanned(rid)
            wrong += bool(found.problems)
            for scene in found.scenes:
                read(rid, scene, settings(rid), ALL)
        except DataError:
            wrong += 1
    assert wrong > 3


def test_the_builder_writes_what_was_published(published: Path) -> None:
    with Raster(published / IMAGES / "1.tif", max_pixels=2000) as raster:
        assert (raster.metadata.crs, raster.metadata.dtype, raster.metadata.count) == ("EPSG:4326", "uint8", 3)
    header = (published / CSV).read_text().splitlines()[0]
    assert header == ",Unnamed: 0,id,pv_area_id,time_created,segment,gutter,azimuth,slope"
    assert len(list((published / LISTS).iterdir())) == 15
    with pytest.raises(ImageError):
        Raster(published / "README_data.md", max_pixels=10)


def test_lists_may_name_the_images(rid: Path) -> None:
    for path in (rid / LISTS).iterdir():
        path.write_text(path.read_text().replace(".png", ".TIF"))
    assert not scanned(rid).problems
