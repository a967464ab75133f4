"""Elements of a timeline file one by one: nothing is fetched, expanded or executed, and nothing huge is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import cast

from lxml import etree

from millrace.errors import UserError

MAX_MAGNITUDE = 1e9
"""No frame, percentage or factor of an edit comes near it; beyond it a file is damaged."""

CHUNK, HEAD = 1 << 15, 1 << 10
"""Bytes parsed at a time: of a whole file, small enough that what they become stays in the processor's cache, and to
find its root."""

Batch = Iterator[tuple[str, etree._Element]]

_descendants = etree.XPath("count(descendant::*)")


class TimelineError(UserError):
    """A file, or an element of it, cannot be used; the message says why, without the file's name."""


def events(
    path: Path, tags: Collection[str], *, max_bytes: int, after_chunk: Callable[[etree._Element], None]
) -> Iterator[etree._Element]:
    """The root, and then elements of some names, each when it has ended: an inner one before the one around it.

    What has no such name never passes through Python, which is what costs most. The file is read in chunks; after each,
    when all that ended in it has been given out, `after_chunk` takes away what is not needed any more, or the whole
    file stays in memory. White space between elements is left out. Elements deeper than 256, and texts above 10 MB, are
    refused by libxml2 itself.

    Args:
        path: The file.
        tags: Names of the elements.
        max_bytes: Larger files are refused unread.
        after_chunk: Gets the root. It must not touch the last child of any element, which may not have ended yet.

    Raises:
        TimelineError: The file cannot be read, is no XML, is cut short, declares entities, or is too large.
    """
    root: etree._Element | None = None
    for batch in _batches(path, (root_name(path, max_bytes=max_bytes), *tags), max_bytes, CHUNK):
        for event, element in batch:
            if root is None:
                root = element
                yield root
            elif event == "end":
                yield element
        if root is not None:
            after_chunk(root)


def root_name(path: Path, *, max_bytes: int) -> str:
    """Name of a file's outermost element; errors are those of `events`."""
    for batch in _batches(path, None, max_bytes, HEAD):
        for _, element in batch:
            _refuse_entities(element)
            return str(element.tag)
    raise TimelineError("it is empty")


def _batches(path: Path, tags: Collection[str] | None, max_bytes: int, chunk_bytes: int) -> Iterator[Batch]:
    """The `start` and `end` events of one chunk of a file after the other."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise TimelineError("it is not a file")
        if size > max_bytes:
            raise TimelineError(f"it has {size} bytes, more than the {max_bytes} that max_megabytes allows")
        parser = etree.XMLPullParser(
            ("start", "end"),
            tag=tags,
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
            remove_blank_text=True,
            collect_ids=False,
        )
        with path.open("rb") as stream:
            while chunk := stream.read(chunk_bytes):
                parser.feed(chunk)
                yield cast(Batch, parser.read_events())
        parser.close()
        yield cast(Batch, parser.read_events())
    except etree.XMLSyntaxError as error:
        raise TimelineError(f"it is not well-formed XML, or was cut short: {error.msg}") from None
    except OSError as error:
        raise TimelineError(f"it cannot be read: {error.strerror or error}") from None


def _refuse_entities(root: etree._Element) -> None:
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):  # type: ignore[attr-defined]  # not in the stubs
        raise TimelineError("it declares XML entities, which no editor writes; remove its DOCTYPE block")


def children(element: etree._Element) -> dict[str, etree._Element]:
    """The first child of each name. One pass, where `find` would start again for each name, at ten times the cost."""
    return {child.tag: child for child in element.iterchildren(reversed=True)}


def text_in(elements: Mapping[str, etree._Element], tag: str) -> str | None:
    """Text of one of `children`; None where it is missing or empty."""
    element = elements.get(tag)
    return None if element is None else element.text


def line_of(element: etree._Element) -> int:
    """Of the file; 0 for an element that comes from none."""
    line: int | None = element.sourceline  # type: ignore[assignment]  # the stubs leave its type open
    return line or 0


def place(element: etree._Element) -> str:
    """Where an element stands, for messages."""
    return f"line {line_of(element)}"


def size_of_tree(element: etree._Element) -> int:
    """Elements inside an element."""
    return int(cast(float, _descendants(element)))


def drop_children(element: etree._Element, kept: Collection[str] = ()) -> None:
    """Free all children but the last one, which may not have ended yet, and those of some names."""
    for child in list(element)[:-1]:
        if child.tag not in kept:
            element.remove(child)


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
