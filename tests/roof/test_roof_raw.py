"""The reader of each format is found, by its settings and by what a folder holds."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from millrace.errors import UserError
from millrace.roof import raw
from millrace.roof.params import Airs, Generic, Prepare, Rid, Roofline
from millrace.roof.scene import Window
from roof.builders import noise, write_airs, write_png, write_rid

SIDE = 16


def write_roofline(root: Path) -> Path:
    root.mkdir()
    with h5py.File(root / "imdb.mat", "w") as file:
        file["imdb/images"] = np.stack([noise(SIDE, SIDE, seed).transpose(2, 1, 0) for seed in range(4)])
        file["imdb/depths"] = np.ones((4, SIDE, SIDE), np.float32)
        file["imdb/elements"] = np.zeros((4, 3, SIDE, SIDE), np.uint8)
    return root


def write_generic(root: Path) -> Path:
    write_png(root / "images" / "a.png", noise(SIDE, SIDE, 0))
    write_png(root / "roofs" / "a.png", np.eye(SIDE, dtype=np.uint8))
    return root


WRITERS = {Rid: write_rid, Roofline: write_roofline, Airs: write_airs, Generic: write_generic}
SCENES = {Rid: 5, Roofline: 4, Airs: 4, Generic: 1}
LABELLED = {Rid: "segments", Roofline: "lines", Airs: "roof", Generic: "roof"}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_is_told_by_what_it_holds_and_read(kind, tmp_path):
    source = raw.detect(WRITERS[kind](tmp_path / "raw"))
    assert type(source) is kind
    assert source.path == str(tmp_path / "raw")
    found = raw.scan(source, Prepare())
    assert found.problems == ()
    assert len(found.scenes) == SCENES[kind]
    for scene in found.scenes:
        tile = raw.read(source, scene, Window(2, 3, 8, 9))
        assert tile.image.shape == (8, 9, 3)
        assert {name for name in LABELLED.values() if getattr(tile, name) is not None} == {LABELLED[kind]}


def test_settings_of_a_detected_source(tmp_path):
    folder = write_rid(tmp_path / "rid")
    assert raw.detect(folder).vectors == "segments_reviewed.csv"
    (folder / "segments_reviewed.csv").unlink()
    assert raw.detect(folder) == Rid(format="rid", path=str(folder))


def test_the_file_of_roofline_may_be_named(tmp_path):
    path = write_roofline(tmp_path / "raw") / "imdb.mat"
    renamed = path.rename(path.with_name("vaihingen.MAT"))
    assert raw.detect(renamed) == Roofline(format="roofline", path=str(renamed))
    assert len(raw.scan(raw.detect(renamed), Prepare()).scenes) == 4


def test_folders_that_are_no_data_set_or_two(tmp_path):
    (tmp_path / "other").touch()
    with pytest.raises(UserError, match=r"holds other. A data set of roofs has images_roof_centered_geotiff/ \(RID\)"):
        raw.detect(tmp_path)
    with pytest.raises(UserError, match=r"other is a file; give the folder of a data set, or the imdb\.mat of Roofl"):
        raw.detect(tmp_path / "other")
    write_generic(write_roofline(tmp_path / "raw"))
    with pytest.raises(UserError, match="raw looks like roofline and generic; give a folder with one"):
        raw.detect(tmp_path / "raw")
    with pytest.raises(UserError, match="gone does not exist"):
        raw.detect(tmp_path / "gone")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_path_that_does_not_exist(kind, tmp_path):
    form = kind.model_fields["format"].annotation.__args__[0]
    with pytest.raises(UserError, match=f"gone does not exist. Set the path of this {form} data set in roof.raw"):
        raw.scan(kind(format=form, path=str(tmp_path / "gone")), Prepare())
