"""Prepared scenes: nothing is half-written, nothing leaks between sides, and the arrays are the scenes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from millrace.compression import check, prepare
from millrace.compression.check import print_check
from millrace.compression.decibels import Scaling
from millrace.compression.fill import fill
from millrace.compression.params import Compression, Prepare
from millrace.compression.store import PREPARED, Store
from millrace.errors import DataError, UserError
from millrace.settings import Runtime
from millrace.splitting import SIDES

pytestmark = pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning")
QUIET = Runtime(jobs=1, progress=False, threads=1, accelerator="cpu")
SIZE = 96


def amplitude(seed: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Speckle over a slope, with a border of zeros."""
    rng = np.random.default_rng(seed)
    level = 100 + 2 * np.arange(width)
    pixels = np.rint(level * np.sqrt(rng.gamma(4.4, 1 / 4.4, (height, width)))).astype(np.uint16)
    pixels[:, :4] = 0
    return pixels


def write_tiff(path: Path, *bands: np.ndarray, descriptions: tuple[str, ...] = (), **profile: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = bands[0].shape
    shape = {"count": len(bands), "height": height, "width": width, "dtype": bands[0].dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as dataset:
        dataset.write(np.stack(bands))
        dataset.descriptions = descriptions or [None] * len(bands)


def write_raw(raw: Path, scenes: int = 6) -> Path:
    for index in range(scenes):
        bands = (amplitude(index), amplitude(100 + index))[: 1 + index % 2]
        write_tiff(raw / f"s{index}.tif", *bands, descriptions=("VV", "VH")[: len(bands)])
    return raw


def section(raw: Path, **settings: Any) -> Compression:
    """Settings for small scenes; those of `prepare` can be changed."""
    small = {"patch_px": 32, "stride_px": 32, "min_valid_share": 0.8}
    return Compression(raw=str(raw), prepare=Prepare.model_validate(small | settings))


def bad_folder(raw: Path) -> dict[str, str]:
    """A raw folder with one of each kind of bad file; the expected problem by file name."""
    write_raw(raw)
    write_tiff(raw / "decibel.tif", (amplitude(1) / 10 - 30).astype(np.float32))
    write_tiff(raw / "zeros.tif", np.zeros((40, 40), np.uint16))
    write_tiff(raw / "complex.tif", np.ones((40, 40), np.complex64))
    write_tiff(raw / "truncated.tif", amplitude(2))
    (raw / "truncated.tif").write_bytes((raw / "truncated.tif").read_bytes()[:-100])
    (raw / "text.tif").write_text("<html>")
    (raw / "empty.png").touch()
    (raw / "folder.tif").mkdir()
    write_tiff(raw / "large.tif", np.ones((1100, 1000), np.uint8))
    (raw / "link.tif").symlink_to("/etc/hostname")
    return {
        "decibel.tif": "set values to decibel",
        "zeros.tif": "no valid pixel",
        "complex.tif": "complex64",
        "truncated.tif": "truncated",
        "text.tif": "neither TIFF nor PNG",
        "empty.png": "the file is empty",
        "large.tif": "it has 1000 x 1100 pixels, more than the 1000000",
        "link.tif": "leaves the raw folder",
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_problem_is_listed_at_once_and_nothing_is_written(workspace):
    expected = bad_folder(workspace / "raw")
    with pytest.raises(DataError, match=r"8 problem\(s\); nothing was written") as error:
        prepare.run(section(workspace / "raw", max_megapixels=1.0), QUIET)
    found = {problem.path.name: problem.reason for problem in error.value.problems}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name]
    assert [path.name for path in workspace.iterdir()] == ["raw"]


def test_bad_files_can_be_dropped_and_are_counted(workspace, caplog):
    expected = bad_folder(workspace / "raw")
    prepare.run(section(workspace / "raw", max_megapixels=1.0, bad_files="drop"), QUIET)
    data = json.loads(Path("metrics/compression/data.json").read_text())
    assert (data["scenes"], data["bands"], data["problems"]) == (6, 9, len(expected))
    assert set(Store().scene_table["scene"]) == {f"s{index}.tif" for index in range(6)}
    assert all(name in caplog.text for name in expected)


def test_prepared_arrays_are_the_scenes_in_decibels(workspace):
    raw = write_raw(workspace / "raw")
    prepare.run(section(raw), QUIET)
    store = Store()
    assert store.meta["values"] == "amplitude"
    assert set(store.scene_table["side"]) == set(SIDES)
    originals = {}
    for row in store.scene_table.itertuples():
        with rasterio.open(raw / row.scene) as dataset:
            pixels = dataset.read(row.band)
        valid = pixels > 0
        decibels = 20 * np.log10(np.maximum(pixels, 1))
        expected = np.percentile(decibels[valid], [1, 99], method="inverted_cdf")
        np.testing.assert_allclose([row.low, row.high], expected, rtol=1e-6)
        normalised = np.clip((decibels - row.low) / (row.high - row.low), 0, 1).astype(np.float32)
        originals[row.scene, row.band] = fill(normalised, valid), valid
        assert row.valid_share == pytest.approx(92 / 96)
        assert row.description == ("VV", "VH")[row.band - 1]
    for side in ("validation", "test"):
        scenes = list(store.scenes(side))
        assert len(scenes) == (store.scene_table["side"] == side).sum()
        for name, values, valid, row in scenes:
            assert name == f"{row['scene']}#{row['band']}"
            filled, mask = originals[row["scene"], row["band"]]
            np.testing.assert_array_equal(valid, mask)
            np.testing.assert_allclose(values, filled, atol=1e-5)
    for side in ("train", "validation"):
        for number, row in store.patches(side).iterrows():
            values, valid = store.patch(int(number))
            filled, mask = (whole[row["y"] : row["y"] + 32, row["x"] : row["x"] + 32]
                            for whole in originals[row["scene"], row["band"]])  # fmt: skip
            np.testing.assert_allclose(values, filled, atol=1e-5)
            np.testing.assert_array_equal(valid, mask)
            assert row["valid_share"] == mask.mean()
    assert len(store.patches("train")) == 9 * store.scene_table["side"].value_counts()["train"]
    assert store.patches("test").empty
    with pytest.raises(ValueError, match="whole scenes of train are not stored"):
        next(store.scenes("train"))


def test_metrics_tell_range_valid_share_and_looks(workspace):
    prepare.run(section(write_raw(workspace / "raw")), QUIET)
    table = pd.read_csv("metrics/compression/data/scenes.csv")
    assert list(table["scene"].unique()) == [f"s{index}.tif" for index in range(6)]
    assert table["enl"].between(3, 6.5).all()
    assert {"low", "high", "valid_share", "side", "warnings"} <= {*table}
    data = json.loads(Path("metrics/compression/data.json").read_text())
    assert data["valid_share"] == pytest.approx(92 / 96, abs=1e-5)
    assert sum(data[side]["scenes"] for side in SIDES) == 6
    assert sum(data[side]["patches"] for side in SIDES) == len(Store().patch_table)
    with Image.open("metrics/compression/data/sheet.png") as sheet:
        assert sheet.width > 600


def test_two_runs_write_the_same_bytes(workspace):
    raw = write_raw(workspace / "raw")
    prepare.run(section(raw), QUIET)
    first = files_of(workspace)
    prepare.run(section(raw), Runtime(jobs=2, progress=False))
    assert files_of(workspace) == first


def test_what_belongs_together_stays_on_one_side(workspace):
    raw = write_raw(workspace / "raw", 8)
    for name in ("copy.tif", "other.tif"):
        shutil.copy(raw / "s0.tif", raw / name)
    write_tiff(raw / "pair.tif", amplitude(50), amplitude(1))  # its second band is the first of s1.tif
    for name, seed in (("scene_vv.tif", 60), ("scene_vh.tif", 61)):
        write_tiff(raw / name, amplitude(seed))
    for seed in range(5):
        prepare.run(section(raw, split={"seed": seed}), QUIET)
        side = Store().scene_table.groupby("scene")["side"].agg(lambda sides: "".join(sorted(set(sides))))
        assert set(side) == set(SIDES)
        assert side["copy.tif"] == side["other.tif"] == side["s0.tif"]
        assert side["pair.tif"] == side["s1.tif"]
        assert side["scene_vv.tif"] == side["scene_vh.tif"]
    assert json.loads(Path("metrics/compression/data.json").read_text())["duplicate_groups"] == 2


def test_too_few_independent_scenes_are_refused(workspace):
    raw = write_raw(workspace / "raw", 2)
    shutil.copy(raw / "s0.tif", raw / "copy.tif")
    with pytest.raises(UserError, match=r"3 scenes form 2 independent units .*: too few for train \+ validation"):
        prepare.run(section(raw), QUIET)
    assert [path.name for path in workspace.iterdir()] == ["raw"]


def test_a_side_without_patches_is_refused_and_nothing_is_left(workspace):
    raw = write_raw(workspace / "raw")
    with pytest.raises(UserError, match=r"No patch of 96 x 96 pixels for train .* Lower compression.prepare.min_valid"):
        prepare.run(section(raw, min_valid_share=1.0, patch_px=96), QUIET)
    with pytest.raises(UserError, match="for validation"):
        prepare.run(section(raw, split={"train": 0.8, "validation": 0.0, "test": 0.2}), QUIET)
    assert not Path("metrics").exists()
    assert not any(path.is_file() for path in Path("data").rglob("*"))


def test_the_clip_range_is_of_a_scene_of_all_or_fixed(workspace):
    raw = write_raw(workspace / "raw")
    prepare.run(section(raw), QUIET)
    table = Store().scene_table
    own = table[table["side"] == "train"][["low", "high"]].median()
    assert len(set(table["low"])) > 1
    prepare.run(section(raw, clip={"per": "dataset"}), QUIET)
    for name in ("low", "high"):
        assert Store().scene_table[name].unique().tolist() == [own[name]]
    prepare.run(section(raw, clip={"fixed": [30, 60]}), QUIET)
    assert Store().scene_table["low"].unique().tolist() == [30]
    assert Store().meta["clip"]["fixed"] == [30, 60]
    with pytest.raises(UserError, match=r"clip.fixed \[14.7688, 24.5407\] leaves nothing of 9 band\(s\); s0.tif lies"):
        prepare.run(section(raw, clip={"fixed": [14.7688, 24.5407]}), QUIET)


def test_bands_can_be_chosen(workspace):
    for index in range(4):
        write_tiff(workspace / f"raw/s{index}.tif", amplitude(index), amplitude(10 + index))
    prepare.run(section(workspace / "raw", bands=[2]), QUIET)
    assert set(Store().scene_table["band"]) == {2}
    write_tiff(workspace / "raw/s1.tif", amplitude(1))
    with pytest.raises(DataError, match=r"it has no band 2 of an image, which prepare.bands asks for$"):
        prepare.run(section(workspace / "raw", bands=[2, 1]), QUIET)


def test_pictures_without_georeference_are_scenes(workspace):
    (workspace / "raw").mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (50, 40, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[:5, :, 3] = 0
        Image.fromarray(pixels).save(workspace / f"raw/{index}.png")
    prepare.run(section(workspace / "raw", values="linear"), QUIET)
    table = Store().scene_table
    assert (len(table), set(table["band"]), table["enl"].isna().all()) == (9, {1, 2, 3}, True)
    assert set(table["valid_share"]) == {0.9}


def test_a_scene_smaller_than_a_patch_is_continued(workspace):
    for index in range(4):
        write_tiff(workspace / f"raw/{index}.tif", amplitude(index, 20, 50)[:, 4:])
    prepare.run(section(workspace / "raw", min_valid_share=1.0), QUIET)
    store = Store()
    patches = store.patches("train")
    assert set(patches["y"]) == {0}
    assert set(patches["x"]) == {0, 14}
    for number in patches.index:
        values, valid = store.patch(int(number))
        assert valid[:20].all()
        assert not valid[20:].any()
        np.testing.assert_array_equal(values[20:], values[19:7:-1])


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.sampled_from([32, 48]),
    stride=st.sampled_from([16, 32]),
)
def test_patches_cover_a_scene_but_for_narrow_rests(height, width, side, stride):
    image = np.random.default_rng(0).random((height, width), np.float32)
    valid = image > 0.2
    seen = np.zeros((height, width), bool)
    for y, x, share, values, mask in prepare.windows(image, valid, side, stride):
        assert values.shape == mask.shape == (side, side)
        part = slice(y, y + side), slice(x, x + side)
        own = image[part]
        np.testing.assert_array_equal(values[: own.shape[0], : own.shape[1]], own)
        assert share == pytest.approx(valid[part].mean())
        assert mask.sum() == valid[part].sum()
        seen[part] = True
    covered = np.argwhere(seen).max(axis=0) + 1
    assert (np.array([height, width]) - covered <= side // 4).all()
    assert seen[: covered[0], : covered[1]].all()


@pytest.mark.parametrize(("width", "starts"), [(20, [0]), (32, [0]), (40, [0]), (41, [0, 9]), (73, [0, 32, 41])])
def test_a_patch_of_the_far_edge_brings_more_than_a_quarter(width, starts):
    image = np.zeros((32, width), np.float32)
    assert [patch[1] for patch in prepare.windows(image, image == 0, 32, 32)] == starts


def test_a_missing_or_damaged_store_names_the_remedy(workspace):
    with pytest.raises(UserError, match="Run `dvc repro compression-prepare`"):
        Store()
    prepare.run(section(write_raw(workspace / "raw")), QUIET)
    whole = files_of(PREPARED)
    for name, content in whole.items():
        for damaged in (b"", content[: len(content) // 2], b"x" * len(content)):
            Path(name).write_bytes(damaged)
            with pytest.raises(UserError, match=r"is damaged .*Run `dvc repro --force compression-prepare`"):
                Store()
        Path(name).unlink()
        with pytest.raises(UserError, match="Run `dvc repro"):
            Store()
        Path(name).write_bytes(content)
    Store()


def test_a_store_whose_parts_do_not_belong_together_is_refused(workspace):
    prepare.run(section(write_raw(workspace / "raw")), QUIET)
    for name, place in (("patches", "valid_share"), ("scenes", "offset")):
        path = PREPARED / f"{name}.parquet"
        whole = pd.read_parquet(path)
        for damaged, reason in (
            (whole[whole[place] != whole[place].max()], rf"{name}.npy is uint16 \("),
            (whole.drop(columns="side"), "'no column side'"),
        ):
            damaged.to_parquet(path)
            with pytest.raises(UserError, match=rf"is damaged \({reason}"):
                Store()
        whole.to_parquet(path)
    np.save(PREPARED / "patches.npy", np.load(PREPARED / "patches.npy").astype(np.int16))
    with pytest.raises(UserError, match=r"is damaged \(patches.npy is int16"):
        Store()


def test_check_prints_what_it_found_and_leaves_a_report(workspace, capsys):
    expected = bad_folder(workspace / "raw")
    write_tiff(workspace / "raw/constant.tif", np.full((40, 40), 7, np.uint16))
    shutil.copy(workspace / "raw/s0.tif", workspace / "raw/same.tif")
    assert not print_check(workspace / "raw", workspace / "out", section(workspace / "raw", max_megapixels=1.0), QUIET)
    printed = capsys.readouterr().out
    assert printed.count("problem: ") == len(expected)
    assert "same content: s0.tif, same.tif" in printed
    assert "warning: constant.tif, band 1: all valid pixels have one value" in printed
    assert {path.name for path in (workspace / "out").iterdir()} == {"data.json", "scenes.csv", "sheet.png"}
    assert not (workspace / "data").exists()
    shutil.rmtree(workspace / "raw")
    assert print_check(write_raw(workspace / "raw", 3), workspace / "out", section(workspace / "raw"), QUIET)


def test_a_folder_of_bad_files_alone_can_be_checked(workspace, capsys):
    (workspace / "raw").mkdir()
    (workspace / "raw/a.tif").write_text("text")
    assert not print_check(workspace / "raw", workspace / "out", section(workspace / "raw"), QUIET)
    assert capsys.readouterr().out == f"problem: {workspace}/raw/a.tif: its content is neither TIFF nor PNG\n"
    with pytest.raises(DataError):
        prepare.run(section(workspace / "raw", bad_files="drop"), QUIET)


def test_a_preview_is_a_mean_with_invalid_parts_marked(workspace):
    pixels = amplitude(0, 95, 203)
    pixels[:, 100:] = 0
    write_tiff(workspace / "a.tif", pixels)
    scaling = Scaling(30.0, 55.0, "amplitude")
    with check.Raster(workspace / "a.tif", max_pixels=10**6) as raster:
        picture = check.preview(raster, 1, scaling, side_px=60)
    assert picture.shape == (24, 51, 3)
    assert (picture[:, 25:] == check.INVALID_COLOUR).all()
    expected = 255 * scaling.normalise(pixels[:4, 4:8]).mean()
    np.testing.assert_allclose(picture[0, 1], expected, atol=1)


@pytest.mark.skipif(not os.environ.get("MILLRACE_SHARED_DATA"), reason="MILLRACE_SHARED_DATA does not name real data")
def test_real_scenes_are_prepared(workspace):
    folder = Path(os.environ["MILLRACE_SHARED_DATA"]) / "sar"
    (workspace / "raw").mkdir()
    for path in [*folder.glob("pyrosar*"), *folder.glob("terramind/*.tif")]:
        shutil.copy(path, workspace / "raw")
    prepare.run(section(workspace / "raw", values="decibel", patch_px=256, stride_px=256), QUIET)
    table = Store().scene_table
    assert (len(table), table["valid_share"].min()) == (5, 1.0)
    assert table["enl"].between(4, 9).all()
    with pytest.raises(DataError, match="set values to decibel"):
        prepare.run(section(workspace / "raw"), QUIET)
