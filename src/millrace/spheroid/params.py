"""The `spheroid` section of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace import splitting
from millrace.settings import Section
from millrace.splitting import Share
from millrace.training.params import Training


class Sample(Section):
    """The synthetic data set that the sample stage draws."""

    images: int = Field(default=40, ge=6, le=10_000)
    """Image i does not depend on this number: a larger set begins with the smaller one."""
    size_px: int = Field(default=192, ge=64)
    """Height and width of a well image; a larger one shows more of the well at the same magnification."""
    seed: int = Field(default=0, ge=0)


class Preprocessing(Section):
    """How any image becomes normalised grey; training stores it beside the model and prediction repeats it."""

    page: int = Field(default=0, ge=0)
    """Page of a multi-page TIFF."""
    polarity: Literal["bright", "dark", "auto"] = "auto"
    """Whether objects are brighter or darker than their surroundings; `auto` takes the majority as background."""
    low_percentile: float = Field(default=0.5, ge=0, lt=50)
    """Grey value that becomes 0, as a percentile of the image."""
    high_percentile: float = Field(default=99.5, gt=50, le=100)
    """Grey value that becomes 1."""


class Split(splitting.Split):
    folds: int = Field(default=5, ge=2)
    """Parts for cross-validation, drawn beside the split."""
    groups: str | None = None
    """CSV file in the raw folder with columns `image` (stem) and `group`: a group never stands on two sides."""


class Prepare(Section):
    preprocessing: Preprocessing = Preprocessing()
    split: Split = Split()
    bad_files: Literal["stop", "drop"] = "stop"
    """What happens when a check refuses a file: stop before anything is written, or leave it out and report it."""
    max_megapixels: float = Field(default=500.0, gt=0)
    """An image that claims more is refused before it is read."""
    min_size_px: int = Field(default=16, ge=1)
    """An image lower or narrower than this is refused."""
    empty_masks: Literal["allow", "refuse"] = "allow"
    """Whether an image without any object may be in the data."""


class Patches(Section):
    size_px: int = Field(default=128, ge=32, multiple_of=32)
    """Side of a training patch; `check` suggests one from the objects' mean diameter."""
    per_image: int = Field(default=8, ge=1)
    """Patches drawn from each training image in an epoch."""
    positive_share: Share = 0.75
    """Share of patches placed on an object; the others are placed anywhere."""
    jitter: Share = 0.25
    """How far a positive patch's centre may lie from the object pixel, as a share of its side."""
    validation_per_image: int = Field(default=16, ge=1)
    """Most patches of one validation image; they tile it without overlap and are the same in every epoch."""


class Augmentation(Section):
    """Of training patches; validation and prediction see images as they are."""

    flip: Share = 0.5
    """Probability of a flip, for each of the two axes."""
    turn: bool = True
    """Turn by a random multiple of 90 degrees."""
    brightness: float = Field(default=0.1, ge=0, le=1)
    """Largest shift of the normalised grey value."""
    contrast: float = Field(default=0.2, ge=0, lt=1)
    """Largest relative change of contrast about the patch's mean."""
    gamma: float = Field(default=0.0, ge=0, lt=1)
    """Largest change of the grey value's exponent, as the logarithm to base 2."""
    zoom: float = Field(default=1.0, ge=1, le=4)
    """Largest magnification, and its inverse the smallest; 1 keeps the scale."""
    invert: Share = 0.0
    """Probability of exchanging bright and dark, for data whose polarity `auto` can mistake."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Largest standard deviation of added Gaussian noise."""


class Model(Section):
    architecture: str = "Unet"
    """Class of segmentation_models_pytorch."""
    encoder: str = "resnet18"
    """Encoder name of segmentation_models_pytorch (`tu-...` takes any of timm)."""
    decoder_channels: tuple[int, ...] | None = Field(default=(64, 32, 16, 16, 8), strict=False)
    """Decoder widths from coarse to fine; null takes the architecture's own. Only for architectures that have them."""
    magnification: int = Field(default=1, ge=1, le=4)
    """The network sees the image enlarged by this factor: for objects of few pixels, at the square of the cost."""
    encoder_weights: str | None = None
    """Initial weights of the encoder: `imagenet`, for an encoder whose weights a requirement carries, or a safetensors
    file with timm's names; null starts from random numbers."""
    weights: str | None = None
    """File of initial weights (a model.safetensors of this architecture); null starts from random numbers."""


class Loss(Section):
    bce: float = Field(default=0.5, ge=0)
    """Weight of the foreground's binary cross-entropy."""
    dice: float = Field(default=0.5, ge=0)
    """Weight of the foreground's soft Dice loss, per patch; one without an object scores its false positives only."""
    distance: float = Field(default=1.0, ge=0)
    """Weight of the distance channel that separates touching objects."""


class Train(Training):
    patches: Patches = Patches()
    augmentation: Augmentation = Augmentation()
    model: Model = Model()
    loss: Loss = Loss()


class Postprocess(Section):
    """From the model's two channels to objects."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Foreground probability from which a pixel belongs to an object."""
    seed_height: float = Field(default=0.1, gt=0, lt=1)
    """How far a peak of the smoothed distance rises above the way to a higher one to be an object of its own."""
    smoothing_px: float = Field(default=1.0, ge=0)
    """Least standard deviation of the Gaussian that smooths the distance channel before seeds are taken."""
    smoothing_share: float = Field(default=0.2, ge=0, le=1)
    """The same as a share of the radius of the largest disk that fits into the component: large objects are rough."""
    min_area_px: int = Field(default=16, ge=0)
    """Smaller objects are dropped."""
    fill_holes: bool = True


class Evaluate(Postprocess):
    tile_px: int = Field(default=256, ge=32, multiple_of=32)
    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a tile that neighbouring tiles have in common."""
    batch_size: int = Field(default=4, ge=1)
    """Tiles a forward pass."""
    flips: bool = False
    """Average the predictions for the four flips of each tile: slower, a little better."""


class Predict(Section):
    """Of the command `predict`; no stage depends on it."""

    pixel_size_um: float | None = Field(default=None, gt=0)
    """Side of a pixel; measurements are then given in micrometres too."""


class CrossValidation(Section):
    folds: tuple[int, ...] = Field(default=(), strict=False)
    """Folds to run, as stages `spheroid-fold@N`; empty runs none."""
    summary: tuple[Literal["all"], ...] = Field(default=(), strict=False)
    """`[all]` adds the stage `spheroid-folds@all`, which averages the folds."""


class Spheroid(Section):
    raw: str = "data/sample/spheroid"
    """Folder with `images/` and `masks/` (or `labels/`)."""
    sample: Sample = Sample()
    prepare: Prepare = Prepare()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    crossvalidation: CrossValidation = CrossValidation()
