from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference

from millrace.errors import ImageError
from millrace.imagery.tiling import gaussian_window, predict_tiled, predicted_bands, tile_starts

SIDE = st.integers(1, 200)
TILE = st.sampled_from([32, 64])
OVERLAP = st.floats(0, 0.75)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_net(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3, padding=1)
    return torch.nn.Sequential(*layers, torch.nn.Sigmoid()).eval()


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def pointwise(tiles: torch.Tensor) -> torch.Tensor:
    """A model whose prediction of a tile is the same in any batch, down to the last bit."""
    ramp = torch.linspace(0, 1, tiles.shape[-1])
    return torch.cat([tiles * ramp, (1 - tiles) * ramp.flip(0)], dim=1)


def monai_tiled(net: torch.nn.Module, image: np.ndarray, tile: int, overlap: float) -> np.ndarray:
    """MONAI's result; it pads by reflection only up to the image's size, so smaller images are padded beforehand."""
    padding = [((missing := max(0, tile - side)) // 2, missing - missing // 2) for side in image.shape]
    padded = torch.from_numpy(np.pad(image, padding, mode="reflect"))[None, None]
    with torch.inference_mode():
        result = sliding_window_inference(padded, (tile, tile), 4, net, overlap, mode="gaussian", sigma_scale=0.125)
    (top, _), (left, _) = padding
    return result.numpy()[0, :, top : top + image.shape[0], left : left + image.shape[1]]


@given(length=st.integers(1, 500), tile=st.integers(1, 128), overlap=st.floats(0, 0.99))
def test_tiles_cover_the_axis_without_a_redundant_one(length, tile, overlap):
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert all(0 < after - before <= tile for before, after in pairwise(starts))
    assert starts[-1] == max(0, length - tile)
    assert all(start + tile < length for start in starts[:-1])


@pytest.mark.parametrize(
    ("length", "starts"), [(1, [0]), (256, [0]), (257, [0, 1]), (448, [0, 192]), (500, [0, 192, 244])]
)
def test_known_tile_starts(length, starts):
    assert tile_starts(length, 256, 0.25) == starts


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_starts(100, 32, overlap)


@pytest.mark.parametrize("tile", [1, 2, 7, 32, 64, 255, 256])
def test_window_is_monais_importance_map(tile):
    expected = compute_importance_map((tile, tile), mode="gaussian", sigma_scale=0.125).numpy()
    window = gaussian_window(tile)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, expected, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, tile=TILE, overlap=OVERLAP, seed=st.integers(0, 99))
def test_agrees_with_monai(height, width, tile, overlap, seed):
    net, image = random_net(seed), random_image(height, width, seed)
    result = predict_tiled(net, image, channels=2, tile=tile, overlap=overlap, batch_size=3)
    np.testing.assert_allclose(result, monai_tiled(net, image, tile, overlap), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 100), (31, 31), (17, 64)])
def test_agrees_with_monais_own_reflection_of_small_images(shape):
    net, image = random_net(0), random_image(*shape)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(image)[None, None], (32, 32), 4, net, mode="gaussian", padding_mode="reflect"
        )
    result = predict_tiled(net, image, channels=2, tile=32, overlap=0.25, batch_size=4)
    np.testing.assert_allclose(result, expected[0].numpy(), rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, tile=TILE, overlap=OVERLAP, value=st.floats(0, 1, width=32))
def test_constant_model_gives_exactly_its_constant(height, width, tile, overlap, value):
    result = predict_tiled(
        lambda tiles: torch.full_like(tiles, value).expand(-1, 3, -1, -1),
        np.zeros((height, width), np.uint8),
        channels=3,
        tile=tile,
        overlap=overlap,
        batch_size=5,
    )
    assert result.shape == (3, height, width)
    assert (result == np.float32(value)).all()


@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, tile=TILE, overlap=OVERLAP)
def test_identity_model_gives_exactly_the_image(height, width, tile, overlap):
    image = random_image(height, width)
    result = predict_tiled(lambda tiles: tiles, image, channels=1, tile=tile, overlap=overlap, batch_size=2)
    np.testing.assert_array_equal(result[0], image)


@settings(max_examples=30, deadline=None)
@given(height=SIDE, width=SIDE, overlap=OVERLAP, batch_size=st.integers(1, 50))
def test_batch_size_does_not_change_the_result(height, width, overlap, batch_size):
    image = random_image(height, width)
    one = predict_tiled(pointwise, image, channels=2, tile=32, overlap=overlap, batch_size=1)
    many = predict_tiled(pointwise, image, channels=2, tile=32, overlap=overlap, batch_size=batch_size)
    np.testing.assert_array_equal(one, many)


def test_tiles_near_their_edge_count_less():
    """Two tiles, 0..31 and 8..39, of which the second predicts 1: its share rises to the right."""
    image = np.zeros((32, 40), np.float32)
    calls = iter([0.0, 1.0])
    result = predict_tiled(
        lambda tiles: torch.full_like(tiles, next(calls)), image, channels=1, tile=32, overlap=0.75, batch_size=1
    )
    profile = gaussian_window(32)[16]
    np.testing.assert_allclose(result[0, 16, 8:32], profile[:24] / (profile[:24] + profile[8:]), rtol=1e-5)
    assert (result[0, :, :8] == 0).all()
    assert (result[0, :, 32:] == 1).all()


