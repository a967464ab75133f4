"""The torchvision backend: its Faster R-CNN, as published or on any encoder of timm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import initLevelMapper

from millrace.detection.model import Detector
from millrace.detection.params import Model
from millrace.errors import UserError
from millrace.training.encoder_weights import load_encoder_weights, weights_file

NAMES = {
    "loss_classifier": "loss_classifier",
    "loss_box_reg": "loss_box",
    "loss_objectness": "loss_objectness",
    "loss_rpn_box_reg": "loss_rpn_box",
}
PUBLISHED = {
    "resnet50_fpn": (detection.fasterrcnn_resnet50_fpn, (2, 3, 4, 5)),
    "resnet50_fpn_v2": (detection.fasterrcnn_resnet50_fpn_v2, (2, 3, 4, 5)),
    "mobilenet_v3_large_320_fpn": (detection.fasterrcnn_mobilenet_v3_large_320_fpn, (5, 5)),
}
"""What makes them, and the levels that boxes are pooled from."""
ROI_PX = 7
POOLED_LEVEL = 6
"""Pyramid level that no encoder has: the one below it, with every second pixel left out."""
MAX_GROUPS = 32
VALIDATION_SEED = 0


class TorchvisionDetector(Detector):
    """torchvision's Faster R-CNN, with class 0 as background inside it only."""

    def __init__(self, network: FasterRCNN) -> None:
        super().__init__()
        self.network = network

    def configure(self, score_floor: float, nms_iou: float, max_detections: int) -> None:
        heads = self.network.roi_heads
        heads.score_thresh, heads.nms_thresh, heads.detections_per_img = score_floor, nms_iou, max_detections

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        targets = batch.get("targets")
        if targets is not None:
            targets = [{"boxes": each["boxes"], "labels": each["labels"] + 1} for each in targets]
        if self.training:
            return {"losses": _renamed(self.network(batch["images"], targets))}
        images, targets = self.network.transform(batch["images"], targets)
        features = self.network.backbone(images.tensors)
        proposals, _ = self.network.rpn(images, features)
        found, _ = self.network.roi_heads(features, proposals, images.image_sizes)
        results: dict[str, Any] = {"detections": [each | {"labels": each["labels"] - 1} for each in found]}
        if targets is not None:
            results["losses"] = self._losses(images, features, targets)
        return results

    def _losses(self, images: Any, features: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """As in training, but nothing learns and no generator moves: the flag of these two modules alone is set, so
        that the norm layers inside them stay as they are.
        """
        rpn, heads = self.network.rpn, self.network.roi_heads
        devices = [images.tensors.device] if images.tensors.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(VALIDATION_SEED)
            rpn.training = heads.training = True
            try:
                proposals, rpn_losses = rpn(images, features, targets)
                _, head_losses = heads(features, proposals, images.image_sizes, targets)
            finally:
                rpn.training = heads.training = False
        return _renamed(rpn_losses | head_losses)


def _renamed(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {NAMES[name]: loss for name, loss in losses.items()}


def build(settings: Model, classes: int) -> TorchvisionDetector:
    """Network with random weights, see `millrace.detection.model.build`."""
    options: dict[str, Any] = {
        "rpn_pre_nms_top_n_train": 2 * settings.proposals,
        "rpn_pre_nms_top_n_test": 2 * settings.proposals,
        "rpn_post_nms_top_n_train": settings.proposals,
        "rpn_post_nms_top_n_test": settings.proposals,
        "box_batch_size_per_image": settings.rois,
    }
    if settings.architecture == "fpn":
        network = _on_encoder(settings, classes, options)
        _settle_strides(network, _own_levels(settings))
    else:
        make, levels = PUBLISHED[settings.architecture]
        network = make(weights=None, weights_backbone=None, num_classes=classes + 1, **options)
        _normalise(network, settings.norm)
        _settle_strides(network, levels)
    transform = network.transform
    network.transform = _SameSize(transform.min_size, transform.max_size, transform.image_mean, transform.image_std)
    if settings.frozen_stages and (settings.weights or settings.encoder_weights):
        _freeze(network, settings.frozen_stages)
    return TorchvisionDetector(network.to(memory_format=torch.channels_last))


def _settle_strides(network: FasterRCNN, levels: Sequence[int]) -> None:
    """Tell the pooler the strides of its levels: it would take them from the first picture that it sees, where the
    padding of a small one misleads it, and keep them.
    """
    pooler = network.roi_heads.box_roi_pool
    pooler.scales = [2.0**-level for level in levels]
    pooler.map_levels = initLevelMapper(levels[0], levels[-1], pooler.canonical_scale, pooler.canonical_level)


class _SameSize(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """Normalises and batches pictures, which come at the right size, the same for both backends."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


def _own_levels(settings: Model) -> list[int]:
    """Those that the encoder has."""
    return [level for level in settings.levels if level < POOLED_LEVEL]


def _levels_of(encoder: str) -> Any:
    """What timm says of all levels that an encoder has."""
    return _feature_info(timm.create_model(encoder, features_only=True))


def _feature_info(encoder: nn.Module) -> Any:
    """What timm says of an encoder's outputs."""
    return encoder.feature_info


class _Pyramid(nn.Module):
    """Encoder and feature pyramid. `out_channels` is what `FasterRCNN` asks for."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.name, self.out_channels = settings.encoder, settings.channels
        own = _own_levels(settings)
        try:
            if not timm.is_model(settings.encoder):
                raise ValueError("timm has no such encoder")  # and would look elsewhere for some names
            reductions = _levels_of(settings.encoder).reduction()
            indices = [reductions.index(2**level) for level in own]
            self.encoder = timm.create_model(settings.encoder, features_only=True, out_indices=indices)
            _open_branches(self.encoder)
            # Some encoders keep what comes after the last level that is asked for.
            stack, _, last = _feature_info(self.encoder).module_name()[-1].partition(".")
            if stack == "blocks":
                blocks: Any = self.encoder.blocks
                self.encoder.blocks = blocks[: int(last.partition(".")[0]) + 1]
        except (RuntimeError, ValueError, AttributeError) as error:
            raise UserError(
                f"detection.train.model.encoder '{settings.encoder}' with levels {list(settings.levels)}: {error}. "
                f"It must be an encoder of timm that has these levels"
            ) from None
        extra = LastLevelMaxPool() if POOLED_LEVEL in settings.levels else None
        channels = _feature_info(self.encoder).channels()
        self.fpn = FeaturePyramidNetwork(channels, settings.channels, extra_blocks=extra)
        self._names = [str(level) for level in own]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()  # a frozen stage keeps its statistics too
        return self

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        pyramid: dict[str, Tensor] = self.fpn(dict(zip(self._names, self.encoder(picture), strict=True)))
        return pyramid


def _open_branches(encoder: nn.Module) -> None:
    """Let each residual branch begin without timm's zeros in its last norm layer: on a short schedule from random
    weights those cost .05 AP (docs/results.md, both backends at an equal budget).
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.is_meta and not module.weight.any():
            nn.init.ones_(module.weight)


def _on_encoder(settings: Model, classes: int, options: dict[str, Any]) -> FasterRCNN:
    if settings.anchors_px is None:
        raise ValueError("anchors_px is null")
    backbone = _Pyramid(settings)
    _normalise(backbone, settings.norm)
    pretrained = timm.get_pretrained_cfg(settings.encoder)
    roi_levels = [str(level) for level in _own_levels(settings)]
    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in settings.anchors_px), (settings.aspect_ratios,) * len(settings.levels)
        ),
        box_roi_pool=MultiScaleRoIAlign(roi_levels, ROI_PX, sampling_ratio=2),
        box_head=TwoMLPHead(settings.channels * ROI_PX**2, settings.head),
        box_predictor=FastRCNNPredictor(settings.head, classes + 1),
        image_mean=list(pretrained.mean) if pretrained else None,
        image_std=list(pretrained.std) if pretrained else None,
        **options,
    )


