"""Images, masks and heights of the generic form: values, grids, bands, and files that cannot be used."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from tifffile import imwrite

from millrace.errors import DataError
from millrace.roof.classes import UNKNOWN
from millrace.roof.scene import Window
from roof.builders import noise, write_geotiff, write_png
from roof.generic_folders import (
    CORNERS,
    HEIGHT,
    PLACE,
    UTM,
    WIDTH,
    a_scene,
    look,
    plane,
    read_part,
    reading,
    refusal,
    roof_mask,
    segments_with,
    write_all,
    write_image,
    write_json,
    write_own_grid,
)

SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def test_a_turned_jpeg_is_read_as_it_is_shown(tmp_path):
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(tmp_path / "images" / "a.jpg", exif=exif)
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    assert reading(tmp_path).image.shape == (HEIGHT, WIDTH, 3)


def test_a_grey_geotiff_is_read_as_rgb(tmp_path):
    write_geotiff(tmp_path / "images" / "a.tif", noise(HEIGHT, WIDTH, 0)[..., 0])
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    np.testing.assert_array_equal(reading(tmp_path).image, noise(HEIGHT, WIDTH, 0)[..., [0, 0, 0]])


def test_what_an_image_lacks_is_labelled_by_nothing(tmp_path):
    write_all(tmp_path)
    pixels = np.maximum(noise(HEIGHT, WIDTH, 0), 1)
    pixels[6:9, :] = 0
    pixels[20, 20] = 0, 5, 5  # a dark red is no hole
    write_geotiff(tmp_path / "images" / "a.tif", pixels, nodata=0, **PLACE)
    tile = reading(tmp_path)
    for name in ("segments", "superstructures", "roof"):
        assert (getattr(tile, name)[6:9] == UNKNOWN).all()
        assert getattr(tile, name)[20, 20] != UNKNOWN
    assert np.isnan(tile.height[6:9]).all()


@pytest.mark.parametrize(
    ("folder", "value", "dtype", "highest"),
    [
        ("segments", 18, "uint8", 17),
        ("segments", 300, "uint16", 17),
        ("segments", -1, "int16", 17),
        ("superstructures", 9, "uint8", 8),
        ("roofs", 2, "uint8", 1),
        ("roofs", 254, "uint8", 1),
    ],
)
def test_a_value_outside_the_map_is_named_with_its_place(folder, value, dtype, highest, tmp_path):
    write_image(tmp_path)
    mask = np.zeros((HEIGHT, WIDTH), dtype)
    mask[30, 20], mask[31, 0] = value, 1
    write_geotiff(tmp_path / folder / "a.tif", mask)
    (scene,) = look(tmp_path).scenes
    read_part(tmp_path, scene, Window(0, 0, 30, WIDTH))
    place = rf"{folder}.a\.tif: row 30, column 20 holds {value}; classes are 0 to {highest}, and 255 unknown"
    with pytest.raises(DataError, match=place):
        read_part(tmp_path, scene, Window(25, 10, 15, 40))


def test_nodata_of_a_mask_is_unknown(tmp_path):
    write_image(tmp_path)
    write_geotiff(tmp_path / "segments" / "a.tif", segments_with(200), nodata=200)
    segments = reading(tmp_path).segments
    assert segments[30, 20] == UNKNOWN
    assert (segments == 17).sum() == HEIGHT * WIDTH - 1


def write_mask(**options: Any) -> Callable[[Path], None]:
    mask = options.pop("mask", segments_with(0))
    return lambda root: write_geotiff(root / "segments" / "a.tif", mask, **options)


BAD_MASKS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "size": (write_mask(mask=segments_with(0).T.copy()), "segments/a.tif", "it has 40 x 50 pixels, its image 50 x 40"),
    "nodata": (write_mask(nodata=0), "segments/a.tif", "its nodata value 0 is also a class; unset it, or use 255"),
    "float": (write_mask(mask=segments_with(0, "float32")), "segments/a.tif", "it has 1 band.s. of float32"),
    "colours": (write_mask(mask=noise(HEIGHT, WIDTH, 0)), "segments/a.tif", "it has 3 band.s. of uint8; a mask is one"),
    "elsewhere": (
        write_mask(crs="EPSG:32632", transform=UTM @ Affine.translation(2, 0)),
        "segments/a.tif",
        "its georeference is not that of its image",
    ),
    "another zone": (write_mask(crs="EPSG:32633", transform=UTM), "segments/a.tif", "its georeference is not that of"),
    "roofs of 255": (
        lambda root: write_png(root / "roofs" / "a.png", roof_mask(CORNERS) * np.uint8(255)),
        "roofs/a.png",
        "it has the values 0 and 255 and no 1: roofs are 1, and 255 is unknown",
    ),
    "no image": (lambda root: write_json(root / "roofs" / "a.png", "{}"), "roofs/a.png", "neither TIFF nor PNG"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_that_are_refused(name, tmp_path):
    make, file, reason = BAD_MASKS[name]
    write_image(tmp_path, **PLACE)
    make(tmp_path)
    assert re.search(reason, refusal(tmp_path, file))


def test_a_mask_that_is_unknown_beside_its_roofs_or_all_unknown_is_sound(tmp_path):
    for name, mask in (("a", np.where(roof_mask(CORNERS), 1, 255)), ("b", np.full((HEIGHT, WIDTH), 255))):
        write_image(tmp_path, name)
        write_png(tmp_path / "roofs" / f"{name}.png", mask.astype(np.uint8))
    assert len(look(tmp_path).scenes) == 2


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:32633", "EPSG:3857"])
@pytest.mark.parametrize("pixel_m", [0.2, 0.5, 1.7])
def test_heights_of_another_grid_are_interpolated(crs, pixel_m, tmp_path):
    write_image(tmp_path, **PLACE)
    write_own_grid(tmp_path, crs, pixel_m)
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    np.testing.assert_allclose(reading(tmp_path).height, plane(columns, rows), atol=0.02)


def test_heights_that_do_not_cover_the_image_are_unknown_beside(tmp_path):
    write_image(tmp_path, **PLACE)
    heights = np.full((30, 20), 4, np.float32)
    heights[:10] = -9999
    place = {"crs": "EPSG:32632", "transform": UTM @ Affine.translation(10, 10)}
    write_geotiff(tmp_path / "heights" / "a.tif", heights, nodata=-9999, **place)
    expected = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    expected[20:40, 10:30] = 4
    np.testing.assert_array_equal(reading(tmp_path).height, expected)


def test_heights_of_the_same_size_need_no_georeference(tmp_path):
    write_image(tmp_path, **PLACE)
    write_geotiff(tmp_path / "heights" / "a.tif", np.full((HEIGHT, WIDTH), 7, np.uint16))
    assert (reading(tmp_path).height == 7).all()


def test_scaled_heights_are_metres(tmp_path):
    write_image(tmp_path)
    path = tmp_path / "heights" / "a.tif"
    write_geotiff(path, np.full((HEIGHT, WIDTH), 70, np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (0.1,), (2,), ("m",)
    np.testing.assert_allclose(reading(tmp_path).height, 9)
    with rasterio.open(path, "r+") as file:
        file.units = ("US survey foot",)
    assert refusal(tmp_path, "heights/a.tif") == "its heights are in 'US survey foot'; convert them to metres"


def flat(shape: tuple[int, ...], value: float = 4) -> np.ndarray:
    return np.full(shape, value, np.float32)


def moved(columns: float, scale: float = 1) -> dict[str, Any]:
    return {"crs": "EPSG:32632", "transform": UTM @ Affine.translation(columns, 0) @ Affine.scale(scale)}


BAD_HEIGHTS = {
    "no georeference": (flat((20, 20)), {}, PLACE, "it has 20 x 20 pixels, its image 50 x 40, and it has no georefer"),
    "image without": (flat((20, 20)), PLACE, {}, "it has 20 x 20 pixels, its image 50 x 40, and the image has no geo"),
    "elsewhere": (flat((HEIGHT, WIDTH)), moved(1000), PLACE, "it does not lie where its image lies"),
    "all nodata": (flat((HEIGHT, WIDTH), -9999), PLACE, PLACE, "all of it that is on its image is nodata: it has no"),
    "all nan": (flat((HEIGHT, WIDTH), np.nan), PLACE, PLACE, "all of it that is on its image is nodata: it has no he"),
    "nodata on the image": (
        np.hstack([flat((HEIGHT, WIDTH + 9), -9999), flat((HEIGHT, WIDTH))]),
        PLACE,
        PLACE,
        "all of it that is on its image is nodata",
    ),
    "too fine": (flat((400, 400)), moved(0, 1 / 20), PLACE, "its pixels are 20 times as fine as the image's; reduce"),
    "three bands": (flat((HEIGHT, WIDTH, 3)), {}, {}, "it has 3 bands; heights are one"),
}


@pytest.mark.parametrize("name", BAD_HEIGHTS)
def test_heights_that_are_refused(name, tmp_path):
    heights, place, place_of_image, reason = BAD_HEIGHTS[name]
    write_image(tmp_path, **place_of_image)
    write_geotiff(tmp_path / "heights" / "a.tif", heights, nodata=-9999, **place)
    assert reason in refusal(tmp_path, "heights/a.tif")


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder with real files")
@pytest.mark.parametrize("raster", ["dsm", "dtm", "hag"])
def test_real_heights_and_buildings(raster, tmp_path):
    real = Path(SHARED or "") / "roof" / "elevation_dc"
    for name in ("images", "heights"):
        (tmp_path / name).mkdir()
    with rasterio.open(real / "hag.tif") as file:
        above_ground, place = file.read(1), {"crs": file.crs, "transform": file.transform}
    write_geotiff(tmp_path / "images" / "dc.tif", np.clip(above_ground * 5, 0, 255).astype(np.uint8), **place)
    shutil.copy(real / f"{raster}.tif", tmp_path / "heights" / "dc.tif")
    shutil.copy(real / "buildings.geojson", tmp_path)
    found = look(tmp_path)
    assert found.problems == ()
    (scene,) = found.scenes
    assert scene.georeference.crs == "EPSG:26918"
    assert scene.pixel_size_m == pytest.approx(2, rel=1e-3)
    tile = read_part(tmp_path, scene, Window(0, 0, scene.height, scene.width))
    with rasterio.open(real / f"{raster}.tif") as file:
        expected = file.read(1, masked=True)
    np.testing.assert_array_equal(np.isnan(tile.height), np.ma.getmaskarray(expected))
    assert np.isnan(tile.height).sum() == (276 if raster == "dtm" else 0)
    np.testing.assert_array_equal(tile.height[~np.isnan(tile.height)], expected.compressed())
    features = json.loads((real / "buildings.geojson").read_text())["features"]
    square_metres = sum(feature["properties"]["SQMETERS"] or 0 for feature in features)
    assert tile.roof.sum() * 4 == pytest.approx(square_metres, rel=0.03)
    # What stands there is higher than what is beside it: were the polygons shifted, they would not find it.
    shifted = [np.roll(tile.roof, shift, axis) for axis in (0, 1) for shift in (-8, 8)]
    assert above_ground[tile.roof == 1].mean() > 1.1 * max(above_ground[mask == 1].mean() for mask in shifted)


def test_bands_are_taken_by_their_colours(tmp_path):
    pixels = noise(HEIGHT, WIDTH, 0)
    transform = Affine(0.5, 0, 690_000, 0, -0.5, 5_335_000)
    four = np.concatenate([noise(HEIGHT, WIDTH, 1)[..., :1], pixels[..., ::-1]], axis=-1)
    path = tmp_path / "images" / "a.tif"
    write_geotiff(path, four, crs="EPSG:25832", transform=transform, photometric="MINISBLACK", alpha="NO")
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    assert "it has 4 band(s) besides alpha, needed are red, green and blue" in refusal(tmp_path, "images/a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    np.testing.assert_array_equal(reading(tmp_path).image, pixels)


@pytest.mark.parametrize("pixel_size_m", [None, 0.2])
def test_an_image_whose_pixels_have_no_area(pixel_size_m, tmp_path):
    a_scene(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    write_image(tmp_path, crs="EPSG:32632", transform=Affine(0.5, 0.5, 691_000, 0.5, 0.5, 5_334_000))
    found = look(tmp_path, pixel_size_m=pixel_size_m)
    assert [problem.reason for problem in found.problems] == [
        "its transform gives its pixels no area; correct its georeference"
    ]


@pytest.mark.parametrize("folder", ["images", "segments"])
def test_a_tiff_that_is_to_be_shown_turned(folder, tmp_path):
    a_scene(tmp_path)
    write_png(tmp_path / "segments" / "a.png", segments_with(17))
    pixels = noise(HEIGHT, WIDTH, 0) if folder == "images" else segments_with(17)
    (tmp_path / folder / "a.png").unlink()
    imwrite(tmp_path / folder / "a.tif", pixels, extratags=[(274, "H", 1, 6, True)])
    assert "its Orientation tag asks for a turned or mirrored display" in refusal(tmp_path, f"{folder}/a.tif")


def test_a_grey_geotiff_that_counts_down_from_white_is_no_negative(tmp_path):
    write_image(tmp_path, **PLACE)
    write_geotiff(tmp_path / "images" / "a.tif", noise(HEIGHT, WIDTH, 0)[..., 0], photometric="MINISWHITE", **PLACE)
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    assert "its values count down from white" in refusal(tmp_path, "images/a.tif")
