from __future__ import annotations

import math
import os
import tracemalloc
from pathlib import Path

import pytest
from builders import an_object, places, survives, write_xml

from millrace.detection.coco import read_coco
from millrace.detection.params import Prepare
from millrace.detection.voc import read_voc, read_voc_folders

DEFAULT = Prepare()
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def problems_of(folder: Path, **prepare) -> list[str]:
    return [problem.reason for problem in read_voc(folder, Prepare(**prepare))[1]]


def test_fields_of_a_file(tmp_path):
    rest = "<folder>f</folder><path>/home/x/a.jpg</path><source><database>d</database></source><segmented>0</segmented>"
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    more = "<pose>Left</pose><truncated>1</truncated><difficult>1</difficult>" + part + part
    write_xml(tmp_path / "a.xml", an_object("cat", (1, 2.5, "4e0", 6), more), an_object(" dog\n"), rest=rest)
    dataset, problems = read_voc(tmp_path, DEFAULT, extra=True)
    assert problems == []
    assert [(each.id, each.name) for each in dataset.categories] == [(1, "cat"), (2, "dog")]
    (image,) = dataset.images
    assert (image.id, image.file_name, image.width, image.height) == (1, "a.jpg", 40, 30)
    assert image.source == tmp_path / "a.xml"
    assert image.extra == {
        "voc": {
            "folder": "f",
            "path": "/home/x/a.jpg",
            "source": {"database": "d"},
            "segmented": "0",
            "size": {"depth": "3"},
        }
    }
    first, second = dataset.annotations
    assert places(dataset.annotations) == [(1, 2.5, 3, 3.5), (1, 2, 3, 4)]
    assert (first.id, first.image_id, first.category_id, first.difficult, first.crowd) == (1, 1, 1, True, False)
    assert (second.id, second.category_id, second.difficult, second.extra) == (2, 2, False, {})
    head = {"name": "head", "bndbox": {"xmin": "1"}}
    assert first.extra == {"voc": {"pose": "Left", "truncated": "1", "part": [head, head]}}
    bare = read_voc(tmp_path, DEFAULT)[0]
    assert not any(each.extra for each in (*bare.images, *bare.annotations))


def test_the_first_pixel_may_be_number_one(tmp_path):
    write_xml(tmp_path / "a.xml", an_object(corners=(1, 1, 40, 30)))
    assert places(read_voc(tmp_path, Prepare(voc_first_pixel=1))[0].annotations) == [(0, 0, 39, 29)]


def test_boxes_that_make_no_sense_are_read_as_they_stand(tmp_path):
    write_xml(tmp_path / "a.xml", an_object(corners=(9, 8, 4, 8)), an_object(corners=("nan", 0, "inf", -1)))
    dataset, problems = read_voc(tmp_path, DEFAULT)
    assert problems == []
    first, second = places(dataset.annotations)
    assert first == (9, 8, -5, 0)
    assert math.isnan(second[0])
    assert second[3] == -1


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width/><height> </height></size>"])
def test_the_size_may_be_missing(tmp_path, size):
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}{an_object()}</annotation>")
    dataset, problems = read_voc(tmp_path, DEFAULT)
    assert problems == []
    assert (dataset.images[0].width, dataset.images[0].height) == (None, None)


