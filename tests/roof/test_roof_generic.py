"""The generic form as it is read: masks, polygons, lines and heights on the pixels of their image, and bad ones."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.warp import transform
from tifffile import imwrite

from millrace.errors import DataError, UserError
from millrace.roof import raw_geojson
from millrace.roof.classes import LINES, UNKNOWN
from millrace.roof.params import Generic, Prepare
from millrace.roof.raw_generic import read, scan
from millrace.roof.scene import Labelled, Scan, Scene, Window
from roof.builders import noise, write_geotiff, write_lines, write_png

HEIGHT, WIDTH = 40, 50
WHOLE = Window(0, 0, HEIGHT, WIDTH)
UTM = Affine(0.5, 0, 691_000, 0, -0.5, 5_334_000)
PLACE = {"crs": "EPSG:32632", "transform": UTM}
CORNERS = [(10, 5), (30, 5), (30, 25), (10, 25), (10, 5)]
"""Of a roof: columns and rows of its pixels' outer corners."""
SHARED = os.environ.get("MILLRACE_SHARED_DATA")

Points = list[tuple[float, float]]


def on_ground(points: Points, crs: str) -> Points:
    """Columns and rows as coordinates."""
    x, y = zip(*(UTM @ point for point in points), strict=True)
    return list(zip(*transform("EPSG:32632", crs, x, y), strict=True))


def roof_mask(*rings: Points) -> np.ndarray:
    """Pixels whose centres are in the first ring and in none of the others."""
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return shapely.contains_xy(shapely.Polygon(rings[0], rings[1:]), columns, rows).astype(np.uint8)


def polygon(*rings: Points) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": rings}


def collection(*geometries: Any, crs: Any = None, properties: tuple[Any, ...] = ()) -> dict[str, Any]:
    own = properties or ({},) * len(geometries)
    features = [
        {"type": "Feature", "properties": mine, "geometry": geometry}
        for mine, geometry in zip(own, geometries, strict=True)
    ]
    named = {} if crs is None else {"crs": {"type": "name", "properties": {"name": crs}}}
    return {"type": "FeatureCollection", "features": features, **named}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def write_image(root: Path, name: str = "a", seed: int = 0, **place: Any) -> None:
    write_geotiff(root / "images" / f"{name}.tif", noise(HEIGHT, WIDTH, seed), **place)


def look(root: Path, **fields: Any) -> Scan:
    return scan(root, Generic(format="generic", path=str(root), **fields), Prepare())


def read_part(root: Path, scene: Scene, window: Window = WHOLE) -> Labelled:
    return read(root, scene, Generic(format="generic", path=str(root)), window)


def reading(root: Path, name: str = "a", window: Window = WHOLE) -> Labelled:
    found = look(root)
    assert found.problems == ()
    return read_part(root, next(scene for scene in found.scenes if scene.name == name), window)


def refusal(root: Path, file: str, **fields: Any) -> str:
    """Why a file is refused, and its image with it."""
    found = look(root, **fields)
    assert [problem.path for problem in found.problems] == [root / file]
    assert "a" not in {scene.name for scene in found.scenes}
    return found.problems[0].reason


def plane(columns: Any, rows: Any) -> Any:
    """Heights that rise evenly over the image."""
    return 3 + 0.125 * np.asarray(columns) + 0.0625 * np.asarray(rows)


def write_all(root: Path) -> Path:
    """An image with every kind of label."""
    write_image(root, **PLACE)
    segments = np.full((HEIGHT, WIDTH), 17, np.uint8)
    segments[5:15, 10:30], segments[15:25, 10:30], segments[0, 0] = 0, 8, UNKNOWN
    write_png(root / "segments" / "a.png", segments)
    superstructures = np.full((HEIGHT, WIDTH), 8, np.uint8)
    superstructures[7:9, 12:14] = 4
    write_geotiff(root / "superstructures" / "a.tif", superstructures, **PLACE)
    write_json(root / "roofs" / "a.geojson", collection(polygon(on_ground(CORNERS, "EPSG:4326"))))
    ridge, eave = [(10, 15), (30, 15)], [(10, 5), (20, 5), (30, 5)]
    lines = [{"type": "LineString", "coordinates": on_ground(points, "EPSG:4326")} for points in (ridge, eave)]
    kinds = ({"kind": "ridge"}, {"kind": "eave"})
    write_json(root / "lines" / "a.geojson", collection(*lines, properties=kinds))
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    heights = plane(columns, rows).astype(np.float32)
    heights[0, :3] = -9999
    write_geotiff(root / "heights" / "a.tif", heights, nodata=-9999, **PLACE)
    return root


