"""The `compression` section of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from millrace.settings import Section
from millrace.splitting import Share, Split
from millrace.training.params import Training

Percentile = Annotated[float, Field(ge=0, le=100)]


class Sample(Section):
    scenes: int = Field(default=16, ge=3, le=10_000)
    size_px: int = Field(default=512, ge=64, le=4096)
    """Height and width of a scene."""
    looks: float = Field(default=4.4, ge=1, le=100)
    """Of the speckle before it is correlated: about 4.4 in Sentinel-1 IW GRDH."""
    seed: int = Field(default=0, ge=0)


class Clip(Section):
    """Decibels that become 0 and 1; what lies outside is saturated."""

    per: Literal["scene", "dataset"] = "scene"
    """`scene`: percentiles of each band of each scene, written into its compressed file; `dataset`: one range for all,
    the medians over the bands of the training scenes."""
    low_percentile: Percentile = 1.0
    high_percentile: Percentile = 99.0
    fixed: tuple[float, float] | None = Field(default=None, strict=False)
    """A range in decibels that takes the place of percentiles."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.low_percentile >= self.high_percentile:
            raise ValueError(
                f"low_percentile {self.low_percentile:g} must be below high_percentile {self.high_percentile:g}"
            )
        if self.fixed is not None and self.fixed[0] >= self.fixed[1]:
            raise ValueError(f"fixed {list(self.fixed)} must ascend")
        return self


class Prepare(Section):
    values: Literal["amplitude", "power", "decibel", "linear"] = "amplitude"
    """What the pixels are: amplitude (20 log10), power (10 log10), decibels already, or not radar at all (as they are).
    Refused where the data contradict it."""
    bands: tuple[int, ...] | None = Field(default=None, strict=False)
    """Numbers of the bands to take, 1 the first; null takes all. Each band is an image of its own."""
    clip: Clip = Clip()
    patch_px: int = Field(default=256, ge=32, le=4096, multiple_of=16)
    stride_px: int = Field(default=128, ge=16)
    min_valid_share: Share = 0.9
    """Patches with a smaller share of valid pixels are left out."""
    bad_files: Literal["stop", "drop"] = "stop"
    max_megapixels: float = Field(default=1000.0, gt=0)
    """A scene that claims more is refused unread."""
    split: Split = Split()


MAX_WIDTH = 512
MS_SSIM_SIDE = 160


class Model(Section):
    width: int = Field(default=48, ge=8, le=MAX_WIDTH)
    """Channels of the network that restores decoded images."""


class Loss(Section):
    """What is minimised: bits per pixel + lambda * 255^2 * distortion, the weighted sum of these."""

    mse: float = Field(default=1.0, ge=0)
    ms_ssim: float = Field(default=0.0, ge=0)
    """Of 1 - MS-SSIM. It needs crops above 160 pixels."""
    texture: float = Field(default=0.0, ge=0)
    """Of the mean squared difference between the standard deviations of 7 x 7 windows: keeps the speckle's strength."""


class Train(Training):
    crop_px: int = Field(default=128, ge=32, multiple_of=16)
    """Side of the squares that are cut from patches, at most their size."""
    per_patch: int = Field(default=1, ge=1)
    """Crops of each patch an epoch."""
    model: Model = Model()
    loss: Loss = Loss()
    calibration_patches: int = Field(default=24, ge=1)
    """Training patches that are encoded to count the frequency tables."""

    @model_validator(mode="after")
    def _similarity_has_room(self) -> Self:
        if self.loss.ms_ssim and self.crop_px <= MS_SSIM_SIDE:
            raise ValueError(f"loss.ms_ssim needs crop_px above {MS_SSIM_SIDE}, and it is {self.crop_px}")
        return self


class Evaluate(Section):
    bits: Literal[8, 16] = 8
    """Of the normalised image that all codecs are given."""
    codecs: tuple[Literal["jpeg2000", "jpegxl", "webp", "jpeg"], ...] = Field(
        default=("jpeg2000", "jpegxl", "webp", "jpeg"), strict=False
    )
    """Peers. BD-rates are against JPEG 2000, which has to be one of them."""
    rates: tuple[Annotated[float, Field(gt=0, le=16)], ...] = Field(
        default=(0.1, 0.15, 0.3, 0.6, 1.0, 1.5, 2.0), strict=False, min_length=3
    )
    """Bits per pixel that they are asked for."""
    compared: tuple[float, float] = Field(default=(0.15, 1.5), strict=False)
    """Bits per pixel of JPEG 2000 between which curves are compared."""
    multipliers: tuple[Annotated[float, Field(ge=0.4, le=2.5)], ...] = Field(default=(), strict=False)
    """Further points of the model's curve: its rate points with their step multiplied by each of these."""
    examples: int = Field(default=3, ge=0, le=50)
    """Pictures of decoded images and their errors."""

    @model_validator(mode="after")
    def _has_an_anchor(self) -> Self:
        if "jpeg2000" not in self.codecs:
            raise ValueError("codecs must have jpeg2000, which the others are compared with")
        if not 0 < self.compared[0] < self.compared[1]:
            raise ValueError(f"compared {list(self.compared)} must ascend from above 0")
        return self


class Compression(Section):
    raw: str = "data/sample/compression"
    """Folder of rasters: GeoTIFF, TIFF, PNG."""
    sample: Sample = Sample()
    prepare: Prepare = Prepare()
    rates: dict[str, Annotated[float, Field(gt=0, le=10)]] = Field(
        default_factory=lambda: {"q1": 0.0004, "q2": 0.0013, "q3": 0.004, "q4": 0.013}, min_length=1
    )
    """Rate points from the smallest files to the largest, and the lambda of each: one model is trained for each."""
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
