"""The `keyframes` section of params.yaml."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from millrace.settings import Section

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
    """A file with more is refused."""
    max_depth: int = Field(default=8, ge=1)
    """Sequences inside sequences; deeper ones are refused."""
    max_hours: float = Field(default=24.0, gt=0)
    """A longer sequence is refused: it would become a table of that many rows."""


class Sample(Section):
    """The synthetic timelines that the sample stage draws: 20 to 60 s each, where real ones have a median of 58 s."""

    videos: int = Field(default=40, ge=1, le=10_000)
    """Video i does not depend on this number: a larger set begins with the smaller one."""
    seed: int = Field(default=0, ge=0)


class Keyframes(Section):
    raw: str = "data/sample/keyframes"
    """Folder of timelines: FCP7 XML (.xml), FCPXML (.fcpxml) and FCPXML bundles (.fcpxmld), in folders of any depth."""
    parse: Parse = Parse()
    sample: Sample = Sample()
