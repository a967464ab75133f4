"""Memory of a training step of the roof task, for one image, beside that of the source system's network.

    python benchmarks/roof_memory.py [--side 1024] [--real]

Each line is a network with ResNet50 and its losses. `kept` are the activations that the forward pass keeps for the
backward pass: bytes of all distinct storages that `saved_tensors_hooks` sees, weights and batch not among them. `peak`
is the most that all tensors of the step take at once, with weights (0.1 GiB), gradients and what checkpointing computes
again. Both are counted on tensors without content (PyTorch's FakeTensorMode), so the source's network needs neither
its memory nor its hours. Convolutions' own scratch memory is in neither. `--real` runs our steps, each in a process of
its own, and adds how much that process grew at most.

The source's layout: ResNet50 to stride 32, 1x1 convolution 2048 to 512, bilinear upsampling x32, and at full size three
heads of a 3x3 convolution 512 to 256, batch norm, ReLU and a 1x1 convolution; cross-entropy of 12 classes, binary
cross-entropy of 4 lines and L1 of depth.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from millrace.roof import model  # noqa: E402  # after the path is set
from millrace.roof.classes import ALL_LINES, HEADS  # noqa: E402  # after the path is set
from millrace.roof.losses import TERMS, roof_losses  # noqa: E402  # after the path is set
from millrace.roof.params import Loss, Model  # noqa: E402  # after the path is set

AZIMUTHS = 8
OURS = {
    "ours": (False, False),
    "ours, checkpointing": (True, False),
    "ours, bf16-mixed": (False, True),
    "ours, checkpointing, bf16-mixed": (True, True),
}
"""Checkpointing, and bfloat16."""


class SourceLayout(nn.Module):
    """The source system's network."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = model.build(Model(encoder="resnet50"), AZIMUTHS).encoder.model
        self.reduce = nn.Conv2d(2048, 512, 1)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(512, 256, 3, padding=1),
                nn.BatchNorm2d(256),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, channels, 1),
            )
            for channels in (12, 4, 1)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        shared = self.reduce(self.encoder(image)[-1])
        shared = F.interpolate(shared, scale_factor=32, mode="bilinear", align_corners=False)
        return [head(shared) for head in self.heads]


def source_step(batch: dict[str, Any]) -> tuple[nn.Module, Callable[[], Tensor]]:
    network = SourceLayout()

    def loss() -> Tensor:
        segments, lines, depth = network(batch["input"])
        target = batch["segments"].long()
        return (
            F.cross_entropy(segments, target)
            + F.binary_cross_entropy_with_logits(lines, torch.zeros_like(lines))
            + F.l1_loss(depth[:, 0], batch["height"])
        )

    return network, loss


def our_step(batch: dict[str, Any], checkpointing: bool, bfloat16: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    network = model.build(Model(encoder="resnet50", checkpointing=checkpointing), AZIMUTHS)
    weights = {"segments": torch.ones(AZIMUTHS + 2), "superstructures": torch.ones(9), "lines": torch.ones(5)}

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = network(batch["input"])
        return roof_losses({name: each.float() for name, each in outputs.items()}, batch, Loss(), HEADS, weights)[
            "loss"
        ]

    return network, loss


def fully_labelled(side: int) -> dict[str, Any]:
    classes = torch.zeros(1, side, side, dtype=torch.uint8)
    return {
        "input": torch.zeros(1, 3, side, side),
        "segments": classes,
        "superstructures": classes.clone(),
        "roof": classes.clone(),
        "lines": classes.clone(),
        "lines_known": torch.full_like(classes, ALL_LINES),
        "height": torch.zeros(1, side, side),
        "weights": torch.ones(1, len(TERMS)),
    }


def counted(make: Callable[[dict[str, Any]], tuple[nn.Module, Callable[[], Tensor]]], side: int) -> tuple[float, float]:
    """GiB that are kept for the backward pass, and that all tensors take at most."""
    with FakeTensorMode():
        batch = fully_labelled(side)
        network, loss = make(batch)
        given = [*network.parameters(), *network.buffers(), *(each for each in batch.values())]
        before = {tensor.untyped_storage()._cdata for tensor in given}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in before:
                kept[storage._cdata] = storage.nbytes()
            return tensor

        tracker = MemTracker()
        tracker.track_external(network, *batch.values())
        with tracker:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                value = loss()
            value.backward()
        peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return sum(kept.values()) / 2**30, peak / 2**30


def grown(name: str, side: int) -> float:
    """GiB that this process grows by in a step."""
    batch = fully_labelled(side)
    checkpointing, bfloat16 = OURS[name]
    _, loss = our_step(batch, checkpointing, bfloat16)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30
    loss().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    title = f"ResNet50, one image of {options.side} x {options.side}, GiB"
    print(f"{title:60}{'kept':>8}{'peak':>8}" + f"{'process':>9}" * options.real)
    kept, peak = counted(source_step, options.side)
    print(f"{'source layout':60}{kept:8.2f}{peak:8.2f}", flush=True)
    for name, (checkpointing, bfloat16) in OURS.items():
        step = partial(our_step, checkpointing=checkpointing, bfloat16=bfloat16)
        own, peak = counted(step, options.side)
        line = f"{name:60}{own:8.2f}{peak:8.2f}"
        if options.real:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                line += f"{pool.submit(grown, name, options.side).result():9.2f}"
        print(f"{line}    kept: 1 / {kept / own:.1f} of the source's", flush=True)


if __name__ == "__main__":
    main()
