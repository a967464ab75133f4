"""Elements of a timeline file one by one: nothing is fetched, expanded or executed, and nothing huge is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from millrace.errors import UserError

MAX_MAGNITUDE = 1e9
"""No frame, percentage or factor of an edit comes near it; beyond it a file is damaged."""


class TimelineError(UserError):
    """A file, or an element of it, cannot be used; the message says why, without the file's name."""


def events(path: Path, *, max_bytes: int) -> Iterator[tuple[str, etree._Element]]:
    """`start` and `end` events of all elements of a file, whose root comes first.

    Whoever takes them clears elements that are done with (`release`), or the whole file stays in memory. Elements
    deeper than 256, and texts above 10 MB, are refused by libxml2 itself.

    Args:
        path: The file.
        max_bytes: Larger files are refused unread.

    Raises:
        TimelineError: The file cannot be read, is no XML, is cut short, declares entities, or is too large.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise TimelineError("it is not a file")
        if size > max_bytes:
            raise TimelineError(f"it has {size} bytes, more than the {max_bytes} that max_megabytes allows")
        stream = etree.iterparse(
            str(path),
            events=("start", "end"),
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        first = True
        for event, element in stream:
            if first:
                _refuse_entities(element)
                first = False
            yield event, element
    except etree.XMLSyntaxError as error:
        raise TimelineError(f"it is not well-formed XML, or was cut short: {error.msg}") from None
    except OSError as error:
        raise TimelineError(f"it cannot be read: {error.strerror or error}") from None


def _refuse_entities(root: etree._Element) -> None:
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # type: ignore[attr-defined]  # not in the stubs
        raise TimelineError("it declares XML entities, which no editor writes; remove its DOCTYPE block")


def root_name(path: Path, *, max_bytes: int) -> str:
    """Name of a file's outermost element; errors are those of `events`."""
    for _, element in events(path, max_bytes=max_bytes):
        return str(element.tag)
    raise TimelineError("it is empty")


def release(element: etree._Element) -> None:
    """Free an element that has ended, and what stands before it under the same parent."""
    element.clear()
    while element.getprevious() is not None:
        parent = element.getparent()
        assert parent is not None
        del parent[0]


def place(element: etree._Element) -> str:
    """Where an element stands, for messages."""
    return f"line {element.sourceline}"


def number(text: str | None, what: str) -> float:
    """A finite number of sane size.

    Raises:
        TimelineError: It is none.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_MAGNITUDE:
        shown = "empty" if not text else repr(text.strip()[:40])
        raise TimelineError(f"{what} is {shown}, not a number between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}")
    return value


def whole(text: str | None, what: str) -> int:
    """A whole number of sane size; some programs write it as 12.0.

    Raises:
        TimelineError: It is none.
    """
    value = number(text, what)
    if value != int(value):
        raise TimelineError(f"{what} is {text!r}, not a whole number")
    return int(value)