def test_every_kind_of_label(tmp_path):
    found = look(write_all(tmp_path))
    assert found.problems == ()
    assert found.notes == ()
    assert found.heads == ("segments", "superstructures", "roof", "lines", "height")
    (scene,) = found.scenes
    assert (scene.name, scene.side, scene.group, scene.height, scene.width) == ("a", None, "a", HEIGHT, WIDTH)
    assert scene.pixel_size_m == pytest.approx(0.5, rel=1e-3)
    assert scene.georeference.crs == "EPSG:32632"
    tile = read_part(tmp_path, scene)
    np.testing.assert_array_equal(tile.image, noise(HEIGHT, WIDTH, 0))
    assert tile.azimuths == 16
    assert np.unique(tile.segments).tolist() == [0, 8, 17, UNKNOWN]
    assert tile.segments[0, 0] == UNKNOWN
    assert (tile.superstructures == 4).sum() == 4
    np.testing.assert_array_equal(tile.roof, roof_mask(CORNERS))
    assert np.isnan(tile.height).sum() == 3
    np.testing.assert_allclose(tile.height[5, 7], plane(7.5, 5.5))
    assert [LINES[kind] for kind in tile.vectors.kinds] == ["ridge", "eave", "eave"]
    np.testing.assert_allclose(tile.vectors.ends, [[15, 10, 15, 30], [5, 10, 5, 20], [5, 20, 5, 30]], atol=1e-6)
    assert tile.vector_kinds == 1 << LINES.index("ridge") | 1 << LINES.index("eave")
    assert tile.lines is None


@pytest.mark.parametrize(
    ("folder", "heads"),
    [
        ("segments", ("segments", "roof", "lines")),
        ("superstructures", ("superstructures",)),
        ("roofs", ("roof", "lines")),
        ("lines", ("lines",)),
        ("heights", ("height",)),
    ],
)
def test_one_kind_of_label_is_enough(folder, heads, tmp_path):
    write_all(tmp_path / "all")
    for name in ("images", folder):
        shutil.copytree(tmp_path / "all" / name, tmp_path / name)
    assert look(tmp_path).heads == heads
    tile = reading(tmp_path)
    fields = {"segments": "segments", "superstructures": "superstructures", "roofs": "roof", "lines": "vectors"}
    for name, field in {**fields, "heights": "height"}.items():
        assert (getattr(tile, field) is not None) == (name == folder)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> tuple[Path, Scene, Labelled]:
    """Labels of every kind, the heights on a grid of their own."""
    root = write_all(tmp_path_factory.mktemp("generic"))
    write_own_grid(root, "EPSG:4326", 0.3)
    (scene,) = look(root).scenes
    return root, scene, read_part(root, scene)


@hypothesis.settings(max_examples=30)
@given(st.data())
def test_a_window_is_a_part_of_the_image(everything, data):
    top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left))
    root, scene, whole = everything
    part = read_part(root, scene, Window(top, left, height, width))
    for name in ("image", "segments", "superstructures", "roof", "height"):
        expected = getattr(whole, name)[top : top + height, left : left + width]
        np.testing.assert_allclose(getattr(part, name), expected, atol=1e-5 if name == "height" else 0)
    assert part.vector_kinds == whole.vector_kinds
    ends = {tuple(row) for row in np.round(part.vectors.ends + [top, left] * 2, 6)}
    rows, columns = (np.sort(np.round(whole.vectors.ends, 6)[:, [axis, axis + 2]], axis=1) for axis in (0, 1))
    touching = (rows[:, 0] <= top + height) & (rows[:, 1] >= top)
    touching &= (columns[:, 0] <= left + width) & (columns[:, 1] >= left)
    assert ends == {tuple(row) for row in np.round(whole.vectors.ends, 6)[touching]}


