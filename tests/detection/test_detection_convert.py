from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders import (
    NOWHERE,
    a_category,
    an_annotation,
    an_image,
    an_object,
    comparable,
    content,
    places,
    write_json,
    write_xml,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from pycocotools.coco import COCO

from millrace.detection.coco import read_coco, write_coco
from millrace.detection.convert import convert
from millrace.detection.dataset import Annotation, Category, Dataset, ImageEntry
from millrace.detection.params import Prepare
from millrace.detection.voc import read_voc
from millrace.detection.voc_writer import write_voc
from millrace.errors import DataError, UserError

DEFAULT = Prepare()
SHARED = os.environ.get("MILLRACE_SHARED_DATA")

NUMBERS = st.floats() | st.floats(-1e3, 1e3) | st.integers(-9, 9).map(float)
IDS = st.integers(-3, 9) | st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(
    lambda text: bool(text.strip())
)
FILE_NAMES = TEXTS | st.sampled_from(
    ["a.jpg", "A.JPG", "a.png", "x/a.jpg", "../a.jpg", "/etc/a", ".a.jpg", "a.xml/b.jpg"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
VOC = st.recursive(
    TEXTS | st.just(""),
    lambda inner: st.dictionaries(
        st.sampled_from(["pose", "part", "@x", "#text", "bndbox", "xmin", "size"]), inner, max_size=3
    ),
    max_leaves=5,
)
EXTRA = st.dictionaries(st.sampled_from(["license", "attributes", "ä"]), JSON, max_size=2).flatmap(
    lambda extra: st.just(extra) | (VOC | JSON).map(lambda voc: extra | {"voc": voc})
)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    categories = draw(st.lists(st.builds(Category, IDS, TEXTS, EXTRA), max_size=3))
    sizes = st.none() | IDS
    images = draw(st.lists(st.builds(ImageEntry, IDS, FILE_NAMES, sizes, sizes, st.just(NOWHERE), EXTRA), max_size=4))
    image_ids = st.sampled_from([image.id for image in images]) | IDS if images else IDS
    category_ids = st.sampled_from([category.id for category in categories]) | IDS if categories else IDS
    flags = st.booleans()
    box = st.builds(Annotation, IDS, image_ids, category_ids, *[NUMBERS] * 4, flags, flags, st.just(NOWHERE), EXTRA)
    extra = draw(st.dictionaries(st.sampled_from(["info", "licenses"]), JSON))
    return Dataset(tuple(categories), tuple(images), tuple(draw(st.lists(box, max_size=5))), extra)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dataset=datasets(), first_pixel=st.integers(0, 1))
def test_coco_to_voc_and_back_is_the_same(tmp_path_factory, dataset, first_pixel):
    folder = tmp_path_factory.mktemp("set")
    write_coco(dataset, folder / "a.json")
    coco, problems = read_coco(folder / "a.json", DEFAULT, extra=True)
    assert problems == []
    assert comparable(coco) == comparable(dataset)
    write_voc(coco, folder / "voc", first_pixel)
    voc, problems = read_voc(folder / "voc", Prepare(voc_first_pixel=first_pixel), extra=True)
    assert problems == []
    assert comparable(voc) == comparable(coco)
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in folder.rglob("*"))


XML_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=6)


@st.composite
def elements(draw: st.DrawFn, depth: int = 2) -> etree._Element:
    element = etree.Element(draw(st.sampled_from(["pose", "part", "source", "name", "bndbox", "size", "coco"])))
    element.text = draw(XML_TEXTS)
    for name in draw(st.sets(st.sampled_from(["id", "verified"]))):
        element.set(name, draw(XML_TEXTS))
    if depth and draw(st.booleans()):
        element.extend(draw(st.lists(elements(depth - 1), max_size=3)))
    return element


