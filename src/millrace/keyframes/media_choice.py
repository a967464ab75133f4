"""Which media a clip shows of which only the asset class is known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import replace
from fractions import Fraction

from millrace.keyframes.assets import asset_of, is_still_image
from millrace.keyframes.curve import Curve
from millrace.keyframes.flatten import media_at
from millrace.keyframes.params import AssetRule
from millrace.keyframes.timeline import Clip, Sequence
from millrace.keyframes.xmeml.time import TICKS_PER_SECOND
from millrace.keyframes.xmeml.write_keys import is_still


def clip_of_class(
    asset: int,
    span: tuple[Fraction, Fraction],
    number: int,
    earlier: Many[Clip],
    sequence: Sequence,
    rules: Many[AssetRule],
) -> Clip:
    """A clip of a class over `span`, with nothing animated.

    It goes on with the last of `earlier` that has the class, from where that one ends and at its pace. Else it shows
    the beginning of a clip of the sequence that would have the class on this track, of one on the track first. Else it
    is a generator without media, with a name that the rules take for the class if there is one.

    It shows nothing behind the end of its media, where that is known: it begins as much earlier in the media as it
    must to end there. Media that are shorter than the clip are shown from their beginning, and what stands behind
    their end is up to the editor.

    Args:
        asset: Class 0 to 9.
        span: Start and end in seconds, on frames.
        number: Of the track.
        earlier: Clips of the track that end at or before the start, in order.
        sequence: Where else to look, and the frame rate.
        rules: That give a clip its class.
    """
    for clip in reversed(earlier):
        if asset_of(clip, number, rules) == asset:
            return _going_on(clip, clip.end - clip.start, span, sequence.frame_rate)
    tracks = sequence.tracks[number - 1 : number] + sequence.tracks
    for clip in (clip for track in tracks for clip in track.clips):
        if asset_of(clip, number, rules) == asset:
            return _going_on(clip, Fraction(0), span, sequence.frame_rate)
    start, end = span
    times = (Fraction(0), Fraction(0)), (end - start, end - start)
    return Clip(_name_of_class(asset, number, rules), "generator", start, end, Fraction(0), times)


def _going_on(source: Clip, after: Fraction, span: tuple[Fraction, Fraction], frame_rate: Fraction) -> Clip:
    """A clip over `span` that begins with what `source` shows `after` its start. What rests stays, for the caller."""
    length = span[1] - span[0]
    media = media_at(source.media_times, after)
    pace = media_at(source.media_times, after + 1) - media
    if (known := _media_end(source)) is not None:
        media = max(min(media, known - max(pace, Fraction(0)) * length), Fraction(0))
    if source.kind == "media" and pace == 1 and media >= 0:
        local_start = media  # `in` is then a frame of the media, as editors have it
    else:
        local_start = max(source.local_start + after, Fraction(0))
    local_start = math.floor(local_start * frame_rate) / frame_rate
    if source.kind == "generator":  # its media is its local axis
        times = (Fraction(0), local_start), (length, local_start + length)
    else:
        media = math.floor(media * TICKS_PER_SECOND) / Fraction(TICKS_PER_SECOND)
        times = (Fraction(0), media), (length, max(media + pace * length, Fraction(0)))
    resting = {name: Curve.constant(curve.keys[0].value) for name, curve in source.animation.items() if is_still(curve)}
    return replace(
        source,
        start=span[0],
        end=span[1],
        local_start=local_start,
        media_times=times,
        animation=resting,
        enabled=True,
    )


def _media_end(clip: Clip) -> Fraction | None:
    """Seconds of media that a clip may show; None where there is no end, or none is known."""
    if clip.kind != "media" or any(map(is_still_image, (clip.name, clip.media or ""))):
        return None
    return clip.media_duration


def _name_of_class(asset: int, number: int, rules: Many[AssetRule]) -> str:
    """`asset 3`, or something like it that the rules take for the class on this track."""
    plain = f"asset {asset}"
    for name in (plain, *_names(asset, rules)):
        if asset_of(replace(NAMELESS, name=name), number, rules) == asset:
            return name
    return plain


NAMELESS = Clip("", "generator", Fraction(0), Fraction(1), Fraction(0), ((Fraction(0), Fraction(0)),) * 2)


def _names(asset: int, rules: Many[AssetRule]) -> Iterator[str]:
    """Names that a rule for the class may be after: with its ending, its number, or a plain word of its expression."""
    for rule in rules:
        if rule.asset == "number":
            yield from (f"class {asset}", f"id {asset}")
        elif rule.asset == asset:
            endings = [f".{ending}" for ending in rule.extensions or ()] or [""]
            words = [word.strip("^$") for word in (rule.name or "").split("|")]
            for word in words:
                if re.escape(word) == word:
                    yield from (f"{word} asset {asset}{ending}".strip() for ending in endings)
