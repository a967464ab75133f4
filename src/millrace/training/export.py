"""A trained network in formats that run without this project, each checked against the original."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from millrace.errors import UserError

TOLERANCE = 1e-4
SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
BATCH, HEIGHT, WIDTH = 0, 2, 3
MULTIPLE = 32  # encoders halve an image five times
LARGEST_SIDE = 2**17


def export_path(kind: str, folder: Path, out: Path | None = None) -> Path:
    """File to write: `out`, or beside the model folder, with its name and the format's ending.

    (The folder itself is an output of the pipeline, and a stranger in it would make that look changed.)

    Raises:
        UserError: The file's ending is not the format's.
    """
    path = out or folder.with_suffix(SUFFIXES[kind])
    if path.suffix != SUFFIXES[kind]:
        raise UserError(f"{path}: a file of format {kind} ends in {SUFFIXES[kind]}")
    return path


def export(network: nn.Module, example: Tensor, kind: str, folder: Path, out: Path | None = None) -> tuple[Path, float]:
    """Write an image network (N, C, H, W) -> (N, K, H, W) and compare the file's output with the network's.

    Batch size, height and width stay free in the file. The comparison runs on the example and on an input of another
    batch size, height and width.

    Args:
        network: In evaluation mode.
        example: Input (N, C, H, W) with N > 1 and H != W, so that nothing is fixed by accident.
        kind: `onnx`, `torchscript` or `torch-export`.
        folder: Model folder, see `export_path`.
        out: Likewise.

    Returns:
        The file and the largest absolute difference found.

    Raises:
        UserError: The file's ending is not the format's, the format cannot express the network, or the outputs differ
            by more than 1e-4.
    """
    path = export_path(kind, folder, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")  # PyTorch takes no file name that begins with a dot
    write = {"onnx": _write_onnx, "torchscript": _write_torchscript, "torch-export": _write_torch_export}[kind]
    other = torch.rand(1, example.shape[1], 3 * MULTIPLE, 2 * MULTIPLE, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        expected = [network(image) for image in (example, other)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            run = write(network, example, partial)
        except Exception as error:  # each exporter raises its own kinds
            partial.unlink(missing_ok=True)
            raise UserError(f"{kind} cannot express this network: {error}") from error
        found = [run(image) for image in (example, other)]
    difference = max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))
    if not difference <= TOLERANCE:
        partial.unlink()
        raise UserError(
            f"The {kind} file differs from the model by {difference:.3g}, more than {TOLERANCE}; not written"
        )
    partial.replace(path)
    return path, difference


Run = Callable[[Tensor], Tensor]


def _dynamic_shapes() -> tuple[dict[int, Any]]:
    # Sides are multiples of what the encoder divides them by: the exporter is told so by counting in that unit.
    batch = torch.export.Dim("batch", min=1)
    rows, columns = (torch.export.Dim(name, min=1, max=LARGEST_SIDE // MULTIPLE) for name in ("rows", "columns"))
    return ({BATCH: batch, HEIGHT: MULTIPLE * rows, WIDTH: MULTIPLE * columns},)


def _write_onnx(network: nn.Module, example: Tensor, path: Path) -> Run:
    import onnx
    import onnxruntime

    program = torch.onnx.export(
        network, (example,), input_names=["image"], output_names=["output"], dynamo=True, external_data=False,
        dynamic_shapes=_dynamic_shapes(), verbose=False,
    )  # fmt: skip
    assert program is not None
    program.save(str(path))
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(session.run(None, {"image": image.numpy()})[0]))

    return run


def _write_torchscript(network: nn.Module, example: Tensor, path: Path) -> Run:
    torch.jit.trace(network, example).save(str(path))
    loaded: Run = torch.jit.load(str(path))
    return loaded


def _write_torch_export(network: nn.Module, example: Tensor, path: Path) -> Run:
    program = torch.export.export(network, (example,), dynamic_shapes=_dynamic_shapes())
    torch.export.save(program, str(path))
    loaded: Run = torch.export.load(str(path)).module()
    return loaded
