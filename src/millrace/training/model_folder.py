"""The finished model on disk: `model.safetensors` and `config.json`. Loading one never unpickles anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from millrace.errors import UserError
from millrace.files import whole_folder, write_json

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write weights and configuration; `folder` is replaced only when both are whole."""
    with whole_folder(folder) as partial:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        safetensors.torch.save_file(weights, partial / WEIGHTS)
        write_json(partial / CONFIG, {"format_version": FORMAT_VERSION, **config})


def load_config(folder: Path, task: str) -> dict[str, Any]:
    """Configuration of a model folder.

    Raises:
        UserError: There is none, it cannot be read, or it is of another format version or task.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} holds no model: {CONFIG} is missing. Train one with `dvc repro {task}-train`."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
        found = config.get("format_version") if isinstance(config, dict) else None
        raise UserError(f"{path}: format version {found!r}, this program reads {FORMAT_VERSION}. Train it again.")
    if config.get("task") != task:
        raise UserError(f"{path}: a model of task '{config.get('task')}', expected '{task}'")
    return config


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a safetensors file.

    Args:
        model: Same architecture as the one that was saved.
        path: The file, or a model folder with one.

    Raises:
        UserError: The file is missing or damaged, or its tensors do not fit the model.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        weights = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{file} cannot be read as safetensors: {error}") from None
    expected = model.state_dict()
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    misshapen = [name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape]
    if missing or surplus or misshapen:
        raise UserError(
            f"{file} does not fit this architecture: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(surplus)} unknown {surplus[:3]}, {len(misshapen)} of another shape {sorted(misshapen)[:3]}"
        )
    if broken := sorted(name for name, each in weights.items() if not torch.isfinite(each).all()):
        raise UserError(f"{file} is damaged: {len(broken)} tensors hold values that are no numbers {broken[:3]}")
    model.load_state_dict(weights)
