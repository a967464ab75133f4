"""The `roof` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from millrace import splitting
from millrace.settings import Section
from millrace.splitting import Share
from millrace.training.params import Training

PixelSize = Annotated[float, Field(ge=0.001, le=1000)]
"""Side of a pixel on the ground in metres."""
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class _Source(Section):
    path: str
    """Folder of the data set as it was published."""
    pixel_size_m: PixelSize | None = None
    """Side of a pixel on the ground, for images that do not say it; it overrules what they say."""


class Rid(_Source):
    """RID, Technical University of Munich: azimuth segments and superstructures."""

    format: Literal["rid"]
    fold: int = Field(default=1, ge=1, le=5)
    """Which of the five official splits; each of them has all images, so a union of two would leak."""
    vectors: str | None = None
    """CSV file in the folder with the segments' polygons, `azimuth`, `slope` and `gutter`; gutters become eaves."""


class Roofline(_Source):
    """Roofline-Extraction, Alidoost et al. 2019: eaves, ridges, hips and heights in one imdb.mat."""

    format: Literal["roofline"]
    axes: Literal["swapped", "plain"] = "swapped"
    """Whether rows and columns come exchanged, as h5py gives what MATLAB wrote."""
    split: splitting.Split = splitting.Split()
    scene_block: int = Field(default=10, ge=1)
    """Crops that follow each other in the file and never stand on two sides: they show overlapping ground."""


class Airs(_Source):
    """AIRS, Christchurch: roof masks of large tiles, in its own training, validation and test folders."""

    format: Literal["airs"]


class Generic(_Source):
    """Images with any of masks, lines and heights; see docs/roof.md for the layout."""

    format: Literal["generic"]
    split: splitting.Split = splitting.Split()
    groups: str | None = None
    """CSV file in the folder with columns `image` (stem) and `group`: a group never stands on two sides."""


Source = Annotated[Rid | Roofline | Airs | Generic, Field(discriminator="format")]


class Sample(Section):
    """The synthetic data set: rendered scenes, written as each of the published data sets."""

    rid: int = Field(default=40, ge=8, le=2000)
    """Images in the form of RID."""
    roofline: int = Field(default=60, ge=10, le=5000)
    """Crops in the form of Roofline-Extraction."""
    airs: int = Field(default=4, ge=3, le=100)
    """Tiles in the form of AIRS."""
    full: int = Field(default=12, ge=1, le=2000)
    """Scenes with the whole truth, in the generic form; nobody trains on them."""
    rid_size_px: int = Field(default=256, ge=64)
    airs_size_px: int = Field(default=768, ge=256)
    pixel_size_m: float = Field(default=0.2, gt=0.04, le=1)
    seed: int = Field(default=0, ge=0)