def test_pictures_without_a_georeference_have_labels_in_pixels(tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(CORNERS)))
    line = {"type": "MultiLineString", "coordinates": [[(10, 15), (30, 15)], [(1, 2), (3, 4)]]}
    write_json(tmp_path / "lines" / "a.json", collection(line, properties=({"kind": "hip"},)))
    found = look(tmp_path)
    assert found.notes == ()
    assert found.scenes[0].pixel_size_m is None
    assert look(tmp_path, pixel_size_m=0.2).scenes[0].pixel_size_m == 0.2
    tile = reading(tmp_path)
    np.testing.assert_array_equal(tile.image, noise(HEIGHT, WIDTH, 0))
    np.testing.assert_array_equal(tile.roof, roof_mask(CORNERS))
    assert tile.vectors.ends.tolist() == [[15, 10, 15, 30], [2, 1, 4, 3]]


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
    ("name", "crs"),
    [
        (None, "EPSG:4326"),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"),
        ("urn:ogc:def:crs:OGC::CRS84", "EPSG:4326"),
        ("EPSG:4326", "EPSG:4326"),
        ("urn:ogc:def:crs:EPSG::32632", "EPSG:32632"),
        ("epsg:25832", "EPSG:25832"),
        ("urn:ogc:def:crs:EPSG:9.9:3857", "EPSG:3857"),
    ],
)
def test_coordinate_systems(name, crs, tmp_path):
    write_image(tmp_path, **PLACE)
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(on_ground(CORNERS, crs)), crs=name))
    np.testing.assert_array_equal(reading(tmp_path).roof, roof_mask(CORNERS))


@pytest.mark.parametrize(
    "name", ["+init=/etc/passwd:1", "/etc/passwd", "https://example.org/a", "EPSG:4326+5773", "PROJCS[]", 4326, ""]
)
def test_coordinate_systems_that_are_not_named_by_number(name, tmp_path):
    write_image(tmp_path, **PLACE)
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(CORNERS), crs=name))
    assert re.search(r"its crs is .*, not EPSG:<number> or CRS84 by name", refusal(tmp_path, "roofs/a.geojson"))


def test_coordinate_systems_that_are_linked_or_unknown(tmp_path):
    write_image(tmp_path, **PLACE)
    linked = collection(polygon(CORNERS)) | {"crs": {"type": "link", "properties": {"href": "http://localhost/"}}}
    write_json(tmp_path / "roofs" / "a.geojson", linked)
    assert "not EPSG:<number>" in refusal(tmp_path, "roofs/a.geojson")
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(CORNERS), crs="EPSG:999999"))
    assert refusal(tmp_path, "roofs/a.geojson") == "its crs EPSG:999999 is not known"


