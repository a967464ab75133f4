"""JSON files of any size, one element of their long lists after the other: memory holds an element, not the file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

CHUNK = 1 << 20
_TOKEN = 16  # characters: of the words of JSON, `-Infinity` is the longest; an escape has six
_SPACE = " \t\n\r"
_AFTER = frozenset(_SPACE + ":,]}")


class JsonError(ValueError):
    """A file cannot be read as JSON; the message says why, without the file's name."""


class Element(NamedTuple):
    """A part of a file.

    Attributes:
        key: Of the outermost object; None where a list is outermost.
        position: In the list of that name, from 0; None for a value that is not taken apart, and for the empty list
            that comes before the elements of one that is.
        value: Decoded.
        repeated: Keys that an object in it has twice; the last one counted.
    """

    key: str | None
    position: int | None
    value: Any
    repeated: tuple[str, ...]


def elements(path: Path, lists: Collection[str], *, max_megabytes: float) -> Iterator[Element]:
    """Read a file; NaN and infinities are numbers, as most programs write them.

    Args:
        path: UTF-8, with or without a byte order mark.
        lists: Names of the lists that are taken apart; other values come whole.
        max_megabytes: Larger files are refused unread.

    Raises:
        JsonError: The file cannot be read, is no JSON, or too large. Elements before that place were good.
    """
    try:
        if not path.is_file():
            raise JsonError("is not a file" if path.exists() else "does not exist")
        megabytes = path.stat().st_size / 1e6
        if megabytes > max_megabytes:
            raise JsonError(
                f"has {megabytes:.1f} megabytes, more than the {max_megabytes:g} of detection.prepare.max_megabytes"
            )
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from _Scanner(stream).elements(lists)
    except UnicodeDecodeError:
        raise JsonError("is not in UTF-8; save it in that encoding") from None
    except OSError as error:
        raise JsonError(f"cannot be read: {error.strerror or error}") from None


class _Scanner:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._lines = 1
        self._repeated: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def elements(self, lists: Collection[str]) -> Iterator[Element]:
        if self._sign() == "[":
            for index, value in self._list():
                yield Element(None, index, value, tuple(self._repeated))
        elif self._sign() == "{":
            seen: set[str] = set()
            for key in self._keys():
                if key in seen:
                    raise JsonError(f"has the key {key!r} twice")
                seen.add(key)
                if key in lists and self._sign() == "[":
                    yield Element(key, None, [], ())
                    for index, value in self._list():
                        yield Element(key, index, value, tuple(self._repeated))
                else:
                    yield Element(key, None, self._value(), tuple(self._repeated))
        else:
            raise self._error("it begins with neither { nor [")
        if self._sign(end=True):
            raise self._error("there is more after its end")

    def _keys(self) -> Iterator[str]:
        """Names of an object's members, each once its value may be read."""
        self._at += 1
        if self._sign() == "}":
            self._at += 1
            return
        while True:
            if self._sign() != '"':
                raise self._error("a name in double quotes is missing")
            key = str(self._value())
            if self._sign() != ":":
                raise self._error("a colon is missing")
            self._at += 1
            yield key
            if self._closes("}"):
                return

    def _list(self) -> Iterator[tuple[int, Any]]:
        self._at += 1
        if self._sign() == "]":
            self._at += 1
            return
        index = 0
        while True:
            yield index, self._value()
            if self._closes("]"):
                return
            index += 1

    def _closes(self, bracket: str) -> bool:
        sign = self._sign()
        if sign not in (",", bracket):
            raise self._error(f"a comma or {bracket} is missing")
        self._at += 1
        return sign == bracket

    def _sign(self, *, end: bool = False) -> str:
        """The next character that is not white space; empty at the end of the file, where that may be."""
        while True:
            while self._at < len(self._text):
                sign = self._text[self._at]
                if sign not in _SPACE:
                    return sign
                self._at += 1
            if not self._fill():
                if end:
                    return ""
                raise JsonError("is no JSON, or was cut short: it ends too early")

    def _value(self) -> Any:
        self._sign()
        while True:
            self._repeated.clear()
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                open_text = error.msg.startswith("Unterminated string")
                if (open_text or error.pos > len(self._text) - _TOKEN) and self._fill():
                    continue
                self._at = error.pos
                raise self._error(error.msg) from None
            except RecursionError:
                raise self._error("it is nested too deeply") from None
            except ValueError:  # Python refuses to convert them, because it takes long
                raise self._error("it has a whole number of thousands of digits") from None
            # A number might go on after the text that was read so far.
            if self._text[end : end + 1] in _AFTER or not self._fill():
                self._at = end
                return value

    def _fill(self) -> bool:
        """Read as much again as is still needed; False at the end of the file."""
        more = self._stream.read(max(CHUNK, len(self._text) - self._at))
        if more:
            self._lines += self._text.count("\n", 0, self._at)
            self._text = self._text[self._at :] + more
            self._at = 0
        return bool(more)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self._repeated += [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        return found

    def _error(self, what: str) -> JsonError:
        line = self._lines + self._text.count("\n", 0, self._at)
        near = self._text[self._at : self._at + 20]
        return JsonError(f"is no JSON, or was cut short: {what}, in line {line}" + (f" at {near!r}" if near else ""))
