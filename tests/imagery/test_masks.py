from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.measure import label

from imagery.image_bytes import LIMIT, RNG, U8, as_pillow, as_tiff
from millrace.errors import ImageError
from millrace.imagery.masks import read_mask

ONE_PATH = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Two diagonal neighbours and one piece apart.
BINARY = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
TWO_OBJECTS = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 2]]
IDS = np.array([[7, 0, 3, 3], [0, 0, 3, 0], [7, 7, 0, 300]], np.uint16)
COLOURS = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
RANKS = [[2, 0, 1, 1], [0, 0, 1, 0], [2, 2, 0, 3]]


def coloured(mask: np.ndarray, *others: np.ndarray) -> bytes:
    return as_pillow(np.dstack([mask, mask, mask, *others]), "PNG")


READ = {
    "0-1.png": (as_pillow(BINARY, "PNG"), TWO_OBJECTS),
    "0-255.tif": (as_tiff(BINARY * 255, compression="lzw"), TWO_OBJECTS),
    "0-255.bmp": (as_pillow(BINARY * 255, "BMP"), TWO_OBJECTS),
    "bit.png": (as_pillow(Image.fromarray(BINARY > 0), "PNG"), TWO_OBJECTS),
    "bit.tif": (as_tiff(BINARY > 0, photometric="minisblack"), TWO_OBJECTS),
    "bit-from-white.tif": (as_tiff(BINARY > 0, photometric="miniswhite"), TWO_OBJECTS),
    "rgb.png": (coloured(BINARY * 255), TWO_OBJECTS),
    "rgba.png": (coloured(BINARY * 255, np.arange(12, dtype=np.uint8).reshape(3, 4)), TWO_OBJECTS),
    "ids.png": (as_pillow(IDS, "PNG"), RANKS),
    "ids-i32.tif": (as_tiff(IDS.astype(np.int32) * 1000), RANKS),
    "ids-u32-above-float32.tif": (as_tiff(np.where(IDS > 0, IDS + np.uint32(2**31), 0).astype(np.uint32)), RANKS),
    "ids-f32.tif": (as_tiff(IDS.astype(np.float32)), RANKS),
    "ids-coloured-by-imagej.tif": (
        as_tiff(np.array(RANKS, np.uint8) * 40, photometric="palette", colormap=COLOURS),
        RANKS,
    ),
    "empty.png": (as_pillow(BINARY * 0, "PNG"), np.zeros((3, 4))),
    "full.png": (as_pillow(BINARY * 0 + 255, "PNG"), np.ones((3, 4))),
    "no-background.png": (as_pillow(BINARY + 4, "PNG"), BINARY + 1),
}


@pytest.mark.parametrize("name", READ)
def test_mask_becomes_instance_labels(name, tmp_path):
    content, expected = READ[name]
    (tmp_path / name).write_bytes(content)
    labels = read_mask(tmp_path / name, max_pixels=LIMIT)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


@ONE_PATH
@given(
    mask=arrays(
        np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 5, 9, 60000])
    )
)
def test_labels_are_dense_and_keep_which_pixels_belong_together(mask, tmp_path):
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    labels = read_mask(tmp_path / "mask.tif", max_pixels=LIMIT)
    np.testing.assert_array_equal(labels == 0, mask == 0)
    assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))
    if len(np.unique(mask)) <= 2 and (mask == 0).any():
        np.testing.assert_array_equal(labels, label(mask > 0, connectivity=2))
    else:
        pairs = np.unique(np.column_stack([mask.ravel(), labels.ravel()]), axis=0)
        assert len(pairs) == len(np.unique(mask)) == len(np.unique(labels))
        assert (np.diff(pairs[:, 1]) > 0).all(), "ids keep their order"


REFUSED = {
    "JPEG": ("a.jpg", as_pillow(U8, "JPEG"), "JPEG compression has changed the values of this mask; .*"),
    "JPEG inside": (
        "a.tif",
        as_tiff(U8, compression="jpeg"),
        "JPEG compression has changed the values of this mask; .*",
    ),
    "pages": (
        "a.tif",
        as_tiff(np.stack([BINARY] * 3), photometric="minisblack", metadata=None),
        "a mask is one page, this file has 3; save the page of the image by itself",
    ),
    "colours": ("a.png", as_pillow(np.dstack([BINARY, BINARY * 0, BINARY]), "PNG"), "it is coded by colour; .*"),
    "palette": (
        "a.png",
        as_pillow(Image.fromarray(np.dstack([U8, U8 // 2, U8 // 3])).quantize(8), "PNG"),
        "it is coded by colour; .*",
    ),
    "fractions": ("a.tif", as_tiff(BINARY / np.float32(2)), "it holds values that are not whole numbers; .*"),
    "NaN": ("a.tif", as_tiff(np.where(BINARY, np.nan, 0)), "it holds values that are not whole numbers; .*"),
    "infinity": ("a.tif", as_tiff(np.where(BINARY, np.inf, 0)), "it holds values that are not whole numbers; .*"),
    "negative": ("a.tif", as_tiff(-BINARY.astype(np.int16)), "it holds the negative value -1; .*"),
    "negative float": ("a.tif", as_tiff(-BINARY.astype(np.float32)), "it holds the negative value -1; .*"),
    "too large": ("a.png", as_pillow(np.zeros((1025, 1025), np.uint8), "PNG"), "it has 1025 x 1025 pixels, .*"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mask_is_refused_with_its_reason(case, tmp_path):
    name, content, reason = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"^{reason}$"):
        read_mask(tmp_path / name, max_pixels=LIMIT)


SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_instance_masks_keep_every_nucleus():
    folder = Path(SHARED or "") / "spheroid" / "dsb2018_nuclei" / "labels"
    objects = 0
    for path in folder.iterdir():
        ids = np.asarray(Image.open(path))
        labels = read_mask(path, max_pixels=LIMIT)
        np.testing.assert_array_equal(labels, ids)
        objects += int(labels.max())
    assert objects == 5247
