"""Frames, frame rates and ticks of xmeml in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from lxml import etree

from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError, children, number, text_in

TICKS_PER_SECOND = 254_016_000_000
"""Premiere's own unit of time: every common frame and sample rate divides it."""

NTSC = Fraction(1000, 1001)
MAX_TIMEBASE = 1000
"""No camera or display that an editor serves runs at more frames a second."""


Frames = Fraction | int
"""A number of frames. Nearly all are whole, and `int` computes ten times as fast."""


def frame(text: str | None, what: str) -> Frames | None:
    """A frame number, None for an empty text. Some programs write 12.0, and some halves of frames.

    Raises:
        TimelineError: It is no number of sane size.
    """
    if text is not None and text.isdecimal() and len(text) < 10:
        return int(text)  # nearly all of them: much faster than by way of a float
    if not (text or "").strip():
        return None
    # Through a float, and not from the text: Fraction("1e-999999999") would compute for hours.
    frames = Fraction(number(text, what)).limit_denominator(10_000)
    return frames.numerator if frames.denominator == 1 else frames


def ticks(text: str | None) -> int | None:
    """A time in ticks, None where it is missing, negative or no number.

    The frames say the same, so that damaged ticks are no reason to refuse a clip.
    """
    text = (text or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 24:
        return None
    time = int(text)
    return time if time <= MAX_MAGNITUDE * TICKS_PER_SECOND else None


def truth(text: str | None, *, default: bool) -> bool:
    """A boolean as the many writers of xmeml write it: TRUE, True, true, 1 and their opposites."""
    word = (text or "").strip().lower()
    return default if word not in ("true", "false", "1", "0") else word in ("true", "1")


@lru_cache(1024)
def plain(text: str | None) -> str:
    """A name or id to compare: lower case, without spaces."""
    return "".join((text or "").lower().split())


def label(inside: Mapping[str, etree._Element], tag: str) -> str:
    """What to call an effect or parameter with these children in notes: its id, or else its name."""
    return (text_in(inside, tag) or text_in(inside, "name") or "without a name").strip()[:60]


def rate_of(element: etree._Element | None) -> Fraction | None:
    """Frames a second that a `rate` states, None where there is none.

    `timebase` is a whole number, and `ntsc` TRUE slows it by 1000/1001: 30 and TRUE are 30000/1001. A missing `ntsc`
    means FALSE. Some programs write 29.97 as timebase; it is taken as it stands, without ntsc.

    Raises:
        TimelineError: The timebase is no number, or not between 1 and 1000.
    """
    if element is None:
        return None
    inside = children(element)
    timebase = text_in(inside, "timebase")
    return None if timebase is None else _rate(timebase, text_in(inside, "ntsc"))


@lru_cache(256)
def _rate(text: str, ntsc: str | None) -> Fraction:
    timebase = number(text, "timebase")
    if not 1 <= timebase <= MAX_TIMEBASE:
        raise TimelineError(f"timebase is {text.strip()[:40]}, not between 1 and {MAX_TIMEBASE}")
    if timebase != int(timebase):
        return Fraction(timebase).limit_denominator(1000)
    return int(timebase) * (NTSC if truth(ntsc, default=False) else Fraction(1))


class Clock:
    """Frames of one rate to exact seconds; equal times that come soon after each other are one object.

    Args:
        rate: Frames a second.
    """

    def __init__(self, rate: Fraction) -> None:
        self.rate = rate
        self.seconds: Callable[[Frames], Fraction] = lru_cache(4096)(self._seconds)

    def _seconds(self, frames: Frames) -> Fraction:
        return Fraction(frames * self.rate.denominator, self.rate.numerator)


def could_stand_for(nominal: Fraction, rate: Fraction) -> bool:
    """Whether a writer that keeps only the whole part of a rate, or forgets `ntsc`, writes `nominal` for `rate`."""
    return nominal.denominator == 1 and nominal * NTSC <= rate < nominal + 1


def sequence_rate(nominal: Fraction, measured: Sequence[tuple[Frames, int]]) -> Fraction:
    """The true rate of a sequence whose stated rate was cut to a whole number.

    Premiere makes a sequence from variable-rate media run at, say, 59.90 frames a second and writes timebase 59. The
    clips' ticks tell the truth: a clip's length in frames over its length in seconds is the rate. The median of these
    (weighted by length, so that half of the material must agree) replaces `nominal` where both are so:

    - it departs from `nominal` by more than one frame a clip over all clips, which rounding to frames cannot explain,
      and
    - `nominal` is whole, and the rate lies from 1000/1001 of it up to the next whole one, which cutting it short does
      explain; a rate with `ntsc` is exact.

    Args:
        nominal: What the file states, in frames a second.
        measured: Length in sequence frames and length in ticks, of each clip that runs at its own speed.
    """
    measured = sorted(measured, key=lambda clip: clip[0] / clip[1])
    total = sum(length for length, _ in measured)
    passed: Frames = 0
    for length, time in measured:
        passed += length
        if passed * 2 >= total:
            rate = Fraction(length * TICKS_PER_SECOND) / time
            drift = abs(total - total * nominal / rate)
            return rate if drift > len(measured) and could_stand_for(nominal, rate) else nominal
    return nominal