HOLE = [(15, 10), (20, 10), (20, 15), (15, 15), (15, 10)]
OTHER = [(35, 30), (45, 30), (45, 38), (35, 30)]
BEYOND = [(40, -10), (70, -10), (70, 60), (40, 60), (40, -10)]
FAR = [(400, 5), (430, 5), (430, 25), (400, 5)]
BOW_TIE = [(10, 5.2), (30, 24.9), (30, 5.1), (10, 25.3), (10, 5.2)]
OVERLAPPING = [[(x + 10, y) for x, y in CORNERS]]
SHAPES = {
    "hole": ([polygon(CORNERS, HOLE)], roof_mask(CORNERS, HOLE)),
    "parts": (
        [{"type": "MultiPolygon", "coordinates": [[CORNERS, HOLE], [OTHER]]}],
        roof_mask(CORNERS, HOLE) | roof_mask(OTHER),
    ),
    "two": ([polygon(OTHER), polygon(CORNERS)], roof_mask(CORNERS) | roof_mask(OTHER)),
    "over the edge": ([polygon(BEYOND)], roof_mask(BEYOND)),
    "one is elsewhere": ([polygon(FAR), polygon(OTHER)], roof_mask(OTHER)),
    "none": ([], np.zeros((HEIGHT, WIDTH), np.uint8)),
    "nothing": ([None, {"type": "Polygon", "coordinates": []}], np.zeros((HEIGHT, WIDTH), np.uint8)),
    "clockwise": ([polygon(CORNERS[::-1])], roof_mask(CORNERS)),
    "three axes": ([polygon([(*point, 7.5) for point in CORNERS])], roof_mask(CORNERS)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_polygons_as_masks(name, tmp_path):
    geometries, expected = SHAPES[name]
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "roofs" / "a.geojson", collection(*geometries))
    np.testing.assert_array_equal(reading(tmp_path).roof, expected)
    assert look(tmp_path).notes[1:] == ()


@pytest.mark.parametrize("bare", [polygon(CORNERS), {"type": "Feature", "geometry": polygon(CORNERS)}])
def test_a_feature_or_geometry_alone(bare, tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "roofs" / "a.geojson", bare)
    np.testing.assert_array_equal(reading(tmp_path).roof, roof_mask(CORNERS))


def test_polygons_that_cross_themselves_are_mended_and_told_of(tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    overlapping = {"type": "MultiPolygon", "coordinates": [[CORNERS], OVERLAPPING]}
    geometries = [polygon(OTHER), polygon(BOW_TIE), overlapping]
    write_json(tmp_path / "roofs" / "a.geojson", collection(*geometries))
    assert look(tmp_path).notes[0] == (
        "a.geojson: 2 polygon(s) cross or overlap themselves and were mended, the first is number 1 of 3"
    )
    union = roof_mask(CORNERS) | roof_mask(OVERLAPPING[0]) | roof_mask(OTHER)
    np.testing.assert_array_equal(reading(tmp_path).roof, union)  # not one that is empty where they overlap
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(BOW_TIE)))
    lobes = shapely.make_valid(shapely.Polygon(BOW_TIE)).geoms
    expected = sum(roof_mask(list(lobe.exterior.coords)) for lobe in lobes)
    np.testing.assert_array_equal(reading(tmp_path).roof, expected)
    assert 190 < expected.sum() < 210


def test_shapes_that_are_all_beside_their_image(tmp_path):
    write_image(tmp_path, **PLACE)
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(on_ground(FAR, "EPSG:4326"))))
    assert "nothing of it lies on its image; look at its crs" in refusal(tmp_path, "roofs/a.geojson")
    latitude_first = [point[::-1] for point in on_ground(CORNERS, "EPSG:4326")]
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(latitude_first)))
    assert "the order of coordinates: longitude, latitude" in refusal(tmp_path, "roofs/a.geojson")
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(on_ground(CORNERS, "EPSG:32632"))))
    assert "5.334e+06, which are no longitude and latitude; name its crs" in refusal(tmp_path, "roofs/a.geojson")


@pytest.mark.parametrize("degrees", [(-77.05, 38.81), (11.5, 30.1)])
@pytest.mark.parametrize("place", [{}, {"transform": UTM}])
def test_an_image_without_a_crs_and_polygons_in_degrees(degrees, place, tmp_path):
    write_image(tmp_path, **place)
    x, y = degrees
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon([(x, y), (x + 1e-4, y), (x, y + 1e-4), (x, y)])))
    assert re.search(
        r"x is from .* no shapes in the 50 x 40 pixels of the image. For longitude and latitude the image needs a "
        r"georeference",
        refusal(tmp_path, "roofs/a.geojson"),
    )
    write_json(tmp_path / "roofs" / "a.geojson", collection(polygon(CORNERS), crs="EPSG:32632"))
    reason = "its coordinates are in EPSG:32632, and the image has no georeference (CRS and transform)"
    assert refusal(tmp_path, "roofs/a.geojson") == reason


def test_buildings_of_all_images(tmp_path):
    write_image(tmp_path, "a", 0, **PLACE)
    write_image(tmp_path, "b", 1, **PLACE)
    write_image(tmp_path, "c", 2, crs="EPSG:32632", transform=UTM @ Affine.translation(1000, 0))
    write_json(tmp_path / "buildings.geojson", collection(polygon(on_ground(CORNERS, "EPSG:4326"))))
    write_png(tmp_path / "roofs" / "b.png", roof_mask(OTHER))
    found = look(tmp_path)
    assert found.notes == (f"{tmp_path / 'roofs'} has nothing for 2 image(s): a, c",)
    np.testing.assert_array_equal(reading(tmp_path, "a").roof, roof_mask(CORNERS))
    np.testing.assert_array_equal(reading(tmp_path, "b").roof, roof_mask(OTHER))
    assert not reading(tmp_path, "c").roof.any()  # an image without buildings


