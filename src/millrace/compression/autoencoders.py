"""The two plain autoencoders of the system that this task follows, to be compared with: no quantiser, no entropy coder.

Architectures and parameter counts are those of AdamDuffyCastaldo/CNNAutoencoderProject (MIT, January 2026). It
counted elements: a patch of 256 x 256 in 16 x 16 x 16 latents was called "16x". As float32 these are 2 bits per pixel;
as integers of 8 bits, which `quantise_latents` makes of them, 0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

DOWNSAMPLING = 16
"""Sides of an image are multiples of it."""
SSIM_SIGMA = 1.5
"""Cut off at 3.5 sigma, which makes windows of 11 x 11."""


class Autoencoder(nn.Module):
    """An encoder and a decoder with nothing but the latents between them.

    Images are (N, 1, H, W), normalised 0..1, with sides that are multiples of 16; latents (N, C, H / 16, W / 16).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruction, of the image's shape."""
        reconstruction: Tensor = self.decoder(self.encoder(image))
        return reconstruction


def baseline(latent_channels: int = 16, width: int = 64) -> Autoencoder:
    """Four strided 5 x 5 convolutions and four transposed ones; 2.26 M parameters.

    Args:
        latent_channels: Channels of the latents, C.
        width: Channels after the first convolution; they double with each of the next two.
    """
    widths = [width, 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for channels_in, channels_out in zip([1, *widths], widths, strict=False):
        convolution = nn.Conv2d(channels_in, channels_out, 5, stride=2, padding=2, bias=False)
        layers += [convolution, nn.BatchNorm2d(channels_out), nn.LeakyReLU(0.2)]
    encoder = nn.Sequential(*layers, nn.Conv2d(widths[-1], latent_channels, 5, stride=2, padding=2))
    layers = []
    for channels_in, channels_out in zip([latent_channels, *widths[::-1]], widths[::-1], strict=False):
        convolution_up = nn.ConvTranspose2d(channels_in, channels_out, 5, 2, padding=2, output_padding=1, bias=False)
        layers += [convolution_up, nn.BatchNorm2d(channels_out), nn.ReLU()]
    last = nn.ConvTranspose2d(width, 1, 5, stride=2, padding=2, output_padding=1)
    return Autoencoder(encoder, nn.Sequential(*layers, last, nn.Sigmoid()))


def resnet_lite(latent_channels: int = 16, width: int = 32) -> Autoencoder:
    """Residual blocks around four halvings and four doublings; 5.65 M parameters.

    Args:
        latent_channels: Channels of the latents, C, which are not negative.
        width: Channels at full size; they double with each of the first three halvings.
    """
    widths = [width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = [nn.Conv2d(1, width, 7, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for channels_in, channels_out in zip(widths, [*widths[1:], latent_channels], strict=True):
        layers += [ResidualBlock(channels_in, channels_in), ResidualBlock(channels_in, channels_out, "halve")]
    encoder = nn.Sequential(*layers)
    layers = []
    for channels_in, channels_out in zip([latent_channels, *widths[:0:-1]], widths[::-1], strict=True):
        layers += [ResidualBlock(channels_in, channels_out, "double"), ResidualBlock(channels_out, channels_out)]
    decoder = nn.Sequential(*layers, nn.Conv2d(width, 1, 7, padding=3), nn.Sigmoid())
    return Autoencoder(encoder, decoder)


class ResidualBlock(nn.Module):
    """ReLU of two 3 x 3 convolutions plus the input, which a 1 x 1 convolution fits where size or channels change.

    Source: K. He et al., "Deep residual learning for image recognition", 2016.
    """

    def __init__(self, channels_in: int, channels_out: int, resize: str | None = None) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(channels_in, channels_out, 3, resize),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            _convolution(channels_out, channels_out, 3, None),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if resize is not None:
            projection = _convolution(channels_in, channels_out, 1, resize)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels_out, H, W), the sides halved or doubled where asked for."""
        return F.relu(self.branch(features) + self.shortcut(features))


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """0.5 MSE + 0.5 (1 - SSIM), SSIM with Gaussian windows of 11 x 11, in float32 whatever the precision of training.

    Args:
        reconstruction: (N, 1, H, W), sides of at least 11.
        image: Same shape, 0..1.
    """
    with torch.autocast(image.device.type, enabled=False):
        predicted, target = reconstruction.float(), image.float()
        ssim = structural_similarity_index_measure(predicted, target, sigma=SSIM_SIGMA, data_range=1.0)
        assert isinstance(ssim, Tensor)
        return 0.5 * F.mse_loss(predicted, target) + 0.5 * (1 - ssim)


def latent_range(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest value of each channel of (N, C, h, w), two tensors (C,): to be taken from training images."""
    return latents.amin((0, 2, 3)), latents.amax((0, 2, 3))


def quantise_latents(latents: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    """Latents as the decoder gets them when each element is stored as an integer of `bits` bits.

    The integers are uniform steps from `low` to `high`; values beyond become the nearer end. A channel of no width is
    its `low`. Stored without an entropy coder, this is `latent_bits_per_pixel`.

    Args:
        latents: (N, C, h, w).
        low: Least value of each channel, (C,).
        high: Greatest value of each channel, (C,).
        bits: 1 to 16.

    Returns:
        Values on the steps, same shape.

    Raises:
        ValueError: `bits` is out of range.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"{bits} bits: a latent takes 1 to 16")
    first, width = low[:, None, None], (high - low)[:, None, None]
    steps = 2**bits - 1
    share = torch.where(width > 0, (latents - first) / width, 0).clamp(0, 1)
    quantised: Tensor = first + (share * steps).round() / steps * width
    return quantised


def latent_bits_per_pixel(channels: int, bits: int) -> float:
    """Rate of quantised latents: one element of `bits` bits for each channel and 16 x 16 pixels."""
    return channels * bits / DOWNSAMPLING**2


def _convolution(channels_in: int, channels_out: int, kernel_px: int, resize: str | None) -> nn.Module:
    padding = kernel_px // 2
    if resize == "double":
        return nn.ConvTranspose2d(channels_in, channels_out, kernel_px, 2, padding, output_padding=1, bias=False)
    return nn.Conv2d(channels_in, channels_out, kernel_px, 2 if resize == "halve" else 1, padding, bias=False)
