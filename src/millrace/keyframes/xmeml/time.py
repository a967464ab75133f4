"""Frames, frame rates and ticks of xmeml in exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from lxml import etree

from millrace.keyframes.xml_events import MAX_MAGNITUDE, TimelineError, number, whole

TICKS_PER_SECOND = 254_016_000_000
"""Premiere's own unit of time: every common frame and sample rate divides it."""

NTSC = Fraction(1000, 1001)
MAX_TIMEBASE = 1000
"""No camera or display that an editor serves runs at more frames a second."""


def frame(text: str | None, what: str) -> Fraction | None:
    """A frame number, None for an empty text. Some programs write 12.0, and some halves of frames.

    Raises:
        TimelineError: It is no number of sane size.
    """
    if text is not None and text.isdecimal() and len(text) < 10:
        return Fraction(int(text))  # nearly all of them: much faster than by way of a float
    if not (text or "").strip():
        return None
    # Through a float, and not from the text: Fraction("1e-999999999") would compute for hours.
    return Fraction(number(text, what)).limit_denominator(10_000)


def frames(element: etree._Element, tag: str) -> Fraction | None:
    """The frame number in a child of `element`, None where the child is missing or empty; raises as `frame` does."""
    return frame(element.findtext(tag), tag)


def seconds(element: etree._Element, tag: str) -> Fraction | None:
    """The time in seconds that a child of `element` gives in ticks, None where it is missing, negative or no number.

    The frames say the same, so that damaged ticks are no reason to refuse a clip.
    """
    text = (element.findtext(tag) or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 24:
        return None
    time = Fraction(int(text), TICKS_PER_SECOND)
    return time if time <= MAX_MAGNITUDE else None


def truth(text: str | None, *, default: bool) -> bool:
    """A boolean as the many writers of xmeml write it: TRUE, True, true, 1 and their opposites."""
    word = (text or "").strip().lower()
    return default if word not in ("true", "false", "1", "0") else word in ("true", "1")


def plain(text: str | None) -> str:
    """A name or id to compare: lower case, without spaces."""
    return "".join((text or "").lower().split())


def label(element: etree._Element, tag: str) -> str:
    """What to call an effect or parameter in notes: its id, or else its name."""
    return (element.findtext(tag) or element.findtext("name") or "without a name").strip()[:60]


def rate_of(element: etree._Element | None) -> Fraction | None:
    """Frames a second that a `rate` states, None where there is none.

    `timebase` is a whole number, and `ntsc` TRUE slows it by 1000/1001: 30 and TRUE are 30000/1001. A missing `ntsc`
    means FALSE. Some programs write 29.97 as timebase; it is taken as it stands, without ntsc.

    Raises:
        TimelineError: The timebase is no number, or not between 1 and 1000.
    """
    text = None if element is None else element.findtext("timebase")
    if element is None or text is None:
        return None
    timebase = number(text, "timebase")
    if not 1 <= timebase <= MAX_TIMEBASE:
        raise TimelineError(f"timebase is {text.strip()[:40]}, not between 1 and {MAX_TIMEBASE}")
    if timebase != int(timebase):
        return Fraction(timebase).limit_denominator(1000)
    ntsc = truth(element.findtext("ntsc"), default=False)
    return whole(text, "timebase") * (NTSC if ntsc else Fraction(1))


def could_stand_for(nominal: Fraction, rate: Fraction) -> bool:
    """Whether a writer that keeps only the whole part of a rate, or forgets `ntsc`, writes `nominal` for `rate`."""
    return nominal.denominator == 1 and nominal * NTSC <= rate < nominal + 1


def sequence_rate(nominal: Fraction, measured: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
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
        measured: Length in sequence frames and length in seconds by ticks, of each clip that runs at its own speed.
    """
    measured = sorted(measured, key=lambda clip: float(clip[0]) / float(clip[1]))
    total = sum((length for length, _ in measured), Fraction(0))
    passed = Fraction(0)
    for length, time in measured:
        passed += length
        if passed * 2 >= total:
            rate = length / time
            drift = abs(total - total * nominal / rate)
            return rate if drift > len(measured) and could_stand_for(nominal, rate) else nominal
    return nominal
