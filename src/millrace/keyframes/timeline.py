"""What every timeline format is read into: sequences of tracks of clips, in exact time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from millrace.keyframes.curve import Curve

DEFAULTS = {
    "scale": 100.0,
    "x": 0.0,
    "y": 0.0,
    "crop_l": 0.0,
    "crop_r": 0.0,
    "crop_t": 0.0,
    "crop_b": 0.0,
    "rotation": 0.0,
    "opacity": 100.0,
}
"""Parameters and what they are where nothing is said. Scale and opacity in percent; x and y as fractions of the
sequence's width and height, 0 is the middle, y counts down; crop in percent of the clip's own side; rotation in
degrees, clockwise. Scale 100 is what the format calls so: the media's own pixels in xmeml, the media fitted into the
frame in FCPXML."""

Kind = Literal["media", "generator", "nested"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of media on a track. All times are exact seconds.

    Attributes:
        name: As the editor shows it.
        kind: A media file, something the editor generates (title, colour, graphic), or a sequence.
        start: First moment in its sequence.
        end: First moment after it.
        local_start: Where `start` lies on the axis on which the keys of `animation` count. That axis runs at the
            sequence's pace whatever the speed of the media.
        media_times: Pairs (seconds after `start`, time in the media) between which the media runs evenly. The first is
            at 0 and the last at end - start; two for a clip of constant speed. Media time counts from the file's first
            frame, or from the start of a nested sequence; for a generator it is the local axis.
        media: Path or URL of the file, as written; None where there is none.
        media_id: How the file calls the media; clips that share it share the file.
        animation: Curves of parameters that are not at their default.
        enabled: Whether it is seen.
        sequence: Of a nested clip.
        media_duration: Seconds of the whole media, on the axis of media time, above 0. None where the file does not
            say, and for what has no length of its own: still images, generators and nested sequences.
    """

    name: str
    kind: Kind
    start: Fraction
    end: Fraction
    local_start: Fraction
    media_times: tuple[tuple[Fraction, Fraction], ...]
    media: str | None = None
    media_id: str | None = None
    animation: dict[str, Curve] = field(default_factory=dict)
    enabled: bool = True
    sequence: Sequence | None = None
    media_duration: Fraction | None = None


@dataclass
class Track:
    """Clips in order of their start; they do not overlap."""

    clips: list[Clip] = field(default_factory=list)
    enabled: bool = True


@dataclass
class Sequence:
    """A timeline. Clips that show the same nested sequence share one object.

    Attributes:
        name: As the editor shows it.
        frame_rate: Frames a second.
        width: Pixels; 0 where the file does not say.
        height: Likewise.
        duration: Exact seconds.
        tracks: Video tracks from the lowest up.
    """

    name: str
    frame_rate: Fraction
    width: int
    height: int
    duration: Fraction
    tracks: list[Track]


@dataclass
class Notes:
    """What a reader left out and what it had to guess: nothing is dropped without a word.

    Attributes:
        ignored: How often each kind of thing was passed over that has no place in a `Sequence`.
        guessed: How often each kind of gap in the file was filled.
        problems: Clips left out because something in them is impossible, each as `line N: what, why`.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    guessed: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass
class Document:
    """A timeline file: its own sequences, in order; those that stand only inside a clip are found there."""

    sequences: list[Sequence]
    notes: Notes
