"""GeoJSON as other programs read it."""

from __future__ import annotations

import json

import numpy as np
import pyogrio
import pytest
import shapely
from pyogrio.raw import read
from rasterio.crs import CRS

from millrace.roof.geojson import Feature, line_features, write_geojson
from millrace.roof.ground import square_ground
from millrace.roof.vector_lines import VectorLines

UTM = (0.2, 0, 690_000, 0, -0.2, 5_335_000)
SQUARE = shapely.Polygon([(10, 20), (60, 20), (60, 70), (10, 70)], [[(20, 30), (30, 30), (30, 40)]])


def written(path, crs, transform, features=None):
    write_geojson(path, [Feature(SQUARE, {"area_m2": 1.23456789})] if features is None else features, crs, transform)
    meta, _, shapes, _ = read(path)
    return meta["crs"], shapely.from_wkb(shapes), json.loads(path.read_text())


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:25832", UTM),
        ("EPSG:3857", UTM),
        ("EPSG:2193", (0.075, 0, 1_570_000, 0, -0.075, 5_180_000)),
        ("EPSG:4258", (1e-6, 0, 11.5, 0, -1e-6, 48.1)),
        ("EPSG:4326", (1e-6, 0, 11.5, 0, -1e-6, 48.1)),
    ],
)
def test_coordinates_and_their_system_are_those_of_the_image(tmp_path, crs, transform):
    found, (polygon,), content = written(tmp_path / "x.geojson", crs, transform)
    assert CRS.from_user_input(found) == CRS.from_user_input(crs)
    assert polygon.is_valid
    a, _, c, _, e, f = transform
    expected = (c + 10 * a, f + 70 * e, c + 60 * a, f + 20 * e)
    assert polygon.bounds == pytest.approx(expected, abs=0.6 * 10.0 ** -(3 if a > 1e-3 else 9), rel=0)
    assert polygon.area == pytest.approx(SQUARE.area * a * a, rel=1e-3)
    assert len(polygon.interiors) == 1
    assert ("crs" in content) == (crs != "EPSG:4326")


def test_rings_turn_as_the_standard_says(tmp_path):
    _, _, content = written(tmp_path / "x.geojson", "EPSG:25832", UTM)
    exterior, hole = (shapely.LinearRing(ring) for ring in content["features"][0]["geometry"]["coordinates"])
    assert exterior.is_ccw
    assert not hole.is_ccw


def test_a_system_without_a_number_is_converted_to_degrees(tmp_path):
    wkt = CRS.from_proj4("+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=500000 +ellps=GRS80 +units=m").to_wkt()
    found, (polygon,), content = written(tmp_path / "x.geojson", wkt, UTM)
    assert found == "EPSG:4326"
    assert "crs" not in content
    _, (twin,), _ = written(tmp_path / "y.geojson", "EPSG:25832", UTM)
    assert twin.bounds[0] == pytest.approx(690_002, abs=0.01)
    assert polygon.bounds == pytest.approx((11.561, 48.134, 11.561, 48.134), abs=0.01)


@pytest.mark.parametrize(
    ("transform", "bounds"), [(None, (10, 20, 60, 70)), (UTM, (690_002, 5_334_986, 690_012, 5_334_996))]
)
def test_without_a_coordinate_system_a_note_says_what_the_numbers_are(tmp_path, transform, bounds):
    _, (polygon,), content = written(tmp_path / "x.geojson", None, transform)
    assert polygon.bounds == pytest.approx(bounds)
    assert ("no georeference" if transform is None else "no coordinate system") in content["note"]


def test_an_empty_collection_opens(tmp_path):
    found, shapes, content = written(tmp_path / "x.geojson", "EPSG:25832", UTM, [])
    assert len(shapes) == 0
    assert found == "EPSG:25832"
    assert content["features"] == []


def test_rounding_never_makes_a_polygon_invalid(tmp_path):
    # Two thin arms that become one line where coordinates have millimetres.
    sliver = shapely.Polygon([(0, 0), (10, 0), (10, 0.001), (5, 0.001), (5, 5), (0, 5)])
    _, (polygon,), _ = written(tmp_path / "x.geojson", "EPSG:25832", UTM, [Feature(sliver, {})])
    assert polygon.is_valid
    assert polygon.area == pytest.approx(25 * 0.04, rel=0.01)


def test_lines_have_kind_score_and_length(tmp_path):
    lines = VectorLines(
        np.array([0, 4], np.uint8), np.array([[10, 20, 10, 70], [0, 0, 30, 40.0]]), np.array([0.9, 0.75])
    )
    write_geojson(tmp_path / "x.geojson", line_features(lines, square_ground(0.2)), "EPSG:25832", UTM)
    table = pyogrio.raw.read(tmp_path / "x.geojson")
    fields = dict(zip(table[0]["fields"], table[3], strict=True))
    assert list(fields["kind"]) == ["ridge", "outline"]
    assert list(fields["score"]) == pytest.approx([0.9, 0.75])
    assert list(fields["length_m"]) == pytest.approx([10, 10])
    first = shapely.from_wkb(table[2][0])
    assert list(first.coords) == [(690_004, 5_334_998), (690_014, 5_334_998)]
