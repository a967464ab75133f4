"""Fields of records that come from outside: each is of its type, or is listed as a problem with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from millrace.errors import Problem

LISTED = 20
"""Problems of a kind that are listed one by one; of the rest only the number is told."""
_MOST = 1 << 63
_NOTHING: Mapping[str, Any] = {}
Field = TypeVar("Field")


def whole(value: Any) -> int:
    """A whole number of 64 bits; 7.0 is one.

    Raises:
        ValueError: It is none; the message says what it is.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value < _MOST:
        return value
    if isinstance(value, str) and value.strip().isdigit():
        raise ValueError(f"is the text {shown(value)}, not a whole number: write it without quotes")
    raise ValueError(f"is {shown(value)}, not a whole number")


def text(value: Any) -> str:
    """A text that is not empty and can be written to files.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, not a text")
    if not value.strip():
        raise ValueError("is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a pair of surrogates") from None
    return value


def flag(value: Any) -> bool:
    """What stands for yes or no.

    Raises:
        ValueError: It is not 0, 1, true or false.
    """
    if value in (0, 1):
        return bool(value)
    raise ValueError(f"is {shown(value)}, not 0 or 1")


def box(value: Any) -> tuple[float, float, float, float]:
    """Four numbers, whatever they are.

    Raises:
        ValueError: They are not four, or not numbers.
    """
    if not isinstance(value, list):
        raise ValueError(f"is {shown(value)}, not a list of four numbers")
    if len(value) != 4:
        raise ValueError(f"has {len(value)} numbers, not 4")
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int | float):
            raise ValueError(f"has {shown(each)} in it, not a number")
    try:
        x, y, width, height = (float(each) for each in value)
    except OverflowError:
        raise ValueError("has a number of hundreds of digits") from None
    return x, y, width, height


def shown(value: Any) -> str:
    """A value in a message, not at full length."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    named = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    if isinstance(value, int) and abs(value) >= _MOST:
        return "a number beyond 64 bits"
    whole_text = named or repr(value)
    return whole_text if len(whole_text) <= 40 else whole_text[:36] + "..."


class Record:
    """An object of a file, from which fields are taken one by one; what is left at the end is extra.

    Attributes:
        wrong: What was wrong with the fields that were asked for.
    """

    def __init__(self, fields: Any) -> None:
        self.wrong: list[tuple[str, str]] = []
        self._object = isinstance(fields, dict)
        self._fields: dict[str, Any] = fields if self._object else {}
        if not self._object:
            self.wrong.append(("", f"is {shown(fields)}, not an object"))

    def take(self, name: str, kind: Callable[[Any], Field], missing: Field) -> Field:
        """A field; what is missing where it is not there, null, or not of its kind."""
        value = self._fields.pop(name, None)
        if value is None:
            return missing
        try:
            return kind(value)
        except ValueError as error:
            self.wrong.append((f".{name}", str(error)))
            return missing

    def need(self, name: str, kind: Callable[[Any], Field], missing: Field) -> Field:
        """A field that has to be there."""
        if self._object and self._fields.get(name) is None:
            self.wrong.append(("", f"has no {name}"))
        return self.take(name, kind, missing)

    def drop(self, name: str, number: float) -> None:
        """Forget a field that holds this number."""
        value = self._fields.get(name)
        if isinstance(value, float | int) and (value == number or (value != value and number != number)):
            del self._fields[name]

    def rest(self, wanted: bool) -> Mapping[str, Any]:
        """Fields that were not taken."""
        return self._fields if wanted else _NOTHING

    def __contains__(self, name: str) -> bool:
        return name in self._fields


class Problems:
    """Problems of one file, only so many of each kind one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[Problem] = []
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, kind: str) -> None:
        """Add one; `kind` is what it has in common with others."""
        self._counts[kind] += 1
        if self._counts[kind] <= LISTED:
            self._found.append(Problem(self._path, reason))

    def add_wrong(self, place: str, group: str, record: Record) -> None:
        """Add all that is wrong with a record of a group."""
        for where, what in record.wrong:
            self.add(f"{place}{where} {what}", f"{group}{where or ' ' + what}")

    def told(self) -> list[Problem]:
        """All, with the number of those that are not listed."""
        more = {kind: count - LISTED for kind, count in self._counts.items() if count > LISTED}
        return self._found + [Problem(self._path, f"{kind}: {count} more like this") for kind, count in more.items()]
