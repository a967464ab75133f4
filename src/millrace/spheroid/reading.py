"""One way from an image file to normalised grey, for training, evaluation and prediction alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from millrace.imagery.masks import read_mask
from millrace.imagery.normalise import GreyScale, grey_scale
from millrace.imagery.read import read_grey
from millrace.spheroid.params import Prepare, Preprocessing
from millrace.spheroid.raw import Pair


def max_pixels(settings: Prepare) -> int:
    return int(settings.max_megapixels * 1e6)


def read_pair(pair: Pair, settings: Prepare) -> tuple[NDArray[np.generic], GreyScale, NDArray[np.int32]]:
    """Raw grey image (H, W), its grey scale, and instance labels (H, W).

    Raises:
        ImageError: The image or the mask cannot be used.
    """
    image = read_grey(pair.image, page=settings.preprocessing.page, max_pixels=max_pixels(settings))
    scale = scale_of(image, settings.preprocessing)
    return image, scale, read_mask(pair.mask, max_pixels=max_pixels(settings))


def scale_of(image: NDArray[np.generic], preprocessing: Preprocessing) -> GreyScale:
    """The conversion of one image to normalised grey: the same for training and prediction."""
    return grey_scale(
        image,
        low_percentile=preprocessing.low_percentile,
        high_percentile=preprocessing.high_percentile,
        polarity=preprocessing.polarity,
    )
