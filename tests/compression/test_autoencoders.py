"""The two plain autoencoders: sizes, what passes their bottleneck, loss, and the rate of their latents."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from millrace.compression.autoencoders import (
    Autoencoder,
    baseline,
    latent_bits_per_pixel,
    latent_range,
    quantise_latents,
    reconstruction_loss,
    resnet_lite,
)

BUILDERS = [baseline, resnet_lite]


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "published"),
    [(baseline(16), 2.26e6), (resnet_lite(16), 5.65e6), (resnet_lite(16, width=64), 22.4e6)],
)
def test_parameter_counts_are_those_published(network, published):
    assert parameters(network) == pytest.approx(published, rel=0.002)


def test_exact_parameter_counts():
    assert parameters(baseline()) == 2_257_809
    assert parameters(resnet_lite()) == 5_648_033


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("channels", [4, 16])
def test_shapes(build, channels):
    network = build(channels, 8)
    image = torch.rand(2, 1, 48, 80)
    assert network.encoder(image).shape == (2, channels, 3, 5)
    reconstruction = network(image)
    assert reconstruction.shape == image.shape
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1


@pytest.mark.parametrize("build", BUILDERS)
def test_nothing_passes_the_bottleneck_but_the_latents(build):
    """Zeroed latents give an image that does not depend on the input."""
    network = build(16, 8).eval()
    with torch.no_grad():
        images = torch.rand(2, 2, 1, 32, 32)
        free = [network(each) for each in images]
        assert not torch.equal(*free)
        network.encoder.register_forward_hook(lambda module, inputs, latents: torch.zeros_like(latents))
        zeroed = [network(each) for each in images]
    assert torch.equal(*zeroed)
    assert torch.equal(zeroed[0][0], zeroed[0][1])


def test_the_bottleneck_test_sees_a_skip_connection():
    class Skipping(Autoencoder):
        def forward(self, image):
            return super().forward(image) + 0.1 * image

    network = Skipping(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)).eval()
    network.encoder.register_forward_hook(lambda module, inputs, latents: torch.zeros_like(latents))
    assert not torch.equal(network(torch.rand(1, 1, 8, 8)), network(torch.rand(1, 1, 8, 8)))


@pytest.mark.parametrize("build", BUILDERS)
def test_it_learns(build):
    network = build(16, 8)
    rows = torch.linspace(0, 6.28, 32)
    images = torch.stack([0.5 + 0.4 * torch.sin(rows * k)[:, None] * torch.cos(rows)[None] for k in (1, 2, 3, 4)])
    images = images[:, None]
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = reconstruction_loss(network(images), images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# Loss


def test_loss_of_known_errors():
    image = torch.rand(2, 1, 32, 32)
    assert float(reconstruction_loss(image, image)) == pytest.approx(0, abs=1e-6)
    flat, shifted = torch.full((1, 1, 32, 32), 0.4), torch.full((1, 1, 32, 32), 0.5)
    ssim = (2 * 0.4 * 0.5 + 1e-4) / (0.4**2 + 0.5**2 + 1e-4)
    assert float(reconstruction_loss(shifted, flat)) == pytest.approx(0.5 * 0.01 + 0.5 * (1 - ssim), abs=1e-4)


def test_loss_is_half_and_half():
    image, other = torch.rand(2, 3, 1, 32, 32)
    ssim = structural_similarity_index_measure(other, image, sigma=1.5, data_range=1.0)
    expected = 0.5 * ((image - other) ** 2).mean() + 0.5 * (1 - ssim)
    assert float(reconstruction_loss(other, image)) == pytest.approx(float(expected), abs=1e-6)


def test_loss_is_float32_under_mixed_precision():
    image = torch.rand(1, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        half = (image * 0.5).bfloat16().requires_grad_()
        loss = reconstruction_loss(half, image)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reconstruction_loss(half.float(), image).item(), abs=1e-6)
    loss.backward()
    assert torch.isfinite(half.grad).all()


# Latents


@settings(max_examples=50)
@given(st.integers(1, 16), st.integers(0, 10**6), st.integers(1, 5))
def test_quantised_latents(bits, seed, channels):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(3, channels, 4, 5, generator=generator) * torch.rand(channels, 1, 1, generator=generator) * 9
    low, high = latent_range(latents)
    quantised = quantise_latents(latents, low, high, bits)
    half_step = (high - low)[:, None, None] / (2**bits - 1) / 2
    assert ((quantised - latents).abs() <= half_step * 1.001 + 1e-5).all()
    for channel in range(channels):
        assert len(quantised[:, channel].unique()) <= 2**bits
    again = quantise_latents(quantised, low, high, bits)
    torch.testing.assert_close(again, quantised)


def test_latents_beyond_the_range_become_its_ends():
    low, high = torch.tensor([0.0, -1.0]), torch.tensor([1.0, 1.0])
    latents = torch.tensor([[-5.0, 0.4, 0.6, 7.0], [-5.0, -0.2, 0.2, 7.0]])[None, :, :, None]
    one_bit = quantise_latents(latents, low, high, 1)
    assert one_bit.flatten().tolist() == [0, 0, 1, 1, -1, -1, 1, 1]


def test_a_channel_without_width():
    latents = torch.tensor([2.0, 3.0])[None, None, :, None]
    constant = torch.tensor([2.0])
    assert quantise_latents(latents, constant, constant, 8).flatten().tolist() == [2, 2]


def test_the_range_is_by_channel():
    latents = torch.arange(24.0).reshape(2, 3, 2, 2)
    low, high = latent_range(latents)
    assert low.tolist() == [0, 4, 8]
    assert high.tolist() == [15, 19, 23]


@pytest.mark.parametrize("bits", [0, 17])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="1 to 16"):
        quantise_latents(torch.zeros(1, 1, 1, 1), torch.zeros(1), torch.ones(1), bits)


def test_rate_of_latents():
    assert latent_bits_per_pixel(16, 8) == 16 * 16 * 16 * 8 / 256**2 == 0.5
    latents = resnet_lite(16, 8).encoder(torch.rand(1, 1, 256, 256))
    assert latents.numel() * 32 / 256**2 == latent_bits_per_pixel(16, 32) == 2
