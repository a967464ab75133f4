"""The torchvision network in formats that run without this project, each checked against the original."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from millrace.detection.model import load
from millrace.detection.params import Detection
from millrace.detection.torchvision_network import TorchvisionDetector
from millrace.errors import UserError
from millrace.training.export import TOLERANCE, export_path

OUTPUTS = ("boxes", "scores", "labels")
OPSET = 17
"""From 16 on ONNX's RoiAlign is torchvision's."""
SIZES = ((96, 160), (171, 100))
"""Height and width of pictures that an export is tried on, beside the example's; not all are multiples of a stride."""
SCENES = 6
NUDGE = 3e-6
"""Change of a picture that is to a network about what another order of its sums is."""

Found = tuple[Tensor, Tensor, Tensor]
Run = Callable[[Tensor], Found]


def export_model(folder: Path, kind: str, out: Path | None, params: Detection) -> tuple[Path, float]:
    """The command `export`: a trained model of the torchvision backend as ONNX or TorchScript.

    Args:
        folder: Model folder.
        kind: Format.
        out: File to write, see `export_path`.
        params: `evaluate` says what of the found boxes is kept.

    Returns:
        The file and the largest difference found.

    Raises:
        UserError: The model or the format is another, or see `export_onnx`.
    """
    exporters = {"onnx": export_onnx, "torchscript": export_torchscript}
    path = export_path(kind, folder, out)
    if kind not in exporters:
        raise UserError(f"PyTorch cannot express this network as {kind}, only as {' and '.join(exporters)}")
    network, config = load(folder)
    if not isinstance(network, TorchvisionDetector):
        raise UserError(f"{folder} was trained with detectron2; only models of the torchvision backend are exported")
    kept, short = params.evaluate, config["resize"]["short_side_px"]
    network.configure(kept.score_floor, kept.nms_iou, kept.max_detections)
    return path, exporters[kind](network, path, _scene(short, short * 4 // 3, seed=0))


def export_onnx(network: TorchvisionDetector, path: Path, example: Tensor) -> float:
    """Write a network as ONNX, and compare what onnxruntime finds with what the network finds.

    The file takes `image`, RGB (1, 3, height, width), float32 from 0 to 1, of any height and width, resized as in
    training. It gives `boxes` (N, 4: left, top, right, bottom in pixels of `image`), `scores` (N,), the highest first,
    and `labels` (N,), class numbers from 0. Score floor, suppression and number of boxes are those that the network is
    configured with. PyTorch's newer exporter does not take torchvision's networks: it stops at their suppression.

    Args:
        network: In evaluation mode, on the CPU.
        path: File to write.
        example: Picture as above.

    Returns:
        The largest difference found: of scores, or of the edges of boxes as a share of the picture's longer side.

    Raises:
        UserError: PyTorch cannot express the network, other boxes or classes are found, or they differ by more than
            1e-4; nothing is written.
    """
    return _export(network, path, example, _write_onnx)


def export_torchscript(network: TorchvisionDetector, path: Path, example: Tensor) -> float:
    """As `export_onnx`, but for `torch.jit.load`; what it gives is a tuple in the same order."""
    return _export(network, path, example, _write_torchscript)


class _OnePicture(nn.Module):
    def __init__(self, network: TorchvisionDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Found:
        found = self.network({"images": [image[0]]})["detections"][0]
        return found["boxes"], found["scores"], found["labels"]


def _export(
    network: TorchvisionDetector, path: Path, example: Tensor, write: Callable[[nn.Module, Tensor, Path], Run]
) -> float:
    single = _OnePicture(network).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")  # PyTorch takes no file name that begins with a dot

    sizes = ((int(example.shape[2]), int(example.shape[3])), *SIZES)

    def compare(pictures: Sequence[Tensor]) -> float:
        try:
            run = write(single, example, partial)
        except Exception as error:  # each exporter raises its own kinds
            raise UserError(f"{path}: the format cannot express this network: {error}") from error
        return max(_difference(single, run, picture, path) for picture in pictures)

    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            pictures = [_steady(single, *size) for size in sizes]
            differences = []
            if not any(len(single(picture)[1]) for picture in pictures):
                # A file that finds nothing would agree with any network that finds nothing.
                with _lower_floor(network, single, pictures):
                    differences.append(compare([_steady(single, *size) for size in sizes]))
            differences.append(compare(pictures))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return max(differences)


@contextmanager
def _lower_floor(network: TorchvisionDetector, single: nn.Module, pictures: Sequence[Tensor]) -> Iterator[None]:
    """Let half of the best score in any of the pictures be enough."""
    heads = network.network.roi_heads
    floor, heads.score_thresh = heads.score_thresh, 0.0
    try:
        scores = torch.cat([single(picture)[1] for picture in pictures])
        heads.score_thresh = float(scores.max()) / 2
        yield
    finally:
        heads.score_thresh = floor


def _steady(single: nn.Module, height: int, width: int) -> Tensor:
    """Picture with boxes of which none hangs on rounding, as one of two equal scores does that suppress each other."""
    for seed in range(SCENES):
        picture = _scene(height, width, seed)
        found = single(picture)
        nudge = NUDGE * torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
        if len(found[1]) and _apart(found, single(picture + nudge), max(height, width)) <= TOLERANCE:
            return picture
    return _scene(height, width, 0)


def _scene(height: int, width: int, seed: int) -> Tensor:
    """Bright and dark rectangles on noise, (1, 3, height, width)."""
    rng = np.random.default_rng((height, width, seed))
    picture = rng.uniform(0.3, 0.6, (1, 3, height, width))
    for _ in range(12):
        top, left = rng.integers(0, height), rng.integers(0, width)
        rows, columns = rng.integers(8, 48, 2)
        picture[..., top : top + rows, left : left + columns] = rng.random((3, 1, 1))
    return torch.from_numpy(picture.astype(np.float32))


def _difference(single: nn.Module, run: Run, picture: Tensor, path: Path) -> float:
    """Largest difference in a picture, see `export_onnx`."""
    expected, found = single(picture), run(picture)
    where = f"{path} is not written: in a picture of {picture.shape[3]} x {picture.shape[2]} pixels it"
    difference = _apart(expected, found, max(picture.shape[2:]))
    if not np.isfinite(difference):
        raise UserError(f"{where} finds {len(found[1])} boxes that are not the {len(expected[1])} of the model")
    if not difference <= TOLERANCE:
        raise UserError(f"{where} differs from the model by {difference:.3g}, more than {TOLERANCE}")
    return difference


def _apart(first: Found, second: Found, side: int) -> float:
    """Largest difference of scores, or of edges as a share of `side`; infinite where numbers or classes differ."""
    (boxes, scores, labels), (other_boxes, other_scores, other_labels) = first, second
    if len(labels) != len(other_labels):
        return float("inf")
    if len(labels) == 0:
        return 0.0
    apart = (boxes[:, None] - other_boxes[None]).abs().amax(2) / side
    apart = torch.maximum(apart, (scores[:, None] - other_scores[None]).abs())
    apart[labels[:, None] != other_labels[None]] = torch.inf
    # Boxes of nearly equal scores may change places. The assignment takes no infinities.
    pairs = linear_sum_assignment(apart.nan_to_num(1e6, 1e6).clamp(max=1e6).numpy())
    return float(apart[pairs].max())


def _write_onnx(single: nn.Module, example: Tensor, path: Path) -> Run:
    import onnx
    import onnxruntime

    free = {name: {0: "boxes"} for name in OUTPUTS}
    torch.onnx.export(
        single, (example,), str(path), dynamo=False, opset_version=OPSET, input_names=["image"],
        output_names=list(OUTPUTS), dynamic_axes={"image": {2: "height", 3: "width"}, **free},
    )  # fmt: skip
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(picture: Tensor) -> Found:
        boxes, scores, labels = (torch.from_numpy(each) for each in session.run(None, {"image": picture.numpy()}))
        return boxes, scores, labels

    return run


def _write_torchscript(single: nn.Module, example: Tensor, path: Path) -> Run:
    torch.jit.trace(single, example, check_trace=False).save(str(path))
    loaded: Run = torch.jit.load(str(path))
    return loaded
