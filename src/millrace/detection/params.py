"""The `detection` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from millrace import splitting
from millrace.settings import Section
from millrace.splitting import SIDES, Share
from millrace.training.params import Training

Backend = Literal["torchvision", "detectron2"]
Architecture = Literal["fpn", "resnet50_fpn", "resnet50_fpn_v2", "mobilenet_v3_large_320_fpn"]
Unit = Annotated[float, Field(gt=0, lt=1)]


class Sample(Section):
    """The synthetic data set that the sample stage draws."""

    images: int = Field(default=240, ge=12, le=10_000)
    """Image i does not depend on this number: a larger set begins with the smaller one."""
    width_px: int = Field(default=320, ge=128, le=2048)
    height_px: int = Field(default=240, ge=128, le=2048)
    seed: int = Field(default=0, ge=0)


class Given(Section):
    """Lists of a split that came with the data: files of the raw folder, each a text file with a name a line or a COCO
    file; null where there is none.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None

    @property
    def lists(self) -> dict[str, str]:
        """Of the sides that have one."""
        return {side: name for side in SIDES if (name := getattr(self, side)) is not None}


class Split(splitting.Split):
    """By image: duplicates stay together, and every side has its share of each class. Images that a given list names
    are on its side; without any list all are dealt by share, and with one those that no list names are left out.
    """

    train: Share = 0.8
    validation: Share = 0.1
    test: Share = 0.1
    given: Given = Given()


class Policy(Section):
    """What happens with each kind of finding. `stop` ends the command before anything is written, with every finding
    listed; `drop` leaves the box or the image out and reports it.
    """

    image_missing: Literal["stop", "drop"] = "stop"
    image_unreadable: Literal["stop", "drop"] = "stop"
    """Also one whose path leaves the raw folder."""
    image_size: Literal["stop", "drop", "keep"] = "stop"
    """The stated size is not the file's; `keep` believes the file."""
    image_turned: Literal["stop", "drop", "turn", "ignore"] = "stop"
    """EXIF says that the picture is to be shown turned, and the stated size does not tell which of the two the boxes
    mean: `turn` it, or `ignore` the tag. Where the stated size tells, it is believed."""
    unknown_image: Literal["stop", "drop"] = "stop"
    """A box of an image that is not in the file."""
    undeclared_category: Literal["stop", "drop"] = "stop"
    box_not_finite: Literal["stop", "drop"] = "stop"
    box_empty: Literal["stop", "drop"] = "drop"
    """Width or height of zero or less."""
    box_outside: Literal["stop", "drop", "clip"] = "clip"
    """Partly out of the frame: cut to it. One that is wholly outside is dropped by `clip` too."""
    box_repeated: Literal["stop", "drop", "keep"] = "keep"
    """Same class and nearly the same place as another of its image (see `repeated_iou`)."""
    image_empty: Literal["stop", "drop", "keep"] = "keep"
    """No box: an example of background."""
    category_unused: Literal["stop", "drop", "keep"] = "keep"
    """A category without a box: kept, it is a class that is never found."""
    leakage: Literal["stop", "drop"] = "stop"
    """An image, or a copy of it, on two given lists: `drop` takes it from the list that comes first of training,
    validation and test, so that what is tested on was never trained on."""


class Prepare(Section):
    format: Literal["auto", "coco", "voc"] = "auto"
    annotations: tuple[str, ...] = Field(default=(), strict=False)
    """Files (COCO) or folders (VOC) within the raw folder; empty looks for them."""
    images: str | None = None
    """Folder within the raw folder that file names are relative to; null looks where such data sets have it."""
    voc_first_pixel: Literal[0, 1] = Field(default=0)
    """Number of the leftmost and topmost pixel in VOC files: 1 in those of the VOC challenge, 0 in most others."""
    policy: Policy = Policy()
    crowds: Literal["ignore", "drop"] = "ignore"
    """Boxes marked as a crowd: neither trained on nor counted as missed or wrong, or not there at all."""
    difficult: Literal["keep", "ignore", "drop"] = "keep"
    """Boxes that VOC marks as difficult; `ignore` as for crowds."""
    repeated_iou: Unit = 0.9
    """Overlap of two boxes from which they count as the same box twice."""
    max_megapixels: float = Field(default=100.0, gt=0)
    """An image that claims more is refused unread."""
    max_megabytes: float = Field(default=1000.0, gt=0)
    """An annotation file larger than this is refused unread."""
    split: Split = Split()


