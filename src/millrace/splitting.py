"""Splitting a data set by units that must stay together, in shares that come out as near as units allow."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Annotated, Self, TypeVar

from pydantic import Field, model_validator

from millrace.settings import Section

Share = Annotated[float, Field(ge=0, le=1)]
SIDES = ("train", "validation", "test")
Side = TypeVar("Side", str, int)


class Split(Section):
    """Shares of the sides of a split; a task adds what else it splits by."""

    seed: int = Field(default=0, ge=0)
    train: Share = 0.6
    validation: Share = 0.2
    test: Share = 0.2

    @property
    def shares(self) -> dict[str, float]:
        """Of the sides that get anything."""
        return {side: getattr(self, side) for side in SIDES if getattr(self, side) > 0}

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}, must be 1")
        return self


def connected(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Number of each item's unit, the position of its first item: items that share a key are of one unit.

    Args:
        keys: Of each item; one with none is a unit of its own.
    """
    parent = list(range(len(keys)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    first: dict[Hashable, int] = {}
    for index, own in enumerate(keys):
        for key in own:
            a, b = root(first.setdefault(key, index)), root(index)
            parent[max(a, b)] = min(a, b)
    return [root(index) for index in range(len(keys))]


def deal(order: Sequence[int], sizes: Mapping[int, int], shares: Mapping[Side, float]) -> dict[int, Side]:
    """Give each unit, in order, to the side that is furthest below its share of what was dealt so far.

    With at least as many units as sides no side stays empty, however unequal the units are.
    """
    dealt = dict.fromkeys(shares, 0)
    sides: dict[int, Side] = {}
    for number, unit in enumerate(order):
        total = sum(dealt.values()) + int(sizes[unit])
        empty = [side for side in shares if side not in sides.values()]
        open_sides = empty if len(order) - number <= len(empty) else shares
        side = max(open_sides, key=lambda side: shares[side] * total - dealt[side])
        sides[unit] = side
        dealt[side] += int(sizes[unit])
    return sides
