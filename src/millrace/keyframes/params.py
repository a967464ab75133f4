"""The `keyframes` section of params.yaml."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from millrace.settings import Section
from millrace.splitting import Share, Split
from millrace.training.params import Training

IMAGES = ("png", "jpg", "jpeg", "gif", "bmp", "tiff", "webp")
WORDS = "text|title|telop|caption|subtitle|テキスト|テロップ|タイトル|字幕"


class AssetRule(Section):
    """One line of the table that gives a clip its asset class; the first whose conditions all hold decides."""

    track: int | None = Field(default=None, ge=1)
    """Number of the track, 1 the lowest; null is any."""
    extensions: tuple[str, ...] | None = Field(default=None, strict=False)
    """Endings of the clip's or its media file's name, without the dot, any case; null is any."""
    name: str | None = None
    """Regular expression searched in the clip's name, any case; null is any."""
    asset: int | Literal["number"] = 0
    """Class 0 to 9; `number` takes it from the expression's first group, from 2 up to 9."""

    @field_validator("name")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _class_is_known(self) -> Self:
        if isinstance(self.asset, int) and not 0 <= self.asset < ASSETS:
            raise ValueError(f"asset {self.asset} must be from 0 to {ASSETS - 1}")
        if self.asset == "number" and (self.name is None or re.compile(self.name).groups < 1):
            raise ValueError("asset 'number' needs a name with a group: (?:class|id)\\D*(\\d+)")
        return self


ASSETS = 10
SOURCE_RULES = (
    AssetRule(track=1, asset=0),
    AssetRule(track=2, asset=1),
    AssetRule(extensions=IMAGES, asset=3),
    AssetRule(name=WORDS, asset=2),
    AssetRule(name=r"(?:class|id)\D*(\d+)", asset="number"),
    AssetRule(asset=2),
)
"""Game footage 0, face camera 1, text and other graphics 2, pictures 3; a number in the name for the rest."""


class Parse(Section):
    rate: float = Field(default=10.0, gt=0, le=1000)
    """Rows a second."""
    rotation_and_opacity: bool = False
    """Add these two columns for each track."""
    csv: bool = False
    """Write the table as CSV too."""
    assets: tuple[AssetRule, ...] = Field(default=SOURCE_RULES, strict=False, min_length=1)
    """What kind of thing a clip shows, first match first; a clip that none matches gets the last rule's class."""
    bad_files: Literal["stop", "drop"] = "stop"
    """What happens when a file, or a clip in it, cannot be used: stop before anything is written, or leave it out."""
    max_megabytes: float = Field(default=1000.0, gt=0)
    """A larger file is refused unread."""
    max_clips: int = Field(default=1_000_000, ge=1)
    """A file with more is refused, clips and tracks of nested sequences counted as often as they are shown."""
    max_depth: int = Field(default=8, ge=1)
    """Sequences inside sequences; deeper ones are refused."""
    max_hours: float = Field(default=24.0, gt=0)
    """A longer sequence is refused: it would become a table of that many rows."""


class Windows(Section):
    length: int = Field(default=100, ge=2, le=10_000)
    """Rows of a window: at ten a second, 100 are ten seconds."""
    overlap: int = Field(default=20, ge=0)
    """Rows that a window shares with the next one of its video."""
    near_duplicates: float = Field(default=0.5, gt=0, le=1)
    """Videos that share at least this part of the shorter one's content stay on one side of the split."""
    split: Split = Split()

    @model_validator(mode="after")
    def _windows_move_on(self) -> Self:
        if self.overlap >= self.length:
            raise ValueError(f"overlap {self.overlap} must be less than length {self.length}")
        return self


class Model(Section):
    attention: Literal["time", "time_and_tracks"] = "time_and_tracks"
    """`time`: a row is one token, as in the source system; `time_and_tracks`: each cell is one, which looks along its
    track and across the tracks of its row in turn."""
    recall: bool = True
    """Let predictions copy known cells of their track, from where the window repeats itself."""
    width: int = Field(default=32, ge=4, le=4096, multiple_of=2)
    heads: int = Field(default=2, ge=1)
    layers: int = Field(default=2, ge=1, le=100)
    feedforward: int = Field(default=64, ge=1, le=65_536)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Loss(Section):
    """Weight of each head. A number of 0 leaves it untrained."""

    active: float = Field(default=1.0, ge=0)
    asset: float = Field(default=1.0, ge=0)
    scale: float = Field(default=1.0, ge=0)
    position: float = Field(default=1.0, ge=0)
    """x and y, each."""
    crop: float = Field(default=1.0, ge=0)
    """Each of the four sides."""
    rotation: float = Field(default=1.0, ge=0)
    opacity: float = Field(default=1.0, ge=0)
    regression: Literal["huber", "l1", "mse"] = "huber"
    """Of the numbers, in spreads of the training data: Huber and L1 bear outliers, MSE is the source system's."""