@st.composite
def xml_files(draw: st.DrawFn) -> bytes:
    """Of the fields of a VOC file, each there or not, among others."""
    root = etree.Element("annotation")
    other = elements().filter(lambda element: element.tag not in ("name", "bndbox", "size", "coco"))
    root.extend(draw(st.lists(other, max_size=2)))
    if draw(st.booleans()):
        size = etree.SubElement(root, "size")
        for tag in draw(st.permutations(["width", "height", "depth"]))[: draw(st.integers(0, 3))]:
            etree.SubElement(size, tag).text = str(draw(st.integers(-9, 9)))
    etree.SubElement(root, "filename").text = draw(
        st.sampled_from(["a.jpg", "b", "x/c.jpg"]) | XML_TEXTS.map("n".__add__)
    )
    for _ in range(draw(st.integers(0, 3))):
        box = etree.SubElement(root, "object")
        etree.SubElement(box, "name").text = draw(st.sampled_from(["cat", " dog ", "a/b"]) | XML_TEXTS.map("n".__add__))
        if draw(st.booleans()):
            etree.SubElement(box, "difficult").text = draw(st.sampled_from("01"))
        corners = etree.SubElement(box, "bndbox")
        for tag in draw(st.permutations(["xmin", "ymin", "xmax", "ymax"])):
            etree.SubElement(corners, tag).text = repr(draw(NUMBERS))
        box.extend(draw(st.lists(other, max_size=3)))
    return etree.tostring(root, encoding="utf-8")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(xml_files(), max_size=3), first_pixel=st.integers(0, 1))
def test_voc_to_coco_and_back_is_the_same(tmp_path_factory, files, first_pixel):
    folder = tmp_path_factory.mktemp("set")
    (folder / "a/deep").mkdir(parents=True)
    for name, whole in zip(("x.xml", "deep/y.xml", "deep/a.xml"), files, strict=False):
        (folder / "a" / name).write_bytes(whole)
    given_settings = Prepare(voc_first_pixel=first_pixel)
    voc, problems = read_voc(folder / "a", given_settings, extra=True)
    assert problems == []
    write_coco(voc, folder / "b.json")
    coco, problems = read_coco(folder / "b.json", DEFAULT, extra=True)
    assert problems == []
    assert comparable(coco) == comparable(voc)
    write_voc(coco, folder / "c", first_pixel)
    again, problems = read_voc(folder / "c", given_settings, extra=True)
    assert problems == []
    assert comparable(again) == comparable(voc)
    written = {path.relative_to(folder / "c").as_posix() for path in (folder / "c").rglob("*.xml")}
    assert written == {path.relative_to(folder / "a").as_posix() for path in (folder / "a").rglob("*.xml")}


def canonical(element: etree._Element) -> object:
    """Without white space around texts, and without the order of children of different names."""
    children = sorted((canonical(child) for child in element), key=repr)
    return element.tag, (element.text or "").strip(), sorted(element.attrib.items()), children


def test_plain_voc_files_come_back_as_they_were(tmp_path):
    rest = "<folder>f</folder><path>C:\\x</path><source><database>d</database></source><segmented>0</segmented>"
    more = "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult>"
    part = "<part><name>head</name></part>"
    write_xml(tmp_path / "raw/Annotations/a.xml", an_object("cat", (1, 2, 4, 6), more), rest=rest)
    write_xml(tmp_path / "raw/Annotations/b.xml", an_object("dog/é", (1.5, 2, 4, 6), more + part + part), rest=rest)
    convert(tmp_path / "raw", tmp_path / "coco", "coco", DEFAULT)
    convert(tmp_path / "coco", tmp_path / "voc", "voc", DEFAULT)
    assert sorted(path.name for path in (tmp_path / "voc/Annotations").iterdir()) == ["a.xml", "b.xml"]
    for name in ("a.xml", "b.xml"):
        first, second = (etree.parse(tmp_path / raw / "Annotations" / name).getroot() for raw in ("raw", "voc"))
        assert canonical(first) == canonical(second)


