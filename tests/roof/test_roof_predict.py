"""Prediction on files: GeoTIFF and pictures to rasters, vectors, tables and pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from painted_roofs import AZIMUTHS, PaintedNetwork, hipped_roof, roof_image, write_geotiff
from PIL import Image
from pyogrio.raw import read
from rasterio.transform import Affine

from millrace.errors import UserError
from millrace.roof import model
from millrace.roof.aerial_image import resampled_image, resampled_rows
from millrace.roof.analysis import Analyzer
from millrace.roof.classes import UNKNOWN, segment_names
from millrace.roof.params import Predict, Prepare, Roof
from millrace.roof.predict import predict_files
from millrace.settings import Runtime

QUIET = Runtime(accelerator="cpu", progress=False)
HEADS = ("segments", "superstructures", "roof", "lines", "height")
SHAPE = (240, 260)
ROOFS = [hipped_roof((80, 90), 110, 60, 20), hipped_roof((180, 190), 90, 50, -35)]
PIXEL_M = 0.2


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Makes a model folder of a network that reads painted colours; returns a setter of its config."""
    config = {"azimuths": AZIMUTHS, "pixel_size_m": PIXEL_M, "heads": list(HEADS)}
    monkeypatch.setattr(model, "load", lambda folder: (PaintedNetwork(), config))
    return config


@pytest.fixture
def image():
    return roof_image(SHAPE, ROOFS, slope_per_px=0.1)


def predicted(inputs, out, params=None, **options):
    return predict_files(inputs, out, out / "model", params or Roof(), QUIET, **options)


def polygons(path):
    meta, _, shapes, values = read(path)
    return meta["crs"], shapely.from_wkb(shapes), dict(zip(meta["fields"], values, strict=True))


def true_areas():
    return sorted(polygon.area * PIXEL_M**2 for roof, _ in ROOFS for polygon, _ in roof)


