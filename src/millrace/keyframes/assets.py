"""What kind of thing a clip shows, by a table of rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from millrace.keyframes.params import ASSETS, IMAGES, AssetRule
from millrace.keyframes.timeline import Clip

STILLS = (*IMAGES, "psd", "tif", "tga", "exr", "heic", "ai")
VIDEO_ENDINGS = ("mp4", "mov", "mkv", "avi", "m4v")
LEAST_NUMBER = 2

SEARCHED = 500
"""Characters of a clip's name. Expressions may take time that grows with the square of its length."""


def media_name(clip: Clip) -> str:
    """File name of the clip's media, without its folder; empty where it has none. Nothing is opened."""
    if not clip.media:
        return ""
    return PurePosixPath(unquote(_path_in(clip.media))).name


def _path_in(media: str) -> str:
    if "://" not in media:
        return media.replace("\\", "/")
    try:
        return urlsplit(media).path
    except ValueError:  # http://[ for example
        return re.split("[?#]", media, maxsplit=1)[0]


def is_still_image(media: str) -> bool:
    """Whether a path, URL or name is that of a still image: editors give those any length, an hour for example."""
    return _ends_in(media, STILLS)


def asset_of(clip: Clip, track: int, rules: Sequence[AssetRule]) -> int:
    """Class 0 to 9 of a clip on a track (1 is the lowest), from the first rule that holds; else from the last one.

    Rules search the first SEARCHED characters of the clip's name.
    """
    for rule in rules:
        if rule.track not in (None, track):
            continue
        if rule.extensions is not None and not any(
            _ends_in(name, rule.extensions) for name in (clip.name, media_name(clip))
        ):
            continue
        found = re.search(rule.name or "", clip.name[:SEARCHED], re.IGNORECASE)
        if found:
            return rule.asset if isinstance(rule.asset, int) else _numbered(found)
    last = rules[-1].asset
    return last if isinstance(last, int) else LEAST_NUMBER


def _ends_in(name: str, extensions: Sequence[str]) -> bool:
    return name.rpartition(".")[2].lower() in {extension.lower() for extension in extensions} and "." in name


def _numbered(found: re.Match[str]) -> int:
    digits = found.group(1) or ""
    return min(max(int(digits), LEAST_NUMBER), ASSETS - 1) if digits.isdecimal() and len(digits) < 9 else LEAST_NUMBER
