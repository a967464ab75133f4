"""Reading AIRS: tiles by windows, labels of 0 and 1, lists that may be missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

from millrace.errors import DataError, UserError
from millrace.roof.params import Airs, Prepare
from millrace.roof.raw_airs import read, scan
from millrace.roof.raw_files import _KEPT_OPEN, _opened
from millrace.roof.scene import Labelled, Scan, Scene, Window
from roof.builders import (
    AIRS_ROOF,
    AIRS_SIDE,
    airs_label,
    airs_transform,
    noise,
    write_airs,
    write_airs_tile,
    write_geotiff,
    write_lines,
)

ALL = Window(0, 0, AIRS_SIDE, AIRS_SIDE)
FIRST = "train/image/christchurch_1"
PLACE = {"crs": "EPSG:2193", "transform": airs_transform(0)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_airs(tmp_path_factory.mktemp("airs"))


@pytest.fixture
def airs(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "airs"))


@pytest.fixture(scope="module")
def first(published: Path) -> Scene:
    return scene_of(scanned(published), FIRST)


def settings(root: Path, **changes: Any) -> Airs:
    return Airs(format="airs", path=str(root), **changes)


def scanned(root: Path, limits: Prepare | None = None, **changes: Any) -> Scan:
    return scan(root, settings(root, **changes), limits or Prepare())


def scene_of(found: Scan, name: str) -> Scene:
    return next(scene for scene in found.scenes if scene.name == name)


def labelled(root: Path, window: Window = ALL) -> Labelled:
    return read(root, scene_of(scanned(root), FIRST), settings(root), window)


def told(found: Scan, path: str) -> str:
    """The one reason that is given for a file."""
    reasons = [problem.reason for problem in found.problems if problem.path.as_posix().endswith(path)]
    assert len(reasons) == 1, found.problems
    return reasons[0]


def write_label(root: Path, label: np.ndarray, **options: Any) -> Path:
    path = root / "train" / "label" / "christchurch_1.tif"
    write_geotiff(path, label, **PLACE | options)
    return path


def test_the_published_structure_is_read_as_it_is(published: Path) -> None:
    found = scanned(published)
    assert not found.problems
    assert [(scene.name, scene.side) for scene in found.scenes] == [
        ("test/image/christchurch_4", "test"),
        (FIRST, "train"),
        ("train/image/christchurch_22", "train"),
        ("val/image/christchurch_3", "validation"),
    ]
    assert {scene.pixel_size_m for scene in found.scenes} == {0.07503}
    assert found.scenes[1].georeference is not None
    assert found.scenes[1].georeference.crs == "EPSG:2193"
    assert set(found.heads) == {"roof", "lines"}
    assert found.notes == (f"{published} has no test.txt; the folders say which tile is for what",)


def test_the_label_has_the_name_of_the_image(airs: Path) -> None:
    """The source system looked for `_label.png`; `_vis` files show roofs as 255."""
    tile = labelled(airs)
    np.testing.assert_array_equal(tile.image, noise(AIRS_SIDE, AIRS_SIDE, 0))
    np.testing.assert_array_equal(tile.roof, airs_label())
    assert tile.segments is None
    assert tile.height is None
    for path in (airs / "train" / "label").glob("*_vis.tif"):
        path.write_bytes(b"not even a picture")
    assert not scanned(airs).problems
    (airs / "train" / "label" / "christchurch_1.tif").rename(airs / "train" / "label" / "christchurch_1_label.tif")
    found = scanned(airs)
    assert "has no label christchurch_1.tif in" in told(found, "image/christchurch_1.tif")
    assert "has no image of this name" in told(found, "label/christchurch_1_label.tif")
    assert FIRST not in {scene.name for scene in found.scenes}


@hypothesis_settings(max_examples=40)
@given(
    top=st.integers(0, AIRS_SIDE - 1),
    left=st.integers(0, AIRS_SIDE - 1),
    height=st.integers(1, AIRS_SIDE),
    width=st.integers(1, AIRS_SIDE),
)
def test_a_window_is_that_part_of_the_tile(
    published: Path, first: Scene, top: int, left: int, height: int, width: int
) -> None:
    window = Window(top, left, min(height, AIRS_SIDE - top), min(width, AIRS_SIDE - left))
    tile = read(published, first, settings(published), window)
    rows, columns = slice(top, top + window.height), slice(left, left + window.width)
    np.testing.assert_array_equal(tile.image, noise(AIRS_SIDE, AIRS_SIDE, 0)[rows, columns])
    np.testing.assert_array_equal(tile.roof, airs_label()[rows, columns])


def test_only_the_strips_of_a_window_are_decoded(airs: Path) -> None:
    """The source system read tiles of 10,000 x 10,000 pixels whole, and squeezed them to 1024 x 1024."""
    path = airs / "train" / "image" / "christchurch_1.tif"
    pixels = noise(AIRS_SIDE, AIRS_SIDE, 0)
    write_geotiff(path, pixels, compress="deflate", blockysize=4, **PLACE)
    with rasterio.open(path) as file:
        last = AIRS_SIDE // 4 - 1
        start = int(file.get_tag_item(f"BLOCK_OFFSET_0_{last}", "TIFF", bidx=1))
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 40] = bytes(40)
    path.write_bytes(damaged)
    tile = labelled(airs, Window(8, 0, AIRS_SIDE - 12, AIRS_SIDE))
    np.testing.assert_array_equal(tile.image, pixels[8:-4])
    with pytest.raises(DataError) as error:
        labelled(airs, Window(AIRS_SIDE - 4, 0, 4, 4))
    assert [problem.path for problem in error.value.problems] == [path]


def test_255_is_taken_as_1(airs: Path) -> None:
    label = airs_label() * np.uint8(255)
    label[12, 6] = 1
    write_label(airs, label)
    np.testing.assert_array_equal(labelled(airs).roof, airs_label())


@pytest.mark.parametrize("value", [2, 128, 254])
def test_another_value_is_told_with_its_place(airs: Path, value: int) -> None:
    label = airs_label()
    label[33, 7] = label[40, 2] = value
    path = write_label(airs, label)
    with pytest.raises(DataError) as error:
        labelled(airs, Window(30, 5, 15, 30))
    (problem,) = error.value.problems
    assert problem.path == path
    assert f"row 33, column 7 holds {value}; labels are 0 beside roofs and 1 on them" in problem.reason
    labelled(airs, Window(0, 0, 33, AIRS_SIDE))


def test_a_label_may_repeat_its_band_but_not_code_by_colour(airs: Path) -> None:
    label = np.repeat(airs_label()[..., None], 3, axis=2)
    write_label(airs, label)
    np.testing.assert_array_equal(labelled(airs).roof, airs_label())
    label[AIRS_ROOF] = 255, 0, 0
    write_label(airs, label)
    with pytest.raises(DataError, match="coded by colour"):
        labelled(airs)


def test_a_listed_tile_that_is_missing_is_a_problem(airs: Path) -> None:
    listed = ["christchurch_1.tif", "train/image/christchurch_22.tif", "christchurch_3", "../../christchurch_9.tif"]
    write_lines(airs / "train.txt", listed)
    found = scanned(airs)
    reason = told(found, "train.txt")
    assert "lists 2 tile(s) that train/image/ lacks: christchurch_3, christchurch_9" in reason
    assert "some are in val/" in reason
    assert len(found.scenes) == 4


def test_a_tile_that_is_not_listed_is_used_and_noted(airs: Path) -> None:
    write_lines(airs / "train.txt", ["christchurch_22.tif"])
    found = scanned(airs)
    assert not found.problems
    assert any("leaves out 1 tile(s) of its folder, which are used: christchurch_1" in note for note in found.notes)
    assert len(found.scenes) == 4


def test_a_list_that_is_no_text_or_leads_away_is_a_problem(airs: Path) -> None:
    (airs / "train.txt").write_bytes(b"\xff\xfe")
    (airs / "val.txt").unlink()
    write_lines(airs.parent / "elsewhere.txt", ["christchurch_3.tif"])
    (airs / "val.txt").symlink_to(airs.parent / "elsewhere.txt")
    found = scanned(airs)
    assert told(found, "train.txt") == "is no UTF-8 text"
    assert "is a link that leaves" in told(found, "val.txt")


def test_lists_and_the_test_folder_may_be_missing(airs: Path) -> None:
    shutil.rmtree(airs / "test")
    for path in airs.glob("*.txt"):
        path.unlink()
    found = scanned(airs)
    assert not found.problems
    assert f"{airs} has no test/" in found.notes
    assert f"{airs} has no train.txt, val.txt; the folders say which tile is for what" in found.notes
    assert len(found.scenes) == 3


def test_a_folder_that_is_no_airs_says_what_it_holds(tmp_path: Path) -> None:
    write_lines(tmp_path / "readme.txt", ["nothing"])
    with pytest.raises(UserError, match=r"must hold train/, val/ or test/.*it holds readme\.txt"):
        scanned(tmp_path)
    (tmp_path / "train" / "image").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image"):
        scanned(tmp_path)


def test_missing_partners_and_folders_are_told(airs: Path) -> None:
    (airs / "train" / "image" / "christchurch_22.tif").unlink()
    shutil.rmtree(airs / "val" / "label")
    found = scanned(airs)
    assert told(found, "train/label/christchurch_22.tif") == "has no image of this name"
    assert "lists 1 tile(s) that train/image/ lacks: christchurch_22" in told(found, "train.txt")
    assert "is no folder; it holds image" in told(found, "val/label")
    assert "has no label" in told(found, "val/image/christchurch_3.tif")
    assert [scene.name for scene in found.scenes] == ["test/image/christchurch_4", FIRST]


def test_one_name_on_two_sides_is_a_leak(airs: Path) -> None:
    write_airs_tile(airs, "test", "christchurch_1", 9, **PLACE)
    found = scanned(airs)
    assert "test/image/christchurch_1.tif has a tile of this name too" in told(found, "train/image/christchurch_1.tif")
    assert [scene.name for scene in found.scenes if "christchurch_1" in scene.name] == ["test/image/christchurch_1"]


def test_a_tile_without_a_coordinate_system_needs_a_pixel_size(tmp_path: Path) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        root = write_airs(tmp_path / "airs", georeferenced=False)
    found = scanned(root)
    assert not found.problems
    assert {(scene.pixel_size_m, scene.georeference) for scene in found.scenes} == {(None, None)}
    np.testing.assert_array_equal(labelled(root).roof, airs_label())
    found = scanned(root, pixel_size_m=0.075)
    assert {scene.pixel_size_m for scene in found.scenes} == {0.075}


def test_a_transform_without_a_coordinate_system_is_no_place(airs: Path) -> None:
    write_geotiff(
        airs / "train" / "image" / "christchurch_1.tif", noise(AIRS_SIDE, AIRS_SIDE, 0), transform=airs_transform(0)
    )
    scene = scene_of(scanned(airs), FIRST)
    assert (scene.pixel_size_m, scene.georeference) == (None, None)


def _smaller_label(airs: Path) -> None:
    write_label(airs, airs_label()[:, 1:])


def _truncated(airs: Path) -> None:
    path = airs / "train" / "image" / "christchurch_1.tif"
    path.write_bytes(path.read_bytes()[:-100])


def _float_label(airs: Path) -> None:
    write_label(airs, airs_label().astype(np.float32))


def _link(airs: Path) -> None:
    path, outside = airs / "train" / "image" / "christchurch_1.tif", airs.parent / "outside.tif"
    shutil.move(path, outside)
    path.symlink_to(outside)


def _oblong(airs: Path) -> None:
    place = {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-6, 0, 172.6, 0, -1e-6, -43.5)}
    write_geotiff(airs / "train" / "image" / "christchurch_1.tif", noise(AIRS_SIDE, AIRS_SIDE, 0), **place)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_smaller_label, "it has 48 x 48 pixels, but"),
        (_truncated, "truncated"),
        (_float_label, "label/christchurch_1.tif: its values are float32, not uint8"),
        (_link, "is a link that leaves"),
        (_oblong, "its pixels are 0.08088 m wide and 0.1111 m high on the ground"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_left_out(
    airs: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(airs)
    found = scanned(airs)
    assert reason in told(found, "train/image/christchurch_1.tif")
    assert FIRST not in {scene.name for scene in found.scenes}


def test_an_absurd_size_is_refused_before_anything_is_read(airs: Path) -> None:
    found = scanned(airs, Prepare(max_megapixels=(AIRS_SIDE**2 - 1) / 1e6))
    assert not found.scenes
    assert len(found.problems) == 4
    assert all("pixels, more than the" in problem.reason for problem in found.problems)


def test_files_of_other_kinds_are_passed_over_and_noted(airs: Path) -> None:
    write_lines(airs / "train" / "image" / "christchurch_1.tif.aux.xml", ["<PAMDataset/>"])
    write_lines(airs / "train" / "image" / ".hidden.tif", [""])
    found = scanned(airs)
    assert not found.problems
    assert any("1 file(s) are not .tif or .tiff and are passed over" in note for note in found.notes)


def test_a_file_that_changes_is_read_anew(airs: Path) -> None:
    np.testing.assert_array_equal(labelled(airs).roof, airs_label())
    write_label(airs, 1 - airs_label(), compress="deflate")
    np.testing.assert_array_equal(labelled(airs).roof, 1 - airs_label())
    scene = scene_of(scanned(airs), FIRST)
    write_label(airs, airs_label()[:-1])
    with pytest.raises(DataError, match="has changed since it was checked"):
        read(airs, scene, settings(airs), Window(0, 0, 4, 4))


def test_few_files_stay_open_and_threads_share_none(published: Path) -> None:
    scenes = scanned(published).scenes
    expected = [read(published, scene, settings(published), ALL).image for scene in scenes]
    assert len(_opened.rasters) <= _KEPT_OPEN
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda scene: read(published, scene, settings(published), ALL).image, scenes * 4))
    for position, image in enumerate(found):
        np.testing.assert_array_equal(image, expected[position % len(scenes)])


def test_a_label_of_another_place_is_told(airs: Path) -> None:
    first, other = (
        sorted((airs / "train" / "label").glob("christchurch_?.tif"))[:1]
        + sorted(path for path in (airs / "train" / "label").glob("*.tif") if "_vis" not in path.name)[-1:]
    )
    assert first != other
    content = first.read_bytes()
    first.write_bytes(other.read_bytes())
    other.write_bytes(content)
    reason = told(scanned(airs), f"train/image/{first.name}")
    assert f"{first} has the georeference of another place" in reason