def test_buildings_that_are_on_no_image(tmp_path):
    write_image(tmp_path, **PLACE)
    write_json(tmp_path / "buildings.geojson", collection(polygon(on_ground(FAR, "EPSG:4326"))))
    assert "no polygon lies on an image" in refusal(tmp_path, "buildings.geojson")
    write_image(tmp_path)
    assert refusal(tmp_path, "buildings.geojson").startswith("for a.tif: the image has no georeference (CRS and transf")


def nested(depth: int) -> str:
    return '{"type": "Polygon", "coordinates": ' + "[" * depth + "]" * depth + "}"


def of_polygon(coordinates: str) -> str:
    return json.dumps(collection(polygon())).replace("[]", coordinates, 1)


DAMAGED = {
    "empty": ("", "it is no JSON in UTF-8, or was cut short"),
    "cut": (json.dumps(collection(polygon(CORNERS)))[:-9], "it is no JSON in UTF-8, or was cut short"),
    "nan": (of_polygon("[[[NaN, 1], [2, 3], [4, 9], [1, 1]]]"), "NaN is no number"),
    "overflow": (of_polygon("[[[1e999, 1], [2, 3], [4, 9], [1, 1]]]"), "feature 0 has a damaged geometry: "),
    "digits": (of_polygon(f"[[[1{'0' * 400}, 1], [2, 3], [4, 9], [1, 1]]]"), "feature 0 has a damaged geometry: "),
    "many digits": (of_polygon(f"[[[1{'0' * 5000}, 1], [2, 3], [4, 9], [1, 1]]]"), "it is no JSON in UTF-8"),
    "nested": (nested(100_000), "its brackets are nested too deeply"),
    "nested less": (nested(500), "feature 0 has a damaged geometry"),
    "list": ([1], "it is no GeoJSON: it holds no object"),
    "other type": ({"type": "Topology"}, "its type is 'Topology', not FeatureCollection"),
    "no features": ({"type": "FeatureCollection"}, "`features` is no list of objects"),
    "words": ({"type": "FeatureCollection", "features": ["a"]}, "`features` is no list of objects"),
    "point": (collection({"type": "Point", "coordinates": [1, 2]}), "feature 0 is a 'Point', not a Polygon or MultiPo"),
    "lines": (collection({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}), "feature 0 is a 'LineString', not"),
    "text": (collection(polygon(CORNERS), "a"), "feature 1 is a 'a', not a Polygon"),
    "short ring": (collection(polygon([(1, 2), (3, 4)])), "feature 0 has a damaged geometry"),
    "no coordinates": (collection({"type": "Polygon"}), "feature 0 has a damaged geometry"),
    "numbers": (collection({"type": "Polygon", "coordinates": 5}), "feature 0 has a damaged geometry"),
    "many": (collection(*[{"type": "Point"}] * 9), "feature 4 is a 'Point', not a Polygon or MultiPolygon; and 4 more"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_geojson(name, tmp_path):
    content, reason = DAMAGED[name]
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "roofs" / "a.geojson", content)
    assert reason in refusal(tmp_path, "roofs/a.geojson")


def test_geojson_that_is_no_text_or_too_large(tmp_path, monkeypatch):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "roofs" / "a.geojson", "")
    (tmp_path / "roofs" / "a.geojson").write_bytes(b"\xff\xfe{}")
    assert "it is no JSON in UTF-8" in refusal(tmp_path, "roofs/a.geojson")
    monkeypatch.setattr(raw_geojson, "_MAX_BYTES", 3)
    assert "it has 4 bytes, more than the 3 that are allowed" in refusal(tmp_path, "roofs/a.geojson")


def write_ridge(root: Path, kind: Any = "ridge") -> None:
    line = {"type": "LineString", "coordinates": [(10, 15), (30, 15), (30, 15)]}
    write_json(root / "lines" / "a.geojson", collection(line, properties=({"kind": kind},)))


