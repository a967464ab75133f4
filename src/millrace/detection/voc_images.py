"""Which image an XML file is about, where its `filename` may lack the suffix, have another one, or be wrong."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from millrace.detection.fields import shown
from millrace.detection.voc_xml import XmlError
from millrace.imagery.read import SUFFIXES


class ImageFiles:
    """Images of a folder and of those in it; none without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._names: set[str] = set()
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for here, subfolders, files in os.walk(folder) if folder is not None else ():
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(files):
                path = PurePosixPath(Path(here, name).relative_to(folder or here).as_posix())
                if path.suffix.lower() in SUFFIXES:
                    self._names.add(str(path))
                    self._by_stem[str(path.with_suffix(""))].append(str(path))

    def name_for(self, xml: PurePosixPath, filename: str) -> str:
        """Name of the image of an XML file, relative to the folder of images, whether it exists or not.

        The first of these that there is: what `filename` says, in the subfolder that the XML file is in or without
        one; the only image that is called as the XML file is; the only one that is called as `filename` but for the
        suffix. If none is there, `filename` as it stands.

        Args:
            xml: Path of the XML file in its own folder.
            filename: As stated; empty where nothing is.

        Raises:
            XmlError: There is an image called as `filename` says, and another called as the XML file.
        """
        stated = [str(xml.parent / filename), filename] if PurePosixPath(filename).name else []
        named = next((name for name in stated if name in self._names), None)
        own = self._only([str(xml.with_suffix("")), xml.stem])
        if named is not None and own not in (None, named) and PurePosixPath(named).stem != xml.stem:
            raise XmlError(f"has the filename {shown(filename)}, but is called as another image, {own}: rename one")
        found = named or own or self._only([str(PurePosixPath(name).with_suffix("")) for name in stated])
        if found is None and not stated:
            raise XmlError("has no filename, and no image is called as it is")
        return found or stated[0]

    def _only(self, stems: list[str]) -> str | None:
        """The image of the first of these stems, where there is one only."""
        found = next((self._by_stem[stem] for stem in stems if stem in self._by_stem), [])
        return found[0] if len(found) == 1 else None