NO_NAME = an_object("")
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {this} "{f"&{before};" * 10}">' for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)
SQUARE = '<!DOCTYPE a [<!ENTITY a "' + "a" * 100_000 + '">]>'
WRONG = {
    "no name": (an_object(""), "line 1: object[0] has no name"),
    "no box": ("<object><name>a</name><polygon/></object>", "line 1: object[0] has no bndbox"),
    "two boxes": (an_object(rest="<bndbox/>"), "line 1: object[0] has 2 elements bndbox, not one"),
    "two names": (an_object(rest="<name>dog</name>"), "line 1: object[0] has 2 elements name, not one"),
    "no corner": (an_object(corners=(1, "", 3, 4)), "line 1: object[0] has no ymin"),
    "word": (an_object(corners=(1, 2, "x", 4)), "line 1: object[0].bndbox.xmax is 'x', not a number"),
    "python": (an_object(corners=(1, 2, "1_0", 4)), "line 1: object[0].bndbox.xmax is '1_0', not a number"),
    "difficult": (an_object(rest="<difficult>Unspecified</difficult>"), ".difficult is 'Unspecified', not 0 or 1"),
    "JSON": (an_object(rest="<coco>{</coco>"), "line 1: object[0] has an element coco that holds no JSON"),
    "JSON list": (an_object(rest="<coco>[]</coco>"), "line 1: object[0].coco is a list, not an object"),
    "JSON id": (an_object(rest='<coco>{"id": "1"}</coco>'), "line 1: object[0].coco.id is the text '1', not a whole"),
    "width": ("<size><width>4</width></size>", "has 2 elements size, not one"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_structure_is_told_with_its_place(case, tmp_path):
    objects, reason = WRONG[case]
    write_xml(tmp_path / "a.xml", an_object(), objects)
    write_xml(tmp_path / "b.xml", an_object())
    dataset, (problem,) = read_voc(tmp_path, DEFAULT)
    assert problem.path == tmp_path / "a.xml"
    assert reason.replace("[0]", "[1]") in problem.reason
    assert len(dataset.annotations) in (1, 2)


BAD_FILES = {
    "empty": (b"", "is not well-formed XML, or was cut short"),
    "cut": (b"<annotation><filename>a.jpg</filename><obj", "is not well-formed XML, or was cut short"),
    "other": (b"<annotations><image/></annotations>", "is no VOC annotation: its outermost element is annotations"),
    "no name": (b"<annotation/>", "has no filename, and no image is called as it is"),
    "bomb": (f"{BOMB}]><annotation><filename>&i;</filename></annotation>".encode(), "Maximum entity amplification"),
    "bomb in an attribute": (f'{BOMB}]><annotation a="&i;"/>'.encode(), "ntity"),
    "quadratic": (f"{SQUARE}<annotation>{'&a;' * 1000}</annotation>".encode(), "Maximum entity amplification"),
    "file": (
        b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>',
        "has XML entities of its own",
    ),
    "outside": (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><annotation>&a;</annotation>', "has XML entities"),
    "nested": (b"<annotation>" + b"<a>" * 10_000, "is not well-formed XML, or was cut short"),
    "width": (b"<annotation><filename>a</filename><size><width>4.5</width></size></annotation>", "size.width is '4.5'"),
    "huge": (
        b"<annotation><filename>a</filename><size><width>1e30</width></size></annotation>",
        "size.width is '1e30'",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_told_in_little_memory(case, tmp_path):
    whole, reason = BAD_FILES[case]
    (tmp_path / "a.xml").write_bytes(whole)
    tracemalloc.start()
    (found,) = problems_of(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()
    assert reason in found


def test_large_files_are_not_read(tmp_path):
    write_xml(tmp_path / "a.xml", rest=f"<x>{'y' * 200_000}</x>")
    assert problems_of(tmp_path, max_megabytes=0.1) == ["has 0.2 megabytes, more than the 0.1 for one image"]
    assert problems_of(tmp_path, max_megabytes=0.3) == []


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    outside = write_xml(tmp_path / "outside.xml", an_object())
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.xml").symlink_to(outside)
    (tmp_path / "in/round.xml").symlink_to("round.xml")
    dataset, problems = read_voc(tmp_path / "in", DEFAULT)
    assert [problem.reason.split(";")[0] for problem in problems] == [
        "is a link that leaves the raw folder",
        "does not exist",
    ]
    assert dataset.images == ()


def test_damaged_files_are_read_or_have_problems(tmp_path):
    more = '<part><name>é</name></part><coco>{"id": 3, "bbox": [1, 2, 3, 4]}</coco>'
    path = write_xml(tmp_path / "a.xml", an_object(rest=more), an_object("ä"), rest="<coco>{}</coco>")
    assert survives(lambda: read_voc(tmp_path, DEFAULT, extra=True)[1], path, path.read_bytes()) > 60


# Images


def image_name(tmp_path: Path, xml: str, filename: str | None, *images: str) -> tuple[list[str], list[str]]:
    write_xml(tmp_path / "Annotations" / xml, filename=None if filename is None else f"<filename>{filename}</filename>")
    for name in images:
        (tmp_path / "JPEGImages" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "JPEGImages" / name).touch()
    dataset, problems = read_voc(tmp_path / "Annotations", DEFAULT, images=tmp_path / "JPEGImages")
    return [image.file_name for image in dataset.images], [problem.reason for problem in problems]


NAMES = {
    "as stated": ("a.xml", "a.jpg", ["a.jpg", "b.jpg"], "a.jpg"),
    "no suffix": ("a.xml", "a", ["a.JPG", "b.jpg"], "a.JPG"),
    "other suffix": ("a.xml", "a.jpg", ["a.png"], "a.png"),
    "of other programs": ("a.xml", "/home/me/frame 1.jpg", ["a.jpg"], "a.jpg"),
    "empty": ("a.xml", "", ["a.jpg"], "a.jpg"),
    "stated alone": ("x.xml", "b.jpg", ["a.jpg", "b.jpg"], "b.jpg"),
    "stated but for the suffix": ("x.xml", "b.tif", ["a.jpg", "b.jpg"], "b.jpg"),
    "in a subfolder": ("s/a.xml", "a.jpg", ["a.jpg", "s/a.jpg"], "s/a.jpg"),
    "not in the subfolder": ("s/a.xml", "a.jpg", ["a.jpg"], "a.jpg"),
    "two suffixes": ("a.xml", "a.png", ["a.png", "a.jpg"], "a.png"),
    "missing": ("a.xml", "a.jpg", ["b.jpg"], "a.jpg"),
    "missing in a subfolder": ("s/a.xml", "a.jpg", [], "s/a.jpg"),
    "no image": ("a.xml", "a", ["a.txt"], "a"),
    "dots": ("a.b.xml", "a.b.jpg", ["a.b.jpg", "a.jpg"], "a.b.jpg"),
}


@pytest.mark.parametrize("case", NAMES)
def test_which_image_a_file_is_about(case, tmp_path):
    xml, filename, images, expected = NAMES[case]
    assert image_name(tmp_path, xml, filename, *images) == ([expected], [])


def test_two_images_for_a_file_are_a_problem(tmp_path):
    names, (reason,) = image_name(tmp_path, "a.xml", "b.jpg", "a.jpg", "b.jpg")
    assert names == []
    assert reason == "has the filename 'b.jpg', but is called as another image, a.jpg: rename one"


def test_several_folders_are_numbered_as_one(tmp_path):
    for folder, name in (("2007", "dog"), ("2012", "cat")):
        write_xml(tmp_path / folder / "000001.xml", an_object(name))
    dataset, problems = read_voc_folders({tmp_path / "2007": None, tmp_path / "2012": None}, DEFAULT)
    assert problems == []
    assert [each.id for each in dataset.images] == [1, 2]
    assert [(each.id, each.image_id, each.category_id) for each in dataset.annotations] == [(1, 1, 2), (2, 2, 1)]


def test_numbers_that_are_stated_are_kept_and_others_go_round_them(tmp_path):
    write_xml(tmp_path / "a.xml", an_object(rest='<coco>{"id": 2}</coco>'), an_object(), an_object())
    write_xml(tmp_path / "b.xml", rest='<coco>{"id": 1}</coco>')
    dataset, problems = read_voc(tmp_path, DEFAULT)
    assert problems == []
    assert [each.id for each in dataset.annotations] == [2, 1, 3]
    assert [each.id for each in dataset.images] == [2, 1]


def test_what_was_edited_since_is_believed(tmp_path):
    stale = '<coco>{"bbox": [1, 2, 3.5, 4], "category_id": 9}</coco>'
    exact = '<coco>{"file_name": "deep/a.jpg"}</coco>'
    write_xml(tmp_path / "a.xml", an_object(rest=stale), rest=exact)
    write_xml(tmp_path / "b.xml", rest=exact)
    dataset, problems = read_voc(tmp_path, DEFAULT)
    assert problems == []
    assert places(dataset.annotations) == [(1, 2, 3, 4)]
    assert [each.name for each in dataset.categories] == ["cat"]
    assert [each.file_name for each in dataset.images] == ["deep/a.jpg", "b.jpg"]


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_xml_is_the_real_json_and_two_boxes_without_an_area():
    folder = Path(SHARED or "") / "detection/bccd"
    voc, problems = read_voc(folder / "Annotations", DEFAULT, images=folder / "JPEGImages")
    assert problems == []
    coco, _ = read_coco(folder / "instances.json", DEFAULT)

    def boxes(dataset):
        files = {image.id: (Path(image.file_name).name, image.width, image.height) for image in dataset.images}
        names = {category.id: category.name for category in dataset.categories}
        return sorted(
            (files[each.image_id], names[each.category_id], place)
            for each, place in zip(dataset.annotations, places(dataset.annotations), strict=True)
        )

    empty = [box for box in boxes(voc) if 0 in box[2]]
    assert [(box[0][0], box[2][:2]) for box in empty] == [
        ("BloodImage_00338.jpg", (504, 337)),
        ("BloodImage_00343.jpg", (181, 329)),
    ]
    assert boxes(coco) == [box for box in boxes(voc) if box not in empty]
    assert len(coco.annotations) == 4886