class Prepare(Section):
    azimuths: Literal[4, 8, 16] = 8
    """Azimuth classes; finer ones of a data set are merged, each into the nearest (a tie goes clockwise)."""
    pixel_size_m: PixelSize | None = None
    """All images are resampled to this; null keeps their own pixels."""
    tile_px: int = Field(default=512, ge=64, multiple_of=32)
    """Larger images are cut into windows of at most this side."""
    line_width_px: float = Field(default=1.0, ge=1, le=9)
    """Width at which vector lines are drawn into targets."""
    height_limits_m: tuple[float, float] = Field(default=(-10.0, 500.0), strict=False)
    """Heights outside are taken as unknown, and counted."""
    bad_files: Literal["stop", "drop"] = "stop"
    """What happens when a check refuses a sample: stop before anything is written, or leave it out and report it."""
    max_bad_share: Share = 0.05
    """`drop` stops too where more than this share of a source's samples is bad."""
    max_megapixels: float = Field(default=500.0, gt=0)
    """An image that claims more is refused before it is read."""

    @field_validator("height_limits_m")
    @classmethod
    def _rise(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not limits[0] < limits[1]:
            raise ValueError(f"{list(limits)}: the first must be below the second")
        return limits


class Patches(Section):
    size_px: int = Field(default=128, ge=64, multiple_of=32)
    per_epoch: int = Field(default=320, ge=1)
    """Patches of an epoch, all sources together."""
    roof_share: Share = 0.75
    """Share of patches that are placed on something labelled that is not background; the others lie anywhere."""
    validation_per_source: int = Field(default=48, ge=1)
    """Most validation patches of one source, evenly picked, the same in every epoch."""


class Augmentation(Section):
    """Of training patches. Flips and turns relabel azimuths."""

    flip: Share = 0.5
    """Probability of a flip, for each of the two axes."""
    turn: bool = True
    """Turn by a random multiple of 90 degrees."""
    scale: float = Field(default=1.25, ge=1, le=4)
    """Largest magnification, and its inverse the smallest; heights in metres stay what they are."""
    brightness: float = Field(default=0.15, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, lt=1)
    saturation: float = Field(default=0.2, ge=0, le=1)


class Model(Section):
    architecture: Literal["unet", "fpn"] = "unet"
    """Decoder of segmentation_models_pytorch."""
    encoder: str = "resnet18"
    """Any encoder of timm that gives features at strides 4, 8, 16 and 32."""
    decoder_channels: tuple[int, ...] = Field(default=(128, 96, 64), strict=False)
    """Decoder widths from coarse to fine, of `unet`; `fpn` takes the last one."""
    head_channels: int = Field(default=48, ge=8)
    """Width of the one hidden layer of each head."""
    checkpointing: bool = False
    """Compute the encoder's activations twice instead of keeping them: less memory, more time."""
    encoder_weights: str | None = None
    """Initial weights of the encoder: `imagenet`, for an encoder whose weights a requirement carries, or a safetensors
    file with timm's names; null starts from random numbers."""
    weights: str | None = None
    """File of initial weights (a model.safetensors of this architecture); null starts from random numbers."""


class HeadWeights(Section):
    """0 leaves a head out of the training."""

    segments: float = Field(default=1.0, ge=0)
    superstructures: float = Field(default=1.0, ge=0)
    roof: float = Field(default=1.0, ge=0)
    lines: float = Field(default=1.0, ge=0)
    height: float = Field(default=1.0, ge=0)


class Loss(Section):
    balance: Literal["fixed", "learned"] = "fixed"
    """How the heads' losses add up: by `weights`, or by uncertainties that are learned beside the network (Kendall et
    al. 2018), on top of `weights`."""
    weights: HeadWeights = HeadWeights()
    masked: bool = True
    """False counts what is unlabelled as background, as the source system did: for comparison only."""
    class_weight_power: float = Field(default=0.5, ge=0, le=1)
    """Classes are weighted with (1 / share of the training pixels) to this power, mean 1 over labelled pixels; what is
    drawn of a kind of line with (share of the commonest kind / its own) to this power."""
    focal_gamma: float = Field(default=0.0, ge=0, le=5)
    """Exponent of the focal loss of segments and superstructures; 0 is the cross-entropy."""
    line_dilation_px: float = Field(default=2.0, ge=0)
    """Lines' targets fall off from 1 to 0 over this distance."""
    scale_invariance: Share = 0.5
    """How much of the mean logarithmic error of an image the height loss forgives (Eigen et al. 2014)."""


class Train(Training):
    mix: dict[SourceName, float] = Field(default={})
    """Weight of each source in the batches; one that is not named has 1, and 0 leaves it out."""
    patches: Patches = Patches()
    augmentation: Augmentation = Augmentation()
    model: Model = Model()
    loss: Loss = Loss()

    @model_validator(mode="after")
    def _no_negative_weight(self) -> Self:
        if any(weight < 0 for weight in self.mix.values()):
            raise ValueError(f"mix has a negative weight: {self.mix}")
        return self


class Vectorise(Section):
    """From rasters to planes and lines."""

    line_threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a pixel belongs to a line."""
    roof_threshold: float = Field(default=0.5, gt=0, lt=1)
    min_line_m: float = Field(default=1.0, ge=0)
    """Shorter lines are dropped."""
    snap_m: float = Field(default=0.8, ge=0)
    """Ends of lines that are nearer than this become one junction."""
    simplify_m: float = Field(default=0.3, ge=0)
    """Largest distance between a polygon or line and its simplified form."""
    min_plane_m2: float = Field(default=2.0, ge=0)
    """Smaller roof planes are dropped."""


class Evaluate(Section):
    tile_px: int = Field(default=256, ge=64, multiple_of=32)
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a tile that neighbouring tiles have in common."""
    batch_size: int = Field(default=4, ge=1)
    """Tiles a forward pass."""
    line_tolerance_px: float = Field(default=2.0, ge=0)
    """How far a predicted line pixel may lie from a true one to count as right, and the other way round."""
    boundary_tolerance_px: float = Field(default=2.0, ge=0)
    """The same for the border of the roof mask."""
    vectorise: Vectorise = Vectorise()


class Predict(Section):
    """Of the command `predict`; no stage depends on it."""

    pixel_size_m: PixelSize | None = None
    """Side of a pixel of images that do not say it; null takes the model's training resolution."""


class Roof(Section):
    raw: dict[SourceName, Source] = Field(
        default={
            "rid": Rid(format="rid", path="data/sample/roof/rid", vectors="segments_reviewed.csv"),
            "roofline": Roofline(format="roofline", path="data/sample/roof/roofline", pixel_size_m=0.2),
            "airs": Airs(format="airs", path="data/sample/roof/airs"),
            "full": Generic(
                format="generic",
                path="data/sample/roof/full",
                split=splitting.Split(train=0, validation=0, test=1),
            ),
        },
        min_length=1,
    )
    """The data sets, each under a name of its own; remove one that you do not have."""
    sample: Sample = Sample()
    prepare: Prepare = Prepare()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
