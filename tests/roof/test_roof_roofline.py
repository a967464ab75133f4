"""Roofline-Extraction as it is read: channels, axes, groups, and files that are not what was published."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import DataError, UserError
from millrace.roof.classes import LINES
from millrace.roof.params import Prepare, Roofline
from millrace.roof.raw_roofline import read, scan
from millrace.roof.scene import Labelled, Scan, Scene, Window
from millrace.roof.split import dealt
from millrace.splitting import Split

SIDE, COUNT = 24, 12
WHOLE = Window(0, 0, SIDE, SIDE)
RIDGE, HIP, EAVE = (1 << LINES.index(kind) for kind in ("ridge", "hip", "eave"))
USER_BLOCK = 512
"""Bytes before the HDF5 part of a MATLAB file."""

Arrays = dict[str, np.ndarray]


def pictures(count: int = COUNT, seed: int = 0) -> Arrays:
    """Upright crops: images and elements (N, H, W, 3), depths (N, H, W)."""
    rng = np.random.default_rng(seed)
    elements = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    elements[:, 3, 2:20, 0] = 255
    elements[:, 8, 2:12, 1] = 255
    elements[:, 2:9, 5, 2] = 255
    return {
        "images": rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8),
        "depths": rng.random((count, SIDE, SIDE)).astype(np.float32) * 20,
        "elements": elements,
    }


def as_published(arrays: Arrays) -> Arrays:
    """With the axes that HDF5 has of what MATLAB wrote: crop, channel, column, row."""
    return {
        "images": arrays["images"].transpose(0, 3, 2, 1),
        "depths": arrays["depths"].transpose(0, 2, 1),
        "elements": arrays["elements"].transpose(0, 3, 2, 1),
    }


def write_mat(path: Path, arrays: Arrays, **options) -> Path:
    with h5py.File(path, "w", userblock_size=USER_BLOCK) as file:
        for name, values in arrays.items():
            chunks = (1, *values.shape[1:]) if len(values) else None
            file.create_dataset(f"imdb/{name}", data=values, **{"chunks": chunks, "compression": "gzip"} | options)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(116) + bytes(8) + b"\0\2IM")
    return path


def settings(path: Path, **fields) -> Roofline:
    return Roofline(format="roofline", path=str(path), **fields)


def look(path: Path, **fields) -> Scan:
    return scan(path, settings(path, **fields), Prepare())


def reading(path: Path, position: int = 0, window: Window = WHOLE, **fields) -> Labelled:
    return read(path, look(path, **fields).scenes[position], settings(path, **fields), window)


def refusal(path: Path, **fields) -> str:
    found = look(path, **fields)
    assert not found.scenes
    assert len(found.problems) == 1
    assert found.problems[0].path == (path / "imdb.mat" if path.is_dir() else path)
    return found.problems[0].reason


@pytest.fixture
def imdb(tmp_path) -> Path:
    return write_mat(tmp_path / "imdb.mat", as_published(pictures()))


def test_a_published_file(tmp_path, imdb):
    found = look(tmp_path, pixel_size_m=0.3)
    assert found.problems == ()
    assert found.notes == ()
    assert found.heads == ("lines", "height")
    assert [scene.name for scene in found.scenes] == [f"{position:02d}" for position in range(COUNT)]
    assert {(scene.height, scene.width, scene.side, scene.pixel_size_m) for scene in found.scenes} == {
        (SIDE, SIDE, None, 0.3)
    }
    expected = pictures()
    for position in (0, 7):
        tile = reading(tmp_path, position)
        np.testing.assert_array_equal(tile.image, expected["images"][position])
        np.testing.assert_array_equal(tile.height, expected["depths"][position])


def test_red_is_eave_green_is_ridge_blue_is_hip_and_nothing_else_is_labelled(tmp_path, imdb):
    tile = reading(tmp_path)
    elements = pictures()["elements"][0] > 0
    for kind, channel in (("eave", 0), ("ridge", 1), ("hip", 2)):
        np.testing.assert_array_equal(tile.lines & (1 << LINES.index(kind)) > 0, elements[..., channel])
    assert tile.lines[3, 5] == EAVE | HIP  # where lines cross, both stay
    assert tile.lines[8, 5] == RIDGE | HIP
    assert (tile.lines_known == EAVE | RIDGE | HIP).all()  # valleys and outlines are unknown, not absent
    assert tile.segments is None
    assert tile.superstructures is None
    assert tile.roof is None
    assert tile.vectors is None


def test_axes_say_whether_columns_come_before_rows(tmp_path, imdb):
    upright, wrong = reading(tmp_path), reading(tmp_path, axes="plain")
    for name in ("image", "lines", "height"):
        turned = getattr(wrong, name)
        np.testing.assert_array_equal(getattr(upright, name), turned.swapaxes(0, 1))
        assert (getattr(upright, name) != turned).any()


@pytest.mark.parametrize("order", ["ncyx", "nyxc", "yxcn", "cyxn"])
def test_other_orders_of_axes_are_recognised(order, tmp_path):
    upright = pictures()
    to_order = ["nyxc".index(axis) for axis in order]
    depth_order = ["nyx".index(axis) for axis in order.replace("c", "")]
    arrays = {name: upright[name].transpose(to_order) for name in ("images", "elements")}
    arrays["depths"] = upright["depths"].transpose(depth_order)
    path = write_mat(tmp_path / "imdb.mat", arrays, chunks=True)
    tile = reading(path, 5, axes="plain")
    np.testing.assert_array_equal(tile.image, upright["images"][5])
    np.testing.assert_array_equal(tile.height, upright["depths"][5])
    assert tile.lines[3, 5] == EAVE | HIP
    notes = look(path, axes="plain").notes
    assert notes == () if order == "ncyx" else "`axes: plain` fits" in notes[0]


def test_depths_may_have_an_axis_of_length_one(tmp_path):
    arrays = as_published(pictures())
    path = write_mat(tmp_path / "imdb.mat", arrays | {"depths": arrays["depths"][:, None]})
    np.testing.assert_array_equal(reading(path, 2).height, pictures()["depths"][2])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "uint16"])
@pytest.mark.parametrize("drawn", [1, 255])
def test_dtypes_and_scales_of_lines(dtype, drawn, tmp_path):
    arrays = {name: values.astype(dtype) for name, values in as_published(pictures()).items()}
    arrays["elements"] = (arrays["elements"] > 0).astype(dtype) * drawn
    arrays["depths"] = as_published(pictures())["depths"].astype("float64")
    tile = reading(write_mat(tmp_path / "imdb.mat", arrays))
    assert tile.image.dtype == np.uint8
    assert tile.height.dtype == np.float32
    np.testing.assert_array_equal(tile.image, pictures()["images"][0])
    assert ((tile.lines & EAVE > 0) == (pictures()["elements"][0, ..., 0] > 0)).all()


def test_smooth_edges_of_drawn_lines_are_no_lines(tmp_path):
    arrays = as_published(pictures())
    arrays["elements"][:, 0, :, 15] = 100
    assert not reading(write_mat(tmp_path / "imdb.mat", arrays)).lines[15].any()


def test_a_depth_that_is_no_number_is_unknown(tmp_path):
    arrays = as_published(pictures())
    arrays["depths"][0, 4, 7], arrays["depths"][0, 5, 7] = np.nan, np.inf
    height = reading(write_mat(tmp_path / "imdb.mat", arrays)).height
    assert np.isnan(height[7, [4, 5]]).all()
    assert np.isnan(height).sum() == 2


@pytest.fixture(scope="module")
def one_crop(tmp_path_factory) -> Path:
    return write_mat(tmp_path_factory.mktemp("roofline") / "imdb.mat", as_published(pictures(2)))


@hypothesis.settings(max_examples=40)
@given(st.data())
def test_a_window_is_a_part_of_the_crop(one_crop, data):
    top, left = data.draw(st.integers(0, SIDE - 1)), data.draw(st.integers(0, SIDE - 1))
    height, width = data.draw(st.integers(1, SIDE - top)), data.draw(st.integers(1, SIDE - left))
    scene = Scene("1", None, "1", SIDE, SIDE, None, files={"image": one_crop}, position=1)
    whole = read(one_crop, scene, settings(one_crop), WHOLE)
    part = read(one_crop, scene, settings(one_crop), Window(top, left, height, width))
    for name in ("image", "lines", "lines_known", "height"):
        expected = getattr(whole, name)[top : top + height, left : left + width]
        np.testing.assert_array_equal(getattr(part, name), expected)


def test_only_the_crop_that_is_asked_for_is_read(tmp_path, imdb):
    with h5py.File(imdb, "r+") as file:
        for name in ("images", "depths"):
            dataset = file["imdb"][name]
            dataset.id.write_direct_chunk((5,) + (0,) * (dataset.ndim - 1), b"no deflated bytes")
    found = look(tmp_path)
    assert [problem.reason.split(":")[0] for problem in found.problems] == ["crop 5"]
    assert [scene.position for scene in found.scenes] == [*range(5), *range(6, COUNT)]
    np.testing.assert_array_equal(reading(tmp_path, 4).image, pictures()["images"][4])
    np.testing.assert_array_equal(reading(tmp_path, 5).image, pictures()["images"][6])


def test_damage_that_is_found_when_a_crop_is_read_names_it(tmp_path, imdb):
    with h5py.File(imdb, "r+") as file:
        file["imdb/depths"].id.write_direct_chunk((3, 0, 0), b"no deflated bytes")
    with pytest.raises(DataError, match=r"imdb\.mat: crop 3: damaged"):
        reading(tmp_path, 3)


def groups_of(path: Path, **fields) -> list[str]:
    return [scene.group for scene in look(path, **fields).scenes]


def test_crops_that_follow_each_other_share_a_group(tmp_path, imdb):
    assert groups_of(tmp_path, scene_block=5) == ["00"] * 5 + ["05"] * 5 + ["10"] * 2
    assert groups_of(tmp_path, scene_block=1) == [f"{position:02d}" for position in range(COUNT)]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_copies_share_a_group_however_they_are_turned(turns, flip, tmp_path):
    arrays = pictures()
    copy = np.rot90(arrays["images"][1], turns)
    arrays["images"][10] = copy[:, ::-1] if flip else copy
    path = write_mat(tmp_path / "imdb.mat", as_published(arrays))
    expected = [f"{position:02d}" for position in range(COUNT)]
    expected[10] = "01"
    assert groups_of(path, scene_block=1) == expected
    assert groups_of(path, scene_block=4) == ["00"] * 4 + ["04"] * 4 + ["00"] * 4  # the blocks of copies are one
    assert look(path, scene_block=1).notes == ("1 crops repeat others, perhaps turned: each has their group",)


def test_crops_of_one_colour_are_no_copies(tmp_path):
    arrays = pictures()
    arrays["images"][[1, 8]] = 0
    path = write_mat(tmp_path / "imdb.mat", as_published(arrays))
    assert len(set(groups_of(path, scene_block=1))) == COUNT


def test_no_scene_stands_on_two_sides(tmp_path):
    """The source system took the last fifth of the crops for validation, whatever scene they were cut from."""
    arrays = pictures(60)
    arrays["images"][55] = arrays["images"][2][::-1]
    path = write_mat(tmp_path / "imdb.mat", as_published(arrays))
    scenes = look(path, scene_block=7).scenes
    assert {scene.side for scene in scenes} == {None}
    sides = dealt(scenes, {scene.name: scene.name for scene in scenes}, Split())
    assert set(sides.values()) == {"train", "validation", "test"}
    for block in range(0, 60, 7):
        assert len({sides[scene.name] for scene in scenes[block : block + 7]}) == 1
    assert sides["02"] == sides["55"]
    by_index = {scene.group for scene in scenes[:48]} & {scene.group for scene in scenes[48:]}
    assert by_index  # what the source system did leaks here


def changed(**changes) -> Arrays:
    return {name: values for name, values in (as_published(pictures()) | changes).items() if values is not None}


def shaped(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


WRONG = {
    "no depths": (changed(depths=None), "it has no imdb/depths; there is elements, images"),
    "no elements": (changed(elements=None), "it has no imdb/elements; there is depths, images"),
    "other depths": (
        changed(depths=shaped(COUNT, SIDE, SIDE - 1)),
        r"do not belong together: found are images \(12, 3, 24, 24\), depths \(12, 24, 23\), .* expected images and",
    ),
    "depths in another order": (changed(depths=shaped(SIDE, SIDE, COUNT)), "do not belong together: found are"),
    "other elements": (changed(elements=shaped(COUNT, 4, SIDE, SIDE)), "do not belong together: found are"),
    "two channels": (changed(images=shaped(COUNT, 2, SIDE, SIDE)), r"\(12, 2, 24, 24\), is not that of square RGB"),
    "not square": (changed(images=shaped(COUNT, 3, SIDE, SIDE + 1)), "is not that of square RGB pictures; expected"),
    "three axes": (changed(images=shaped(3, SIDE, SIDE)), "is not that of square RGB pictures"),
    "five axes": (changed(images=shaped(1, COUNT, 3, SIDE, SIDE)), "is not that of square RGB pictures"),
    "ambiguous": (changed(images=shaped(3, SIDE, SIDE, 3)), "may be in the orders cyxn and nyxc; expected"),
    "text": (changed(depths=np.full((COUNT, SIDE, SIDE), b"a")), r"depths is of type \|S1, not of numbers"),
    "complex": (changed(depths=np.zeros((COUNT, SIDE, SIDE), np.complex64)), "depths is of type complex64, not of num"),
    "centred": (
        changed(images=as_published(pictures())["images"] - 120.0),
        "no crop can be used; crop 0: values of im",
    ),
    "from 0 to 1": (changed(images=as_published(pictures())["images"] / 255), "no value of images is above 1; publish"),
    "lines on white": (
        changed(elements=255 - as_published(pictures())["elements"]),
        "hip covers 99% of it; lines must",
    ),
    "no crop": (
        changed(images=shaped(0, 3, SIDE, SIDE), depths=shaped(0, SIDE, SIDE), elements=shaped(0, 3, SIDE, SIDE)),
        r"images has the shape \(0, 3, 24, 24\): there is no crop",
    ),
    "negative lines": (changed(elements=np.full((COUNT, 3, SIDE, SIDE), -1.0)), r"values of elements are from -1.0 to"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_not_as_published_is_refused(name, tmp_path):
    arrays, reason = WRONG[name]
    path = write_mat(tmp_path / "imdb.mat", arrays)
    assert re.search(reason, refusal(path))


def test_a_nan_in_an_image_refuses_its_crop(tmp_path):
    arrays = as_published(pictures())
    arrays["images"] = arrays["images"].astype("float32")
    arrays["images"][3, 0, 0, 0] = np.nan
    found = look(write_mat(tmp_path / "imdb.mat", arrays))
    assert [problem.reason[:35] for problem in found.problems] == ["crop 3: values of images are from n"]
    assert len(found.scenes) == COUNT - 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128) + bytes(1000), "version 7 or older; save it with save"),
        (b"\x89PNG" + bytes(1000), "it is not HDF5"),
    ],
)
def test_another_kind_of_file(content, reason, tmp_path):
    (tmp_path / "imdb.mat").write_bytes(content)
    assert reason in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_file_that_was_cut_short(share, tmp_path, imdb):
    content = imdb.read_bytes()
    imdb.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refusal(tmp_path)


def test_a_struct_that_is_missing(tmp_path):
    with h5py.File(tmp_path / "imdb.mat", "w") as file:
        file["data"] = 1
    assert refusal(tmp_path) == "it has no imdb; there is data"
    with h5py.File(tmp_path / "imdb.mat", "w") as file:
        file["imdb"] = 1
    assert refusal(tmp_path) == "its imdb is a dataset, not a group"


def link_group(path: Path, other: Path) -> None:
    with h5py.File(path, "w") as file:
        file["imdb"] = h5py.ExternalLink(str(other), "imdb")


def replacing(name: str, make):
    def change(path: Path, other: Path) -> None:
        write_mat(path, as_published(pictures()))
        with h5py.File(path, "r+") as file:
            del file["imdb"][name]
            make(file, other)

    return change


def external_storage(file: h5py.File, other: Path) -> None:
    shape = (COUNT, SIDE, SIDE)
    file.create_dataset("imdb/depths", shape, "u1", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((COUNT, SIDE, SIDE), "f4")
    layout[:] = h5py.VirtualSource(str(other), "imdb/depths", (COUNT, SIDE, SIDE))
    file.create_virtual_dataset("imdb/depths", layout)


ELSEWHERE = {
    "external link": (link_group, "its imdb is a link"),
    "external field": (
        replacing("depths", lambda file, other: file.__setitem__("imdb/depths", h5py.ExternalLink(str(other), "a"))),
        "its depths is a link",
    ),
    "soft link": (
        replacing("depths", lambda file, other: file.__setitem__("imdb/depths", h5py.SoftLink("/imdb/images"))),
        "its depths is a link",
    ),
    "external storage": (replacing("depths", external_storage), "depths keeps its values in other files"),
    "virtual": (replacing("depths", virtual), "depths keeps its values in other files"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nothing_leads_to_another_file(name, tmp_path):
    change, reason = ELSEWHERE[name]
    (tmp_path / "raw").mkdir()
    other = write_mat(tmp_path / "other.mat", as_published(pictures()))
    change(tmp_path / "raw" / "imdb.mat", other)
    assert reason in refusal(tmp_path / "raw")


def test_a_link_that_leaves_the_folder(tmp_path, imdb):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "imdb.mat").symlink_to(imdb)
    assert "is a link that leaves the folder" in refusal(tmp_path / "raw")
    assert len(look(imdb).scenes) == COUNT  # the file itself may be named, wherever it is


def test_values_that_were_never_written(tmp_path):
    path = tmp_path / "imdb.mat"
    huge = (10**6, 3, 224, 224)
    claims = {
        "chunked": {"chunks": (1, 3, 224, 224), "compression": "gzip"},
        "contiguous": {},
    }
    for options in claims.values():
        with h5py.File(path, "w") as file:
            file.create_dataset("imdb/images", huge, "u1", **options)
            file.create_dataset("imdb/elements", huge, "u1", **options)
            file.create_dataset("imdb/depths", (10**6, 224, 224), "f4")
        assert "images claims " in refusal(path)
    arrays = as_published(pictures())
    write_mat(path, arrays)
    with h5py.File(path, "r+") as file:  # it would read as zeros
        del file["imdb/depths"]
        file.create_dataset("imdb/depths", (COUNT, SIDE, SIDE), "u1")
    assert "depths claims 6912 bytes, of which at most 0 were written" in refusal(path)


def test_a_dataset_without_a_value(tmp_path, imdb):
    with h5py.File(imdb, "r+") as file:
        del file["imdb/depths"]
        file["imdb/depths"] = h5py.Empty("u1")
    assert "depths is empty; it was saved without any value" in refusal(imdb)


def test_chunks_that_are_too_large(tmp_path):
    path = tmp_path / "imdb.mat"
    with h5py.File(path, "w") as file:
        for name in ("images", "elements"):
            file.create_dataset(f"imdb/{name}", (1000, 3, 224, 224), "u1", chunks=(500, 3, 224, 224))
        file.create_dataset("imdb/depths", (1000, 224, 224), "f4")
    assert "the chunks of images are of 75264000 bytes" in refusal(path)


def test_a_chunk_that_unpacks_to_more_than_a_chunk(tmp_path):
    path = write_mat(tmp_path / "imdb.mat", as_published(pictures(96)))
    packer = zlib.compressobj(1)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(68)) + packer.flush()
    with h5py.File(path, "r+") as file:
        del file["imdb/images"]
        shape = (96, 3, SIDE, SIDE)
        images = file.create_dataset("imdb/images", shape, "u1", chunks=shape, compression="gzip")
        assert 1 << 16 < len(bomb) < 2 * images.nbytes
        images.id.write_direct_chunk((0, 0, 0, 0), bomb)
    assert refusal(tmp_path) == "a chunk of images unpacks to more than the 165888 bytes of its values"


def test_a_chunk_that_is_stored_in_far_more_bytes_than_it_has(tmp_path, imdb):
    with h5py.File(imdb, "r+") as file:
        file["imdb/images"].id.write_direct_chunk((4, 0, 0, 0), os.urandom(100_000))
    assert refusal(tmp_path) == "a chunk of images takes 100000 bytes for 1728 of values"


def test_filters_that_hdf5_would_load(tmp_path):
    path = write_mat(tmp_path / "imdb.mat", as_published(pictures()), compression="lzf")
    assert "is packed by the HDF5 filters [32000]" in refusal(path)
    path = write_mat(tmp_path / "imdb.mat", as_published(pictures()), shuffle=True, fletcher32=True)
    assert look(path).problems == ()


def test_crops_larger_than_allowed(tmp_path, imdb):
    found = scan(tmp_path, settings(tmp_path), Prepare(max_megapixels=SIDE * SIDE / 1e6 - 1e-9))
    assert "12 crops of 24 x 24 pixels, more than are allowed" in found.problems[0].reason


def test_a_folder_without_the_file(tmp_path):
    with pytest.raises(UserError, match=r"imdb\.mat does not exist. Roofline-Extraction is one file imdb\.mat"):
        look(tmp_path)