def _normalise(module: nn.Module, norm: str) -> None:
    """Exchange the batch normalisation inside a module by another; the activation that timm's carries stays."""
    if norm == "frozen":
        freeze_batch_norm_2d(module)
    elif norm == "group":
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _GroupNorm(child))
            else:
                _normalise(child, norm)


class _GroupNorm(nn.GroupNorm):
    def __init__(self, replaced: nn.BatchNorm2d) -> None:
        channels = replaced.num_features
        super().__init__(math.gcd(MAX_GROUPS, channels), channels)
        self._activation = getattr(replaced, "act", nn.Identity())

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self._activation(super().forward(features))
        return out


def _freeze(network: FasterRCNN, stages: int) -> None:
    """Stop the training of all that comes before the encoder's level after `stages`; the stem is the first."""
    backbone = network.backbone
    if not isinstance(backbone, _Pyramid):
        raise UserError("detection.train.model.frozen_stages goes with architecture fpn")
    for parameter in _up_to(backbone.encoder, _levels_of(backbone.name).module_name(stages - 1)):
        parameter.requires_grad = False
    backbone.train()


def _up_to(encoder: nn.Module, last: str) -> list[nn.Parameter]:
    """Parameters of a module, by its name in timm's description, and of all before it."""
    names = [name.replace(".", "_") for name, _ in encoder.named_modules()]  # timm flattens some of them
    last = last.replace(".", "_")
    own = [place for place, name in enumerate(names) if name == last or name.startswith(f"{last}_")]
    modules = list(encoder.modules())[: max(own, default=len(names)) + 1]
    return [parameter for module in modules for parameter in module.parameters(recurse=False)]


def load_encoder(network: Detector, settings: Model) -> Path:
    """Fill the encoder with weights learnt on other images; returns their file."""
    assert isinstance(network, TorchvisionDetector)
    assert settings.encoder_weights is not None
    encoder_name = f"tu-{settings.encoder}"
    load_encoder_weights(network.network.backbone.encoder, encoder_name, settings.encoder_weights)
    return weights_file(encoder_name, settings.encoder_weights)
