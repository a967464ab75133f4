"""Numeric arrays of a MATLAB file of version 7.3, which is HDF5; the file is kept to itself and to what it holds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, prod
from pathlib import Path
from typing import Any

import h5py

from millrace.errors import ImageError

_MAX_CHUNK_BYTES = 1 << 26
_MAX_INFLATION = 1032  # of Deflate, https://zlib.net/zlib_tech.html
_SPARE_BYTES = 1 << 12
_STEP = 1 << 20
_GZIP = h5py.h5z.FILTER_DEFLATE
_FILTERS = {_GZIP, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


@contextmanager
def matlab_arrays(path: Path, struct: str, fields: tuple[str, ...]) -> Iterator[list[h5py.Dataset]]:
    """Open fields of a struct. Nothing of their values is read.

    Yields:
        One dataset a field, of numbers, all of whose values are in this file. Its axes are those of the file: MATLAB
        writes the last axis of its array first.

    Raises:
        ImageError: The file is no such file, a field is missing or leads elsewhere, or HDF5 fails in the block. The
            message does not name the file.
    """
    _check_signature(path)
    try:
        # A chunk that holds several crops is decoded once for all of them.
        with h5py.File(path, "r", rdcc_nbytes=_MAX_CHUNK_BYTES) as file:
            group = _follow(file, struct, h5py.Group)
            datasets = [_follow(group, name, h5py.Dataset) for name in fields]
            for name, dataset in zip(fields, datasets, strict=True):
                _check_origin(name, dataset)
            yield datasets
    except MemoryError:
        raise ImageError("it does not fit into the memory of this machine") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # whatever HDF5 makes of damage
        raise ImageError(f"damaged: {str(error)[:300]}") from None


def check_chunks(name: str, dataset: h5py.Dataset, file_bytes: int) -> None:
    """Refuse a dataset that claims more values than the file has, or a chunk that unpacks to more than a chunk.

    HDF5 itself unpacks whatever is stored: a file of one megabyte can ask for a gigabyte.

    Raises:
        ImageError: It does; the message names the dataset.
    """
    if dataset.chunks is None:
        stored = min(dataset.id.get_storage_size(), file_bytes)
        if stored < dataset.nbytes:
            raise ImageError(f"{name} claims {dataset.nbytes} bytes, of which at most {stored} were written")
        return
    chunk_bytes = prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > _MAX_CHUNK_BYTES:
        limit = _MAX_CHUNK_BYTES
        raise ImageError(f"the chunks of {name} are of {chunk_bytes} bytes, allowed are {limit}; save it with smaller")
    needed = prod(ceil(length / chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    stored = dataset.id.get_num_chunks()
    if stored < needed:
        raise ImageError(f"{name} claims {needed} chunks, of which {stored} were written")
    filters = _filters(dataset)
    unpacked_bit = 1 << filters.index(_GZIP) if _GZIP in filters else 0
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.size > 2 * chunk_bytes + _SPARE_BYTES:
            raise ImageError(f"a chunk of {name} takes {chunk.size} bytes for {chunk_bytes} of values")
        packed = unpacked_bit and not chunk.filter_mask & unpacked_bit
        may_grow = packed and chunk.size * _MAX_INFLATION > _MAX_CHUNK_BYTES
        if may_grow and _unpacked(dataset.id.read_direct_chunk(chunk.chunk_offset)[1], chunk_bytes) > chunk_bytes:
            raise ImageError(f"a chunk of {name} unpacks to more than the {chunk_bytes} bytes of its values")


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            start = stream.read(128)
    except OSError as error:
        raise ImageError(f"it cannot be opened: {error.strerror}") from None
    if not start:
        raise ImageError("the file is empty")
    if start.startswith(b"MATLAB 5.0"):
        raise ImageError("it is a MATLAB file of version 7 or older; save it with save(..., '-v7.3'), which is HDF5")
    if not h5py.is_hdf5(path):
        raise ImageError("it is not HDF5, thus no MATLAB file of version 7.3, or it was cut short")


def _follow(group: h5py.Group, name: str, kind: type) -> Any:
    """A member of a group; only links inside the file that HDF5 cannot lead elsewhere are followed."""
    links = group.id.links  # Group.get would look whether the other file is there
    if not links.exists(name.encode()):
        here = ", ".join(sorted(map(str, group))[:10]) or "nothing"
        raise ImageError(f"it has no {group.name.strip('/')}{'/' if group.name != '/' else ''}{name}; there is {here}")
    if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ImageError(f"its {name} is a link, which could lead to another file; save the values themselves")
    found = group[name]
    if not isinstance(found, kind):
        raise ImageError(f"its {name} is a {type(found).__name__.lower()}, not a {kind.__name__.lower()}")
    return found


def _check_origin(name: str, dataset: h5py.Dataset) -> None:
    """Refuse values that are elsewhere, are no numbers, or need a filter that HDF5 would load as a plug-in."""
    if dataset.external or dataset.is_virtual:
        raise ImageError(f"{name} keeps its values in other files; save the values themselves")
    if dataset.shape is None:
        raise ImageError(f"{name} is empty; it was saved without any value")
    if dataset.dtype.kind not in "buif" or dataset.dtype.itemsize > 8:
        raise ImageError(f"{name} is of type {dataset.dtype}, not of numbers")
    filters = _filters(dataset)
    if not set(filters) <= _FILTERS or len(set(filters)) < len(filters):
        raise ImageError(f"{name} is packed by the HDF5 filters {filters}; save it with gzip (filter 1) or unpacked")


def _filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(position)[0] for position in range(properties.get_nfilters())]


def _unpacked(packed: bytes, limit: int) -> int:
    """Bytes that a Deflate stream unpacks to, counted until there are more than `limit`."""
    stream, count = zlib.decompressobj(), 0
    try:
        while packed and count <= limit + _SPARE_BYTES:
            count += len(stream.decompress(packed, _STEP))
            packed = stream.unconsumed_tail
    except zlib.error:
        return 0  # damaged, which reading finds
    return max(0, count - _SPARE_BYTES)
