"""Small untrained codecs, and images and prepared patches to try them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from millrace.compression.calibration import _expected, _tables
from millrace.compression.codec import Codec
from millrace.compression.codec_model import CodecModel
from millrace.compression.contexts import Contexts
from millrace.compression.model import MIDDLE, SarNetwork
from millrace.compression.store import META, Store, StoreWriter
from millrace.files import write_json

WIDTH, STEP = 8, 0.1
PATCH_PX = 64

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def small_network(seed: int = 0, step: float = STEP) -> SarNetwork:
    """With a restoration that changes pixels: before training it passes them as they are."""
    torch.manual_seed(seed)
    network = SarNetwork(WIDTH, step)
    nn.init.normal_(network.restorer.tail.weight, std=0.1)
    return network


def codec_of(network: SarNetwork) -> CodecModel:
    """A codec whose tables are those that training assumes."""
    model = CodecModel(WIDTH, network.step)
    model.transform.load_state_dict(network.transform.state_dict())
    model.restorer.load_state_dict(network.restorer.state_dict())
    model.set_contexts(Contexts.of(network.scales))
    model.frequencies.copy_(torch.from_numpy(_tables(_expected())))
    return model.eval()


def speckled(height: int, width: int, seed: int = 0) -> Image:
    """Normalised values of soft fields under speckle."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(height, width)), 8, mode="reflect")
    speckle = 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (height, width)))
    return np.clip(0.5 + 2 * fields + speckle / 20, 0, 1).astype(np.float32)


def rows_of(image: Image, valid: Mask | None = None) -> Callable[[int, int], tuple[Image, Mask]]:
    """A band as the codec reads it; invalid pixels hold what must not matter."""
    mask = np.ones(image.shape, bool) if valid is None else valid
    shown = np.where(mask, image, np.float32(np.nan))
    return lambda first, last: (shown[first:last], mask[first:last])


def encoded(codec: Codec, image: Image, block_px: int, valid: Mask | None = None) -> list[bytes]:
    return list(codec.encode(rows_of(image, valid), (image.shape[0], image.shape[1]), block_px))


def decoded(codec: Codec, blocks: list[bytes] | list[bytes | None], shape: tuple[int, int], block_px: int):
    """Pixels and which of them could be decoded, both (H, W)."""
    columns = -(-shape[1] // block_px)
    strips = list(codec.decode(lambda row, column: blocks[row * columns + column], shape, block_px, lambda *_: None))
    return tuple(np.concatenate(parts) for parts in zip(*strips, strict=True))


def latents_of(model: CodecModel, blocks: list[bytes], shape: tuple[int, int], block_px: int) -> NDArray[np.int16]:
    """Latents (256, h, w) of a whole image, put together from its blocks."""
    height, width = (-(-side // 16) for side in shape)
    side = block_px // 16
    latents, data = np.zeros((256, height, width), np.int16), iter(blocks)
    for top in range(0, height, side):
        for left in range(0, width, side):
            place = np.s_[:, top : top + side, left : left + side]
            if block := next(data):
                latents[place] = model.block_coder().decode(block, latents[place].shape[1:])
    return latents


@torch.no_grad()
def synthesised(model: CodecModel, latents: NDArray[np.int16], shape: tuple[int, int]) -> Image:
    """Pixels of a whole image, made all at once."""
    padded = model.transform.mirror(torch.from_numpy(latents).float()[None] * model.step, True, True, True, True)
    image = model.restorer(model.transform.synthesise(padded))[0, 0] + MIDDLE
    return image.clamp(0, 1).numpy()[: shape[0], : shape[1]]


def write_store(folder: Path, patches: int = 6) -> Store:
    """Patches to train and to validate on, every third the latter; none is valid everywhere."""
    folder.mkdir(parents=True)
    with StoreWriter(folder, PATCH_PX) as writer:
        for number in range(patches):
            valid = np.random.default_rng(number).random((PATCH_PX, PATCH_PX)) > 0.1
            side = "validation" if number % 3 == 2 else "train"
            place = {"scene": f"s{number}.tif", "band": 1, "side": side}
            row = place | {"y": 64 * number, "x": 32, "valid_share": float(valid.mean())}
            writer.add_patch(speckled(PATCH_PX, PATCH_PX, number), valid, row)
            size = {"height": PATCH_PX, "width": PATCH_PX, "low": -20.0, "high": 0.0, "enl": 4.4}
            writer.add_row(place | size)
    write_json(folder / META, {"values": "amplitude", "clip": {"per": "scene"}, "patch_px": PATCH_PX})
    return Store(folder)
