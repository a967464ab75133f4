"""Checks and prepared arrays: every bad file is found at once, and nothing is half-written."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from spheroid_files import QUIET, disks, section, write_pair, write_raw

from millrace.errors import DataError
from millrace.spheroid import prepare
from millrace.spheroid.check import check_folder, print_check
from millrace.spheroid.params import Prepare
from millrace.spheroid.store import Store
from millrace.spheroid.targets import distance_target


def huge_tiff() -> bytes:
    """Header of a grey TIFF that claims 40,000 x 40,000 uint16 pixels, 3.2 GB, and holds none."""
    tags = [(256, 4, 1, 40_000), (257, 4, 1, 40_000), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 40_000), (279, 4, 1, 3_200_000_000)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def bad_folder(raw: Path) -> dict[str, str]:
    """A raw folder with one of each kind of bad file; the expected problem by file name."""
    write_raw(raw, 6)
    image, labels = disks()
    for name in ("other_size", "truncated", "nan", "one_pixel", "black", "folder", "claims", "gone", "negative"):
        write_pair(raw, name, image, labels)
    images, masks = raw / "images", raw / "masks"
    Image.fromarray(labels[:40]).save(masks / "other_size_mask.png")
    (images / "truncated.png").write_bytes((images / "truncated.png").read_bytes()[:300])
    (images / "nan.png").unlink()
    tifffile.imwrite(images / "nan.tif", np.where(labels > 0, np.nan, 1.0).astype(np.float32))
    Image.fromarray(image[:1, :1]).save(images / "one_pixel.png")
    Image.fromarray(np.zeros_like(image)).save(images / "black.png")
    (images / "folder.png").unlink()
    (images / "folder.png").mkdir()
    (images / "claims.png").unlink()
    (images / "claims.tif").write_bytes(huge_tiff())
    (masks / "gone_mask.png").unlink()
    (masks / "negative_mask.png").unlink()
    tifffile.imwrite(masks / "negative_mask.tif", -labels.astype(np.int16))
    return {
        "other_size_mask.png": "is 48x40 pixels, its image 48x48",
        "truncated.png": "truncated",
        "nan.tif": "NaN",
        "one_pixel.png": "is 1x1 pixels, smaller than min_size_px 16",
        "black.png": "all its pixels have the grey value 0",
        "folder.png": "not a file",
        "claims.tif": "pixels",
        "gone.png": "has no mask",
        "negative_mask.tif": "negative",
    }


def test_every_problem_is_listed_at_once_and_nothing_is_written(workspace):
    raw = workspace / "raw"
    expected = bad_folder(raw)
    with pytest.raises(DataError) as error:
        prepare.run(section(raw), QUIET)
    found = {problem.path.name: problem.reason for problem in error.value.problems}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason.lower() in found[name].lower(), found[name]
        assert name in str(error.value)
    assert [path.name for path in workspace.iterdir()] == ["raw"]


def test_bad_files_can_be_dropped_and_are_counted(workspace, caplog):
    expected = bad_folder(workspace / "raw")
    prepare.run(section(workspace / "raw", prepare={"bad_files": "drop"}), QUIET)
    data = json.loads(Path("metrics/spheroid/data.json").read_text())
    assert (data["images"], data["problems"]) == (6, len(expected))
    assert sorted(Store().index["name"]) == [f"i{index}" for index in range(6)]
    assert all(name in caplog.text for name in expected)


def test_prepared_arrays_are_the_images_and_their_truth(workspace):
    raw = write_raw(workspace / "raw")
    image, labels = disks(size=64, seed=99)
    Image.fromarray(np.dstack([image, image, image])).save(raw / "images/rgb.png")
    tifffile.imwrite(raw / "masks/rgb_mask.tif", labels.astype(np.uint16))
    prepare.run(section(raw), QUIET)
    store = Store()
    assert list(store.index["name"]) == [*(f"i{index}" for index in range(8)), "rgb"]
    assert set(store.index["split"]) == {"train", "validation", "test"}
    position = 8
    np.testing.assert_array_equal(store.array("labels", position), labels)
    np.testing.assert_allclose(store.array("distance", position), distance_target(labels.astype(np.int32)), atol=1e-3)
    low, high = np.percentile(image, [0.5, 99.5])
    expected = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(store.array("image", position), expected, atol=0.02)
    assert store.meta["preprocessing"]["polarity"] == "auto"
    table = pd.read_csv("metrics/spheroid/data/qc.csv").set_index("name")
    assert table.loc["rgb", "channels"] == 3
    assert table.loc["rgb", "coverage"] == pytest.approx((labels > 0).mean(), abs=1e-6)
    with Image.open("metrics/spheroid/data/sheet.png") as sheet:
        assert sheet.width > 400


def test_two_runs_write_the_same_bytes(workspace):
    def written() -> dict[str, bytes]:
        prepare.run(section(workspace / "raw"), QUIET)
        folders = (Path("data"), Path("metrics"))
        return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}

    write_raw(workspace / "raw")
    assert written() == written()


def test_turned_and_flipped_copies_are_duplicates(tmp_path):
    raw = write_raw(tmp_path / "raw", 5)
    image, labels = disks(seed=0, count=1)
    write_pair(raw, "turned", np.ascontiguousarray(np.rot90(image)), np.ascontiguousarray(np.rot90(labels)))
    write_pair(raw, "flipped", np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1]))
    report = check_folder(raw, Prepare(), QUIET)
    assert report.duplicates() == [["flipped", "i0", "turned"]]


def test_the_suggested_patch_is_two_and_a_half_diameters(tmp_path):
    report = check_folder(write_raw(tmp_path / "raw", 5, size=160, radius=15), Prepare(), QUIET)
    assert report.mean_diameter_px() == pytest.approx(30, rel=0.1)
    assert report.suggested_patch_px() == 96


def test_empty_masks_are_refused_on_request(tmp_path):
    raw = write_raw(tmp_path / "raw", 5)
    write_pair(raw, "empty", disks(count=0)[0], np.zeros((48, 48), np.uint8))
    assert check_folder(raw, Prepare(), QUIET).problems == []
    (problem,) = check_folder(raw, Prepare(empty_masks="refuse"), QUIET).problems
    assert (problem.path.name, problem.reason) == ("empty_mask.png", "has no object (prepare.empty_masks is refuse)")


def test_check_prints_what_it_found_and_leaves_a_report(workspace, capsys):
    bad_folder(workspace / "raw")
    (workspace / "out").mkdir()
    (workspace / "out/mine.txt").write_text("stays")
    assert not print_check(workspace / "raw", workspace / "out", section(workspace / "raw"), QUIET)
    printed = capsys.readouterr().out
    assert "suggested_patch_px" in printed
    assert printed.count("problem:") == 9
    assert sorted(path.name for path in (workspace / "out").iterdir()) == [
        "data.json",
        "mine.txt",
        "problems.json",
        "qc.csv",
        "sheet.png",
    ]


def test_a_folder_too_small_for_folds_can_still_be_split(workspace):
    prepare.run(section(write_raw(workspace / "raw", 4)), QUIET)
    assert set(Store().index["split"]) == {"train", "validation", "test"}
    assert set(Store().index["fold"]) == {-1}


def test_real_nuclei_pass_the_check(shared_spheroid):
    report = check_folder(shared_spheroid / "dsb2018_nuclei", Prepare(), QUIET)
    assert (len(report.records), report.problems) == (133, [])
    assert sum(record.objects for record in report.records) == 5247