class Resize(Section):
    short_side_px: int = Field(default=240, ge=32)
    """Height or width, whichever is less, of what the network sees."""
    long_side_px: int = Field(default=480, ge=32)
    """The other side at most; the short one gives way."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.long_side_px < self.short_side_px:
            raise ValueError(f"long_side_px {self.long_side_px} is less than short_side_px {self.short_side_px}")
        return self


class Augmentation(Section):
    """Of training images; validation and prediction see them resized only."""

    flip: Share = 0.5
    """Probability of a horizontal flip."""
    flip_vertical: Share = 0.0
    """Of a vertical one, for pictures without an up and down."""
    turn: bool = False
    """Turn by a random multiple of 90 degrees, likewise."""
    scale: float = Field(default=1.2, ge=1, le=8)
    """Largest magnification of the picture, and its inverse the smallest (large-scale jitter: 2 and more)."""
    crop: Share = 0.0
    """Probability of a random crop."""
    crop_share: float = Field(default=0.6, gt=0, le=1)
    """Least side of a crop, as a share of the picture's."""
    min_visible: Share = 0.4
    """A box of which a crop leaves a smaller share is dropped."""
    mosaic: Share = 0.0
    """Probability that a sample is put together from four images."""
    brightness: float = Field(default=0.1, ge=0, lt=1)
    contrast: float = Field(default=0.1, ge=0, lt=1)
    saturation: float = Field(default=0.1, ge=0, lt=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)


class Model(Section):
    backend: Backend = "torchvision"
    architecture: Architecture = "fpn"
    """`fpn` is a Faster R-CNN on any encoder, with the sizes below; the others are torchvision's own, as published."""
    encoder: str = "tf_efficientnet_lite0"
    """Only `fpn`: name in timm; detectron2 has resnet18, resnet34, resnet50 and resnet101."""
    encoder_weights: str | None = None
    """Only `fpn` on torchvision: `imagenet`, for an encoder whose weights a requirement carries, or a safetensors file
    with timm's names; null starts from random numbers."""
    weights: str | None = None
    """File of initial weights of the whole network: a model.safetensors, a PyTorch state dict, or detectron2's .pkl.
    A head for another number of classes is replaced."""
    norm: Literal["batch", "frozen", "group"] = "batch"
    """Normalisation: by batch, with the statistics that the encoder's weights came with, or by groups of channels."""
    frozen_stages: int = Field(default=0, ge=0, le=5)
    """Only with weights: this many stages of the encoder are not trained."""
    levels: tuple[int, ...] = Field(default=(3, 4, 5), strict=False, min_length=1)
    """Only `fpn`: pyramid levels; level n sees the picture at a 2**n-th of its size."""
    channels: int = Field(default=96, ge=8, le=512)
    """Only `fpn`: of the pyramid."""
    head: int = Field(default=256, ge=8, le=4096)
    """Only `fpn`: width of the two layers that classify a box."""
    anchors_px: tuple[PositiveFloat, ...] | None = Field(default=None, strict=False)
    """Only `fpn`: side of a square anchor for each level, in pixels of what the network sees; null fits them to the
    training boxes."""
    aspect_ratios: tuple[PositiveFloat, ...] = Field(default=(0.5, 1.0, 2.0), strict=False, min_length=1)
    """Height to width of the anchors."""
    proposals: int = Field(default=500, ge=1)
    """Boxes that the first stage passes to the second, for each image."""
    rois: int = Field(default=128, ge=8)
    """Of these, how many of an image are trained on."""

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if list(self.levels) != list(range(self.levels[0], self.levels[0] + len(self.levels))):
            raise ValueError(f"levels {list(self.levels)} must be consecutive")
        if not 2 <= self.levels[0] <= 5 or self.levels[-1] > 6:
            raise ValueError(f"levels {list(self.levels)} must begin with 2 to 5 and end with 6 at most")
        if self.anchors_px is not None and len(self.anchors_px) != len(self.levels):
            raise ValueError(f"anchors_px has {len(self.anchors_px)} sizes for {len(self.levels)} levels")
        return self


class Train(Training):
    resize: Resize = Resize()
    augmentation: Augmentation = Augmentation()
    model: Model = Model()
    group_by_shape: bool = True
    """Batches of upright or of wide pictures: less padding."""
    repeat: float = Field(default=0.0, ge=0, le=1)
    """Images with a class that fewer than this share of the images have are drawn more often (repeat-factor sampling);
    0 draws each once an epoch."""
    average_decay: float | None = Field(default=None, gt=0, lt=1)
    """Keep an exponential moving average of the weights, and validate and save that; null keeps the weights."""


class Evaluate(Section):
    batch_size: int = Field(default=4, ge=1)
    score_floor: Unit = 0.02
    """Boxes with a lower score are not taken from the network at all."""
    nms_iou: Unit = 0.5
    """Of two boxes of a class that overlap more than this, the one with the lower score goes."""
    max_detections: int = Field(default=100, ge=1)
    """Boxes of an image."""
    match_iou: Unit = 0.5
    """Overlap from which a box counts as found, in precision, recall, F1, the confusion table and the errors."""
    examples: int = Field(default=6, ge=0, le=100)
    """Pictures of each kind."""


class Predict(Section):
    """Of the command `predict`; no stage depends on it."""

    score: Unit | None = None
    """Least score of a box that is reported; null takes the one that was best on validation."""
    tile_px: int | None = Field(default=None, ge=64)
    """Side of the tiles of an image whose objects would vanish if it were resized whole; null never cuts."""
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a tile that neighbouring tiles have in common: an object has to fit into it."""
    crops: bool = False
    """Write a picture of each box too."""


class Detection(Section):
    raw: str = "data/sample/detection"
    """Folder with images, and COCO files or VOC's `Annotations/`."""
    sample: Sample = Sample()
    prepare: Prepare = Prepare()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
