"""Polygons and lines of the generic form: GeoJSON of any coordinate system as masks and vectors, and damaged ones."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import shapely
from rasterio.transform import Affine

from millrace.roof import raw_geojson
from millrace.roof.classes import LINES
from roof.builders import noise, write_lines, write_png
from roof.generic_folders import (
    CORNERS,
    HEIGHT,
    PLACE,
    UTM,
    WIDTH,
    a_scene,
    collection,
    look,
    on_ground,
    polygon,
    reading,
    refusal,
    roof_mask,
    write_image,
    write_json,
    write_ridge,
)


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
        ("http://www.opengis.net/def/crs/EPSG/0/25832", "EPSG:25832"),
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", "EPSG:4326"),
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


def test_buildings_that_cannot_be_read_are_parsed_and_told_of_once(tmp_path, monkeypatch):
    for name in "abc":
        write_image(tmp_path, name, **PLACE)
    point = {"type": "Point", "coordinates": [1, 1]}
    write_json(tmp_path / "buildings.geojson", collection(polygon(CORNERS), point))
    calls = []
    real = raw_geojson._json
    monkeypatch.setattr(raw_geojson, "_json", lambda path: calls.append(path) or real(path))
    found = look(tmp_path)
    assert len(calls) == 1
    assert [problem.path.name for problem in found.problems] == ["buildings.geojson", "a.tif", "b.tif", "c.tif"]
    assert "feature 1 is a 'Point'" in found.problems[0].reason
    assert found.problems[1].reason == "its roofs are in buildings.geojson, which cannot be used"