def test_which_kinds_of_lines_are_all_there(tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_ridge(tmp_path)
    assert reading(tmp_path).vector_kinds == 1 << LINES.index("ridge")
    assert reading(tmp_path).vectors.ends.tolist() == [[15, 10, 15, 30]]  # without the piece of no length
    write_lines(tmp_path / "line_kinds.txt", ["ridge", "hip"])
    assert reading(tmp_path).vector_kinds == 1 << LINES.index("ridge") | 1 << LINES.index("hip")
    write_lines(tmp_path / "line_kinds.txt", [])
    assert reading(tmp_path).vector_kinds == 0
    write_lines(tmp_path / "line_kinds.txt", ["ridges"])
    found = look(tmp_path)
    assert found.problems[-1].path == tmp_path / "line_kinds.txt"
    assert "lists ridges; known are ridge, valley, hip, eave, outline" in found.problems[-1].reason


def test_folders_that_are_not_looked_at(tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_ridge(tmp_path, "ridge")
    for name in ("roof", "Segments", "scripts", ".git", "lines/old"):
        (tmp_path / name).mkdir()
    found = look(tmp_path)
    assert [(problem.path.name, problem.reason) for problem in found.problems] == [
        ("Segments", "is not looked at; call it segments"),
        ("roof", "is not looked at; if it holds roofs, call it roofs"),
    ]
    assert found.notes == (
        f"{tmp_path}: folders other than images, segments, superstructures, roofs, lines, heights are passed over: "
        f"scripts",
        f"{tmp_path / 'lines'}: its 1 folder(s) are not looked into: old",
    )


@pytest.mark.parametrize("kind", ["rigde", None, 3, ["ridge"]])
def test_lines_of_no_known_kind(kind, tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_ridge(tmp_path, kind)
    assert re.search(
        r"1 line\(s\) are of no known kind; the first, number 0, has .*kind.* Known are ridge, valley",
        refusal(tmp_path, "lines/a.geojson"),
    )


def test_an_image_may_have_no_lines(tmp_path):
    write_png(tmp_path / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(tmp_path / "lines" / "a.geojson", collection())
    write_lines(tmp_path / "line_kinds.txt", ["ridge"])
    tile = reading(tmp_path)
    assert tile.vectors.ends.shape == (0, 4)
    assert tile.vector_kinds == 1 << LINES.index("ridge")


def segments_with(value: int, dtype: str = "uint8") -> np.ndarray:
    segments = np.full((HEIGHT, WIDTH), 17, dtype)
    segments[30, 20] = value
    return segments


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


def write_own_grid(root: Path, crs: str, pixel_m: float, **options: Any) -> None:
    """Heights of the plane on a grid that covers more than the image, of pixels of another size."""
    corners = on_ground([(-20, -20), (WIDTH + 20, HEIGHT + 20)], crs)
    (west, north), (east, south) = corners
    unit = abs(east - west) / ((WIDTH + 40) * 0.5)
    down = abs(north - south) / ((HEIGHT + 40) * 0.5)
    grid = Affine(unit * pixel_m, 0, west, 0, -down * pixel_m, north)
    shape = int(abs(north - south) / (down * pixel_m)), int(abs(east - west) / (unit * pixel_m))
    rows, columns = np.indices(shape) + 0.5
    x, y = grid @ (columns.ravel(), rows.ravel())
    x, y = np.array(transform(crs, "EPSG:32632", x, y))
    columns, rows = ~UTM @ (x, y)
    heights = plane(columns, rows).reshape(shape).astype(np.float32)
    write_geotiff(root / "heights" / "a.tif", heights, crs=crs, transform=grid, nodata=-9999, **options)


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


def test_files_without_a_partner_or_with_two(tmp_path):
    write_all(tmp_path)
    write_image(tmp_path, "lonely")
    write_png(tmp_path / "segments" / "b.png", segments_with(0))
    write_image(tmp_path, "c")
    write_png(tmp_path / "images" / "c.png", noise(HEIGHT, WIDTH, 0))
    write_png(tmp_path / "roofs" / "c.png", roof_mask(CORNERS))
    write_json(tmp_path / "roofs" / "c.geojson", collection())
    (tmp_path / "images" / "a.tfw").touch()
    found = look(tmp_path)
    assert [(str(problem.path.relative_to(tmp_path)), problem.reason) for problem in found.problems] == [
        ("images/c.tif", "has the same name as c.png"),
        ("images/lonely.tif", "no label has its name"),
        ("roofs/c.png", "has the same name as c.geojson"),
        ("segments/b.png", "has no image of this name in images/"),
    ]
    assert any("a.tfw" in note for note in found.notes)


def test_images_that_cannot_be_used(tmp_path):
    write_geotiff(tmp_path / "images" / "a.tif", noise(HEIGHT, WIDTH, 0).astype(np.uint16))
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    assert refusal(tmp_path, "images/a.tif").startswith("its values are uint16: scale them")
    write_image(tmp_path)
    found = scan(tmp_path, Generic(format="generic", path=""), Prepare(max_megapixels=HEIGHT * WIDTH / 1e6 - 1e-9))
    assert "more than the 1999 that are allowed" in found.problems[0].reason


def test_a_file_that_changes_after_the_scan(tmp_path):
    write_all(tmp_path)
    (scene,) = look(tmp_path).scenes
    write_png(tmp_path / "segments" / "a.png", segments_with(0)[:20])
    with pytest.raises(DataError, match=r"segments.a\.png: it is no longer 50 x 40 pixels"):
        read_part(tmp_path, scene, Window(0, 0, 10, 10))
    content = (tmp_path / "heights" / "a.tif").read_bytes()
    write_all(tmp_path)
    (tmp_path / "heights" / "a.tif").write_bytes(content[:-2000])
    with pytest.raises(DataError, match=r"heights.a\.tif: "):
        read_part(tmp_path, scene)
    write_png(tmp_path / "images" / "b.png", noise(HEIGHT, WIDTH, 0))
    write_png(tmp_path / "roofs" / "b.png", roof_mask(CORNERS))
    scene = next(scene for scene in look(tmp_path).scenes if scene.name == "b")
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png"):
        read_part(tmp_path, scene)


@pytest.mark.parametrize("file", ["images/a.tif", "segments/a.png", "roofs/a.geojson", "lines/a.geojson"])
def test_links_that_leave_the_folder(file, tmp_path):
    write_all(tmp_path / "other")
    write_all(tmp_path / "raw")
    (tmp_path / "raw" / file).unlink()
    (tmp_path / "raw" / file).symlink_to(tmp_path / "other" / file)
    problems = [problem for problem in look(tmp_path / "raw").problems if problem.path == tmp_path / "raw" / file]
    assert "is a link that leaves" in problems[0].reason


@pytest.mark.parametrize("name", ["buildings.geojson", "line_kinds.txt"])
def test_links_of_the_folder_itself(name, tmp_path):
    write_all(tmp_path / "raw")
    write_json(tmp_path / "other", "ridge")
    (tmp_path / "raw" / name).symlink_to(tmp_path / "other")
    problems = {problem.path.name: problem.reason for problem in look(tmp_path / "raw").problems}
    assert "is a link that leaves" in problems[name]


def test_groups_of_a_table(tmp_path):
    for seed, name in enumerate("abcd"):
        write_image(tmp_path, name, seed)
        write_png(tmp_path / "roofs" / f"{name}.png", roof_mask(CORNERS))
    assert [scene.group for scene in look(tmp_path).scenes] == ["a", "b", "c", "d"]
    write_lines(tmp_path / "groups.csv", ["group,image", "north,a", "north,b", '"so,uth",c', "south,d", "x,unused"])
    assert [scene.group for scene in look(tmp_path, groups="groups.csv").scenes] == [
        "north",
        "north",
        "so,uth",
        "south",
    ]
    write_lines(tmp_path / "groups.csv", ["image,group", "a,north", "b,north", "b,south", "c,", "", "d,x"])
    found = look(tmp_path, groups="groups.csv")
    assert [problem.reason for problem in found.problems] == ["2 image(s) have no group or several: b, c"]
    assert [scene.name for scene in found.scenes] == ["a", "d"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (["image,side", "a,b"], "has the columns image, side; needed are image and group"),
        ([], "has the columns ; needed are image and group"),
    ],
)
def test_a_table_of_groups_that_cannot_be_used(content, reason, tmp_path):
    write_image(tmp_path)
    write_png(tmp_path / "roofs" / "a.png", roof_mask(CORNERS))
    if content is not None:
        write_lines(tmp_path / "groups.csv", content)
    assert reason in refusal(tmp_path, "groups.csv", groups="groups.csv")


@pytest.mark.parametrize("name", ["../groups.csv", "/etc/hostname"])
def test_a_table_of_groups_outside_the_folder(name, tmp_path):
    write_image(tmp_path / "raw")
    write_png(tmp_path / "raw" / "roofs" / "a.png", roof_mask(CORNERS))
    write_lines(tmp_path / "groups.csv", ["image,group", "a,x"])
    found = look(tmp_path / "raw", groups=name)
    assert "leaves" in found.problems[0].reason
    assert found.scenes == ()


def test_a_folder_without_images_or_labels(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        look(tmp_path)
    write_image(tmp_path)
    write_png(tmp_path / "masks" / "a.png", roof_mask(CORNERS))
    with pytest.raises(
        UserError, match=r"must hold labels in segments/, .* or buildings\.geojson; it holds images, ma"
    ):
        look(tmp_path)


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


# What an attack found


def a_scene(root):
    write_png(root / "images" / "a.png", noise(HEIGHT, WIDTH, 0))
    write_json(root / "roofs" / "a.geojson", collection(polygon(CORNERS)))


@pytest.mark.parametrize("name", ["roofs/a.geojson", "line_kinds.txt"])
def test_pipes_are_no_files(tmp_path, name):
    a_scene(tmp_path)
    write_ridge(tmp_path, "ridge")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    (problem,) = look(tmp_path).problems
    assert (problem.path, problem.reason.removeprefix("it ")) == (tmp_path / name, "is no file")


def test_a_polygon_of_many_points_that_crosses_itself_is_refused_at_once(tmp_path):
    a_scene(tmp_path)
    points = np.random.default_rng(0).random((1200, 2)) * min(HEIGHT, WIDTH)
    ring = {"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]}
    write_json(tmp_path / "roofs" / "a.geojson", collection(ring))
    assert "polygon 0 of 1201 points crosses itself; mend it" in refusal(tmp_path, "roofs/a.geojson")


def test_lines_that_end_beyond_every_coordinate_system_are_refused(tmp_path):
    a_scene(tmp_path)
    line = {"type": "LineString", "coordinates": [[-1e300, 10], [1e300, 10]]}
    write_json(tmp_path / "lines" / "a.geojson", collection(line, properties=({"kind": "hip"},)))
    assert "beyond every coordinate system" in refusal(tmp_path, "lines/a.geojson")


def test_a_group_table_that_is_no_csv(tmp_path):
    a_scene(tmp_path)
    (tmp_path / "groups.csv").write_text(f"image,group\na,{'x' * 200_000}\n")
    found = look(tmp_path, groups="groups.csv")
    assert any("is no CSV file" in problem.reason for problem in found.problems)


def test_a_name_that_is_not_text_is_told(tmp_path):
    a_scene(tmp_path)
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes((tmp_path / "images/a.png").read_bytes())
    (problem,) = look(tmp_path).problems
    assert problem.reason == "its name is not valid UTF-8; rename it"
    str(problem).encode()


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


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"type": "FeatureCollection", "features": [], "features": []}', "features"),
        ('{"type": "Polygon", "coordinates": [], "coordinates": []}', "coordinates"),
    ],
)
def test_members_that_are_there_twice(content, name, tmp_path):
    a_scene(tmp_path)
    (tmp_path / "roofs" / "a.geojson").write_text(content)
    assert f"an object has the member {name!r} twice" in refusal(tmp_path, "roofs/a.geojson")


def test_a_property_that_is_not_read_may_be_there_twice(tmp_path):
    a_scene(tmp_path)
    path = tmp_path / "roofs" / "a.geojson"
    path.write_text(path.read_text().replace('"properties": {}', '"properties": {"note": 1, "note": 2}'))
    assert '"note": 2' in path.read_text()
    assert reading(tmp_path).roof.sum() == roof_mask(CORNERS).sum()


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
