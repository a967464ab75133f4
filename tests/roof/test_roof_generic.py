"""The generic form as it is read: which file belongs to which, windows, groups, and folders that are no data set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import DataError, UserError
from millrace.roof import raw
from millrace.roof.classes import LINES, UNKNOWN
from millrace.roof.params import Generic, Prepare
from millrace.roof.raw_generic import scan
from millrace.roof.scene import Labelled, Scene, Window
from roof.builders import noise, write_geotiff, write_lines, write_png
from roof.generic_folders import (
    CORNERS,
    HEIGHT,
    WIDTH,
    a_scene,
    collection,
    look,
    plane,
    polygon,
    read_part,
    reading,
    refusal,
    roof_mask,
    segments_with,
    write_all,
    write_image,
    write_json,
    write_own_grid,
    write_ridge,
)


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


@pytest.mark.parametrize("name", ["roofs/a.geojson", "line_kinds.txt"])
def test_pipes_are_no_files(tmp_path, name):
    a_scene(tmp_path)
    write_ridge(tmp_path, "ridge")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    (problem,) = look(tmp_path).problems
    assert (problem.path, problem.reason.removeprefix("it ")) == (tmp_path / name, "is no file")


def test_a_group_table_that_is_no_csv(tmp_path):
    a_scene(tmp_path)
    (tmp_path / "groups.csv").write_text(f"image,group\na,{'x' * 200_000}\n")
    found = look(tmp_path, groups="groups.csv")
    assert any("is no CSV file" in problem.reason for problem in found.problems)


def test_a_name_that_is_not_text_is_told(tmp_path):
    a_scene(tmp_path)
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes((tmp_path / "images/a.png").read_bytes())
    (problem,) = raw.scan(Generic(format="generic", path=str(tmp_path)), Prepare()).problems
    assert problem.reason == "its name is not valid UTF-8; rename it"
    str(problem).encode()
