"""GDAL kept to the one file it is given, silent, and with errors that say what is wrong with it."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from millrace.errors import ImageError

_REASON = 400
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no side files
    "GDAL_PAM_ENABLED": "NO",  # nor written ones
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",  # that way reads a truncated PNG without an error
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GDAL_CACHEMAX": 128 << 20,  # rasterio passes bytes on
}


class _Warnings(logging.Handler):
    """Keeps, for each thread, what GDAL warns of: a damaged JPEG inside a TIFF is no error to it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept = threading.local()

    def texts(self) -> list[str]:
        texts: list[str] = self._kept.__dict__.setdefault("texts", [])
        return texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts().append(record.getMessage())


_warnings = _Warnings()
logging.getLogger("rasterio").addHandler(_warnings)
logging.getLogger("rasterio").propagate = False


@contextmanager
def _silent() -> Iterator[None]:
    """Without what Python prints where rasterio cannot decode the text of an error, such as damaged names of tags."""
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook, sys.unraisablehook = lambda *_: None, lambda _: None
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks


@contextmanager
def confined_gdal(path: Path, **options: str) -> Iterator[list[str]]:
    """Run GDAL on the file `path` and on nothing else.

    Args:
        path: The file.
        options: Further GDAL configuration.

    Yields:
        What GDAL warns of in the block, as it comes.

    Raises:
        ImageError: GDAL failed; the message says why and does not name the file.
    """
    with warnings.catch_warnings(), _silent(), rasterio.Env(**(_OPTIONS | options)):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _warnings.texts().clear()
        try:
            yield _warnings.texts()
        except (RasterioError, CPLE_BaseError, CRSError, UnicodeError) as error:
            raise ImageError(f"damaged or not usable: {_reason(error, path)}") from None


def _reason(error: BaseException, path: Path) -> str:
    """GDAL's words for what is wrong, collected from its chain of errors, without the file's name."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = str(link)
        for name in (str(path.absolute()), path.name):
            text = text.replace(f"{name}: ", "").replace(f"{name}, ", "").replace(name, "it")
        if "See previous exception" not in text and not any(text in known for known in texts):
            texts.append(text)
        link = link.__cause__ or link.__context__
    return "; ".join(texts)[:_REASON]
