"""Writing outputs so that they are whole, deterministic and readable in a diff."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT_DIGITS = 6
TABLE_DIGITS = 9


def rounded(value: Any) -> Any:
    """Copy of nested JSON data with floats at six significant digits; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value


def write_text(path: Path, write: Callable[[TextIO], object]) -> None:
    """Let `write` fill a text file that takes the place of `path` only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name of its own: that of the file may be as long as names can be.
    partial = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            write(stream)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write sorted, rounded, indented JSON, so that equal results are equal bytes."""
    text = json.dumps(rounded(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, lambda stream: stream.write(text + "\n"))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with floats at nine significant digits."""
    write_text(path, lambda stream: table.to_csv(stream, index=False, float_format=f"%.{TABLE_DIGITS}g"))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` only when the block ends without an error.

    What was in `path` is deleted: for the project's own outputs, never for a folder that the user named.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    partial.replace(path)
