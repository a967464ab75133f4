"""The encoder's choice of indices, with the contexts and tables that the decoder will use."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millrace.compression.block_coding import quantisers_of
from millrace.compression.codec_model import CodecModel
from millrace.compression.model import BIT_COST, quantised

PASSES = 3


def encode_latents(model: CodecModel, latents: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices and quantisers (256, h, w) of a block's latents (256, h, w), in steps; channel 0 has quantiser 0."""
    contexts = model.contexts

    def scales_of(sizes: Tensor) -> Tensor:
        sizes = sizes[0].clone()
        sizes[0] = 0
        whole = sizes.clamp(max=np.iinfo(np.int16).max).numpy().astype(np.int16)
        return torch.from_numpy(contexts.scales(whole))[None]

    found, _ = quantised(latents[None], scales_of, model.bits(), BIT_COST, PASSES)
    indices = found[0].numpy()
    quantisers = np.zeros_like(indices)
    quantisers[1:] = quantisers_of(indices[1:])
    return indices, quantisers
