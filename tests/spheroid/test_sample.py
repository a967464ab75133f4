"""The synthetic data set: whole, deterministic, in genuine formats, and hard where real images are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from millrace.settings import Runtime
from millrace.spheroid import sample
from millrace.spheroid.params import Sample, Spheroid
from millrace.spheroid.sample_scene import MIN_AREA_PX, RADIUS_PX, draw_labels, draw_well, emitted, transmitted

DEFAULT_SIZE_PX = Sample().size_px


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1, **changes: int) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    sample.run(Spheroid(sample=Sample(**changes)), Runtime(jobs=jobs, progress=False))
    return folder / sample.FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return write(tmp_path_factory.mktemp("sample") / "default", patch)


@pytest.fixture(scope="module")
def images(default: Path) -> list[np.ndarray]:
    return [read(path) for path in sorted((default / "images").iterdir())]


@pytest.fixture(scope="module")
def masks(default: Path) -> list[np.ndarray]:
    return [read(path) for path in sorted((default / "masks").iterdir())]


def scene_labels(seed: int, size_px: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return draw_labels(generator, size_px, draw_well(generator, size_px))


def test_equal_bytes_whichever_process_draws(default: Path, tmp_path, monkeypatch):
    again = write(tmp_path / "again", monkeypatch, jobs=2)
    assert contents(again) == contents(default)


def test_smaller_set_is_a_prefix(default: Path, tmp_path, monkeypatch):
    small = contents(write(tmp_path / "small", monkeypatch, images=7))
    whole = contents(default)
    assert len(small) == 14
    assert small == {name: whole[name] for name in small}


def test_seed_changes_every_image(default: Path, tmp_path, monkeypatch):
    other = contents(write(tmp_path / "other", monkeypatch, images=6, seed=1))
    whole = contents(default)
    changed = {name for name in other if name.startswith("images/")}
    assert len(changed) == 6
    assert all(other[name] != whole[name] for name in changed)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(tifffile, "imwrite", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "broken", monkeypatch, images=6)
    assert contents(tmp_path) == {}


def test_every_image_has_its_mask(default: Path):
    image_stems = sorted(path.stem for path in (default / "images").iterdir())
    mask_stems = sorted(path.stem for path in (default / "masks").iterdir())
    assert len(image_stems) == 40
    assert mask_stems == [f"{stem}_mask" for stem in image_stems]


def test_formats(default: Path):
    found = set()
    for path in sorted((default / "images").iterdir()):
        pixels = read(path)
        found.add((path.suffix, pixels.dtype.name, pixels.shape))
    side = DEFAULT_SIZE_PX
    assert found == {
        (".png", "uint8", (side, side)),
        (".tif", "uint16", (side, side)),
        (".png", "uint8", (side, side, 3)),
        (".tif", "float32", (side, side)),
    }
    assert {(path.suffix, read(path).dtype.name) for path in (default / "masks").iterdir()} == {
        (".png", "uint8"),
        (".png", "uint16"),
        (".tif", "uint16"),
    }


def test_tiff_is_lzw_without_dates_or_program(default: Path):
    for path in sorted(default.rglob("*.tif")):
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            assert tags["Compression"].value == tifffile.COMPRESSION.LZW
            assert not {"DateTime", "Software", "ImageDescription"} & {tag.name for tag in tags}


def test_png_has_no_text_or_time(default: Path):
    for path in sorted(default.rglob("*.png")):
        with Image.open(path) as image:
            image.load()
            assert image.info == {}


def test_images_use_their_range(images):
    for pixels in images:
        assert np.isfinite(pixels).all()
        top = {"uint8": 255, "uint16": 4095, "float32": np.inf}[pixels.dtype.name]
        assert (pixels >= top).mean() < 0.01
        assert np.unique(pixels).size > 30


def test_binary_masks_never_merge_objects(masks):
    binary = [mask for mask in masks if mask.dtype == np.uint8 and mask.any()]
    assert 0 < len(binary) < len(masks) / 2
    for mask in binary:
        assert set(np.unique(mask)) == {0, 255}
        parts, _ = ndimage.label(mask > 0, np.ones((3, 3)))
        assert np.bincount(parts.ravel())[1:].min() >= MIN_AREA_PX


def test_set_holds_what_makes_real_sets_hard(masks):
    ids = [mask for mask in masks if mask.dtype == np.uint16]
    assert sum(sample.touching(mask) for mask in ids) >= 10
    assert 1 <= sum(not mask.any() for mask in masks) <= 4
    assert max(mask.max() for mask in ids) >= 6
    areas = np.concatenate([np.bincount(mask.ravel())[1:] for mask in ids])
    assert areas.max() > 9 * areas.min()  # three times in diameter


def test_an_eighth_to_a_third_is_bright_on_dark(images, masks):
    bright = dark = 0
    for pixels, mask in zip(images, masks, strict=True):
        if mask.any():
            grey = pixels.mean(axis=2) if pixels.ndim == 3 else pixels
            brighter = grey[mask > 0].mean() > np.median(grey[mask == 0])
            bright, dark = bright + brighter, dark + (not brighter)
    assert 1 / 8 < bright / (bright + dark) < 1 / 3


@given(seed=st.integers(0, 2**32), size_px=st.integers(64, 256))
@settings(max_examples=40, deadline=None)
def test_labels_are_a_partition_into_whole_objects(seed, size_px):
    labels = scene_labels(seed, size_px)
    assert labels.shape == (size_px, size_px)
    assert labels.dtype == np.uint16
    areas = np.bincount(labels.ravel())[1:]
    assert areas.size > 0
    assert areas.min() >= MIN_AREA_PX
    assert areas.max() < np.pi * (1.5 * RADIUS_PX[1]) ** 2
    assert all(ndimage.label(labels == label)[1] == 1 for label in range(1, areas.size + 1))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_background_is_the_majority(seed):
    assert (scene_labels(seed, DEFAULT_SIZE_PX) > 0).mean() < 0.4


def test_spheroids_darken_brightfield_and_brighten_fluorescence():
    def difference(light: np.ndarray, labels: np.ndarray) -> float:
        near = ndimage.binary_dilation(labels > 0, iterations=12) & (labels == 0)
        return float(light[labels > 0].mean() - light[near].mean())

    for seed in range(10):
        labels = scene_labels(seed, DEFAULT_SIZE_PX)
        well = draw_well(np.random.default_rng(seed), DEFAULT_SIZE_PX)
        assert difference(transmitted(np.random.default_rng(seed), labels, well), labels) < -0.02
        assert difference(emitted(np.random.default_rng(seed), labels), labels) > 0.02


def test_touching_counts_8_connected_objects():
    labels = np.zeros((6, 6), np.uint16)
    labels[:2, :2] = 1
    labels[4:, 4:] = 2
    assert not sample.touching(labels)
    labels[2, 2] = 1
    labels[3, 3] = 2
    assert sample.touching(labels)
    assert not sample.touching(np.zeros((6, 6), np.uint16))


def test_does_not_import_torch():
    code = "import sys, millrace.spheroid.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