def test_a_geotiff_gives_rasters_and_vectors_in_its_place(trained, image, tmp_path):
    path = write_geotiff(tmp_path / "town.tif", image)
    out = tmp_path / "out"
    assert predicted([path], out, probabilities=True) == []
    with rasterio.open(path) as source:
        for kind in ("segments", "superstructures", "heights", "probabilities"):
            with rasterio.open(out / kind / "town.tif") as raster:
                assert raster.crs == source.crs
                assert raster.transform == source.transform
                assert raster.shape == source.shape
    with rasterio.open(out / "segments/town.tif") as raster:
        assert (raster.read(1) == image[..., 0] // 20).all()
        assert (raster.dtypes, raster.nodata) == (("uint8",), UNKNOWN)
        assert raster.tags()["CLASSES"].startswith("0 N, 1 NE")
    with rasterio.open(out / "heights/town.tif") as raster:
        np.testing.assert_allclose(raster.read(1), image[..., 2] / 10, atol=1e-4)
    with rasterio.open(out / "probabilities/town.tif") as raster:
        assert raster.descriptions == (
            "segment", "superstructure", "roof", "ridge", "valley", "hip", "eave", "outline"
        )  # fmt: skip
        assert ((raster.read(3) > 0.5) == (image[..., 0] // 20 != AZIMUTHS + 1)).all()
    assert not list(out.glob(".scratch*"))


def test_planes_have_the_true_areas_directions_and_slopes(trained, image, tmp_path):
    write_geotiff(tmp_path / "town.tif", image)
    assert predicted([tmp_path / "town.tif"], tmp_path / "out") == []
    crs, shapes, fields = polygons(tmp_path / "out/planes/town.geojson")
    assert crs == "EPSG:25832"
    assert shapely.is_valid(shapes).all()
    assert sorted(shapely.area(shapes)) == pytest.approx(true_areas(), rel=0.02)
    assert sorted(fields["area_m2"]) == pytest.approx(true_areas(), rel=0.02)
    assert fields["slope_deg"] == pytest.approx(np.full(8, np.degrees(np.arctan(0.5))), abs=0.3)
    # True north: the meridian is at 1.9 degrees to the grid there.
    directions = sorted(direction % 360 for roof, _ in ROOFS for _, direction in roof)
    assert sorted(fields["azimuth_deg"]) == pytest.approx(np.array(directions) + 1.9, abs=0.3)
    table = pd.read_csv(tmp_path / "out/planes.csv")
    assert table["area_m2"].to_list() == pytest.approx(list(fields["area_m2"]), rel=1e-5)
    assert set(table["image"]) == {"town.tif"}


def test_lines_meet_and_lie_where_they_are(trained, image, tmp_path):
    write_geotiff(tmp_path / "town.tif", image)
    assert predicted([tmp_path / "town.tif"], tmp_path / "out") == []
    _, shapes, fields = polygons(tmp_path / "out/lines/town.geojson")
    truth = [ends for _, lines in ROOFS for ends in lines.ends]
    assert len(shapes) == len(truth)
    assert sum(fields["length_m"]) == pytest.approx(sum(np.hypot(*(e[2:] - e[:2])) for e in truth) * PIXEL_M, rel=0.02)
    ends = shapely.get_coordinates(shapes)
    assert len(np.unique(ends, axis=0)) == 12


def test_pictures_have_coordinates_in_pixels_and_say_so(trained, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "roofs.png")
    assert predicted([tmp_path / "roofs.png"], tmp_path / "out", Roof(predict=Predict(pixel_size_m=0.19))) == []
    content = json.loads((tmp_path / "out/planes/roofs.geojson").read_text())
    assert "crs" not in content
    assert "no georeference" in content["note"]
    _, shapes, fields = polygons(tmp_path / "out/planes/roofs.geojson")
    assert sorted(shapely.area(shapes)) == pytest.approx([area / PIXEL_M**2 for area in true_areas()], rel=0.02)
    # In square metres by the size of a pixel that the parameters give.
    assert sorted(fields["area_m2"]) == pytest.approx([area * (0.19 / 0.2) ** 2 for area in true_areas()], rel=0.02)
    with Image.open(tmp_path / "out/overlays/roofs.png") as overlay:
        assert overlay.size == SHAPE[::-1]


def test_degrees_give_square_metres(trained, image, tmp_path):
    """Pixels of 0.2 m at 48 degrees north, in WGS84."""
    transform = Affine(0.2 / 74628, 0, 11.5, 0, -0.2 / 111200, 48)
    write_geotiff(tmp_path / "degrees.tif", image, "EPSG:4326", transform)
    assert predicted([tmp_path / "degrees.tif"], tmp_path / "out") == []
    crs, shapes, fields = polygons(tmp_path / "out/planes/degrees.geojson")
    assert crs == "EPSG:4326"
    assert shapely.is_valid(shapes).all()
    assert shapely.bounds(shapes)[0, 0] == pytest.approx(11.5, abs=0.01)
    assert sorted(fields["area_m2"]) == pytest.approx(true_areas(), rel=0.02)


@pytest.mark.parametrize("factor", [2, 4])
def test_an_image_of_another_resolution_is_resampled_and_brought_back(trained, image, tmp_path, factor):
    large = np.repeat(np.repeat(image, factor, 0), factor, 1)
    transform = Affine(0.2 / factor, 0, 690_000, 0, -0.2 / factor, 5_335_000)
    write_geotiff(tmp_path / "fine.tif", large, transform=transform)
    assert predicted([tmp_path / "fine.tif"], tmp_path / "out", probabilities=True) == []
    with rasterio.open(tmp_path / "out/segments/fine.tif") as raster:
        assert (raster.read(1) == large[..., 0] // 20).all()
        assert raster.transform == transform
    with rasterio.open(tmp_path / "out/heights/fine.tif") as raster:
        inside = (large[..., 0] // 20 != AZIMUTHS + 1) & (large[..., 1] == 0)
        assert np.abs(raster.read(1) - large[..., 2] / 10)[inside].mean() < 0.05
    write_geotiff(tmp_path / "plain.tif", image)
    assert predicted([tmp_path / "plain.tif"], tmp_path / "out2") == []
    for kind in ("planes", "lines"):
        _, one, fields = polygons(tmp_path / "out" / kind / "fine.geojson")
        _, other, others = polygons(tmp_path / "out2" / kind / "plain.geojson")
        assert shapely.equals_exact(one, other, tolerance=0.002).all()
        name = "area_m2" if kind == "planes" else "length_m"
        assert fields[name] == pytest.approx(others[name], rel=1e-4)


def test_a_coarser_image_is_enlarged_up_to_a_limit(trained, image, tmp_path):
    transform = Affine(0.4, 0, 690_000, 0, -0.4, 5_335_000)
    write_geotiff(tmp_path / "coarse.tif", image, transform=transform)
    write_geotiff(tmp_path / "satellite.tif", image, transform=Affine(10, 0, 690_000, 0, -10, 5_335_000))
    (problem,) = predicted([tmp_path / "coarse.tif", tmp_path / "satellite.tif"], tmp_path / "out")
    assert problem.path.name == "satellite.tif"
    assert "too coarse" in problem.reason
    with rasterio.open(tmp_path / "out/segments/coarse.tif") as raster:
        assert raster.shape == SHAPE
        assert (raster.read(1) == image[..., 0] // 20).mean() > 0.95


@pytest.mark.parametrize("shape", [(50, 70), (33, 257), (120, 31)])
@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_strips_of_a_resampled_image_are_those_of_the_whole(tmp_path, monkeypatch, shape, factor):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    grid = tuple(max(1, round(side * factor)) for side in shape)
    whole = resampled_rows(pixels, grid, slice(0, grid[0]), "box" if factor < 1 else "bilinear")
    monkeypatch.setattr("millrace.roof.aerial_image.STRIP_ROWS", 7)
    found = resampled_image(pixels, grid, tmp_path)
    assert np.abs(found.astype(int) - whole).max() <= 1


def test_what_has_no_data_is_nothing(trained, image, tmp_path):
    alpha = np.full(SHAPE, 255, np.uint8)
    alpha[:, :140] = 0
    layers = np.dstack([image, alpha])
    write_geotiff(tmp_path / "part.tif", layers, photometric="RGB", alpha="YES")
    assert predicted([tmp_path / "part.tif"], tmp_path / "out", probabilities=True) == []
    with rasterio.open(tmp_path / "out/segments/part.tif") as raster:
        classes = raster.read(1)
    assert (classes[:, :140] == UNKNOWN).all()
    assert (classes[:, 140:] == image[:, 140:, 0] // 20).all()
    with rasterio.open(tmp_path / "out/heights/part.tif") as raster:
        assert np.isnan(raster.read(1)[:, :140]).all()
    with rasterio.open(tmp_path / "out/probabilities/part.tif") as raster:
        assert (raster.read()[:, :, :140] == 0).all()
    for kind in ("planes", "lines"):
        _, shapes, _ = polygons(tmp_path / "out" / kind / "part.geojson")
        assert len(shapes)
        assert shapely.bounds(shapes)[:, 0].min() > 690_000 + 138 * 0.2


def test_bad_files_do_not_stop_the_others(trained, image, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_geotiff(folder / "a_good.tif", image)
    Image.fromarray(image).save(folder / "b_good.png")
    write_geotiff(folder / "deep.tif", image.astype(np.uint16) * 100)
    write_geotiff(folder / "grey.tif", image[..., :1])
    write_geotiff(folder / "infrared.tif", np.dstack([image, image[..., 0]]), photometric="MINISBLACK")
    write_geotiff(folder / "nowhere.tif", image, transform=Affine(0.2, 0, 1e12, 0, -0.2, 1e12))
    write_geotiff(folder / "empty.tif", np.zeros_like(image), nodata=0)
    (folder / "truncated.tif").write_bytes((folder / "a_good.tif").read_bytes()[:3000])
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("no image at all")
    problems = {each.path.name: each.reason for each in predicted([folder, tmp_path / "missing.tif"], tmp_path / "out")}
    assert set(problems) == {
        "deep.tif", "grey.tif", "infrared.tif", "nowhere.tif", "empty.tif", "truncated.tif", "text.png", "missing.tif"
    }  # fmt: skip
    assert "uint16" in problems["deep.tif"]
    assert "gdal_translate -ot Byte" in problems["deep.tif"]
    assert "1 band(s)" in problems["grey.tif"]
    assert "4 band(s)" in problems["infrared.tif"]
    assert "no place on earth" in problems["nowhere.tif"]
    assert "no data" in problems["empty.tif"]
    assert problems["missing.tif"] == "does not exist"
    for kind in ("segments", "heights", "planes", "lines", "overlays"):
        assert sorted(path.stem for path in (tmp_path / "out" / kind).iterdir()) == ["a_good", "b_good"]
    assert set(pd.read_csv(tmp_path / "out/planes.csv")["image"]) == {"a_good.tif", "b_good.png"}


def test_a_tile_without_a_coordinate_system_keeps_its_transform(trained, image, tmp_path):
    write_geotiff(tmp_path / "local.tif", image, crs=None)
    assert predicted([tmp_path / "local.tif"], tmp_path / "out") == []
    content = json.loads((tmp_path / "out/planes/local.geojson").read_text())
    assert "no coordinate system" in content["note"]
    assert shapely.geometry.shape(content["features"][0]["geometry"]).bounds[0] > 690_000
    with rasterio.open(tmp_path / "out/segments/local.tif") as raster:
        assert raster.crs is None
        assert raster.transform.c == 690_000


def test_names_that_would_collide_and_results_on_top_of_inputs_are_refused(trained, image, tmp_path):
    write_geotiff(tmp_path / "a.tif", image)
    Image.fromarray(image).save(tmp_path / "a.png")
    (tmp_path / "segments").mkdir()
    write_geotiff(tmp_path / "segments/b.tif", image)
    before = (tmp_path / "segments/b.tif").read_bytes()
    problems = predicted([tmp_path / "a.tif", tmp_path / "a.png", tmp_path / "segments/b.tif"], tmp_path)
    assert [(each.path.name, each.reason.split(";")[0]) for each in problems] == [
        ("a.png", f"has the same name as {tmp_path / 'a.tif'}"),
    ]
    write_geotiff(tmp_path / "b.tif", image)
    problems = predicted([tmp_path / "b.tif", tmp_path / "segments/b.tif"], tmp_path)
    assert [(each.path, each.reason.split(";")[0]) for each in problems] == [
        (tmp_path / "b.tif", "a result would take the place of an image"),
    ]
    assert (tmp_path / "segments/b.tif").read_bytes() == before
    assert (tmp_path / "segments/segments/b.tif").is_file()
    assert set(pd.read_csv(tmp_path / "planes.csv")["image"]) == {"segments/b.tif"}


def test_patterns_and_a_repeated_file_are_predicted_once(trained, image, tmp_path):
    for name in ("x1", "x2", "y"):
        write_geotiff(tmp_path / f"{name}.tif", image)
    assert predicted([tmp_path / "x*.tif", tmp_path / "x1.tif"], tmp_path / "out") == []
    assert sorted(path.stem for path in (tmp_path / "out/segments").iterdir()) == ["x1", "x2"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="No image file"):
        predicted([tmp_path / "none"], tmp_path / "out")


def test_heads_that_were_not_trained_are_not_written(trained, image, tmp_path):
    trained["heads"] = ["roof"]
    write_geotiff(tmp_path / "a.tif", image)
    assert predicted([tmp_path / "a.tif"], tmp_path / "out", probabilities=True) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "overlays", "planes", "planes.csv", "probabilities"
    ]  # fmt: skip
    _, shapes, fields = polygons(tmp_path / "out/planes/a.geojson")
    roofs = [sum(polygon.area for polygon, _ in roof) * PIXEL_M**2 for roof, _ in ROOFS]
    assert sorted(shapely.area(shapes)) == pytest.approx(sorted(roofs), rel=0.02)
    assert all(facing is None for facing in fields["facing"])


def test_an_image_without_roofs_gives_empty_collections(trained, tmp_path):
    write_geotiff(tmp_path / "field.tif", roof_image((70, 80), []))
    assert predicted([tmp_path / "field.tif"], tmp_path / "out") == []
    assert json.loads((tmp_path / "out/planes/field.geojson").read_text())["features"] == []
    assert not (tmp_path / "out/planes.csv").exists()


def test_a_large_image_has_a_reduced_overlay(trained, tmp_path):
    write_geotiff(tmp_path / "wide.tif", roof_image((70, 4200), [hipped_roof((35, 300), 60, 40, 0)]))
    assert predicted([tmp_path / "wide.tif"], tmp_path / "out") == []
    with Image.open(tmp_path / "out/overlays/wide.png") as overlay:
        assert overlay.size == (1400, 24)


def test_results_are_the_same_bytes_each_time(trained, image, tmp_path):
    write_geotiff(tmp_path / "a.tif", image)
    for out in ("one", "two"):
        assert predicted([tmp_path / "a.tif"], tmp_path / out) == []
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


def test_one_image_in_python(trained, image, tmp_path):
    analyzer = Analyzer(tmp_path, Roof(), QUIET)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    analysis = analyzer.analyze(write_geotiff(tmp_path / "a.tif", image), scratch)
    assert (analysis.segments == image[..., 0] // 20).all()
    assert analysis.height.shape == SHAPE
    assert {plane.facing for plane in analysis.planes} <= set(segment_names(AZIMUTHS))
    assert len(analysis.lines.kinds) == 26
    picture = analysis.picture(100)
    assert max(picture.shape) <= 100
    assert all(path.resolve().is_relative_to(scratch.resolve()) for path in scratch.rglob("*"))
    again = analyzer.analyze(write_geotiff(tmp_path / "b.tif", image[::-1].copy()), scratch)
    assert (analysis.segments == image[..., 0] // 20).all()
    assert (again.segments == image[::-1, :, 0] // 20).all()


def test_an_image_that_does_not_say_its_pixel_size_is_told(trained, image, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    write_geotiff(tmp_path / "in/a.tif", image)
    Image.fromarray(image).save(tmp_path / "in/b.png")
    assert predicted([tmp_path / "in"], tmp_path / "out") == []
    assert caplog.messages == [f"{tmp_path / 'in/b.png'} does not say how large its pixels are; taken as 0.2 m"]


def test_folders_are_searched_with_theirs_and_results_named_by_path(trained, image, tmp_path):
    for name in ("a.tif", "north/a.tif", "north/old/b.tif", "out/c.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        write_geotiff(tmp_path / name, image)
    assert predicted([tmp_path], tmp_path / "out") == []
    planes = tmp_path / "out/planes"
    assert sorted(path.relative_to(planes).as_posix() for path in planes.rglob("*.geojson")) == [
        "a.geojson",
        "north/a.geojson",
        "north/old/b.geojson",
    ]


def test_an_image_that_is_too_large_is_refused_before_it_is_read(trained, image, tmp_path):
    write_geotiff(tmp_path / "a.tif", image)
    (problem,) = predicted([tmp_path / "a.tif"], tmp_path / "out", Roof(prepare=Prepare(max_megapixels=0.01)))
    assert "62400" in problem.reason.replace(" ", "") or "260 x 240" in problem.reason


def test_the_real_elevation_raster_is_refused_for_its_kind(trained, tmp_path):
    shared = os.environ.get("MILLRACE_SHARED_DATA")
    if not shared:
        pytest.skip("MILLRACE_SHARED_DATA does not name a folder with real files")
    (problem,) = predicted([Path(shared) / "roof/elevation_dc/dsm.tif"], tmp_path / "out")
    assert "float32" in problem.reason


def test_images_that_are_smaller_than_the_smallest_plane_have_none(trained, image, tmp_path):
    for name, pixels in (("a", image), ("b", image[:5, :5]), ("c", image)):
        write_geotiff(tmp_path / f"{name}.tif", pixels)
    assert predicted([tmp_path / f"{name}.tif" for name in "abc"], tmp_path / "out") == []
    assert json.loads((tmp_path / "out/planes/b.geojson").read_text())["features"] == []
    assert set(pd.read_csv(tmp_path / "out/planes.csv")["image"]) == {"a.tif", "c.tif"}


def test_an_image_that_fails_leaves_no_part_of_its_results(trained, image, tmp_path):
    name = "x" * 250  # with .tif the longest name there is; .geojson is longer
    write_geotiff(tmp_path / f"{name}.tif", image)
    (problem,) = predicted([tmp_path / f"{name}.tif"], tmp_path / "out")
    assert "too long" in problem.reason
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
