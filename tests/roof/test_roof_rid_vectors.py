"""The vectors of RID: gutters become eaves, and what cannot be used is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from millrace.errors import UserError
from millrace.roof.classes import LINES
from millrace.roof.params import Rid
from millrace.roof.raw_rid import read
from millrace.roof.rid_vectors import EAVE
from millrace.roof.scene import Scan, Scene, Window
from roof.builders import (
    EAVES,
    NORTH,
    RID_SIDE,
    SOUTH,
    rid_row,
    rid_rows,
    write_lines,
    write_rid,
    write_rid_vectors,
)
from roof.rid_folders import (
    ALL,
    CSV,
    labelled,
    scanned,
    told,
)

SLOPING = [(2, 2), (2, 8), (8, 8)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rid(tmp_path_factory.mktemp("rid"))


@pytest.fixture(scope="module")
def scenes(published: Path) -> tuple[Scene, ...]:
    return scanned(published).scenes


@pytest.fixture
def rid(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "rid"))


def test_gutters_become_eaves_in_pixels_of_the_window(published: Path) -> None:
    tile = labelled(published, "30")
    assert tile.vectors is not None
    assert tile.vector_kinds == 1 << EAVE
    assert [LINES[kind] for kind in tile.vectors.kinds] == ["eave", "eave"]
    np.testing.assert_allclose(tile.vectors.ends, [EAVES["north"], EAVES["south"]], atol=1e-4)
    tile = labelled(published, "30", Window(20, 10, 12, 8))
    assert tile.vectors is not None
    np.testing.assert_allclose(tile.vectors.ends, [[4, 16, 4, -4]], atol=1e-4)


def test_an_eave_lies_on_the_lower_side_of_its_plane(published: Path) -> None:
    """Latitude first, north up: a mistake in either would mirror the eaves."""
    tile = labelled(published, "1")
    assert tile.vectors is not None
    assert tile.segments is not None
    for row, column, _, last in tile.vectors.ends:
        inside = row + 0.5 if row < 16 else row - 0.5
        assert tile.segments[int(inside), int((column + last) / 2)] == (NORTH if row < 16 else SOUTH)


@hypothesis_settings(max_examples=30)
@given(ends=st.tuples(*[st.floats(0, RID_SIDE)] * 4), position=st.integers(0, 4))
def test_any_gutter_comes_back_to_its_pixels(
    published: Path,
    scenes: tuple[Scene, ...],
    tmp_path_factory: pytest.TempPathFactory,
    ends: tuple[float, ...],
    position: int,
) -> None:
    rows = [rid_row(position, SLOPING, 10.0, 30.0, ends)]
    path = write_rid_vectors(tmp_path_factory.mktemp("vectors"), rows)
    source = Rid.model_construct(format="rid", path=str(published), vectors=str(path))
    tile = read(published, scenes[position], source, ALL)
    assert tile.vectors is not None
    if np.hypot(ends[0] - ends[2], ends[1] - ends[3]) > 1e-3:
        np.testing.assert_allclose(tile.vectors.ends, [ends], atol=1e-4)


def with_gutter(rid: Path, gutter: str | None, **changes: Any) -> Scan:
    rows = [row for position in range(5) for row in rid_rows(position)]
    rows[0] |= {"gutter": gutter} | changes
    write_rid_vectors(rid, rows)
    return scanned(rid)


def test_bent_repeated_and_single_lines_are_read(rid: Path) -> None:
    north = str(rid_rows(0)[0]["gutter"])
    south = str(rid_rows(0)[1]["gutter"])
    points = north.removeprefix("MULTILINESTRING ((").removesuffix("))")
    first, last = points.split(", ")
    middle = south.removeprefix("MULTILINESTRING ((").split(", ", maxsplit=1)[0]
    with_gutter(rid, f"LINESTRING ({first}, {last})")
    tile = labelled(rid, "1")
    assert tile.vectors is not None
    assert len(tile.vectors.ends) == 2
    with_gutter(rid, f"MULTILINESTRING (({last}, {first}), ({first}, {first}, {last}, {middle}))")
    tile = labelled(rid, "1")
    assert tile.vectors is not None
    np.testing.assert_allclose(tile.vectors.ends, [[8, 26, 8, 6], [8, 26, 24, 26], EAVES["south"]], atol=1e-4)
    assert tile.vector_kinds == 1 << EAVE


def test_a_sloping_segment_without_gutter_leaves_eaves_unknown_where_it_lies(rid: Path) -> None:
    for gutter in (None, "MULTILINESTRING EMPTY", "MULTILINESTRING ((48.404 11.985, 48.404 11.985))"):
        found = with_gutter(rid, gutter)
        assert not found.problems
        assert any("1 sloping segment(s) have no gutter" in note for note in found.notes)
        assert labelled(rid, "1").vector_kinds == 0
        assert labelled(rid, "1", Window(18, 0, 10, 32)).vector_kinds == 1 << EAVE
        assert labelled(rid, "2").vector_kinds == 1 << EAVE


def test_eaves_are_unknown_where_the_vectors_lack_the_roofs_of_the_mask(rid: Path) -> None:
    write_rid_vectors(rid, rid_rows(0))
    assert labelled(rid, "1").vector_kinds == 1 << EAVE
    assert labelled(rid, "2").vector_kinds == 0
    assert labelled(rid, "2", Window(0, 0, 4, 4)).vector_kinds == 1 << EAVE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gutter": "48.4 11.98, 48.5 11.98"}, "1 value(s) of gutter are no WKT LINESTRING or MULTILINESTRING"),
        ({"gutter": "POINT (48.4 11.98)"}, "1 value(s) of gutter are no WKT LINESTRING or MULTILINESTRING"),
        ({"gutter": "LINESTRING (4e5 5e6, 4e5 6e6)"}, "1 value(s) of gutter are not in degrees with latitude first"),
        ({"segment": "MULTIPOLYGON (((48"}, "1 value(s) of segment are no WKT POLYGON or MULTIPOLYGON"),
        ({"segment": "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"}, "1 value(s) of segment cross themselves"),
    ],
)
def test_what_cannot_be_parsed_is_told_with_its_row(rid: Path, changes: dict[str, str], reason: str) -> None:
    found = with_gutter(rid, **{"gutter": None} | changes)
    assert reason in told(found, CSV)
    assert "the first in row 2: " in told(found, CSV)


def test_longitude_first_is_told(rid: Path) -> None:
    rows = [row for position in range(5) for row in rid_rows(position)]
    for row in rows:
        for name in ("segment", "gutter"):
            if row[name] is not None:
                kind, points = str(row[name]).split(" (", maxsplit=1)
                pairs = [point.strip("() ").split(" ") for point in points.split(",")]
                swapped = ", ".join(f"{second} {first}" for first, second in pairs)
                opening = "(((" if kind == "MULTIPOLYGON" else "(("
                row[name] = f"{kind} {opening}{swapped}{')' * len(opening)}"
    write_rid_vectors(rid, rows)
    assert "none of its 10 gutters lies in an image" in told(scanned(rid), CSV)


def test_a_file_of_vectors_that_cannot_be_used_is_told(rid: Path) -> None:
    (rid / CSV).unlink()
    assert "cannot be read" in told(scanned(rid), CSV)
    write_lines(rid / CSV, ["id,segment,azimuth", "1,POLYGON EMPTY,3"])
    assert "is no CSV file with the columns segment, gutter, azimuth" in told(scanned(rid), CSV)
    (rid / CSV).write_bytes(b"\xff\xfe\x00")
    assert "is no CSV file" in told(scanned(rid), CSV)
    assert not scanned(rid, vectors=None).problems
    assert labelled(rid, "1", vectors=None).vectors is None


@pytest.mark.parametrize("name", ["../outside.csv", "/etc/passwd", "linked.csv", "a/../../outside.csv"])
def test_vectors_stay_in_the_folder(rid: Path, name: str) -> None:
    write_lines(rid.parent / "outside.csv", ["segment,gutter,azimuth"])
    (rid / "linked.csv").symlink_to(rid.parent / "outside.csv")
    with pytest.raises(UserError, match="leaves the folder"):
        scanned(rid, vectors=name)


@pytest.mark.parametrize(
    "text", ["GEOMETRYCOLLECTION(" * 100_000, "CURVEPOLYGON(CIRCULARSTRING(48 11,48.1 11.1,48.2 11.2,48.3 11.3,48 11))"]
)
def test_geometries_that_a_parser_cannot_take_are_refused(rid: Path, text: str) -> None:
    table = pd.read_csv(rid / CSV)
    table["segment"] = table["segment"].astype(object)
    table.loc[0, "segment"] = text
    table.to_csv(rid / CSV, index=False)
    assert "1 value(s) of segment are no WKT POLYGON or MULTIPOLYGON" in told(scanned(rid, vectors=CSV), CSV)


@pytest.mark.parametrize("azimuth", ["flat", " ", "400"])
def test_an_azimuth_that_is_no_angle_is_told(rid: Path, azimuth: str) -> None:
    rows = rid_rows(0)
    rows[0]["azimuth"] = azimuth
    write_rid_vectors(rid, rows)
    assert "1 value(s) of azimuth are no angles in degrees, the first in row 2" in told(scanned(rid), CSV)
