"""Arrays in files that the system maps into memory, for what may be larger than the memory."""

from __future__ import annotations

import math
import mmap
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from millrace.errors import ImageError


def new_mapped(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """A new array of zeros in a `.npy` file.

    Raises:
        ImageError: The disk has no room for it.
    """
    needed, free = math.prod(shape) * np.dtype(dtype).itemsize, shutil.disk_usage(path.parent).free
    if needed > free:  # writing to a memory map on a full disk would kill the process
        raise ImageError(f"what is computed from it needs {needed} bytes, and {path.parent} has {free} left")
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


def give_back(*arrays: NDArray[Any]) -> None:
    """Let go of the pages of mapped files that were touched: they count as this process's memory. The files stay."""
    for array in arrays:
        owner: Any = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            owner.madvise(mmap.MADV_DONTNEED)
