"""Markdown of the report: names from data made harmless, numbers, tables."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

NOTHING = "-"
LONGEST_NAME = 80
# Whatever Markdown, GitHub's additions to it, or HTML give a meaning; an underscore has none between letters.
_STRUCTURE = re.compile(r"[&<>|`*\[\]\\!#~$@:\"'(){}^=+]|(?<![^\W_])_|_(?![^\W_])")
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(name: object) -> str:
    """Name from data on one line, no longer than `LONGEST_NAME`, without control characters or those that reorder
    what stands around it.
    """
    words = " ".join(str(name).split())
    text = "".join(
        "\ufffd" if unicodedata.category(each) in ("Cc", "Cs") or each in _REORDERING else each for each in words
    )
    if len(text) > LONGEST_NAME:
        kept = (LONGEST_NAME - 1) // 2
        text = f"{text[:kept]}…{text[-kept:]}"
    return text or "(no name)"


def escaped(name: object) -> str:
    """The same as Markdown that shows nothing but the name, in a table cell too."""
    return _STRUCTURE.sub(lambda found: f"&#{ord(found[0])};", plain(name))


def listed(names: Sequence[object], most: int = 5) -> str:
    """Names in a sentence, the first few of many."""
    shown = [escaped(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def score(value: float | None) -> str:
    """A value from 0 to 1."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def percent(value: float | None) -> str:
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.0f}%"


def count(value: float | None, noun: str = "") -> str:
    """A whole number, and what it counts: `1 box` but `2 boxes`."""
    if value is None or math.isnan(value):
        return NOTHING
    if not noun:
        return f"{value:,.0f}"
    return f"{value:,.0f} {noun if value == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    return noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith(("x", "s")) else "s")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Markdown table of cells that are Markdown already; all but the first `text_columns` columns are aligned right."""
    rule = ["---" if column < text_columns else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def joined(*parts: str) -> str:
    """Paragraphs; empty ones are left out."""
    return "\n\n".join(part for part in parts if part)


def figure(folder: Path, address: str, caption: str) -> str:
    """A picture, if the folder has it, and the caption below."""
    return f"![{caption}]({address})\n\n*{caption}*" if (folder / address).is_file() else ""
