"""The codec's linear transform: an orthogonal lapped transform of 16 x 16 subbands, whose inverse is trained.

Every basis function is even or odd in both directions. So an image mirrored at its edges has latents mirrored at
theirs, and the decoder needs no latents beyond the image.

Source: H. S. Malvar and D. H. Staelin, The LOT: transform coding without blocking effects, IEEE Trans. ASSP 37 (1989).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

STRIDE = 16
"""Pixels from one latent position to the next."""
CHANNELS = STRIDE * STRIDE
OVERLAP = STRIDE // 2
"""Pixels by which a basis function reaches beyond its own 16 x 16 pixels on each side."""
_PACE = 0.1  # the inverse is good from the start: Adam moves it by this part of its step
_CORRELATION = 0.95  # of neighbouring pixels, in the process that the initial transform is best for


def lapped_basis(size: int) -> NDArray[np.float64]:
    """Orthonormal lapped basis.

    Args:
        size: Number of subbands, even.

    Returns:
        Basis functions by rising frequency, (size, 2 * size), even and odd in turn.
    """
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    cosines = np.cos(np.pi * (2 * n + 1) * k / (2 * size)) * np.sqrt(2 / size)
    cosines[0] /= np.sqrt(2)
    difference = cosines[0::2].T - cosines[1::2].T
    start = 0.5 * np.block([[difference, difference], [difference[::-1], -difference[::-1]]])
    covariance = _CORRELATION ** np.abs(np.subtract.outer(np.arange(2 * size), np.arange(2 * size)))
    basis = np.empty((2 * size, size))
    for parity, half in enumerate((start[:, : size // 2], start[:, size // 2 :])):
        _, vectors = np.linalg.eigh(half.T @ covariance @ half)
        basis[:, parity::2] = half @ vectors[:, ::-1]
    # Eigenvectors come with any sign.
    return (basis * np.where(basis[:size].sum(0) >= 0, 1, -1)).T


def frequencies() -> NDArray[np.int64]:
    """Vertical and horizontal frequency (256, 2) of each latent channel, from low to high."""
    v, h = (axis.ravel() for axis in np.mgrid[:STRIDE, :STRIDE])
    # Integers: files depend on this order, and a square root may round otherwise elsewhere.
    return np.stack([v, h], axis=1)[np.lexsort((v, v * v + h * h))]


class LappedTransform(nn.Module):
    """Pixels to latents and back.

    The analysis stays as it is. A gradient through the quantiser would take latents that cost more than they are worth,
    and were set to 0, for errors of the transform, and make them larger. The synthesis begins as its transpose and
    learns to weigh latents by what they are worth.
    """

    def __init__(self) -> None:
        super().__init__()
        basis = lapped_basis(STRIDE)[:, :STRIDE]
        v, h = frequencies().T
        quarter = torch.tensor(basis[v][:, :, None] * basis[h][:, None, :], dtype=torch.float32)
        self.register_buffer("_analysis", quarter / _PACE, persistent=False)
        self._analysis: Tensor
        self.synthesis_quarter = nn.Parameter(quarter / _PACE)
        signs = torch.tensor(1 - 2 * (frequencies() % 2), dtype=torch.float32)
        self.register_buffer("signs", signs, persistent=False)
        self.signs: Tensor

    def analyse(self, padded: Tensor) -> Tensor:
        """Latents (N, 256, H/16, W/16) of images (N, 1, H + 16, W + 16) that bring 8 pixels of surroundings."""
        return F.conv2d(padded, self._whole(self._analysis), stride=STRIDE)

    def synthesise(self, padded: Tensor) -> Tensor:
        """Images (N, 1, H, W) from latents (N, 256, H/16 + 2, W/16 + 2) that bring one position of surroundings."""
        image = F.conv_transpose2d(padded, self._whole(self.synthesis_quarter), stride=STRIDE)
        cut = STRIDE + OVERLAP
        return image[..., cut:-cut, cut:-cut]

    def mirror(self, latents: Tensor, top: bool, bottom: bool, left: bool, right: bool) -> Tensor:
        """Latents with one more position at the sides that are edges of the image: those of its mirror image."""
        vertical, horizontal = (self.signs[:, axis, None, None] for axis in (0, 1))
        rows = [latents[..., :1, :] * vertical] * top + [latents] + [latents[..., -1:, :] * vertical] * bottom
        latents = torch.cat(rows, dim=-2)
        columns = [latents[..., :1] * horizontal] * left + [latents] + [latents[..., -1:] * horizontal] * right
        return torch.cat(columns, dim=-1)

    def _whole(self, quarter: Tensor) -> Tensor:
        vertical, horizontal = (self.signs[:, axis, None, None] for axis in (0, 1))
        quarter = _PACE * quarter
        top = torch.cat([quarter, quarter.flip(2) * horizontal], dim=2)
        return torch.cat([top, top.flip(1) * vertical], dim=1)[:, None]


def mirrored(image: Tensor) -> Tensor:
    """Images (..., H, W) of multiples of 16 with 8 pixels of their mirror image on each side."""
    rows = torch.cat([image[..., :OVERLAP, :].flip(-2), image, image[..., -OVERLAP:, :].flip(-2)], dim=-2)
    return torch.cat([rows[..., :OVERLAP].flip(-1), rows, rows[..., -OVERLAP:].flip(-1)], dim=-1)
