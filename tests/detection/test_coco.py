from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from builders import a_category, an_annotation, an_image, comparable, content, places, survives, write_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.detection import json_elements
from millrace.detection.coco import read_coco, why_no_boxes, write_coco
from millrace.detection.fields import LISTED
from millrace.detection.params import Prepare

DEFAULT = Prepare()
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def problems_of(path: Path, **prepare) -> list[str]:
    return [problem.reason for problem in read_coco(path, Prepare(**prepare))[1]]


WRONG = {
    "id is text": (
        content(images=[an_image(id="17")]),
        "images[0].id is the text '17', not a whole number: write it without quotes",
    ),
    "id is a word": (content(images=[an_image(id="x")]), "images[0].id is 'x', not a whole number"),
    "id is bool": (content(images=[an_image(id=True)]), "images[0].id is true, not a whole number"),
    "id is null": (content(images=[an_image(id=None)]), "images[0] has no id"),
    "id has decimals": (content(images=[an_image(id=1.5)]), "images[0].id is 1.5, not a whole number"),
    "id is huge": (
        content(images=[an_image(id=1 << 70)]),
        "images[0].id is a number beyond 64 bits, not a whole number",
    ),
    "no file name": (content(images=[{"id": 1}]), "images[0] has no file_name"),
    "file name is empty": (content(images=[an_image(file_name=" ")]), "images[0].file_name is empty"),
    "file name is a number": (content(images=[an_image(file_name=7)]), "images[0].file_name is 7, not a text"),
    "half a character": (
        content(images=[an_image(file_name="\ud800.jpg")]),
        "images[0].file_name has half of a pair of surrogates",
    ),
    "width is text": (content(images=[an_image(width="40 px")]), "images[0].width is '40 px', not a whole number"),
    "image is a list": (content(images=[[]]), "images[0] is a list, not an object"),
    "image is nothing": (content(images=[{}]), "images[0] has no id", "images[0] has no file_name"),
    "three numbers": (content(annotations=[an_annotation(bbox=[1, 2, 3])]), "annotations[0].bbox has 3 numbers, not 4"),
    "text in a box": (
        content(annotations=[an_annotation(bbox=[1, 2, "3", 4])]),
        "annotations[0].bbox has '3' in it, not a number",
    ),
    "bool in a box": (
        content(annotations=[an_annotation(bbox=[1, 2, 3, True])]),
        "annotations[0].bbox has true in it, not a number",
    ),
    "null in a box": (
        content(annotations=[an_annotation(bbox=[1, None, 3, 4])]),
        "annotations[0].bbox has null in it, not a number",
    ),
    "box with a huge number": (
        content(annotations=[an_annotation(bbox=[1, 2, 3, 10**400])]),
        "annotations[0].bbox has a number of hundreds of digits",
    ),
    "box is an object": (
        content(annotations=[an_annotation(bbox={"x": 1})]),
        "annotations[0].bbox is an object, not a list of four numbers",
    ),
    "no box": (
        content(annotations=[{"id": 1, "image_id": 1, "category_id": 1, "segmentation": []}]),
        "annotations[0] has no bbox, only segmentation",
    ),
    "caption": (
        content(annotations=[{"id": 1, "image_id": 1, "caption": "a cat"}]),
        "annotations[0] has no bbox, only caption",
        "annotations[0] has no category_id",
    ),
    "two things wrong": (
        content(annotations=[an_annotation(), an_annotation(id="2", iscrowd=2)]),
        "annotations[1].id is the text '2', not a whole number: write it without quotes",
        "annotations[1].iscrowd is 2, not 0 or 1",
    ),
    "name is a number": (content(categories=[a_category(name=3)]), "categories[0].name is 3, not a text"),
    "list is an object": (content(images={"1": an_image()}), "images is an object, not a list"),
    "list is null": (content(categories=None), "categories is null, not a list"),
    "lists are missing": (
        {"images": [], "shapes": []},
        "has no annotations, categories; its keys are: 'images', 'shapes'",
    ),
    "nothing": ({}, "has no images, annotations, categories; its keys are: none"),
    "results": (
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        "is a list of results (detections with a score), not annotations",
    ),
    "list": ([1], "is a list, not an object with images, annotations, categories"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_structure_is_told_with_its_place(case, tmp_path):
    value, *reasons = WRONG[case]
    assert sorted(problems_of(write_json(tmp_path / "a.json", value))) == sorted(reasons)


def test_a_record_with_a_problem_is_left_out_and_the_others_are_not(tmp_path):
    annotations = [an_annotation(1), an_annotation(2, bbox=[1]), an_annotation(3)]
    dataset, problems = read_coco(write_json(tmp_path / "a.json", content(annotations=annotations)), DEFAULT)
    assert [each.id for each in dataset.annotations] == [1, 3]
    assert len(problems) == 1


def test_problems_of_a_kind_are_counted_beyond_a_number(tmp_path):
    annotations = [an_annotation(number, bbox=[1] * (number % 3)) for number in range(1000)]
    reasons = problems_of(write_json(tmp_path / "a.json", content(annotations=annotations, categories=[{"id": 1}])))
    assert len(reasons) == LISTED + 2
    assert reasons[-1] == f"annotations[].bbox: {1000 - LISTED} more like this"
    assert "categories[0] has no name" in reasons


def test_content_that_makes_no_sense_is_read_as_it_stands(tmp_path):
    boxes = [[float("nan"), 2, float("inf"), -4], [1, 2, 0, 0], [-5.5, 1e300, 3, 4]]
    annotations = [an_annotation(7, bbox=box, image_id=9, category_id=-3) for box in boxes]
    images = [an_image(3.0, width=None), {"id": 3, "file_name": "../../etc/passwd", "width": -1, "height": 0}]
    path = write_json(tmp_path / "a.json", content(images=images, annotations=annotations))
    dataset, problems = read_coco(path, DEFAULT)
    assert problems == []
    assert [list(map(repr, place)) for place in places(dataset.annotations)] == [
        [repr(float(n)) for n in b] for b in boxes
    ]
    assert {(each.id, each.image_id, each.category_id) for each in dataset.annotations} == {(7, 9, -3)}
    assert [(each.id, each.width, each.height) for each in dataset.images] == [(3, None, 30), (3, -1, 0)]
    assert all(each.source == path for each in (*dataset.images, *dataset.annotations))


def test_flags_may_be_numbers_words_or_missing(tmp_path):
    stated = [{}, {"iscrowd": 1}, {"iscrowd": True}, {"iscrowd": None}, {"iscrowd": 0, "difficult": 1}]
    annotations = [{**an_annotation(number), "iscrowd": None, **each} for number, each in enumerate(stated)]
    dataset, problems = read_coco(write_json(tmp_path / "a.json", content(annotations=annotations)), DEFAULT)
    assert problems == []
    assert [each.crowd for each in dataset.annotations] == [False, True, True, False, False]
    assert [each.difficult for each in dataset.annotations] == [False, False, False, False, True]


WHOLE = json.dumps(content())
QUIRKS = {
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE.encode(), None),
    "empty": (b"", "is no JSON, or was cut short: it ends too early"),
    "blank": (b" \n ", "is no JSON, or was cut short: it ends too early"),
    "cut": (WHOLE[:60].encode(), "is no JSON, or was cut short"),
    "UTF-16": (WHOLE.encode("utf-16"), "is not in UTF-8; save it in that encoding"),
    "Latin-1": (json.dumps(content(info="Zählung"), ensure_ascii=False).encode("latin-1"), "is not in UTF-8"),
    "text": (b"hello", "it begins with neither { nor [, in line 1 at 'hello'"),
    "single quotes": (b"{'images': []}", "a name in double quotes is missing, in line 1"),
    "no colon": (b'{"images" []}', "a colon is missing, in line 1"),
    "comma": (b'{"info": [1 2]}', "Expecting ',' delimiter, in line 1 at '2]}'"),
    "line": (b'{\n"images": [\n{"id":: 1}]}', "Expecting value, in line 3 at ': 1}]}'"),
    "more": (WHOLE.encode() + b"{}", "there is more after its end"),
    "nested": (b'{"images": [' + b"[" * 100_000, "it is nested too deeply"),
    "nested elsewhere": (b'{"info": ' + b'{"a":' * 100_000, "it is nested too deeply"),
    "digits": (b'{"images": [' + b"1" * 5000 + b"]}", "it has a whole number of thousands of digits"),
    "key twice": (WHOLE.replace('"id": 1', '"id": 1, "id": 2', 1).encode(), "images[0] has the key 'id' twice"),
    "list twice": (WHOLE.replace('"images"', '"images": [], "images"').encode(), "has the key 'images' twice"),
}


@pytest.mark.parametrize("case", QUIRKS)
def test_files_that_are_not_quite_json(case, tmp_path):
    whole, reason = QUIRKS[case]
    (tmp_path / "a.json").write_bytes(whole)
    reasons = problems_of(tmp_path / "a.json")
    assert (reasons == []) if reason is None else (len(reasons) == 1 and reason in reasons[0]), reasons


def test_files_that_cannot_be_read(tmp_path):
    assert problems_of(tmp_path / "none.json") == ["does not exist"]
    assert problems_of(tmp_path) == ["is not a file"]
    large = write_json(tmp_path / "a.json", content(info="x" * 600_000))
    (reason,) = problems_of(large, max_megabytes=0.5)
    assert reason == "has 0.6 megabytes, more than the 0.5 of detection.prepare.max_megabytes"


def test_a_large_file_is_not_in_memory_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_elements, "CHUNK", 1 << 13)
    outline = [[float(number) for number in range(400)]]
    annotations = [an_annotation(number, segmentation=outline) for number in range(400)]
    path = write_json(tmp_path / "a.json", content(annotations=annotations))
    size = path.stat().st_size
    tracemalloc.start()
    dataset, problems = read_coco(path, DEFAULT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(dataset.annotations), problems) == (400, [])
    assert size > 900_000
    assert peak < size / 3


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.dictionaries(st.sampled_from(["images", "annotations", "x", "ü"]), VALUES | st.lists(VALUES)),
    chunk=st.integers(1, 40),
    indent=st.none() | st.just(1),
    ascii_only=st.booleans(),
)
def test_elements_are_those_of_json_however_the_file_is_cut(tmp_path, monkeypatch, value, chunk, indent, ascii_only):
    monkeypatch.setattr(json_elements, "CHUNK", chunk)
    (tmp_path / "a.json").write_text(json.dumps(value, indent=indent, ensure_ascii=ascii_only), "utf-8", newline="")
    found: dict[str, object] = {}
    for key, position, element, _ in json_elements.elements(tmp_path / "a.json", ["images"], max_megabytes=1):
        if position is None:
            found[key] = element
        else:
            found[key].append(element)
            assert len(found[key]) == position + 1
    assert json.dumps(found) == json.dumps(value)


