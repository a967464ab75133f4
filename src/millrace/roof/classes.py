"""What pixels can be: the classes of each head, in the order of the RID data set where it has one."""

from __future__ import annotations

UNKNOWN = 255
"""A pixel that a data set says nothing about: no class, and no background."""

_COMPASS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
AZIMUTHS = (4, 8, 16)
"""Numbers of azimuth classes that a model may have."""

SUPERSTRUCTURES = ("pvmodule", "dormer", "window", "ladder", "chimney", "shadow", "tree", "unknown", "background")
NO_SUPERSTRUCTURE = SUPERSTRUCTURES.index("background")

LINES = ("ridge", "valley", "hip", "eave", "outline")
"""Kind i is bit i of a pixel's lines, and channel i of the network's."""
ALL_LINES = (1 << len(LINES)) - 1

HEADS = ("segments", "superstructures", "roof", "lines", "height")


def segment_names(azimuths: int) -> tuple[str, ...]:
    """Names of the segment classes: azimuths clockwise from north, then `flat`, then `background`."""
    return (*_COMPASS[:: len(_COMPASS) // azimuths], "flat", "background")


def flat_class(azimuths: int) -> int:
    return azimuths


def background_class(azimuths: int) -> int:
    return azimuths + 1
