"""The detectron2 backend: its Faster R-CNN, configured from the same parameters and trained by the same engine."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from millrace.detection.model import Detector
from millrace.detection.params import Model
from millrace.errors import UserError

NAMES = {
    "loss_cls": "loss_classifier",
    "loss_box_reg": "loss_box",
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box",
}
ZOO_CONFIG = "model_zoo/configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101}
NORMS = {"batch": "BN", "frozen": "FrozenBN", "group": "GN"}
PIXEL_STD = (57.375, 57.12, 58.395)
"""Of ImageNet, blue first, as in the zoo's configurations that start from random numbers. Its other ones have 1, and
the first convolution of their weights divides instead: `weights.load` converts them."""
POOLED_LEVEL = 6
"""Pyramid level that no encoder has: the one below it, with every second pixel left out."""
VALIDATION_SEED = 0


class Detectron2Detector(Detector):
    """detectron2's Faster R-CNN, which sees blue, green, red from 0 to 255.

    Args:
        network: A GeneralizedRCNN.
        frozen_stages: So many of the encoder's stages, the stem first, keep their weights and their statistics.
    """

    def __init__(self, network: nn.Module, frozen_stages: int) -> None:
        super().__init__()
        self.network: Any = network
        self._frozen_stages = frozen_stages
        for stage in self._frozen():
            stage.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        encoder = self.network.backbone.bottom_up
        return [encoder.stem, *encoder.stages][: self._frozen_stages]

    def train(self, mode: bool = True) -> Detectron2Detector:
        super().train(mode)
        # detectron2's own freezing exchanges the norm layers, and saved weights would fit a frozen network only.
        for stage in self._frozen():
            stage.eval()
        return self

    def configure(self, score_floor: float, nms_iou: float, max_detections: int) -> None:
        last = self.network.roi_heads.box_predictor
        last.test_score_thresh, last.test_nms_thresh, last.test_topk_per_image = score_floor, nms_iou, max_detections

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        blue_first = [{"image": picture.flip(0) * 255} for picture in batch["images"]]
        images = self.network.preprocess_image(blue_first)
        features = self.network.backbone(images.tensor)
        targets = _as_instances(batch["targets"], images.image_sizes) if "targets" in batch else None
        if self.training:
            return {"losses": self._losses(images, features, targets)[0]}
        results: dict[str, Any] = {}
        proposals = None
        if targets is not None:
            results["losses"], proposals = self._validation_losses(images, features, targets)
        if proposals is None:
            proposals, _ = self.network.proposal_generator(images, features)
        found, _ = self.network.roi_heads(images, features, proposals)
        results["detections"] = [
            {"boxes": each.pred_boxes.tensor.float(), "labels": each.pred_classes, "scores": each.scores.float()}
            for each in found
        ]
        return results

    def _losses(self, images: Any, features: dict[str, Tensor], targets: Any) -> tuple[dict[str, Tensor], Any]:
        """Losses, and the proposals unless the network has diverged."""
        from detectron2.utils.events import EventStorage

        with EventStorage():
            try:
                proposals, rpn_losses = self.network.proposal_generator(images, features, targets)
            except FloatingPointError:
                # The engine's guard is to skip the step and name the samples, so no stop here. Every parameter has a
                # part in this loss: processes that train together wait for each one's gradient.
                total = torch.stack([each.sum() for each in self.parameters() if each.requires_grad]).sum()
                return dict.fromkeys(NAMES.values(), total.float() * torch.nan), None
            _, head_losses = self.network.roi_heads(images, features, proposals, targets)
        return {NAMES[name]: loss.float() for name, loss in (head_losses | rpn_losses).items()}, proposals

    def _validation_losses(
        self, images: Any, features: dict[str, Tensor], targets: Any
    ) -> tuple[dict[str, Tensor], Any]:
        """As in training, but nothing learns and no generator moves: the flag of these two modules alone is set, so
        that norm layers inside them stay as they are.
        """
        rpn, heads, device = self.network.proposal_generator, self.network.roi_heads, self.network.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(VALIDATION_SEED)
            rpn.training = heads.training = True
            try:
                return self._losses(images, features, targets)
            finally:
                rpn.training = heads.training = False


def build(settings: Model, classes: int) -> Detectron2Detector:
    """Network with random weights, see `millrace.detection.model.build`. Its weights are named the same whether stages
    are frozen or not.
    """
    cfg = configuration(settings, classes)
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import FPN, GeneralizedRCNN, build_proposal_generator, build_roi_heads
    from detectron2.modeling.backbone import build_resnet_backbone
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool

    model = cfg.MODEL
    # Not detectron2's own builder, which pools a level 6 out of a level 5 whether there are such levels or not.
    backbone = FPN(
        build_resnet_backbone(cfg, ShapeSpec(channels=len(model.PIXEL_MEAN))),
        model.FPN.IN_FEATURES,
        model.FPN.OUT_CHANNELS,
        model.FPN.NORM,
        LastLevelMaxPool() if f"p{POOLED_LEVEL}" in model.RPN.IN_FEATURES else None,
        model.FPN.FUSE_TYPE,
    )
    shapes = backbone.output_shape()
    network = GeneralizedRCNN(
        backbone=backbone,
        proposal_generator=build_proposal_generator(cfg, shapes),
        roi_heads=build_roi_heads(cfg, shapes),
        pixel_mean=model.PIXEL_MEAN,
        pixel_std=model.PIXEL_STD,
        input_format=cfg.INPUT.FORMAT,
    )
    frozen_stages = settings.frozen_stages if settings.weights else 0
    return Detectron2Detector(network.to(memory_format=torch.channels_last), frozen_stages)


def configuration(settings: Model, classes: int) -> Any:
    """The zoo's configuration of a Faster R-CNN with a ResNet-50 and a feature pyramid, and what the parameters change
    of it: for `resnet50_fpn` the classes, the norm and the numbers of boxes; for `fpn` the sizes as well.

    Raises:
        UserError: detectron2 is not installed, or has no such network.
    """
    folder = _folder()
    from detectron2.config import get_cfg

    if settings.architecture not in ("fpn", "resnet50_fpn"):
        raise UserError(
            f"detection.train.model.architecture '{settings.architecture}' is torchvision's; detectron2 has fpn and "
            f"resnet50_fpn"
        )
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / ZOO_CONFIG))
    model = cfg.MODEL
    model.WEIGHTS = ""
    model.DEVICE = "cpu"
    model.PIXEL_STD = list(PIXEL_STD)
    model.BACKBONE.FREEZE_AT = 0
    model.RESNETS.NORM = NORMS[settings.norm]
    model.RPN.PRE_NMS_TOPK_TRAIN = model.RPN.PRE_NMS_TOPK_TEST = 2 * settings.proposals
    model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = settings.proposals
    model.ROI_HEADS.NUM_CLASSES = classes
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = settings.rois
    if settings.architecture == "fpn":
        _resize(model, settings)
    return cfg


def _resize(model: Any, settings: Model) -> None:
    if settings.encoder not in DEPTHS:
        raise UserError(
            f"detection.train.model.encoder '{settings.encoder}' is none of detectron2's {', '.join(DEPTHS)}; "
            f"backend torchvision has every encoder of timm"
        )
    assert settings.anchors_px is not None
    of_encoder = [level for level in settings.levels if level < POOLED_LEVEL]
    model.RESNETS.DEPTH = DEPTHS[settings.encoder]
    if model.RESNETS.DEPTH < 50:
        model.RESNETS.RES2_OUT_CHANNELS = 64
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = [f"res{level}" for level in of_encoder]
    model.FPN.OUT_CHANNELS = settings.channels
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in settings.anchors_px]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(settings.aspect_ratios)]
    model.RPN.IN_FEATURES = [f"p{level}" for level in settings.levels]
    model.ROI_HEADS.IN_FEATURES = [f"p{level}" for level in of_encoder]
    model.ROI_BOX_HEAD.FC_DIM = settings.head


def _as_instances(targets: list[dict[str, Tensor]], sizes: list[tuple[int, int]]) -> list[Any]:
    from detectron2.structures import Boxes, Instances

    return [
        Instances(size, gt_boxes=Boxes(target["boxes"]), gt_classes=target["labels"])
        for target, size in zip(targets, sizes, strict=True)
    ]


def _folder() -> Path:
    """Where detectron2 is installed; its `model_zoo` would say, but that cannot be imported without an old setuptools.

    Raises:
        UserError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.meshgrid(torch.arange(1))  # warns once a process: here, where nobody is told
            import detectron2.modeling
    except ImportError as error:
        raise UserError(
            f"backend detectron2 cannot be imported ({error}). docs/detection.md says how to install it; "
            f"detection.train.model.backend=torchvision needs nothing more"
        ) from None
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)  # of an import in detectron2's pooling
    return Path(detectron2.__file__).parent