def test_damaged_files_are_read_or_have_problems(tmp_path):
    value = content(info={"year": 2020, "of": ["ä", None]}, images=[an_image(number) for number in range(4)])
    path = tmp_path / "a.json"
    for whole in (json.dumps(value).encode(), json.dumps(value, indent=1, ensure_ascii=False).encode()):
        assert survives(lambda: read_coco(path, DEFAULT, extra=True)[1], path, whole) > 60
        survives(lambda: why_no_boxes(path, DEFAULT), path, whole)


# Writing


def test_every_key_comes_back(tmp_path):
    value = content(
        info={"year": 2020},
        images=[an_image(4, license=2, coco_url=None), {"id": 5, "file_name": "Zelle 細胞/b.png"}],
        annotations=[
            an_annotation(9, area=3.5, segmentation=[[1, 2.5]], iscrowd=1, attributes={"a": [True]}),
            an_annotation(8, difficult=1, bbox=[0.1, 0.2, 0.30000000000000004, 1e-9]),
        ],
        categories=[a_category(3, supercategory="ä/ö")],
    )
    path = write_json(tmp_path / "a.json", value)
    dataset, problems = read_coco(path, DEFAULT, extra=True)
    write_coco(dataset, tmp_path / "b.json")
    assert problems == []
    written = json.loads((tmp_path / "b.json").read_bytes().decode("ascii"))
    value["annotations"][1]["area"] = 0.30000000000000004 * 1e-9
    assert written == value
    assert comparable(read_coco(tmp_path / "b.json", DEFAULT, extra=True)[0]) == comparable(dataset)
    bare = read_coco(path, DEFAULT)[0]
    assert not any(each.extra for each in (*bare.images, *bare.annotations, *bare.categories, bare))


