"""From a trained network to a codec: contexts in whole numbers, and frequency tables counted on training patches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from millrace.compression.block_coding import dc_passes, steps
from millrace.compression.codec_model import CodecModel
from millrace.compression.contexts import Contexts
from millrace.compression.encoding import encode_latents
from millrace.compression.entropy import DC, KINDS, LIMIT, frequencies_of
from millrace.compression.model import MIDDLE, SarNetwork
from millrace.compression.scales import COUNT, bits_table, scale_values
from millrace.compression.store import Store
from millrace.compression.transform import mirrored

ROUNDS = 2
PRIOR = 30.0
"""Indices that the logistic density counts for, beside those that were seen."""
_TAIL = 4.0  # scales: a table's last index
_LEAST_LIMIT = 3  # an index at the limit pays for its excess, and 1 is common at any scale

Counts = NDArray[np.float64]


def calibrated(network: SarNetwork, store: Store, patches: int) -> CodecModel:
    """The codec of a trained network.

    Args:
        network: Trained.
        store: Prepared patches; those of the training side are used.
        patches: How many of them, spread evenly.
    """
    model = CodecModel(network.restorer.head.out_channels, network.step)
    model.transform.load_state_dict(network.transform.state_dict())
    model.restorer.load_state_dict(network.restorer.state_dict())
    model.set_contexts(Contexts.of(network.scales))
    expected = _expected()
    model.frequencies.copy_(torch.from_numpy(_tables(expected)))
    numbers = store.patches("train").index.to_numpy()
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(patches, len(numbers))).astype(int)]
    for _ in range(ROUNDS):
        counts = np.zeros_like(expected)
        for number in chosen:
            _count(model, torch.from_numpy(store.patch(int(number))[0]), counts)
        model.frequencies.copy_(torch.from_numpy(_tables(counts + PRIOR * expected)))
    return model.eval()


@torch.no_grad()
def _count(model: CodecModel, image: torch.Tensor, counts: Counts) -> None:
    """Add the indices of an image (H, W) to counts (3, 64, 81)."""
    latents = model.transform.analyse(mirrored(image[None, None] - MIDDLE)) / model.step
    indices, quantisers = encode_latents(model, latents[0])
    sizes = steps(np.abs(indices), quantisers).astype(np.int16)
    sizes[0] = 0
    scales = model.contexts.scales(sizes)
    limited = np.clip(indices, -LIMIT, LIMIT) + LIMIT
    np.add.at(counts, (quantisers[1:], scales[1:], limited[1:]), 1)
    features, plane = model.contexts.dc_features(sizes), indices[0].ravel()
    for dc in dc_passes(*indices.shape[1:]):
        prediction, spread = dc.predict(plane)
        error = np.clip(plane[dc.places] - prediction, -LIMIT, LIMIT) + LIMIT
        np.add.at(counts[DC], (model.contexts.dc_scales(features[dc.places], spread), error), 1)


def _expected() -> Counts:
    """Probabilities (3, 64, 81) of indices under the logistic density that training assumes."""
    half = np.exp2(-bits_table(LIMIT).numpy().astype(np.float64)).transpose(1, 0, 2)
    both = np.concatenate([half[..., :0:-1], half], axis=2)
    return np.concatenate([both, both[:1]])


def _tables(counts: Counts) -> NDArray[np.int32]:
    limits = np.clip(np.ceil(_TAIL * scale_values().double().numpy()), _LEAST_LIMIT, LIMIT).astype(int)
    tables = [
        [frequencies_of(counts[kind, scale], int(limits[scale])) for scale in range(COUNT)] for kind in range(KINDS)
    ]
    return np.array(tables, np.int32)
