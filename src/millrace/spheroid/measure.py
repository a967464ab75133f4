"""Measurements of objects: one row an object.

| column | meaning |
| --- | --- |
| label | the object's id |
| area_px | pixels |
| perimeter_px | Crofton's formula over four directions, edges of holes included |
| equivalent_diameter_px | diameter of the disk of equal area |
| major_axis_px, minor_axis_px | full axes of the ellipse with the object's second moments |
| eccentricity | of that ellipse; a circle has 0 |
| circularity | 4 pi area / perimeter^2, not clipped: digitised disks scatter about 1 and may exceed it |
| solidity | area / area of the convex hull of its pixels, taken as squares |
| centroid_row_px, centroid_column_px | pixel centres are whole numbers, the image's first one (0, 0) |
| bbox_top, bbox_left, bbox_bottom, bbox_right | bounding box in pixels; bottom and right are exclusive |
| mean_intensity | mean of the image's own grey values |
| touches_border | whether the object reaches the image's edge, which may cut it off |
| area_um2 and the other lengths as ..._um | the same in micrometres, with a pixel size |

Why this perimeter: on digitised disks and ellipses of 5 px radius and more its mean error is below 1.5 %, below 0.3 %
from 20 px. Summing steps along the border (skimage's `perimeter`) ends 5 % too long. ImageJ averages three neighbouring
corners of the traced outline, which ends 3 % too long: its circularity of a large perfect disk is 0.94, and its values
for spheroids are about 6 % below those given here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from skimage.measure import regionprops_table

LENGTHS = {
    "perimeter": "perimeter_crofton",
    "equivalent_diameter": "equivalent_diameter_area",
    "major_axis": "axis_major_length",
    "minor_axis": "axis_minor_length",
}


def measure(labels: NDArray[np.int32], grey: NDArray[np.generic], pixel_size_um: float | None) -> pd.DataFrame:
    """Measure every object; the module's text defines the columns.

    Args:
        labels: Object ids, shape (H, W), 0 is background; may be memory-mapped, as may `grey`. Memory grows with the
            objects' bounding boxes, not with the image.
        grey: Grey values as the image file has them, shape (H, W), any number type.
        pixel_size_um: Side of a pixel; with it the columns in micrometres are added.

    Returns:
        One row an object by rising id. Columns and their types are the same without any object.
    """
    properties = ("label", "num_pixels", *LENGTHS.values(), "eccentricity", "centroid_local", "bbox", "intensity_mean")
    found = regionprops_table(labels, grey, properties=properties, extra_properties=(_hull_area_px,))
    area = found["num_pixels"]
    top, left, bottom, right = (found[f"bbox-{side}"] for side in range(4))
    columns = {
        "label": found["label"],
        "area_px": area,
        **{f"{length}_px": found[name] for length, name in LENGTHS.items()},
        "eccentricity": found["eccentricity"],
        "circularity": 4 * np.pi * area / found["perimeter_crofton"] ** 2,
        "solidity": area / found["_hull_area_px"],
        "centroid_row_px": top + found["centroid_local-0"],
        "centroid_column_px": left + found["centroid_local-1"],
        "bbox_top": top,
        "bbox_left": left,
        "bbox_bottom": bottom,
        "bbox_right": right,
        "mean_intensity": found["intensity_mean"].astype(np.float64),
        "touches_border": (top == 0) | (left == 0) | (bottom == labels.shape[0]) | (right == labels.shape[1]),
    }
    if pixel_size_um is not None:
        columns["area_um2"] = area * pixel_size_um**2
        for axis in ("row", "column"):
            columns[f"centroid_{axis}_um"] = columns[f"centroid_{axis}_px"] * pixel_size_um
        columns |= {f"{length}_um": found[name] * pixel_size_um for length, name in LENGTHS.items()}
    return pd.DataFrame(columns)


def _hull_area_px(mask: NDArray[np.bool_]) -> float:
    """Area of the convex hull of a mask's pixels, each the unit square about its centre."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [np.stack([rows + down, side], axis=1) for down in (0, 1) for side in (left, right)]
    return float(ConvexHull(np.concatenate(corners)).volume)  # Qhull calls a plane hull's area its volume
