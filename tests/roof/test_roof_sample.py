"""The synthetic data sets: deterministic, in the published structure, each with no more than its original carries."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.features import rasterize
from shapely import wkt

from millrace.roof import raw, sample
from millrace.roof import sample_formats as formats
from millrace.roof.classes import HEADS, LINES
from millrace.roof.line_drawing import drawn
from millrace.roof.params import Roof, Sample
from millrace.roof.sample_roofs import Face
from millrace.roof.sample_truth import Truth, make_scene
from millrace.roof.scene import Window
from millrace.settings import Runtime

SMALL = {"rid": 8, "roofline": 10, "airs": 3, "full": 1, "rid_size_px": 96, "airs_size_px": 256}
PIXEL_M = 0.2


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1, **changes: int) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    sample.run(Roof(sample=Sample(**SMALL | changes)), Runtime(jobs=jobs, progress=False))
    return folder / sample.FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        with Image.open(path) as image:
            assert image.mode == "L"
            return np.asarray(image)
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return write(tmp_path_factory.mktemp("roof") / "small", patch)


@pytest.fixture(scope="module")
def large() -> Truth:
    """The scene that the first crops of Roofline-Extraction are cut from."""
    return make_scene((0, sample.ROOFLINE, 0), sample.ROOFLINE_SCENE_PX, PIXEL_M)


def test_equal_bytes_whichever_process_draws_and_however_many(folder, tmp_path, monkeypatch):
    whole = contents(folder)
    more = contents(write(tmp_path / "more", monkeypatch, jobs=2, rid=9, full=2))
    # These list all images.
    lists = {name for name in whole if "filenames" in name or name.endswith(".csv")}
    assert lists
    assert {name: more[name] for name in whole if name not in lists} == {
        name: content for name, content in whole.items() if name not in lists
    }
    assert len(more) == len(whole) + 3 + 6


def test_seed_changes_every_image():
    first, second = (make_scene((seed, sample.RID, 0), 64, PIXEL_M).image for seed in (0, 1))
    assert (first != second).mean() > 0.5


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(formats, "write_airs", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "broken", monkeypatch)
    assert contents(tmp_path) == {}


def test_readers_find_nothing_wrong(folder, monkeypatch):
    monkeypatch.chdir(folder.parents[2])
    roof = Roof()
    found = {name: raw.scan(source, roof.prepare) for name, source in roof.raw.items()}
    assert {name: (scan.problems, scan.notes) for name, scan in found.items()} == dict.fromkeys(found, ((), ()))
    assert {name: len(scan.scenes) for name, scan in found.items()} == {"rid": 8, "roofline": 10, "airs": 3, "full": 1}
    assert set(found["full"].heads) == set(HEADS)
    assert {name: raw.detect(Path(source.path)).format for name, source in roof.raw.items()} == {
        name: source.format for name, source in roof.raw.items()
    }
    for scan in found.values():
        for scene in scan.scenes:
            assert scene.pixel_size_m == pytest.approx(PIXEL_M, rel=2e-3)


def test_full_scene_is_read_as_it_was_made(folder, monkeypatch):
    monkeypatch.chdir(folder.parents[2])
    roof = Roof()
    (scene,) = raw.scan(roof.raw["full"], roof.prepare).scenes
    read = raw.read(roof.raw["full"], scene, Window(0, 0, 96, 96))
    made = make_scene((0, sample.FULL, 0), 96, PIXEL_M)
    for name in ("image", "segments", "superstructures", "height"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert read.vector_kinds == (1 << len(LINES)) - 1
    np.testing.assert_array_equal(drawn(read.vectors, (96, 96), 1.0), drawn(made.lines, (96, 96), 1.0))


def test_rid_has_its_files_and_no_others(folder):
    names = {name for name in contents(folder / "rid") if "filenames" not in name}
    ids = [formats.rid_id(index) for index in range(8)]
    assert ids == [1, 2, 3, 4, 5, 6, 8, 9]
    expected = {f"images_roof_centered_geotiff/{number}.tif" for number in ids}
    expected |= {f"masks_{kind}_reviewed/{number}.png" for kind in ("segments", "superstructures") for number in ids}
    assert names == expected | {"segments_reviewed.csv"}


def test_rid_images_are_georeferenced_and_masks_have_background_last(folder):
    seen = set()
    for path in sorted((folder / "rid/images_roof_centered_geotiff").iterdir()):
        with rasterio.open(path) as file:
            assert (file.crs.to_epsg(), file.count, file.dtypes[0], file.shape) == (4326, 3, "uint8", (96, 96))
            assert file.transform.a > 0 > file.transform.e
            assert (file.transform.b, file.transform.d) == (0, 0)
        segments = pixels(folder / f"rid/masks_segments_reviewed/{path.stem}.png")
        structures = pixels(folder / f"rid/masks_superstructures_reviewed/{path.stem}.png")
        assert segments.shape == structures.shape == (96, 96)
        assert structures.max() == 8
        assert segments.max() == 17
        assert (structures[segments == 17] == 8).all()
        seen |= set(np.unique(segments).tolist())
    assert len(seen) > 8


def test_rid_folds_are_five_splits_of_all_images_with_one_test_set(folder):
    ids = {f"{formats.rid_id(index)}.png" for index in range(8)}
    lists = folder / "rid/filenames_train_val_test_split"
    assert len(list(lists.iterdir())) == 15
    folds = [
        {
            side: (lists / f"{side}_filenames_{fold}_rev.txt").read_text().splitlines()
            for side in ("train", "val", "test")
        }
        for fold in range(1, 6)
    ]
    for fold in folds:
        assert sorted(name for names in fold.values() for name in names) == sorted(ids)
        assert fold["test"] == folds[0]["test"]
        assert all(fold.values())
    validation = [name for fold in folds for name in fold["val"]]
    assert sorted(validation + folds[0]["test"]) == sorted(ids)


def test_rid_vectors_draw_the_masks(folder):
    """Polygons are in latitude, longitude; azimuths count from south, and are missing where flat."""
    with (folder / "rid/segments_reviewed.csv").open(newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames) == formats.RID_COLUMNS
        rows = list(reader)
    assert len({row["id"] for row in rows}) == len(rows)
    number_drawn = 0
    for number in (formats.rid_id(index) for index in range(8)):
        with rasterio.open(folder / f"rid/images_roof_centered_geotiff/{number}.tif") as file:
            transform = file.transform
        shapes = []
        for row in rows:
            if row["pv_area_id"] == str(number):
                polygon = shapely.transform(wkt.loads(row["segment"]), lambda points: points[:, ::-1])
                compass = float(row["azimuth"] or "nan") + 180
                shapes.append((polygon, 16 if np.isnan(compass) else round(compass / 22.5) % 16))
                assert polygon.geom_type == "MultiPolygon"
                assert (row["azimuth"] == "") == (float(row["slope"]) == 0 or row["gutter"] == "")
                assert float(row["slope"]) % 5 == 0
        mask = rasterize(shapes, (96, 96), fill=17, transform=transform, dtype="uint8")
        segments = pixels(folder / f"rid/masks_segments_reviewed/{number}.png")
        assert (mask != segments).mean() < 2e-3  # rounding of degrees at borders
        number_drawn += len(shapes)
    assert number_drawn == len(rows)


def test_rid_gutters_are_the_low_edges_of_their_segments(folder):
    with (folder / "rid/segments_reviewed.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["gutter"]]
    assert rows
    for row in rows:
        polygon, gutter = wkt.loads(row["segment"]), wkt.loads(row["gutter"])
        assert gutter.geom_type == "MultiLineString"
        assert polygon.boundary.hausdorff_distance(gutter) >= 0
        assert gutter.distance(polygon.boundary) < 1e-9
        compass = np.radians(float(row["azimuth"]) + 180)
        latitude = polygon.centroid.x
        north = (gutter.centroid.x - latitude) * 111_200
        east = (gutter.centroid.y - polygon.centroid.y) * 111_200 * np.cos(np.radians(latitude))
        assert east * np.sin(compass) + north * np.cos(compass) > 0


@pytest.mark.parametrize(
    ("plane", "expected"), [((0, 1), 0), ((-1, 0), -90), ((1, 0), 90), ((0, -1), 180), ((0, 0), None)]
)
def test_photovoltaic_azimuth(plane, expected):
    """A roof that rises to the north faces south."""
    found = formats.pv_azimuth(Face(shapely.box(0, 0, 1, 1), (*map(float, plane), 3.0)))
    assert found == (None if expected is None else pytest.approx(expected))


def test_roofline_is_one_matlab_file_with_exchanged_axes(folder, large):
    assert list(contents(folder / "roofline")) == ["imdb.mat"]
    path = folder / "roofline/imdb.mat"
    start = path.read_bytes()[:128]
    assert start.startswith(b"MATLAB 7.3 MAT-file")
    assert start[124:] == b"\x00\x02IM"
    with h5py.File(path) as file:
        assert list(file) == ["imdb"]
        assert sorted(file["imdb"]) == ["depths", "elements", "images"]
        images, depths, elements = (file["imdb"][name][:] for name in ("images", "depths", "elements"))
    assert images.shape == elements.shape == (10, 3, 224, 224)
    assert (depths.shape, depths.dtype, images.dtype) == ((10, 224, 224), np.float32, np.uint8)
    assert set(np.unique(elements).tolist()) == {0, 255}
    # Somewhere in its scene each of the ten crops lies, once rows and columns are as they should be.
    for position in range(10):
        image, depth = images[position].transpose(2, 1, 0), depths[position].T
        top, left = place(large.image, image)
        window = slice(top, top + 224), slice(left, left + 224)
        np.testing.assert_array_equal(image, large.image[window])
        np.testing.assert_array_equal(depth, large.height[window])


def place(scene: np.ndarray, crop: np.ndarray) -> tuple[int, int]:
    """Row and column of a crop in its scene."""
    corner = crop[:2, :2].ravel()
    views = np.lib.stride_tricks.sliding_window_view(scene[:-222, :-222], (2, 2), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    rows, columns = np.nonzero((views.reshape(*views.shape[:2], -1) == corner).all(axis=2))
    (found,) = [
        (row, column)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if (scene[row : row + 224, column : column + 224] == crop).all()
    ]
    return found


def test_roofline_crops_of_a_scene_overlap(folder, large):
    with h5py.File(folder / "roofline/imdb.mat") as file:
        crops = file["imdb/images"][:10].transpose(0, 3, 2, 1)
    covered = np.zeros(large.roof.shape, int)
    for crop in crops:
        top, left = place(large.image, crop)
        covered[top : top + 224, left : left + 224] += 1
    assert (covered > 1).mean() > 0.2


def test_roofline_elements_are_eaves_ridges_and_hips():
    made = make_scene((0, sample.ROOFLINE, 0), 256, PIXEL_M)
    _, _, elements = formats.roofline_crop(made, 10, 20)
    assert elements.shape == (224, 224, 3)
    for channel, kind in enumerate(("eave", "ridge", "hip")):
        rows, columns = np.nonzero(elements[:, :, channel])
        assert len(rows)
        ends = made.lines.ends[made.lines.kinds == LINES.index(kind)] - [10, 20, 10, 20]
        lines = shapely.multilinestrings([[(row0, column0), (row1, column1)] for row0, column0, row1, column1 in ends])
        away = shapely.distance(lines, shapely.points(rows + 0.5, columns + 0.5))
        assert away.max() <= 0.51


def test_airs_has_tiles_masks_and_lists(folder):
    expected = {"train.txt", "val.txt", "test.txt"}
    for side, number in (("train", 3), ("val", 10), ("test", 17)):
        name = f"christchurch_{number}"
        expected |= {f"{side}/image/{name}.tif", f"{side}/label/{name}.tif", f"{side}/label/{name}_vis.tif"}
        assert (folder / f"airs/{side}.txt").read_text() == f"{name}.tif\n"
        with rasterio.open(folder / f"airs/{side}/image/{name}.tif") as file:
            assert (file.crs.to_epsg(), file.count, file.dtypes[0], file.shape) == (2193, 3, "uint8", (256, 256))
            assert (file.transform.a, file.transform.e) == (PIXEL_M, -PIXEL_M)
        label, vis = (pixels(folder / f"airs/{side}/label/{name}{end}.tif") for end in ("", "_vis"))
        assert label.shape == (1, 256, 256)
        assert set(np.unique(label).tolist()) == {0, 1}
        np.testing.assert_array_equal(vis, 255 * label)
    assert set(contents(folder / "airs")) == expected


def test_sides_of_airs_are_all_taken_by_the_first_three_and_mostly_training():
    sides = [formats.airs_side(index) for index in range(30)]
    assert sides[:4] == ["train", "val", "test", "train"]
    assert (sides.count("val"), sides.count("test")) == (3, 3)


def test_full_has_everything(folder):
    assert set(contents(folder / "full")) == {
        "images/scene_0000.tif",
        "segments/scene_0000.png",
        "superstructures/scene_0000.png",
        "roofs/scene_0000.png",
        "heights/scene_0000.tif",
        "lines/scene_0000.geojson",
        "line_kinds.txt",
    }
    lines = json.loads((folder / "full/lines/scene_0000.geojson").read_text())
    assert lines["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::25832"
    assert {feature["properties"]["kind"] for feature in lines["features"]} <= set(LINES)
    with rasterio.open(folder / "full/heights/scene_0000.tif") as file:
        assert (file.dtypes[0], file.crs.to_epsg()) == ("float32", 25832)


def test_does_not_import_torch():
    code = "import sys, millrace.roof.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
