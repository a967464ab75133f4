"""Which image is for training, validation and test: copies together, every side with its share of each class."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.detection.params import Split
from millrace.errors import UserError
from millrace.splitting import connected

PASSES, WORTHWHILE = 5, 1e-7
"""How often each unit may change its side, and what it has to gain by that: large sets are balanced without."""
MISSING = 1e9
"""Worth of a side's first image of a class: more than any balance."""


def assign(images: pd.DataFrame, boxes: pd.DataFrame, settings: Split) -> pd.Series[str]:
    """Side of each image.

    Given lists decide where there are any. Else images are dealt by their shares.

    Args:
        images: A row an image: `content` (equal for copies) and `split` (side by given lists; None without one).
        boxes: `image` (row of `images`) and `label` of each box.
        settings: Lists, shares, seed.

    Returns:
        train, validation or test; "" of an image that no list names.

    Raises:
        UserError: There are fewer independent images than sides, or no given one for training or validation.
    """
    if settings.given.lists:
        _check_given(images, settings)
        return images["split"].fillna("").astype("str")
    units = connected([[content] for content in images["content"]])
    rows, numbers = np.unique(units, return_inverse=True)
    shares = settings.shares
    if len(rows) < len(shares):
        raise UserError(
            f"{len(images)} images form {len(rows)} independent units (copies stay together): too few for "
            f"{' + '.join(shares)}. Add images, or set a share of detection.prepare.split to 0"
        )
    # One class more, of which each image has one: sides are balanced by images too, empty ones included.
    label = np.concatenate(
        [boxes["label"].to_numpy(), np.full(len(images), boxes["label"].max() + 1 if len(boxes) else 0)]
    )
    unit = numbers[np.concatenate([boxes["image"].to_numpy(), np.arange(len(images))])]
    sides = deal_stratified(unit, label, list(shares.values()), settings.seed)
    return pd.Series(np.array(list(shares))[sides][numbers], index=images.index, dtype="str")


def deal_stratified(
    unit: NDArray[np.int64], label: NDArray[np.int64], shares: list[float], seed: int
) -> NDArray[np.int64]:
    """Deal units to sides so that each side has its share of every label.

    As in iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, doi:10.1007/978-3-642-23808-6_10) units with
    rare labels come first. Each goes where it lowers, or raises least, the sum over sides and labels of
    (n - share N)^2 / (share N^2), n being the items with the label on the side and N all of them; then single units
    change sides as long as that lowers the sum. A label of at least as many units as there are sides is to be on every
    side, which comes before all balance.

    Args:
        unit: Number of each item's unit, from 0 without gaps, (N,).
        label: Of each item, (N,).
        shares: Of the sides; they add up to 1.
        seed: Order of units that are alike.

    Returns:
        Side of each unit.
    """
    pairs, counts = np.unique(np.stack([unit, label], axis=1), axis=0, return_counts=True)
    labels, column = np.unique(pairs[:, 1], return_inverse=True)
    start = np.searchsorted(pairs[:, 0], np.arange(pairs[-1, 0] + 2))
    total = np.bincount(column, weights=counts)
    carriers = np.bincount(column)
    share = np.array(shares)[:, None]
    # In parts of a label's items, so that all labels weigh the same.
    part = counts / total[column]
    wanted = np.where(carriers >= len(shares), MISSING, 0.0)
    dealt, present = np.zeros((len(shares), len(labels))), np.zeros((len(shares), len(labels)), np.int64)
    sides = np.full(len(start) - 1, -1)

    def move(number: int) -> bool:
        """Put a unit on the side that gains most by it; whether that is another than before."""
        own = slice(start[number], start[number + 1])
        at, much, old = column[own], part[own], sides[number]
        if old >= 0:
            dealt[old, at] -= much
            present[old, at] -= 1
        gain = ((2 * (share - dealt[:, at]) * much - much**2) / share + wanted[at] * (present[:, at] == 0)).sum(axis=1)
        best = int(gain.argmax()) if old < 0 or gain.max() > gain[old] + WORTHWHILE else int(old)
        dealt[best, at] += much
        present[best, at] += 1
        sides[number] = best
        return bool(best != old)

    order = _rarest_first(start, column, carriers, counts, seed)
    for _ in range(PASSES):
        if not sum([move(number) for number in order]):
            break
    return sides


def _rarest_first(
    start: NDArray[np.int64],
    column: NDArray[np.int64],
    carriers: NDArray[np.int64],
    counts: NDArray[np.int64],
    seed: int,
) -> list[int]:
    """Units by how few others have their rarest label, then by how much of it they have, then by chance."""
    keys = []
    for first, end in pairwise(start.tolist()):
        at = first + int(carriers[column[first:end]].argmin())
        keys.append((carriers[column[at]], column[at], -counts[at]))
    chance = np.random.default_rng(seed).permutation(len(keys))
    return sorted(range(len(keys)), key=lambda number: (*keys[number], chance[number]))


def _check_given(images: pd.DataFrame, settings: Split) -> None:
    for side in ("train", "validation"):
        name = getattr(settings.given, side)
        if name is None:
            raise UserError(
                f"detection.prepare.split.given names no list for {side}; it needs one for train and for validation, "
                f"or none at all"
            )
        if not (images["split"] == side).any():
            raise UserError(f"No usable image is on {name}, detection.prepare.split.given.{side}")