def test_what_is_written_is_what_other_programs_read(tmp_path):
    box = Annotation(1, 1, 1, 0.0, 9.5, 39.0, 20.0, False, True, NOWHERE, {"voc": {"truncated": "1"}})
    dataset = Dataset((Category(1, "cat"),), (ImageEntry(1, "a.jpg", 40, 30, NOWHERE),), (box,))
    write_voc(dataset, tmp_path, first_pixel=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]
    lines = (tmp_path / "a.xml").read_text().splitlines()
    assert "".join(line.strip() for line in lines) == (
        "<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>"
        "<object><name>cat</name><truncated>1</truncated><difficult>1</difficult>"
        "<bndbox><xmin>1</xmin><ymin>10.5</ymin><xmax>40</xmax><ymax>30.5</ymax></bndbox></object></annotation>"
    )


def test_names_are_content_and_never_lead_out_of_the_folder(tmp_path):
    names = [
        "../../a.jpg",
        "/etc/b.jpg",
        "c/../d.jpg",
        "e\\f.jpg",
        "g\0.jpg",
        "h" * 300,
        "I.jpg",
        "i.png",
        "Zelle 細胞/j.jpg",
    ]
    value = content(
        images=[an_image(number, file_name=name) for number, name in enumerate(names)],
        annotations=[an_annotation(1, image_id=0), an_annotation(2, image_id=77, category_id=5)],
        categories=[a_category(1, name="a/../../b: 細胞")],
    )
    write_json(tmp_path / "raw/a.json", value)
    convert(tmp_path / "raw", tmp_path / "out", "voc", DEFAULT)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    spare = {f"image-{number}.xml" for number in (0, 1, 2, 3, 4, 5, 7)}
    expected = {"coco.json", "I.xml", "Zelle 細胞/j.xml"} | spare
    assert found == {"raw/a.json"} | {f"out/Annotations/{name}" for name in expected}
    voc, problems = read_voc(tmp_path / "out/Annotations", DEFAULT)
    assert problems == []
    assert sorted(image.file_name for image in voc.images) == sorted(names)
    assert [category.name for category in voc.categories] == ["a/../../b: 細胞"]


def test_problems_and_full_folders_stop_before_anything_is_written(tmp_path):
    write_json(tmp_path / "raw/a.json", content(images=[{"id": 1}]))
    with pytest.raises(DataError, match=r"images\[0\] has no file_name"):
        convert(tmp_path / "raw", tmp_path / "out", "voc", DEFAULT)
    assert not (tmp_path / "out").exists()
    write_json(tmp_path / "raw/a.json", content())
    with pytest.raises(UserError, match=r"is not empty\. Name a new folder"):
        convert(tmp_path / "raw", tmp_path / "raw", "voc", DEFAULT)


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_files_both_ways(tmp_path):
    folder = Path(SHARED or "") / "detection/bccd"
    convert(folder, tmp_path / "coco", "coco", Prepare(format="voc"))
    written = COCO(str(tmp_path / "coco/instances.json"))
    assert (len(written.imgs), len(written.anns)) == (364, 4888)
    assert [category["name"] for category in written.loadCats(written.getCatIds())] == ["Platelets", "RBC", "WBC"]
    convert(tmp_path / "coco", tmp_path / "voc", "voc", DEFAULT)
    originals = sorted((folder / "Annotations").iterdir())
    assert [path.name for path in sorted((tmp_path / "voc/Annotations").iterdir())] == [path.name for path in originals]
    for path in originals:
        again = etree.parse(tmp_path / "voc/Annotations" / path.name).getroot()
        assert canonical(again) == canonical(etree.parse(path).getroot()), path.name


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_the_real_json_becomes_xml_and_comes_back(tmp_path):
    folder = Path(SHARED or "") / "detection/bccd"
    named = Prepare(annotations=("instances.json",))
    convert(folder, tmp_path / "voc", "voc", named)
    convert(tmp_path / "voc", tmp_path / "coco", "coco", DEFAULT)
    before, _ = read_coco(folder / "instances.json", DEFAULT, extra=True)
    after, problems = read_coco(tmp_path / "coco/instances.json", DEFAULT, extra=True)
    assert problems == []
    assert comparable(after) == comparable(before)
    assert len(places(after.annotations)) == 4886
