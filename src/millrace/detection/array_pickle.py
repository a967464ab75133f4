"""Pickles of NumPy arrays, read without running anything that they name.

Unpickling calls what the file names. Here that is a handful of stand-ins, which only note what an array is made of.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_NUMBERS = re.compile(r"f[248]|[iu][1248]|b1")


class StoredArray:
    """Stands for an array in what `load` gives; `array` is a view of the file's bytes."""

    def __init__(self, *subtype_shape_dtype: Any) -> None:
        self.array: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # as Python 2 wrote it
            content = content.encode("latin1")
        self.array = np.frombuffer(content, dtype.numpy).reshape(shape, order="F" if fortran else "C")


class _StoredDtype:
    def __init__(self, code: str, *align_copy: bool) -> None:
        if not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds arrays of {code!r}, which are no numbers")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder("=" if state[1] == "|" else state[1])


def _from_buffer(content: bytes, dtype: _StoredDtype, shape: tuple[int, ...], order: str) -> StoredArray:
    stored = StoredArray()
    stored.__setstate__((1, shape, dtype, order == "F", content))
    return stored


def _encode(text: str, encoding: str) -> bytes:
    """How bytes are written by a Python 3 for a Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds text in {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How none are written; with a number it would make as many."""
    return b""


_STAND_INS = {
    "numpy.ndarray": StoredArray,
    "numpy.dtype": _StoredDtype,
    "numpy.core.multiarray._reconstruct": StoredArray,
    "numpy._core.multiarray._reconstruct": StoredArray,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": OrderedDict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        named = f"{module}.{name}"
        if named not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {named}, which is no part of an array")
        return _STAND_INS[named]


def load(data: bytes) -> Any:
    """What a pickle holds, with a `StoredArray` in the place of each array.

    Raises:
        UnpicklingError: It is damaged, or names anything but plain values, dicts and arrays of numbers.
    """
    try:
        # A memo's number or a length of billions would be given memory before it is missed.
        for code, argument, _ in pickletools.genops(data):
            if code.name in _PUTS and argument is not None and argument > len(data):
                raise ValueError(f"entry {argument} in {len(data)} bytes")
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes of it
        raise pickle.UnpicklingError(f"it is damaged ({type(error).__name__}: {error})") from None
