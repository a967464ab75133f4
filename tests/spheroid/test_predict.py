"""Prediction on files of any kind, size and number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from spheroid_files import QUIET, disks, section

from millrace.cli import main
from millrace.errors import UserError
from millrace.imagery.mapped import give_back
from millrace.spheroid.predict import STRIP_ROWS, Predictor, predict_files, write_tiff
from repository import REPOSITORY


@pytest.fixture
def images(tmp_path):
    """The same scene as 8-bit PNG, RGBA, 16-bit TIFF, float TIFF and inverted."""
    folder = tmp_path / "in"
    folder.mkdir()
    grey, labels = disks(size=100, count=4, seed=3)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey])).save(folder / "rgba.png")
    tifffile.imwrite(folder / "wide.tif", grey.astype(np.uint16) * 200, compression="lzw", tile=(32, 32))
    tifffile.imwrite(folder / "real.tif", grey.astype(np.float32) / 7 - 3)
    Image.fromarray(255 - grey).save(folder / "dark.png")
    return folder, labels


def test_every_format_of_a_scene_gives_the_same_objects(trained, images, tmp_path):
    folder, labels = images
    assert predict_files([folder], tmp_path / "out", trained.model, trained.params, QUIET, probabilities=True) == []
    masks = {path.stem: tifffile.imread(path) for path in (tmp_path / "out/masks").iterdir()}
    assert set(masks) == {f"{name}_mask" for name in ("grey", "rgba", "wide", "real", "dark")}
    for name, mask in masks.items():
        assert (mask.dtype, mask.shape) == (np.uint16, (100, 100))
        overlap = ((mask > 0) & (labels > 0)).sum() * 2 / ((mask > 0).sum() + (labels > 0).sum())
        assert overlap > 0.8, name
        assert ((mask > 0) == (masks["grey_mask"] > 0)).mean() > 0.99, name
    table = pd.read_csv(tmp_path / "out/objects.csv")
    assert set(table["image"]) == {"grey.png", "rgba.png", "wide.tif", "real.tif", "dark.png"}
    assert (table["image"] == "grey.png").sum() == masks["grey_mask"].max()
    probabilities = tifffile.imread(tmp_path / "out/probabilities/grey_probabilities.tif")
    assert (probabilities.dtype, probabilities.shape) == (np.float16, (2, 100, 100))
    with Image.open(tmp_path / "out/overlays/grey_overlay.png") as overlay:
        assert overlay.size == (100, 100)
    assert not list((tmp_path / "out").glob(".scratch*"))


def test_one_bad_file_does_not_stop_the_others(trained, images, tmp_path):
    folder, _ = images
    (folder / "broken.png").write_bytes((folder / "grey.png").read_bytes()[:200])
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(folder / "black.png")
    (tmp_path / "other").mkdir()
    Image.fromarray(disks()[0]).save(tmp_path / "other/grey.png")
    inputs = [folder, tmp_path / "missing.png", tmp_path / "other"]
    problems = predict_files(inputs, tmp_path / "out", trained.model, trained.params, QUIET)
    assert [problem.path.name for problem in problems] == ["black.png", "broken.png", "missing.png", "grey.png"]
    assert len(list((tmp_path / "out/masks").iterdir())) == 5


def test_a_result_that_cannot_be_written_is_a_failure_of_that_file_alone(trained, images, tmp_path):
    folder, _ = images
    (tmp_path / "out/overlays/grey_overlay.png").mkdir(parents=True)
    (tmp_path / "out/objects.csv").write_text("from an earlier run")
    problems = predict_files([folder], tmp_path / "out", trained.model, trained.params, QUIET)
    assert [problem.path.name for problem in problems] == ["grey.png"]
    assert set(pd.read_csv(tmp_path / "out/objects.csv")["image"]) == {"rgba.png", "wide.tif", "real.tif", "dark.png"}


def test_the_command_reports_failures_in_its_exit_code(trained, images, tmp_path, monkeypatch, capsys):
    folder, _ = images

    monkeypatch.chdir(REPOSITORY)
    good, broken = str(folder / "grey.png"), str(folder / "broken.png")
    options = ["--model", str(trained.model), "--out", str(tmp_path / "out")]
    assert main(["predict", "spheroid", good, *options]) == 0
    (folder / "broken.png").write_bytes(b"")
    assert main(["predict", "spheroid", good, broken, *options]) == 1
    assert "broken.png" in capsys.readouterr().err


def test_a_folder_without_images_is_an_error(trained, tmp_path):
    with pytest.raises(UserError, match="No image file"):
        predict_files([tmp_path], tmp_path / "out", trained.model, trained.params, QUIET)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (33, 200)])
def test_odd_shapes_are_predicted(trained, tmp_path, shape):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / "odd.png")
    assert predict_files([tmp_path / "odd.png"], tmp_path / "out", trained.model, trained.params, QUIET) == []
    assert tifffile.imread(tmp_path / "out/masks/odd_mask.tif").shape == shape


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 1), np.uint16), ((2 * STRIP_ROWS + 3, 5), np.uint32), ((2, STRIP_ROWS + 1, 7), np.float16)],
)
def test_results_are_plain_tiffs_in_strips(tmp_path, shape, dtype):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(np.int32)
    write_tiff(tmp_path / "x.tif", array, dtype)
    with tifffile.TiffFile(tmp_path / "x.tif") as tiff:
        assert tiff.asarray().dtype == dtype
        assert (tiff.asarray() == array).all()
        assert not tiff.pages[0].is_tiled
        assert len(tiff.pages) == (shape[0] if len(shape) == 3 else 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


def test_given_back_pages_come_back_from_the_file(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.int32, (1000, 1000))
    mapped[:] = np.arange(1000)
    give_back(mapped, np.zeros(3))
    assert (mapped == np.arange(1000)).all()
    mapped[0] = 7
    assert (np.load(tmp_path / "x.npy")[0] == 7).all()


def test_micrometres_are_given_with_a_pixel_size(trained, images, tmp_path):
    params = section(tmp_path, predict={"pixel_size_um": 2.0}, evaluate={"tile_px": 64})
    prediction = Predictor(trained.model, params, QUIET).predict(images[0] / "grey.png", tmp_path)
    assert prediction.objects["area_um2"].to_list() == (prediction.objects["area_px"] * 4).to_list()


def test_real_brightfield_images_are_predicted(trained, shared_spheroid, tmp_path):
    folder = shared_spheroid / "orgaquant_brightfield"
    params = section(tmp_path, evaluate={"tile_px": 256})
    assert predict_files([folder], tmp_path, trained.model, params, QUIET) == []
    assert len(list((tmp_path / "masks").iterdir())) == 5
    for path in (tmp_path / "masks").iterdir():
        assert tifffile.imread(path).shape == (1125, 1500)
