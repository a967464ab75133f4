"""The network: an encoder-decoder of segmentation_models_pytorch with a foreground and a distance channel."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from millrace.errors import UserError
from millrace.spheroid.params import Model
from millrace.training import model_folder
from millrace.training.encoder_weights import load_encoder_weights, weights_file

TASK = "spheroid"
CHANNELS = ("foreground", "distance")


def build(settings: Model) -> nn.Module:
    """Network from normalised grey (N, 1, H, W), sides multiples of 32, to logits (N, 2, H, W) of `CHANNELS`.

    Weights are random: nothing is downloaded.

    Raises:
        UserError: The architecture or encoder is unknown, or they do not go together.
    """
    architectures = {name for name in dir(smp) if isinstance(getattr(smp, name), type)}
    if settings.architecture not in architectures:
        raise UserError(
            f"spheroid.train.model.architecture '{settings.architecture}' is none of {', '.join(sorted(architectures))}"
        )
    architecture = getattr(smp, settings.architecture)
    options: dict[str, Any] = {}
    if settings.decoder_channels is not None:
        # Some architectures would swallow a surplus keyword without a word.
        if "decoder_channels" not in inspect.signature(architecture).parameters:
            raise UserError(f"{settings.architecture} has no spheroid.train.model.decoder_channels; set it to null")
        options["decoder_channels"] = settings.decoder_channels
    try:
        network: nn.Module = architecture(
            encoder_name=settings.encoder, encoder_weights=None, in_channels=1, classes=len(CHANNELS), **options
        )
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"spheroid.train.model cannot be built from {settings.model_dump()}: {error}") from None
    return network if settings.magnification == 1 else Magnified(network, settings.magnification)


class Magnified(nn.Module):
    """The network on an enlarged image, its logits averaged back to the image's pixels.

    Encoders halve the image in their first layer, so objects of a few pixels blur into their neighbours.
    """

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network = network
        self._factor = factor

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 2, H, W)."""
        large = functional.interpolate(image, scale_factor=self._factor, mode="bilinear", align_corners=False)
        return functional.avg_pool2d(self.network(large), self._factor)


class Probabilities(nn.Module):
    """The network with its logits turned into values from 0 to 1: what is exported and what prediction runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 2, H, W)."""
        probabilities: Tensor = self.network(image).sigmoid()
        return probabilities


def initialise(network: nn.Module, settings: Model) -> list[Path]:
    """Fill a network of `build` with the initial weights that are asked for; returns the files that they come from.

    Raises:
        UserError: A file is missing, cannot be read, or does not fit.
    """
    files = []
    if settings.encoder_weights is not None:
        plain = network.network if isinstance(network, Magnified) else network
        load_encoder_weights(plain.get_submodule("encoder"), settings.encoder, settings.encoder_weights)
        files.append(weights_file(settings.encoder, settings.encoder_weights))
    if settings.weights is not None:
        files.append(Path(settings.weights))
        model_folder.load_weights(network, files[-1])
    return files


def config_of(settings: Model, preprocessing: dict[str, Any]) -> dict[str, Any]:
    """What the model folder keeps beside the weights."""
    architecture = settings.model_dump(exclude={"weights", "encoder_weights"})
    return {"task": TASK, "model": architecture, "preprocessing": preprocessing, "channels": list(CHANNELS)}


def load_for_export(folder: Path) -> tuple[Probabilities, Tensor]:
    """The network that `export` writes, and an input to check it with."""
    network, _ = load(folder)
    return network, torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))


def load(folder: Path) -> tuple[Probabilities, dict[str, Any]]:
    """Trained network in evaluation mode, and its configuration.

    Raises:
        UserError: The folder holds no model of this task, or a damaged one.
    """
    config = model_folder.load_config(folder, TASK)
    try:
        settings = Model.model_validate(config["model"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder / model_folder.CONFIG} does not describe a model: {error}") from None
    network = build(settings)
    model_folder.load_weights(network, folder)
    return Probabilities(network).eval(), config
