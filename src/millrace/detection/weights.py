"""Initial weights of a whole network, from files of three kinds; nothing in them is run."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from millrace.detection import array_pickle
from millrace.detection.detectron2_network import Detectron2Detector
from millrace.detection.model import Detector
from millrace.errors import UserError

OWN = "network."
"""What names of a `Detector`'s tensors begin with, and those of published weights do not."""
ENCODER = "network.backbone.bottom_up."
HEAD = "network.roi_heads.box_predictor."
"""The last layer: `cls_score`, which has a row for each class and one for the background, and `bbox_pred`."""
STEM = "backbone.bottom_up.stem.conv1.weight"
CONVERTER = "detectron2.checkpoint.c2_model_loading"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by name.

    Args:
        path: `.safetensors`; `.pth` or `.pt` with a state dict, or with one under `model`; or detectron2's `.pkl` with
            NumPy arrays, maybe under `model` or `blobs`.

    Raises:
        UserError: There is no such file, it cannot be read, or it holds something else than tensors.
    """
    if not path.is_file():
        raise UserError(f"weights names {path}, which is not a file; nothing is downloaded")
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".safetensors": safetensors.torch.load_file,
        ".pth": _from_torch,
        ".pt": _from_torch,
        ".pkl": _from_pickle,
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: weights are read from {', '.join(readers)} files")
    try:
        content = readers[path.suffix](path)
    except (OSError, safetensors.SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not content:
        raise UserError(f"{path} holds no tensors by name")
    if wrong := [name for name, each in content.items() if not (isinstance(name, str) and isinstance(each, Tensor))]:
        raise UserError(f"{path} holds other things than tensors by name: {wrong[0]!r}. Save the network's state dict")
    return content


def load(network: Detector, weights: dict[str, Tensor], path: Path) -> list[str]:
    """Fill a network of either backend.

    Args:
        network: With random weights.
        weights: Named as in a model folder, or as the backend's own library names them. Those that detectron2 published
            may be an encoder's alone.
        path: Where they come from, for messages.

    Returns:
        What was left at random numbers, and why: the head for another number of classes, or all but the encoder.

    Raises:
        UserError: Anything else is missing, unknown, of another shape, or no number.
    """
    given, messages = dict(weights), []
    expected = network.state_dict()
    if not any(name.startswith(OWN) for name in given):
        if isinstance(network, Detectron2Detector):
            given = _converted(network, given, path)
        given = {OWN + name: tensor for name, tensor in given.items()}
        if isinstance(network, Detectron2Detector) and all(name.startswith(ENCODER) for name in given):
            given |= {name: tensor for name, tensor in expected.items() if not name.startswith(ENCODER)}
            messages.append(f"{path} holds an encoder alone: the rest of the network starts from random numbers")
    scores = f"{HEAD}cls_score.weight"
    if scores in given and given[scores].ndim == 2 and len(given[scores]) != len(expected[scores]):
        messages.append(
            f"{path} knows {len(given[scores]) - 1} classes, this network has {len(expected[scores]) - 1}: "
            f"its last layer starts from random numbers"
        )
        given |= {name: tensor for name, tensor in expected.items() if name.startswith(HEAD)}
    shared = given.keys() & expected.keys()
    misshapen = sorted(name for name in shared if given[name].shape != expected[name].shape)
    if misshapen:
        raise UserError(f"{path} does not fit: {len(misshapen)} tensors of another shape {misshapen[:3]}")
    if broken := sorted(name for name in shared if not torch.isfinite(given[name]).all()):
        raise UserError(f"{path} is damaged: {len(broken)} tensors hold values that are no numbers {broken[:3]}")
    try:
        # Layers rename what older versions of their library called otherwise, so that only they know what is missing.
        missing, surplus = network.load_state_dict(given, strict=False)
    except RuntimeError as error:
        raise UserError(f"{path} does not fit: {error}") from None
    surplus = [name for name in surplus if not name.endswith("num_batches_tracked")]  # not kept by a frozen norm
    if missing or surplus:
        raise UserError(
            f"{path} does not fit: {len(missing)} tensors missing {missing[:3]}, {len(surplus)} unknown {surplus[:3]}"
        )
    return messages


def _converted(network: Detectron2Detector, given: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights that detectron2 or Caffe2 published, under this network's names and for its pixels."""
    if not any("." in name for name in given):
        given = _from_caffe2(network, given, path)
    given = {name: tensor for name, tensor in given.items() if ".anchor_generator." not in name}  # in older files
    own_mean, own_std = network.network.pixel_mean, network.network.pixel_std
    mean, std = given.pop("pixel_mean", own_mean), given.pop("pixel_std", torch.ones_like(own_std))
    if mean.numel() != 3 or std.numel() != 3 or not torch.allclose(mean.float().flatten(), own_mean.cpu().flatten()):
        raise UserError(f"{path} is for pixels other than blue, green, red with means of {own_mean.flatten().tolist()}")
    if STEM in given and given[STEM].shape[1:2] == (3,):
        given[STEM] = given[STEM] * (own_std.cpu() / std).reshape(1, 3, 1, 1)
    return given


def _from_caffe2(network: Detectron2Detector, blobs: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts

    expected = network.network.state_dict()
    momentum_free = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    logger = logging.getLogger(CONVERTER)
    logger.disabled = True  # what does not fit is said by `load`
    try:
        given = align_and_update_state_dicts(expected, momentum_free, c2_conversion=True)
    except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: its Caffe2 names cannot be converted: {error}") from None
    finally:
        logger.disabled = False
    last = HEAD.removeprefix(OWN)
    given = {last + name if name.startswith(("cls_score.", "bbox_pred.")) else name: given[name] for name in given}
    # The classifier of ImageNet goes; statistics are not in these files, because scale and shift contain them.
    given = {name: tensor for name, tensor in given.items() if not name.startswith("fc1000.")}
    statistics = {name: tensor for name, tensor in expected.items() if ".running_" in name}
    return statistics | given


def _from_torch(path: Path) -> dict[Any, Any]:
    try:
        return _named(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever a damaged or hostile archive makes of it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise pickle.UnpicklingError(f"it is damaged or holds more than tensors ({reason[0]})") from None


def _from_pickle(path: Path) -> dict[Any, Any]:
    data = path.read_bytes()
    content = _named(array_pickle.load(data))
    arrays = {name: each.array for name, each in content.items() if isinstance(each, array_pickle.StoredArray)}
    if sum(array.nbytes for array in arrays.values()) > len(data):
        raise pickle.UnpicklingError("its arrays claim more than the file holds")
    return content | {
        name: torch.from_numpy(array.astype(array.dtype.newbyteorder("="))) for name, array in arrays.items()
    }


def _named(content: Any) -> dict[Any, Any]:
    """The part of a checkpoint that holds the network."""
    for key in ("model", "blobs"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content if isinstance(content, dict) else {}
