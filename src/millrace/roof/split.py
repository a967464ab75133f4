"""Which scene is for training, validation and test: groups and copies together, and what is wrong with given sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from millrace.errors import Problem, UserError
from millrace.roof.scene import Scene
from millrace.splitting import SIDES, Split, connected, deal

if TYPE_CHECKING:
    from millrace.roof.params import Source

_KEPT_FIRST = ("test", "validation", "train")
"""Where a copy stands on several sides, the first of these keeps it."""


def settings_of(source: Source) -> Split | None:
    """Shares of a source that says nothing of sides itself, else None."""
    return getattr(source, "split", None)


def dealt(scenes: Sequence[Scene], contents: Mapping[str, str], split: Split) -> dict[str, str]:
    """Side of each scene by name; scenes of one group, and copies of one image, stand on one side.

    Such units are dealt in an order drawn from the seed, each to the side that is furthest below its share of pixels.

    Args:
        scenes: All of a source.
        contents: Hash of each scene's image, by its name.
        split: Shares, of which any may be 0, and seed.

    Raises:
        UserError: There are fewer units than sides with a share.
    """
    units = connected([[("group", scene.group), ("content", contents[scene.name])] for scene in scenes])
    sizes: dict[int, int] = defaultdict(int)
    for unit, scene in zip(units, scenes, strict=True):
        sizes[unit] += scene.height * scene.width
    if len(sizes) < len(split.shares):
        raise UserError(
            f"{len(scenes)} scenes form {len(sizes)} independent units (groups and copies of an image stay together): "
            f"too few for {' + '.join(split.shares)}. Add scenes, or set a share of its split to 0."
        )
    order = np.random.default_rng(split.seed).permutation(list(sizes))
    sides = deal(order.tolist(), sizes, split.shares)
    return {scene.name: sides[unit] for unit, scene in zip(units, scenes, strict=True)}


def leaks(scenes: Sequence[Scene], contents: Mapping[str, str]) -> dict[str, Problem]:
    """Problem of each scene, by name, that may not stay on the side that its source gives it.

    That is a scene without a known side, and one whose group or image is on another side too: it may stay only in the
    test set, else in the validation set.

    Args:
        scenes: All of a source that gives sides.
        contents: Hash of each scene's image, by its name.
    """
    found: dict[str, Problem] = {}
    first: dict[tuple[str, str], Scene] = {}
    order = sorted(
        (scene for scene in scenes if scene.side in SIDES), key=lambda scene: _KEPT_FIRST.index(str(scene.side))
    )
    for scene in order:
        for kind, key in (("image", contents[scene.name]), ("group", scene.group)):
            kept = first.setdefault((kind, key), scene)
            if kept.side != scene.side:
                what = "is the same image as" if kind == "image" else f"is of the same group ({scene.group}) as"
                found.setdefault(
                    scene.name,
                    Problem(place(scene), f"is for {scene.side} and {what} {kept.name}, which is for {kept.side}"),
                )
    for scene in scenes:
        if scene.side not in SIDES:
            found[scene.name] = Problem(place(scene), "is on no list for training, validation or test")
    return found


def place(scene: Scene) -> Path:
    """What to name a scene by when it has a problem."""
    return scene.files.get("image", Path(scene.name))
