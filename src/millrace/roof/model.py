"""The network: one encoder of timm, one decoder that ends at a quarter of the image's side, and five light heads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from segmentation_models_pytorch.base.modules import Conv2dReLU
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from millrace.errors import UserError
from millrace.roof.classes import HEADS, LINES, SUPERSTRUCTURES
from millrace.roof.params import Model
from millrace.training import model_folder
from millrace.training.encoder_weights import load_encoder_weights, weights_file

TASK = "roof"
STRIDES = (4, 8, 16, 32)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEIGHT_SCALE_M = 4.0
"""A height head's 1 in metres: the size of a house, so that random weights start near the right order."""
LINE_PRIOR = 0.1
"""Probability of a line that random weights start from (Lin et al. 2017, section 3.3): few pixels have one."""
LEAST_PRIOR = 1e-3
"""Of a class that the training data hardly have."""


class Encoder(nn.Module):
    """Features of an RGB image at the four strides.

    Attributes:
        channels: Of the features, fine to coarse.
    """

    def __init__(self, name: str, checkpointing: bool) -> None:
        super().__init__()
        model: Any = timm.create_model(name, features_only=True, pretrained=False)
        strides = list(model.feature_info.reduction())
        channels = list(model.feature_info.channels())
        if [stride for stride in strides if stride in STRIDES] != list(STRIDES):
            raise ValueError(f"{name} has features at strides {strides}, needed are {list(STRIDES)}")
        if str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):
            raise ValueError(f"{name} gives its channels last, and is made for one size of image")
        self._picked = [strides.index(stride) for stride in STRIDES]
        self.channels = [channels[place] for place in self._picked]
        if checkpointing:
            if not hasattr(model, "set_grad_checkpointing"):
                raise ValueError(f"{name} has no checkpointing")
            model.set_grad_checkpointing(True)
        self.model = model
        self._momenta = [norm.momentum for norm in self._norms()] if checkpointing else []

    def forward(self, image: Tensor) -> list[Tensor]:
        # With checkpointing the backward pass repeats this one, which would count again in the running statistics.
        norms = self._norms() if self._momenta else []
        for norm, momentum in zip(norms, self._momenta, strict=True):
            norm.momentum = momentum
        features = self.model(image)
        for norm in norms:
            norm.momentum = 0.0
        return [features[place] for place in self._picked]

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]


