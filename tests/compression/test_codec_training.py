"""The codec as it is trained: its estimates, its losses, its samples, and the model that comes of it."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from codec_models import PATCH_PX, WIDTH, codec_of, decoded, encoded, small_network, speckled, synthesised, write_store
from hypothesis import given
from hypothesis import strategies as st

from millrace.compression import codec_model
from millrace.compression.calibration import calibrated
from millrace.compression.codec import Codec
from millrace.compression.codec_model import config_of, load, rate_points, step_of
from millrace.compression.contexts import UNIT
from millrace.compression.data import Crops
from millrace.compression.encoding import encode_latents
from millrace.compression.entropy import LIMIT
from millrace.compression.losses import WINDOW_PX, distortion
from millrace.compression.model import BIT_COST, MIDDLE, quantised
from millrace.compression.params import Compression, Loss, Train
from millrace.compression.scales import _PACE, COUNT, ScaleModel, bits_table, estimated_bits, interval, scale_index
from millrace.compression.transform import CHANNELS, mirrored
from millrace.errors import UserError
from millrace.training import model_folder

PARAMS = Compression.model_validate({"rates": {"low": 0.001, "high": 0.01}, "train": {"model": {"width": WIDTH}}})
NETWORK = small_network()


def batch(count=2, size=64):
    """Images (N, 1, size, size)."""
    return torch.from_numpy(np.stack([speckled(size, size, seed) for seed in range(count)]))[:, None]


def test_gradients_reach_all_parameters():
    network, images = small_network(), batch()
    coded = network(images)
    (coded.bits.mean() / images[0].numel() + 1000 * (coded.images - images).square().mean()).backward()
    slopes = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, slope in slopes.items():
        assert slope is not None, name
        assert slope.isfinite().all(), name
        assert slope.any(), name
    # Of the weights of contexts: of all that lie below the diagonal and see a latent that is not zero.
    below = torch.tril(torch.ones(CHANNELS, CHANNELS), -1).bool()
    below[:, 0] = False
    for name in ("scales._same", "scales._around"):
        assert not slopes[name][~below].any()
        assert slopes[name][below][:2000].count_nonzero() > 1000
    assert slopes["scales._bias"][1:].all()
    assert slopes["scales._dc"].all()


def test_training_lowers_bits_and_errors():
    network, images = small_network(), batch()
    optimiser, losses = torch.optim.Adam(network.parameters(), lr=1e-3), []
    for _ in range(8):
        coded = network(images)
        losses.append((coded.bits.mean() / images[0].numel(), (coded.images - images).square().mean()))
        loss = losses[-1][0] + 300 * losses[-1][1]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1][0] < 0.995 * losses[0][0]
    assert losses[-1][1] < 0.995 * losses[0][1]


@pytest.mark.parametrize("step", [0.05, 0.1])
@torch.no_grad()
def test_training_sees_the_bits_and_pixels_of_the_decoder(step):
    network, image = small_network(step=step), speckled(128, 112, 5)
    for logarithms in (network.scales._same, network.scales._around):
        # Before training most of these weights are so small that they are 0 in whole numbers.
        weights = torch.round((_PACE * logarithms).exp() * UNIT) / UNIT
        logarithms.copy_(weights.clamp(min=1e-9).log() / _PACE)
    images = torch.from_numpy(image)[None, None]
    coded, model = network(images), codec_of(network)
    latents = network.transform.analyse(mirrored(images - MIDDLE)) / step
    indices, _ = quantised(latents, lambda sizes: scale_index(network.scales(sizes)), network._bits, BIT_COST, passes=1)
    block = model.block_coder().encode(indices[0].numpy())
    assert 0.99 * float(coded.bits) < 8 * len(block) < 1.12 * float(coded.bits)
    pixels = synthesised(model, model.block_coder().decode(block, (8, 7)), image.shape)
    np.testing.assert_allclose(pixels, coded.images[0, 0].clamp(0, 1).numpy(), rtol=0, atol=1e-5)
    assert np.square(pixels - image).mean() < 0.01


def test_the_intervals_of_a_quantiser_leave_no_gap_and_meet_halfway():
    index = torch.arange(20.0)
    for quantiser in (0, 1):
        low, high = interval(index, torch.tensor(quantiser))
        steps = torch.where(index > 0, 2 * index - quantiser, 0)
        assert low[0] == 0
        assert torch.equal(low[1:], high[:-1])
        assert torch.equal(high[:-1], (steps[:-1] + steps[1:]) / 2)


def test_estimated_probabilities_add_up():
    probabilities = torch.exp2(-bits_table(2000).double())
    total = probabilities[..., 0] + 2 * probabilities[..., 1:].sum(-1)
    narrow = slice(0, COUNT - 12)  # wider ones end in the least probability there is
    torch.testing.assert_close(total[narrow], torch.ones_like(total[narrow]), rtol=0, atol=5e-4)
    assert (total >= 0.999).all()


def test_bits_of_a_large_latent_end():
    bits = estimated_bits(torch.tensor(1e6), torch.tensor(1e6 + 2), torch.tensor(0.05))
    assert 20 < bits < 30


def test_probabilities_of_channel_0_add_up():
    model, middle = ScaleModel(), torch.arange(-300.0, 301)
    indices = torch.full((len(middle), 1, 3, 3), 5.0)
    indices[:, 0, 1, 1] = middle
    with torch.no_grad():
        bits = model.dc_bits(indices, torch.zeros(len(middle), CHANNELS, 3, 3))[:, 0, 1, 1]
    assert float(torch.exp2(-bits.double()).sum()) == pytest.approx(1, abs=1e-3)
    assert bits.argmin() == 305


@given(st.floats(1e-5, 1))
def test_a_step_makes_a_bit_worth_its_error(lagrange):
    assert lagrange * 255**2 * BIT_COST * step_of(lagrange) ** 2 == pytest.approx(1)


MASK = np.random.default_rng(0).random((2, 1, 20, 24)) > 0.4


def pairs(height=20, width=24):
    random = np.random.default_rng(1)
    original, decoded = (random.random((2, 1, height, width)).astype(np.float32) for _ in range(2))
    return decoded, original


def of(decoded, original, valid, **weights):
    tensors = (torch.from_numpy(each) for each in (decoded, original, valid))
    return float(distortion(*tensors, Loss.model_validate({"mse": 0.0} | weights)))


def windows_spread(image):
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (WINDOW_PX, WINDOW_PX), (2, 3))
    return windows.std((-2, -1))


def test_errors_are_those_of_valid_pixels():
    decoded, original = pairs()
    expected = np.square(decoded - original)[MASK].mean()
    assert of(decoded, original, MASK, mse=1.0) == pytest.approx(expected, rel=1e-5)
    changed = np.where(MASK, decoded, np.float32(99))
    assert of(changed, original, MASK, mse=2.0, texture=1.0) == pytest.approx(
        of(decoded, original, MASK, mse=2.0, texture=1.0)
    )


def test_texture_is_the_spread_of_windows():
    decoded, original = pairs()
    seen = np.where(MASK, decoded, original)
    expected = np.square(windows_spread(seen) - windows_spread(original)).mean()
    assert of(decoded, original, MASK, texture=3.0) == pytest.approx(3 * expected, rel=1e-4)
    assert of(np.zeros_like(original), original, np.ones_like(MASK), texture=1.0) > 0.05


def test_ms_ssim_counts_what_is_missing_to_one():
    decoded, original = pairs(176, 176)
    everywhere = np.ones(original.shape, bool)
    smooth = 0.9 * original + 0.1 * decoded
    assert of(original, original, everywhere, ms_ssim=1.0) == pytest.approx(0, abs=1e-6)
    assert 0 < of(smooth, original, everywhere, ms_ssim=1.0) < of(decoded, original, everywhere, ms_ssim=1.0) <= 1
    assert of(decoded, original, ~everywhere, ms_ssim=1.0) == pytest.approx(0, abs=1e-6)


def test_losses_have_a_slope_where_nothing_is_valid_or_nothing_varies():
    flat = torch.full((1, 1, 176, 176), 0.5)
    for valid in (torch.zeros_like(flat).bool(), torch.ones_like(flat).bool()):
        decoded = flat.clone().requires_grad_()
        loss = distortion(decoded, flat, valid, Loss(mse=1.0, ms_ssim=1.0, texture=1.0))
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert decoded.grad.isfinite().all()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("prepared") / "compression")


def crops(store, training, **values):
    return Crops(store, "train", Train.model_validate({"crop_px": 32} | values), training=training)


def symmetries(image):
    return [np.rot90(each, turns) for each in (image, image[:, ::-1]) for turns in range(4)]


def places_of(crop, image):
    """Where a square lies in an image."""
    windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
    return np.argwhere((windows == crop).all((2, 3))).tolist()


def test_crops_are_turned_and_mirrored_parts_of_patches(store):
    train, seen = crops(store, training=True, per_patch=3), set()
    patches = store.patches("train").index
    assert len(train) == 3 * len(patches)
    for index in range(len(train)):
        sample = train[0, index]
        image, valid = (sample[name][0].numpy() for name in ("input", "valid"))
        values, mask = store.patch(patches[index % len(patches)])
        assert sample["name"].startswith(f"s{patches[index % len(patches)]}.tif#1 ")
        assert image.shape == valid.shape == (32, 32)
        found = [
            (number, place)
            for number, (turned, turned_mask) in enumerate(zip(symmetries(values), symmetries(mask), strict=True))
            for place in places_of(image, turned)
            if np.array_equal(turned_mask[place[0] :, place[1] :][:32, :32], valid)
        ]
        assert len(found) == 1
        seen.add((found[0][0], *found[0][1]))
    assert len(seen) > 0.9 * len(train)


def test_crops_follow_from_epoch_and_index_and_seed_alone(store):
    def drawn(epoch, index, **values):
        return crops(store, training=True, per_patch=2, **values)[epoch, index]["input"].numpy().tobytes()

    assert drawn(1, 2) == drawn(1, 2)
    others = {drawn(1, 2), drawn(2, 2), drawn(1, 2, seed=7), drawn(1, 2 + len(store.patches("train")))}
    assert len(others) == 4


def test_validation_takes_the_middle_of_each_patch_once(store):
    train = crops(store, training=False, per_patch=5)
    patches = store.patches("train").index
    assert len(train) == len(patches)
    for index, number in enumerate(patches):
        values, valid = store.patch(number)
        sample = train[3, index]
        assert np.array_equal(sample["input"][0].numpy(), values[16:48, 16:48])
        assert np.array_equal(sample["valid"][0].numpy(), valid[16:48, 16:48])
    whole = crops(store, training=False, crop_px=PATCH_PX * 2)[0, 0]
    assert np.array_equal(whole["valid"][0].numpy(), store.patch(patches[0])[1])


@pytest.fixture(scope="module")
def calibrated_model(store):
    return calibrated(NETWORK, store, patches=3)


def test_calibration_is_the_same_each_time_and_fits_what_was_seen(store, calibrated_model):
    again = calibrated(NETWORK, store, patches=3)
    for name, tensor in calibrated_model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    number = int(store.patches("train").index[0])
    image = store.patch(number)[0]
    latents = NETWORK.transform.analyse(mirrored(torch.from_numpy(image)[None, None] - MIDDLE))[0] / NETWORK.step
    indices, _ = encode_latents(calibrated_model, latents)
    before, after = (len(model.block_coder().encode(indices)) for model in (codec_of(NETWORK), calibrated_model))
    assert after < before


def test_calibration_sees_training_patches_only(store, calibrated_model, tmp_path):
    other = write_store(tmp_path / "compression")
    values = np.load(tmp_path / "compression/patches.npy")
    values[other.patches("validation").index] = 0
    np.save(tmp_path / "compression/patches.npy", values)
    assert torch.equal(calibrated(NETWORK, other, patches=3).frequencies, calibrated_model.frequencies)
    assert not torch.equal(calibrated(NETWORK, other, patches=1).frequencies, calibrated_model.frequencies)


def test_bits_are_those_of_the_tables(calibrated_model):
    bits, frequencies = calibrated_model.bits(), calibrated_model.frequencies
    assert bits.shape == (COUNT, 2, LIMIT + 1)
    assert float(bits[50, 1, 3]) == pytest.approx(-math.log2(int(frequencies[1, 50, LIMIT + 3]) / (1 << 20)), rel=1e-6)
    assert bits.isfinite().all()


@pytest.fixture
def folder(tmp_path, store, calibrated_model):
    """A saved rate point."""
    model_folder.save(tmp_path / "high", calibrated_model, config_of(PARAMS, "high", store))
    return tmp_path / "high"


def test_a_saved_model_makes_the_same_files(folder, calibrated_model):
    model, fingerprint = load(folder)
    assert len(fingerprint) == codec_model.FINGERPRINT_BYTES
    assert load(folder)[1] == fingerprint
    assert model.step == step_of(0.01)
    image = speckled(40, 56, 8)
    original = Codec(calibrated_model, model.step / calibrated_model.step, threads=1)
    blocks = encoded(original, image, 64)
    assert encoded(Codec(model, 1.0, threads=1), image, 64) == blocks
    pixels = [decoded(codec, blocks, image.shape, 64)[0] for codec in (original, Codec(model, 1.0, threads=1))]
    assert np.array_equal(*pixels)


def test_another_model_has_another_fingerprint(folder, tmp_path, calibrated_model):
    other = codec_of(NETWORK)
    model_folder.save(tmp_path / "other", other, json.loads((folder / "config.json").read_text()))
    assert load(tmp_path / "other")[1] != load(folder)[1]


@pytest.mark.parametrize("name", ["frequencies", "thresholds", "same", "around"])
def test_tables_that_none_trained_are_refused(name, folder, calibrated_model):
    weights = {key: tensor.clone() for key, tensor in calibrated_model.state_dict().items()}
    weights[name].view(-1)[7] += 20_000  # beyond a limit; out of order; above the diagonal
    (folder / model_folder.WEIGHTS).unlink()
    model_folder.safetensors.torch.save_file(weights, folder / model_folder.WEIGHTS)
    with pytest.raises(UserError, match="damaged"):
        load(folder)


def test_a_file_of_weights_that_is_cut_off_or_of_another_width_is_refused(folder, store):
    path = folder / model_folder.WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=str(path)):
        load(folder)
    path.write_bytes(whole)
    config = json.loads((folder / model_folder.CONFIG).read_text()) | {"width": 2 * WIDTH}
    (folder / model_folder.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not fit"):
        load(folder)
    path.unlink()
    with pytest.raises(UserError, match=str(folder)):
        load(folder)


BAD_CONFIGS = [("lambda", each) for each in (None, "much", 0, -1, [], math.inf, math.nan)]
BAD_CONFIGS += [("width", each) for each in (None, "wide", -8, math.inf, {})]


@pytest.mark.parametrize(("key", "value"), BAD_CONFIGS)
def test_a_damaged_configuration_is_refused(key, value, folder):
    config = json.loads((folder / model_folder.CONFIG).read_text())
    (folder / model_folder.CONFIG).write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match="high"):
        load(folder)
    del config[key]
    (folder / model_folder.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="high"):
        load(folder)


def test_rate_points_are_listed_from_small_files_to_large(folder, store, calibrated_model):
    models = folder.parent
    shutil.copytree(folder, models / "again")
    model_folder.save(models / "alow", calibrated_model, config_of(PARAMS, "low", store))
    assert rate_points(models)[0] == "alow"
    assert sorted(rate_points(models)) == ["again", "alow", "high"]
    with pytest.raises(UserError, match="no rate points"):
        rate_points(models / "none")


@pytest.mark.parametrize("value", ["much", None, [1]])
def test_a_rate_point_without_its_lambda_is_named(value, folder):
    config = json.loads((folder / model_folder.CONFIG).read_text()) | {"lambda": value}
    (folder / model_folder.CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="high"):
        rate_points(folder.parent)


def test_the_network_passes_nothing_around_its_latents():
    # With all latents at zero, nothing of the image is left.
    network = small_network(step=1e6)
    first, second = network(batch(1)), network(1 - batch(1))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.bits, second.bits)
