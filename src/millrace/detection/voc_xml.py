"""XML elements that nobody vouches for, and any other element as JSON and back."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lxml import etree

Element = etree._Element
MAX_MEGABYTES = 20.0
"""Of a file about one image."""
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlError(ValueError):
    """A file cannot be read as XML; the message says why, without the file's name."""


def read_root(path: Path, max_megabytes: float) -> Element:
    """Outermost element of a file, without comments; nothing outside the file is looked at.

    Raises:
        XmlError: The file cannot be read, is no XML, declares entities, or is too large.
    """
    limit = min(max_megabytes, MAX_MEGABYTES)
    try:
        if not path.is_file():
            raise XmlError("is not a file" if path.exists() else "does not exist")
        if path.stat().st_size > limit * 1e6:
            raise XmlError(f"has {path.stat().st_size / 1e6:.1f} megabytes, more than the {limit:g} for one image")
        root = _parsed(path.read_bytes())
    except etree.XMLSyntaxError as error:
        raise XmlError(f"is not well-formed XML, or was cut short: {error.msg}") from None
    except OSError as error:
        raise XmlError(f"cannot be read: {error.strerror or error}") from None
    declared = root.getroottree().docinfo.internalDTD
    entities = declared is not None and any(True for _ in declared.iterentities())  # type: ignore[attr-defined]  # not in the stubs
    if entities or next(root.iter(etree.Entity), None) is not None:
        raise XmlError("has XML entities of its own, which no annotation tool writes; remove its DOCTYPE block")
    return root


def _parsed(content: bytes) -> Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=True,
        collect_ids=False,
    )
    return etree.fromstring(content, parser)


def one(parent: Element, tag: str) -> Element | None:
    """The child of a name; None without one.

    Raises:
        XmlError: There are several.
    """
    found = parent.findall(tag)
    if len(found) > 1:
        raise XmlError(f"has {len(found)} elements {tag}, not one")
    return found[0] if found else None


def take(parent: Element, tag: str) -> Element | None:
    """Remove the child of a name and return it, as `one`."""
    child = one(parent, tag)
    if child is not None:
        parent.remove(child)
    return child


def text_of(element: Element | None) -> str | None:
    """Text without white space around it; None without any."""
    return (element.text or "").strip() or None if element is not None else None


def as_json(element: Element) -> Any:
    """An element's text, or an object where it has children or attributes.

    The object has the children by name, a list where a name is there several times, attributes by `@` and their name,
    and text as `#text`.
    """
    if len(element) == 0 and not element.attrib:
        return element.text or ""
    children: dict[str, list[Any]] = defaultdict(list)
    for child in element:
        children[str(child.tag)].append(as_json(child))
    found: dict[str, Any] = {"@" + str(name): str(value) for name, value in element.attrib.items()}
    found |= {name: values if len(values) > 1 else values[0] for name, values in children.items()}
    return found | ({"#text": text_of(element)} if text_of(element) else {})


def from_json(tag: str, content: Any) -> Element | None:
    """The element that `as_json` makes this of once it was in a file; None if there is none."""
    try:
        element = _build(tag, content)
        written = _parsed(etree.tostring(element))
    except (TypeError, ValueError, AttributeError, RecursionError, etree.XMLSyntaxError):
        return None
    return element if as_json(written) == content else None


def _build(tag: str, content: Any) -> Element:
    element = etree.Element(tag)
    if isinstance(content, str):
        element.text = content
        return element
    for name, value in content.items():
        if name == "#text":
            element.text = value
        elif name.startswith("@"):
            element.set(name[1:], value)
        else:
            element.extend(_build(name, each) for each in (value if isinstance(value, list) else [value]))
    return element


def add(parent: Element, tag: str, content: str) -> None:
    """Append a child with a text, in which `�` stands for what XML cannot hold."""
    etree.SubElement(parent, tag).text = allowed(content)


def allowed(content: str) -> str:
    """Text with `�` for each character that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", content)


def arranged(element: Element, order: Sequence[str | None]) -> Element:
    """Put children in this order, and all others where it has None."""
    places = {tag: number for number, tag in enumerate(order)}
    element[:] = sorted(element, key=lambda child: places.get(str(child.tag), places[None]))
    return element


def write_root(root: Element, path: Path) -> None:
    """Write an indented file."""
    etree.indent(root, "\t")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(etree.tostring(root, encoding="utf-8") + b"\n")


def json_in(element: Element | None) -> Any:
    """JSON object in an element's text; an empty one without an element.

    Raises:
        XmlError: It is none.
    """
    if element is None:
        return {}
    try:
        return json.loads(element.text or "")
    except (ValueError, RecursionError):
        raise XmlError(f"has an element {element.tag!s} that holds no JSON") from None