class UnetDecoder(nn.Module):
    """Blocks of smp's U-Net from stride 32 up to 4.

    Args:
        encoder_channels: At the four strides, fine to coarse.
        channels: Of the three blocks, coarse to fine.
    """

    def __init__(self, encoder_channels: list[int], channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != len(STRIDES) - 1:
            raise ValueError(f"decoder_channels has {len(channels)} numbers, a unet takes {len(STRIDES) - 1}")
        above = (encoder_channels[-1], *channels[:-1])
        skips = encoder_channels[-2::-1]
        self.blocks = nn.ModuleList(map(UnetDecoderBlock, above, skips, channels))

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, deepest = features
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            deepest = block(deepest, skip.shape[-2], skip.shape[-1], skip)
        return deepest


class RoofNetwork(nn.Module):
    """RGB (N, 3, H, W), float32 from 0 to 1, sides multiples of 32, to the heads' outputs at the same size.

    `segments` (N, azimuths + 2, H, W), `superstructures` (N, 9, H, W), `roof` (N, 1, H, W) and `lines` (N, 5, H, W) are
    logits; `height` (N, 1, H, W) is in metres above the ground, float32, and never negative. The heads compute at a
    quarter of the side, which costs a sixteenth of the memory that they would take at full size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Model, azimuths: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1), persistent=False)
        self.encoder = Encoder(settings.encoder, settings.checkpointing)
        channels = settings.decoder_channels
        self.decoder: nn.Module
        if settings.architecture == "unet":
            self.decoder = UnetDecoder(self.encoder.channels, channels)
        else:
            self.decoder = FPNDecoder(
                self.encoder.channels, len(STRIDES), pyramid_channels=channels[-1], segmentation_channels=channels[-1]
            )
        outputs = (azimuths + 2, len(SUPERSTRUCTURES), 1, len(LINES), 1)
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    Conv2dReLU(channels[-1], settings.head_channels, 3, padding=1),
                    nn.Conv2d(settings.head_channels, count, 1),
                )
                for name, count in zip(HEADS, outputs, strict=True)
            }
        )

        prior = self.get_parameter("heads.lines.1.bias")
        nn.init.constant_(prior, math.log(LINE_PRIOR / (1 - LINE_PRIOR)))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        shared = self.decoder(self.encoder((image - self.mean) / self.std))
        outputs = {name: head(shared) for name, head in self.heads.items()}
        # bfloat16 has steps of 6 cm at 10 m.
        outputs["height"] = HEIGHT_SCALE_M * F.softplus(outputs["height"].float())
        return {
            name: F.interpolate(output, scale_factor=STRIDES[0], mode="bilinear", align_corners=False)
            for name, output in outputs.items()
        }


def build(settings: Model, azimuths: int) -> RoofNetwork:
    """Network with random weights: nothing is downloaded.

    Args:
        settings: The `roof.train.model` section.
        azimuths: Number of azimuth classes.

    Raises:
        UserError: There is no such encoder, or the settings do not go together.
    """
    try:
        return RoofNetwork(settings, azimuths)
    except (AttributeError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"roof.train.model cannot be built from {settings.model_dump()}: {error}") from None


def start_from_priors(network: RoofNetwork, priors: dict[str, NDArray[np.floating]]) -> None:
    """Let heads of random weights begin with the classes' probabilities in the training data.

    Args:
        network: Of `build`.
        priors: Of `segments` and `superstructures`, each (C,); they need not add up to 1.
    """
    for head, prior in priors.items():
        floored = np.maximum(prior / max(prior.sum(), LEAST_PRIOR), LEAST_PRIOR)
        bias = network.get_parameter(f"heads.{head}.1.bias")
        with torch.no_grad():
            bias.copy_(torch.from_numpy(np.log(floored)))


def initialise(network: RoofNetwork, settings: Model) -> list[Path]:
    """Fill a network of `build` with the initial weights that are asked for; returns the files that they come from.

    Raises:
        UserError: A file is missing, cannot be read, or does not fit.
    """
    files = []
    if settings.encoder_weights is not None:
        name = f"tu-{settings.encoder}"  # segmentation_models_pytorch's name of it
        load_encoder_weights(network.encoder, name, settings.encoder_weights)
        files.append(weights_file(name, settings.encoder_weights))
    if settings.weights is not None:
        files.append(Path(settings.weights))
        model_folder.load_weights(network, files[-1])
    return files


def config_of(settings: Model, azimuths: int, pixel_size_m: float, heads: list[str]) -> dict[str, Any]:
    """Content of the model folder's config.json.

    Args:
        settings: The `roof.train.model` section.
        azimuths: Number of azimuth classes.
        pixel_size_m: Side of a pixel on the ground, of the images that it was trained on.
        heads: Those that were trained; what the others put out means nothing.
    """
    return {
        "task": TASK,
        "architecture": settings.model_dump(exclude={"encoder_weights", "weights"}),
        "azimuths": azimuths,
        "pixel_size_m": pixel_size_m,
        "heads": heads,
    }


def load(folder: Path) -> tuple[RoofNetwork, dict[str, Any]]:
    """Network in evaluation mode and configuration of a model folder.

    Raises:
        UserError: The folder holds no model of this task, or a damaged one.
    """
    config = model_folder.load_config(folder, TASK)
    try:
        settings = Model.model_validate(config["architecture"])
        network = build(settings, config["azimuths"])
        config["heads"], config["pixel_size_m"]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{folder / model_folder.CONFIG} is damaged: {error}") from None
    model_folder.load_weights(network, folder)
    return network.eval(), config