class Train(Training):
    objective: Literal["forecast", "infill", "reconstruct"] = "forecast"
    """What is to be predicted: the rows after the known ones, masked spans and tracks, or the very input (which copying
    solves; for comparison with the source system)."""
    horizon: int = Field(default=20, ge=1)
    """Rows that a forecast reaches; also the longest span that `infill` masks."""
    per_window: int = Field(default=1, ge=1)
    """Samples drawn from each window an epoch, each moved by a random part of the stride."""
    short_history: Share = 0.25
    """Share of samples that begin anywhere in their window, so that the model knows short histories too."""
    mirror: Share = 0.5
    """Probability of exchanging left and right."""
    model: Model = Model()
    loss: Loss = Loss()

    @property
    def network(self) -> Model:
        """The model, without recall where nothing is hidden: there it would never be used."""
        recall = self.model.recall and self.objective != "reconstruct"
        return self.model.model_copy(update={"recall": recall})


class Evaluate(Section):
    stride: int = Field(default=10, ge=1)
    """Rows from one forecast (or masked span) of a video to the next."""
    min_history: int = Field(default=40, ge=1)
    """Rows that have to be known before the first forecast."""
    batch_size: int = Field(default=32, ge=1)
    examples: int = Field(default=6, ge=0)
    """Pictures of predicted layouts beside the true ones."""


class Tolerance(Section):
    """How far a written timeline may lie from the model's own output: the more, the fewer keyframes."""

    scale: float = Field(default=0.25, ge=0)
    """Percent."""
    position: float = Field(default=0.001, ge=0)
    """Of x and y, as a fraction of the frame."""
    crop: float = Field(default=0.25, ge=0)
    """Percent."""
    rotation: float = Field(default=0.1, ge=0)
    """Degrees."""
    opacity: float = Field(default=0.5, ge=0)
    """Percent."""

    def by_parameter(self) -> dict[str, float]:
        """Of each parameter by its own name."""
        return {"scale": self.scale, "rotation": self.rotation, "opacity": self.opacity} | {
            name: self.position if name in "xy" else self.crop
            for name in ("x", "y", "crop_l", "crop_r", "crop_t", "crop_b")
        }


class Predict(Section):
    """Of the command `predict`; no stage depends on it."""

    seconds: float = Field(default=2.0, gt=0, le=600)
    """How far a forecast continues a timeline; what lies beyond the model's horizon builds on what it said before."""
    fill_from_s: float | None = Field(default=None, ge=0)
    """`infill`: where the stretch to fill in begins."""
    fill_to_s: float | None = Field(default=None, gt=0)
    """Where it ends."""
    fill_tracks: tuple[Annotated[int, Field(ge=1, le=20)], ...] = Field(default=(), strict=False)
    """Numbers of the tracks to fill in, from 1; empty takes all."""
    tolerance: Tolerance = Tolerance()

    @model_validator(mode="after")
    def _stretch_is_one(self) -> Self:
        if (self.fill_from_s is None) != (self.fill_to_s is None):
            raise ValueError("fill_from_s and fill_to_s go together")
        if self.fill_from_s is not None and self.fill_to_s is not None and self.fill_to_s <= self.fill_from_s:
            raise ValueError(f"fill_to_s {self.fill_to_s:g} must lie after fill_from_s {self.fill_from_s:g}")
        return self


class Sample(Section):
    """The synthetic timelines that the sample stage draws: 20 to 60 s each, where real ones have a median of 58 s."""

    videos: int = Field(default=40, ge=1, le=10_000)
    """Video i does not depend on this number: a larger set begins with the smaller one."""
    seed: int = Field(default=0, ge=0)


class Keyframes(Section):
    raw: str = "data/sample/keyframes"
    """Folder of timelines: FCP7 XML (.xml), FCPXML (.fcpxml) and FCPXML bundles (.fcpxmld), in folders of any depth."""
    sample: Sample = Sample()
    parse: Parse = Parse()
    windows: Windows = Windows()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