def test_memory_mapped_files_give_the_same_as_arrays(tmp_path):
    image = (random_image(150, 90) * 65535).astype(np.uint16)
    image.tofile(tmp_path / "image")
    mapped = np.memmap(tmp_path / "image", np.uint16, mode="r", shape=image.shape)
    out = np.memmap(tmp_path / "out", np.float32, mode="w+", shape=(2, *image.shape))

    def load(window):
        return window.astype(np.float32) / 65535

    common = {"channels": 2, "tile": 32, "overlap": 0.3, "batch_size": 4, "load": load}
    expected = predict_tiled(pointwise, image, **common)
    assert predict_tiled(pointwise, mapped, out=out, **common) is out
    out.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out", np.float32).reshape(out.shape), expected)


def test_half_precision_out_is_the_rounded_result():
    image = random_image(70, 50)
    expected = predict_tiled(pointwise, image, channels=2, tile=32, overlap=0.25, batch_size=4)
    out = np.full((2, 70, 50), np.nan, np.float16)
    predict_tiled(pointwise, image, channels=2, tile=32, overlap=0.25, batch_size=4, out=out)
    np.testing.assert_array_equal(out, expected.astype(np.float16))


def test_reads_windows_and_writes_rows_as_soon_as_they_are_finished():
    out = np.full((1, 200, 80), np.nan, np.float32)
    shapes, finished = [], []

    def load(window):
        shapes.append(window.shape)
        return np.asarray(window)

    def predict(tiles):
        finished.append(int(np.isfinite(out[0]).all(axis=1).sum()))
        return tiles

    image = random_image(200, 80)
    predict_tiled(predict, image, channels=1, tile=32, overlap=0.25, batch_size=1, load=load, out=out)
    rows, columns = tile_starts(200, 32, 0.25), tile_starts(80, 32, 0.25)
    assert set(shapes) == {(32, 32)}
    # A row of tiles is written when the first tile of the next has been predicted.
    assert finished == [rows[max(0, (call - 1) // len(columns))] for call in range(len(rows) * len(columns))]


def test_not_a_number_stays_in_the_tiles_that_gave_it():
    image = np.zeros((40, 96), np.float32)
    image[5, 5] = np.nan

    def predict(tiles):
        return torch.where(tiles.isnan().any(dim=(2, 3), keepdim=True), torch.nan, tiles)

    result = predict_tiled(predict, image, channels=1, tile=32, overlap=0.25, batch_size=2)
    assert np.isnan(result[0, :32, :32]).all()
    assert np.isfinite(result[0, 32:]).all()
    assert np.isfinite(result[0, :, 32:]).all()


def test_model_runs_without_gradients():
    def predict(tiles):
        assert torch.is_inference_mode_enabled()
        return random_net(0)(tiles)

    predict_tiled(predict, random_image(10, 10), channels=2, tile=32, overlap=0.25, batch_size=1)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (5, 5, 3)])
def test_shapes_that_are_no_grey_image_are_refused(shape):
    with pytest.raises(ImageError, match="shape"):
        predict_tiled(pointwise, np.zeros(shape), channels=2, tile=32, overlap=0.25, batch_size=1)


@pytest.mark.parametrize("out", [np.zeros((2, 9, 10), np.float32), np.zeros((2, 10, 10), np.uint8)])
def test_unsuitable_out_is_refused(out):
    with pytest.raises(ValueError, match="out is"):
        predict_tiled(pointwise, np.zeros((10, 10)), channels=2, tile=32, overlap=0.25, batch_size=1, out=out)


def test_model_with_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"gave \(1, 1, 32, 32\)"):
        predict_tiled(lambda tiles: tiles, np.zeros((10, 10)), channels=2, tile=32, overlap=0.25, batch_size=1)


@settings(max_examples=30)
@given(height=SIDE, width=SIDE, overlap=OVERLAP)
def test_bands_of_a_colour_image_are_its_channels_from_top_to_bottom(height, width, overlap):
    image = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    options = {"channels": 3, "tile": 32, "overlap": overlap, "batch_size": 4}
    bands = [(top, rows.copy()) for top, rows in predicted_bands(lambda tiles: tiles, image, **options)]
    assert [top for top, _ in bands] == [0, *np.cumsum([rows.shape[1] for _, rows in bands])[:-1]]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in bands], axis=1), image.transpose(2, 0, 1))
    assert max(rows.shape[1] for _, rows in bands) <= 32


def test_whoever_takes_bands_is_not_in_the_mode_of_the_model():
    for _ in predicted_bands(pointwise, random_image(80, 40), channels=2, tile=32, overlap=0.25, batch_size=2):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("shape", [(0, 5), (5,), (5, 5, 0), (5, 5, 3, 1)])
def test_shapes_that_are_no_image_are_refused(shape):
    with pytest.raises(ImageError, match="shape"):
        next(predicted_bands(pointwise, np.zeros(shape), channels=2, tile=32, overlap=0.25, batch_size=1))
