"""Synthetic roofs: faces, heights and lines agree with each other exactly."""

import math
from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.roof.classes import LINES
from millrace.roof.sample_roofs import (
    FORMS,
    Face,
    Line,
    Wing,
    along_y,
    annex,
    assemble,
    eaves,
    make_wings,
    outline,
    placed,
    roof_lines,
    wing,
)


def make(form: str, seed: int, with_annex: bool = False, turn: float = 0) -> tuple[list[Wing], list[Face], list[Line]]:
    generator = np.random.default_rng(seed)
    length = generator.uniform(9, 16)
    wings = make_wings(form, generator, length, generator.uniform(6.5, 0.92 * length))
    if with_annex:
        wings.append(annex(wings[0], generator))
    faces = assemble(wings)
    return wings, *placed(faces, roof_lines(wings, faces), turn, 30, -20)


ROOFS = st.builds(make, st.sampled_from(FORMS), st.integers(0, 2**32), st.booleans(), st.floats(0, 360))


def counted(lines: list[Line]) -> dict[str, int]:
    return dict(Counter(LINES[line.kind] for line in lines))


def height(faces: list[Face], x: float, y: float) -> float:
    """0 beside the roof."""
    point = shapely.Point(x, y)
    return max((face.height(x, y) for face in faces if face.polygon.distance(point) < 1e-6), default=0.0)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("gable", {"ridge": 1, "eave": 2, "outline": 4}),
        ("hip", {"ridge": 1, "hip": 4, "eave": 4, "outline": 4}),
        ("half-hip", {"ridge": 1, "hip": 4, "eave": 4, "outline": 4}),
        ("shed", {"eave": 1, "outline": 4}),
        ("flat", {"outline": 4}),
    ],
)
def test_lines_of_simple_roofs(form, expected):
    assert counted(make(form, 0)[2]) == expected


def test_corner_of_two_wings_is_a_hip_outside_and_a_valley_inside():
    first = wing((0, 12, 0, 6), 3.0, 1.0, ("hip", "gable"))
    second = along_y(wing((0, 10, 0, 6), 3.0, 1.0, ("hip", "gable")))
    faces = assemble([first, second])
    lines = roof_lines([first, second], faces)
    assert counted(lines) == {"ridge": 2, "hip": 1, "valley": 1, "eave": 4, "outline": 6}
    ends = {LINES[line.kind]: {line.start, line.end} for line in lines if LINES[line.kind] in ("hip", "valley")}
    for kind, corner in (("hip", (0, 0)), ("valley", (6, 6))):
        near = sorted(math.dist(point, corner) for point in ends[kind])
        assert near == pytest.approx([0, math.dist(corner, (3, 3))], abs=1e-4)
    assert sorted(face.azimuth for face in faces) == [0, 90, 180, 270]
    assert height(faces, 3, 3.001) == pytest.approx(6, abs=0.01)


@given(ROOFS)
@settings(max_examples=25)
def test_faces_tile_the_outline(roof):
    wings, faces, _ = roof
    whole = outline(wings)
    assert sum(face.polygon.area for face in faces) == pytest.approx(whole.area, abs=1e-2)
    assert shapely.union_all([face.polygon.buffer(1e-4) for face in faces]).area == pytest.approx(whole.area, abs=0.02)
    for face in faces:
        assert face.polygon.is_valid


@given(ROOFS)
@settings(max_examples=25)
def test_azimuth_is_downslope(roof):
    _, faces, _ = roof
    for face in faces:
        point = face.polygon.representative_point()
        if face.azimuth is not None:
            angle = math.radians(face.azimuth)
            step = (1e-3 * math.sin(angle), 1e-3 * math.cos(angle))
            drop = face.height(point.x, point.y) - face.height(point.x + step[0], point.y + step[1])
            assert drop == pytest.approx(1e-3 * face.slope, rel=1e-3)


@given(st.sampled_from(FORMS), st.integers(0, 2**32), st.booleans())
@settings(max_examples=25)
def test_every_point_is_as_high_as_its_highest_wing(form, seed, with_annex):
    generator = np.random.default_rng(seed + 1)
    wings, _, _ = make(form, seed, with_annex)
    faces = assemble(wings)
    left, bottom, right, top = outline(wings).bounds
    for x, y in generator.uniform((left, bottom), (right, top), (40, 2)):
        over = [each for each in wings if each.box[0] < x < each.box[1] and each.box[2] < y < each.box[3]]
        expected = max((min(a * x + b * y + c for a, b, c in each.planes) for each in over), default=0)
        assert height(faces, x, y) == pytest.approx(expected, abs=1e-4)


@given(ROOFS)
@settings(max_examples=25)
def test_lines_lie_where_the_roof_folds_as_their_kind_says(roof):
    _, faces, lines = roof
    for line in lines:
        (x0, y0), (x1, y1) = line.start, line.end
        if math.dist(line.start, line.end) < 0.3:
            continue
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        across = ((y0 - y1) / math.dist(line.start, line.end), (x1 - x0) / math.dist(line.start, line.end))
        sides = [height(faces, x + sign * 0.05 * across[0], y + sign * 0.05 * across[1]) for sign in (-1, 1)]
        on = max(face.height(x, y) for face in faces if face.polygon.distance(shapely.Point(x, y)) < 1e-3)
        level = {
            height_at(faces, end) == pytest.approx(height_at(faces, line.start), abs=1e-3)
            for end in (line.start, line.end)
        }
        kind = LINES[line.kind]
        if kind in ("ridge", "hip"):
            assert max(sides) < on
            assert (level == {True}) == (kind == "ridge")
        elif kind == "valley":
            assert min(sides) > on
        elif kind == "eave":
            assert max(sides) > on - 1e-3
            assert level == {True}
            assert min(sides) < on - 1e-3
        else:
            assert min(sides) == 0 < max(sides)


def height_at(faces: list[Face], end: tuple[float, float]) -> float:
    near = [face for face in faces if face.polygon.distance(shapely.Point(end)) < 1e-3]
    return max(face.height(*end) for face in near)


@given(ROOFS)
@settings(max_examples=25)
def test_length_of_eaves_and_outline(roof):
    wings, faces, lines = roof
    border = sum(math.dist(line.start, line.end) for line in lines if LINES[line.kind] == "outline")
    assert border == pytest.approx(outline(wings).length, abs=1e-3)
    own = [line for face in faces for line in eaves(face)]
    assert sorted(math.dist(line.start, line.end) for line in own) == pytest.approx(
        sorted(math.dist(line.start, line.end) for line in lines if LINES[line.kind] == "eave"), abs=1e-6
    )


@given(ROOFS, st.floats(-400, 400), st.floats(-500, 500), st.floats(-500, 500))
@settings(max_examples=15)
def test_turning_a_roof_turns_its_azimuths_and_keeps_its_heights(roof, turn, x, y):
    _, faces, lines = roof
    moved, moved_lines = placed(faces, lines, turn, x, y)
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    for before, after in zip(faces, moved, strict=True):
        assert (before.azimuth is None) == (after.azimuth is None)
        if before.azimuth is not None:
            assert (after.azimuth - before.azimuth + turn + 180) % 360 == pytest.approx(180, abs=1e-6)
        point = before.polygon.centroid
        there = cosine * point.x - sine * point.y + x, sine * point.x + cosine * point.y + y
        assert after.height(*there) == pytest.approx(before.height(point.x, point.y), abs=1e-6)
    assert counted(lines) == counted(moved_lines)