def test_equal_data_is_equal_bytes_an_entry_a_line(tmp_path):
    for name, value in {"a": content(), "b": dict(reversed(content().items()))}.items():
        write_coco(read_coco(write_json(tmp_path / f"{name}.json", value), DEFAULT)[0], tmp_path / f"{name}.out")
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "b.out").read_bytes()
    assert (tmp_path / "a.out").read_text().splitlines() == [
        "{",
        '"annotations": [',
        '{"area": 12.0, "bbox": [1.0, 2.0, 3.0, 4.0], "category_id": 1, "id": 1, "image_id": 1, "iscrowd": 0}',
        "],",
        '"categories": [',
        '{"id": 1, "name": "class 1"}',
        "],",
        '"images": [',
        '{"file_name": "1.jpg", "height": 30, "id": 1, "width": 40}',
        "]",
        "}",
    ]


def test_an_empty_set_can_be_written(tmp_path):
    empty = write_json(tmp_path / "a.json", {"images": [], "annotations": [], "categories": []})
    write_coco(read_coco(empty, DEFAULT)[0], tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == json.loads(empty.read_text())


NO_BOXES = {
    "boxes": (content(), None),
    "no box at all": (content(annotations=[]), None),
    "nothing at all": (content(annotations=[], images=[]), None),
    "annotations come first": (dict(reversed(content().items())), None),
    "captions": (content(annotations=[{"id": 1, "image_id": 1, "caption": "x"}]), "its annotations have caption; "),
    "keypoints": (content(annotations=[an_annotation(keypoints=[])]), "its annotations have keypoints; "),
    "images alone": ({"images": [an_image()], "categories": []}, "it has no annotations"),
    "package.json": ({"name": "x"}, "it has no images and no annotations"),
    "results": ([an_annotation(score=0.5)], "is a list of results (detections with a score), not annotations"),
}


@pytest.mark.parametrize("case", NO_BOXES)
def test_files_for_other_tasks_are_known(case, tmp_path):
    value, reason = NO_BOXES[case]
    found = why_no_boxes(write_json(tmp_path / "a.json", value), DEFAULT)
    assert found is None if reason is None else found is not None and found.startswith(reason)


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
def test_real_files_are_read():
    folder = Path(SHARED or "") / "detection/bccd"
    whole, problems = read_coco(folder / "instances.json", DEFAULT)
    assert problems == []
    assert (len(whole.images), len(whole.annotations)) == (364, 4886)
