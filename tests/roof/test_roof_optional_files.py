"""What a data set may lack: nothing that is there counts as lacking because of its kind or its spelling."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.errors import UserError
from millrace.roof.params import Airs, Generic, Prepare, Rid, Source
from millrace.roof.raw import detect, scan
from roof.builders import noise, write_airs, write_lines, write_png, write_rid

SIDE = 32


def write_generic(root: Path) -> Path:
    write_png(root / "images" / "a.png", noise(SIDE, SIDE, 0))
    write_png(root / "roofs" / "a.png", np.eye(SIDE, dtype=np.uint8))
    line = {"type": "LineString", "coordinates": [(1, 1), (20, 20)]}
    feature = {"type": "Feature", "properties": {"kind": "hip"}, "geometry": line}
    (root / "lines").mkdir()
    (root / "lines" / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return root


def problems_of(source: Source) -> dict[str, str]:
    root = Path(source.path)
    return {str(each.path.relative_to(root)): each.reason for each in scan(source, Prepare()).problems}


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def circle(path: Path) -> None:
    path.symlink_to(path)


def file(path: Path) -> None:
    path.write_text("x")


KINDS_OF_PATH = {folder: "is no file", pipe: "is no file", link_to_nothing: "leads to nothing", circle: "leads to noth"}


@pytest.mark.parametrize("make", KINDS_OF_PATH)
@pytest.mark.parametrize("name", ["buildings.geojson", "line_kinds.txt"])
def test_optional_files_of_the_generic_form(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(write_generic(tmp_path) / name)
    found = problems_of(Generic(format="generic", path=str(tmp_path)))
    assert list(found) == [name]
    assert KINDS_OF_PATH[make] in found[name]


@pytest.mark.parametrize(("make", "reason"), [(file, "is no folder"), (circle, "leads to nothing")])
def test_optional_folders_of_the_generic_form(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    make(write_generic(tmp_path) / "heights")
    found = problems_of(Generic(format="generic", path=str(tmp_path)))
    assert list(found) == ["heights"]
    assert reason in found["heights"]


@pytest.mark.parametrize("name", ["Buildings.geojson", "Line_kinds.TXT", "Heights"])
def test_names_in_other_letters(name: str, tmp_path: Path) -> None:
    (file if "." in name else folder)(write_generic(tmp_path) / name)
    assert problems_of(Generic(format="generic", path=str(tmp_path))) == {
        name: f"is not looked at; call it {name.lower()}"
    }


def test_lines_are_left_out_where_their_kinds_cannot_be_known(tmp_path: Path) -> None:
    write_lines(write_generic(tmp_path) / "Line_kinds.txt", ["hip", "ridge"])
    (scene,) = scan(Generic(format="generic", path=str(tmp_path)), Prepare()).scenes
    assert "lines" not in scene.files


def test_other_files_are_noted_and_the_table_of_groups_is_not(tmp_path: Path) -> None:
    write_lines(write_generic(tmp_path) / "groups.csv", ["image,group", "a,x"])
    for name in ("lines.geojson", "README.md", ".DS_Store"):
        file(tmp_path / name)
    found = scan(Generic(format="generic", path=str(tmp_path), groups="groups.csv"), Prepare())
    assert not found.problems
    assert found.notes == (f"{tmp_path}: 2 file(s) are passed over: README.md, lines.geojson",)


def test_a_table_of_groups_in_capitals_is_not_noted(tmp_path: Path) -> None:
    write_lines(write_generic(tmp_path) / "Groups.CSV", ["image,group", "a,x"])
    found = scan(Generic(format="generic", path=str(tmp_path), groups="Groups.CSV"), Prepare())
    assert (found.problems, found.notes) == ((), ())


def test_a_group_may_have_more_than_one_line(tmp_path: Path) -> None:
    write_lines(write_generic(tmp_path) / "groups.csv", ["image,group", 'a,"north', 'of ""x"""'])
    (scene,) = scan(Generic(format="generic", path=str(tmp_path), groups="groups.csv"), Prepare()).scenes
    assert scene.group == 'north\nof "x"'


