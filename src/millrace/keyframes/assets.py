"""What kind of thing a clip shows, by a table of rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from millrace.keyframes.params import ASSETS, AssetRule
from millrace.keyframes.timeline import Clip

VIDEO_ENDINGS = ("mp4", "mov", "mkv", "avi", "m4v")
LEAST_NUMBER = 2


def media_name(clip: Clip) -> str:
    """File name of the clip's media, without its folder; empty where it has none. Nothing is opened."""
    if not clip.media:
        return ""
    path = urlsplit(clip.media).path if "://" in clip.media else clip.media.replace("\\", "/")
    return PurePosixPath(unquote(path)).name


def asset_of(clip: Clip, track: int, rules: Sequence[AssetRule]) -> int:
    """Class 0 to 9 of a clip on a track (1 is the lowest), from the first rule that holds; else from the last one."""
    names = [clip.name, media_name(clip)]
    for rule in rules:
        if rule.track not in (None, track):
            continue
        if rule.extensions is not None and not any(_ends_in(name, rule.extensions) for name in names):
            continue
        found = re.search(rule.name or "", clip.name, re.IGNORECASE)
        if found:
            return rule.asset if isinstance(rule.asset, int) else _numbered(found)
    last = rules[-1].asset
    return last if isinstance(last, int) else LEAST_NUMBER


def _ends_in(name: str, extensions: Sequence[str]) -> bool:
    return name.rpartition(".")[2].lower() in {extension.lower() for extension in extensions} and "." in name


def _numbered(found: re.Match[str]) -> int:
    digits = found.group(1) or ""
    return min(max(int(digits), LEAST_NUMBER), ASSETS - 1) if digits.isdecimal() and len(digits) < 9 else LEAST_NUMBER
