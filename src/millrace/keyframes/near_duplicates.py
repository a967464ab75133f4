"""Which videos are versions of each other, by what they show and when: copies with a new name, trims, later edits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3
"""Stretches in a row that count as one piece of content: single ones (a clip of 1.5 s at rest) recur by chance."""

DECIMALS = 2


def near_duplicates(videos: Sequence[NDArray[np.float32]], share: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of videos that have content in common.

    A video's content is the stretches over which nothing changes, each as what it shows and how long, three in a row
    together. The part of the shorter video that the other one holds too, by length, is what counts: so a trimmed copy
    is found, and one with something put before it.

    Args:
        videos: Cells (T, tracks, features) of each, in real units.
        share: From which part on a pair is given, 0 to 1.

    Yields:
        Positions of both videos, the smaller first, and the part. Of videos with equal content only the first is
        compared with the others.
    """
    # Equal contents once: a hundred copies would be compared five thousand times.
    copies: defaultdict[frozenset[tuple[bytes, int]], list[int]] = defaultdict(list)
    for index, video in enumerate(videos):
        copies[frozenset(_content(video).items())].append(index)
    contents = [(dict(content), sum(rows for _, rows in content)) for content in copies]
    holders: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for number, (content, _) in enumerate(contents):
        for shingle, rows in content.items():
            holders[shingle].append((number, rows))
    common: Counter[tuple[int, int]] = Counter()
    for held in holders.values():
        for (first, rows), (second, other) in combinations(held, 2):
            common[first, second] += min(rows, other)
    indices = list(copies.values())
    pairs = [(own[0], each, 1.0) for own in indices for each in own[1:]]
    for (first, second), rows in common.items():
        part = rows / min(contents[first][1], contents[second][1])
        if part >= share:
            pairs.append((indices[first][0], indices[second][0], part))
    yield from sorted(pairs)


def _content(cells: NDArray[np.float32]) -> Counter[bytes]:
    """Rows that each shingle stands for."""
    # Adding 0 makes one zero of the two.
    flat = np.round(cells.reshape(len(cells), -1), DECIMALS) + 0.0
    starts = np.flatnonzero(np.r_[True, (flat[1:] != flat[:-1]).any(axis=1)])
    lengths = np.diff(np.r_[starts, len(flat)])
    stretches = [
        hashlib.sha256(flat[start].tobytes() + bytes(f"x{length}", "ascii")).digest()
        for start, length in zip(starts, lengths, strict=True)
    ]
    content: Counter[bytes] = Counter()
    size = min(SHINGLE, len(stretches))
    for index in range(len(stretches) - size + 1):
        shingle = b"".join(stretches[index : index + size])
        content[shingle] += int(lengths[index : index + size].sum())
    return content
