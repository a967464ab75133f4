"""Random timelines, and a slow, obvious evaluator to hold the fast one against."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from millrace.keyframes.curve import Curve, Key
from millrace.keyframes.timeline import DEFAULTS, Clip, Sequence, Track

RATES = (Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(59))
VALUES = {name: st.integers(-200, 400).map(lambda whole: whole / 8) for name in DEFAULTS}


@st.composite
def curves(draw, rate: Fraction, first: int, last: int) -> Curve:
    """Up to four keys on whole frames between `first` and `last` and around them, linear or held."""
    frames = draw(st.lists(st.integers(first - 20, last + 20), min_size=1, max_size=4, unique=True))
    value, ease = st.integers(-800, 1600).map(lambda whole: whole / 8), st.sampled_from(["linear", "hold"])
    return Curve([Key(frame / rate, draw(value), draw(ease)) for frame in sorted(frames)])


@st.composite
def clips(draw, rate: Fraction, start: int, end: int) -> Clip:
    """A clip of whole frames; its local axis begins anywhere, and its media may be too short for it."""
    first = draw(st.integers(0, 500))
    names = draw(st.lists(st.sampled_from(sorted(DEFAULTS)), max_size=3, unique=True))
    media_start = Fraction(first) / rate
    kind = draw(st.sampled_from(["media", "generator"]))
    name = draw(st.sampled_from(["a.mp4", "photo.PNG", "graphic", "Class 7"]))
    known = kind == "media" and name != "photo.PNG" and draw(st.booleans())
    return Clip(
        name=name,
        kind=kind,
        start=start / rate,
        end=end / rate,
        local_start=media_start,
        media_times=((Fraction(0), media_start), ((end - start) / rate, media_start + (end - start) / rate)),
        media=f"file://localhost/media/{name}" if kind == "media" else None,
        media_id=name if kind == "media" else None,
        animation={each: draw(curves(rate, first, first + end - start)) for each in names},
        enabled=draw(st.booleans()) or draw(st.booleans()),
        media_duration=draw(st.integers(1, 800)) / rate if known else None,
    )


@st.composite
def sequences(draw) -> Sequence:
    """One to four tracks of clips that do not overlap."""
    rate = draw(st.sampled_from(RATES))
    tracks = []
    for _ in range(draw(st.integers(1, 4))):
        edges = sorted(draw(st.lists(st.integers(0, 150), min_size=2, max_size=6, unique=True)))
        pairs = zip(edges[::2], edges[1::2], strict=False)
        tracks.append(Track([draw(clips(rate, *pair)) for pair in pairs], enabled=draw(st.booleans())))
    end = max((clip.end for track in tracks for clip in track.clips), default=Fraction(1))
    return Sequence("random", rate, 1080, 1920, end, tracks)


def value_at(curve: Curve, time: Fraction) -> float:
    """By the definition, in whole fractions, one time at a time."""
    before = [key for key in curve.keys if key.time <= time]
    after = [key for key in curve.keys if key.time > time]
    if not before:
        return after[0].value
    left = before[-1]
    if not after or left.ease == "hold":
        return left.value
    share = (time - left.time) / (after[0].time - left.time)
    return float(Fraction(left.value) + (Fraction(after[0].value) - Fraction(left.value)) * share)


def clip_at(track: Track, time: Fraction) -> Clip | None:
    """What a track shows."""
    found = [clip for clip in track.clips if track.enabled and clip.enabled and clip.start <= time < clip.end]
    return found[-1] if found else None


def still(start, end, name="a", **animation) -> Clip:
    """A clip of constant values; times in seconds."""
    start, end = Fraction(str(start)), Fraction(str(end))
    curves = {each: Curve.constant(value) for each, value in animation.items()}
    return Clip(
        name,
        "media",
        start,
        end,
        Fraction(0),
        ((Fraction(0), Fraction(0)), (end - start, end - start)),
        animation=curves,
    )


def sequence(*tracks, duration=4, size=(1000, 500)) -> Sequence:
    return Sequence("s", Fraction(25), *size, Fraction(duration), [Track(list(clips)) for clips in tracks])


def nested(inside: Sequence, start, end, *media_times, **animation) -> Clip:
    """A clip that shows a sequence; pairs of seconds say when it shows what."""
    times = media_times or ((0, 0), (end - start, end - start))
    pairs = tuple((Fraction(str(after)), Fraction(str(media))) for after, media in times)
    return replace(still(start, end, "nest", **animation), kind="nested", media_times=pairs, sequence=inside)