@pytest.mark.parametrize("make", KINDS_OF_PATH)
def test_vectors_of_rid(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = write_rid(tmp_path) / "segments_reviewed.csv"
    path.unlink()
    make(path)
    source = detect(tmp_path)
    assert isinstance(source, Rid)
    found = problems_of(source)
    assert list(found) == [path.name]
    assert KINDS_OF_PATH[make] in found[path.name]


def test_vectors_of_rid_in_other_letters_or_without_a_row(tmp_path: Path) -> None:
    path = write_rid(tmp_path) / "segments_reviewed.csv"
    path.rename(path.with_name("Segments_Reviewed.csv"))
    assert problems_of(detect(tmp_path)) == {"Segments_Reviewed.csv": "is not looked at; call it segments_reviewed.csv"}
    path.with_name("Segments_Reviewed.csv").unlink()
    write_lines(path, ["id,segment,gutter,azimuth"])
    assert problems_of(detect(tmp_path))[path.name].startswith("has no row below the names of its columns")


@pytest.mark.parametrize("make", KINDS_OF_PATH)
def test_lists_of_airs(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = write_airs(tmp_path) / "train.txt"
    path.unlink(missing_ok=True)
    make(path)
    found = problems_of(Airs(format="airs", path=str(tmp_path)))
    assert list(found) == ["train.txt"]
    assert KINDS_OF_PATH[make] in found["train.txt"]


def test_names_of_airs_in_other_letters(tmp_path: Path) -> None:
    write_airs(tmp_path)
    (tmp_path / "val").rename(tmp_path / "Val")
    (tmp_path / "train.txt").unlink(missing_ok=True)
    write_lines(tmp_path / "TRAIN.txt", ["christchurch_1.tif"])
    found = problems_of(Airs(format="airs", path=str(tmp_path)))
    assert found["Val"] == "is not looked at; call it val"
    assert found["TRAIN.txt"] == "is not looked at; call it train.txt"


def test_a_second_spelling_beside_the_right_one_is_told(tmp_path: Path) -> None:
    write_lines(write_generic(tmp_path) / "line_kinds.txt", ["hip"])
    write_lines(tmp_path / "Line_Kinds.txt", ["ridge"])
    (tmp_path / "Roofs").mkdir()
    assert problems_of(Generic(format="generic", path=str(tmp_path))) == {
        "Line_Kinds.txt": "is not looked at; there is line_kinds.txt too, so remove it",
        "Roofs": "is not looked at; there is roofs too, so remove it",
    }


def test_a_folder_of_nearly_the_name_of_one_that_is_there_is_noted(tmp_path: Path) -> None:
    (write_generic(tmp_path) / "images_raw").mkdir()
    found = scan(Generic(format="generic", path=str(tmp_path)), Prepare())
    assert not found.problems
    assert "images_raw" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image,group,group\na,x,z\n", "has a column twice: image, group, group"),
        ("image,group\na,Nord, links\n", "line 2 has more fields than columns; put quotes around"),
    ],
)
def test_tables_of_groups_that_could_be_misread(content: str, reason: str, tmp_path: Path) -> None:
    (write_generic(tmp_path) / "groups.csv").write_text(content)
    found = problems_of(Generic(format="generic", path=str(tmp_path), groups="groups.csv"))
    assert found["groups.csv"].startswith(reason)


def test_names_with_accents_in_pieces_are_the_same_names(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "L\u00fcbeck.png", noise(SIDE, SIDE, 0))
    write_png(tmp_path / "roofs" / "Lu\u0308beck.png", np.eye(SIDE, dtype=np.uint8))
    write_lines(tmp_path / "groups.csv", ["image,group", "Lu\u0308beck,north"])
    found = scan(Generic(format="generic", path=str(tmp_path), groups="groups.csv"), Prepare())
    assert not found.problems
    assert [(scene.name, scene.group) for scene in found.scenes] == [("L\u00fcbeck", "north")]


@pytest.mark.parametrize("name", [b"heights\xe9", b"images/caf\xe9.txt"])
def test_whatever_is_told_of_names_that_are_no_text_can_be_printed(name: bytes, tmp_path: Path) -> None:
    path = write_generic(tmp_path) / os.fsdecode(name)
    (file if path.suffix else folder)(path)
    found = scan(Generic(format="generic", path=str(tmp_path)), Prepare())
    told = [*map(str, found.problems), *found.notes]
    assert "\ufffd" in "".join(told).encode().decode()


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterdir = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path.name == "lines":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    write_generic(tmp_path)
    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UserError, match=r"lines cannot be read: Permission denied"):
        scan(Generic(format="generic", path=str(tmp_path)), Prepare())


def test_a_raster_that_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_generic(tmp_path) / "roofs" / "a.png"
    opened = Path.open

    def refused(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == source:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    assert problems_of(Generic(format="generic", path=str(tmp_path))) == {
        "roofs/a.png": "it cannot be read: Permission denied"
    }
