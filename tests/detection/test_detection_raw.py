from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders import an_annotation, an_image, an_object, content, image_entry, write_json, write_xml

from millrace.confinement import LINK
from millrace.detection.params import Prepare
from millrace.detection.raw import Raw, find, load, split_files
from millrace.errors import ImageError, UserError

DEFAULT = Prepare()
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


def names(raw: Raw) -> list[str]:
    return [path.relative_to(raw.folder).as_posix() for path in raw.annotations]


def image_paths(folder: Path, **prepare) -> list[str]:
    raw, dataset, problems = load(folder, Prepare(**prepare))
    assert problems == []
    return [raw.path_of(image).relative_to(folder).as_posix() for image in dataset.images]


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


# Layouts


def test_coco_as_it_is_published(tmp_path):
    for number, side in enumerate(("train2017", "val2017")):
        value = content(
            images=[an_image(number, file_name="1.jpg")], annotations=[an_annotation(number, image_id=number)]
        )
        write_json(tmp_path / f"annotations/instances_{side}.json", value)
        write_json(tmp_path / f"annotations/captions_{side}.json", content(annotations=[{"id": 1, "caption": "x"}]))
        touch(tmp_path / side / "1.jpg")
    write_json(tmp_path / "annotations/results.json", [an_annotation(score=0.5)])
    raw = find(tmp_path, DEFAULT)
    assert raw.format == "coco"
    assert names(raw) == ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]
    assert sorted(path.name for path in raw.skipped) == [
        "captions_train2017.json",
        "captions_val2017.json",
        "results.json",
    ]
    assert image_paths(tmp_path) == ["train2017/1.jpg", "val2017/1.jpg"]


def test_a_roboflow_export(tmp_path):
    for number, side in enumerate(("test", "train", "valid")):
        value = content(images=[an_image(number, file_name="a.jpg")], annotations=[])
        write_json(tmp_path / side / "_annotations.coco.json", value)
        touch(tmp_path / side / "a.jpg")
    assert image_paths(tmp_path) == ["test/a.jpg", "train/a.jpg", "valid/a.jpg"]


@pytest.mark.parametrize(
    ("files", "sides"),
    [
        (
            [f"{side}/_annotations.coco.json" for side in ("test", "train", "valid")],
            {"train": "train", "validation": "valid", "test": "test"},
        ),
        (["instances_train2017.json", "instances_val2017.json"], {"train": "train2017", "validation": "val2017"}),
        (["instances.json"], {}),
        (["instances_train.json", "persons_train.json", "instances_val.json"], {}),
        (["a/trainer.json", "restrain_val.json"], {}),
    ],
)
def test_files_that_look_like_a_split(tmp_path, files, sides):
    for number, name in enumerate(files):
        write_json(tmp_path / name, content(images=[an_image(number + 1)]))
    found = split_files(find(tmp_path, Prepare(annotations=tuple(files))))
    assert found.keys() == sides.keys()
    assert all(sides[side] in name for side, name in found.items())


@pytest.mark.parametrize("folder", ["", "images/", "JPEGImages/", "data/"])
def test_one_file_and_a_folder_of_images(tmp_path, folder):
    write_json(tmp_path / "labels.json", content())
    touch(tmp_path / folder / "1.jpg")
    assert image_paths(tmp_path) == [f"{folder}1.jpg"]


def test_file_names_may_have_folders_and_backslashes(tmp_path):
    images = [an_image(1, file_name="deep/1.jpg"), an_image(2, file_name="deep\\2.jpg"), an_image(3)]
    write_json(tmp_path / "annotations/a.json", content(images=images))
    for number in (1, 2):
        touch(tmp_path / f"deep/{number}.jpg")
    assert image_paths(tmp_path)[:2] == ["deep/1.jpg", "deep/2.jpg"]


@pytest.mark.parametrize("above", ["", "VOC2012/", "VOCdevkit/VOC2012/"])
def test_voc_as_it_is_published(tmp_path, above):
    write_xml(tmp_path / above / "Annotations/a.xml", an_object())
    touch(tmp_path / above / "JPEGImages/a.jpg")
    assert find(tmp_path, DEFAULT).format == "voc"
    assert image_paths(tmp_path) == [f"{above}JPEGImages/a.jpg"]


def test_two_years_of_voc(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_xml(tmp_path / year / "Annotations/a.xml", an_object())
        touch(tmp_path / year / "JPEGImages/a.jpg")
    assert image_paths(tmp_path) == ["VOC2007/JPEGImages/a.jpg", "VOC2012/JPEGImages/a.jpg"]


def test_xml_files_beside_the_images(tmp_path):
    for folder in ("", "train/"):
        write_xml(tmp_path / folder / "a.xml", an_object())
        touch(tmp_path / folder / "a.jpg")
    assert image_paths(tmp_path) == ["a.jpg", "train/a.jpg"]


def test_what_the_settings_name_is_taken(tmp_path):
    write_json(tmp_path / "x/y.json", content())
    write_json(tmp_path / "other.json", content())
    write_xml(tmp_path / "x/xml/1.xml", an_object())
    touch(tmp_path / "x/pictures/1.jpg")
    chosen = find(tmp_path, Prepare(annotations=("x/y.json",)))
    assert (chosen.format, names(chosen)) == ("coco", ["x/y.json"])
    assert image_paths(tmp_path, annotations=("x/xml",), images="x/pictures") == ["x/pictures/1.jpg"]
    with pytest.raises(UserError, match=r"x/y.json is not a folder with VOC's XML files \(the format is voc\)$"):
        find(tmp_path, Prepare(annotations=("x/y.json",), format="voc"))
    with pytest.raises(UserError, match=r"detection.prepare.annotations: 'z.json' does not exist"):
        find(tmp_path, Prepare(annotations=("z.json",)))
    with pytest.raises(UserError, match=r"detection.prepare.images: '../x' has a path that could leave"):
        find(tmp_path, Prepare(images="../x"))


def test_coco_comes_first_and_what_belongs_to_voc_is_no_coco_file(tmp_path):
    write_xml(tmp_path / "Annotations/a.xml", an_object())
    write_json(tmp_path / "Annotations/coco.json", content(images=[], annotations=[]))
    raw = find(tmp_path, DEFAULT)
    assert raw.format == "voc"
    assert list(raw.skipped.values()) == ["it belongs to the XML files beside it"]
    write_json(tmp_path / "a.json", content())
    assert find(tmp_path, DEFAULT).format == "coco"
    assert find(tmp_path, Prepare(format="voc")).format == "voc"


def test_folders_that_hold_nothing_are_told_with_the_reasons(tmp_path):
    with pytest.raises(UserError, match=r"Raw folder .*/none does not exist. Set detection.raw"):
        find(tmp_path / "none", DEFAULT)
    write_json(tmp_path / "package.json", {"name": "x"})
    with pytest.raises(UserError, match=r"does not hold a COCO file nor a folder with VOC's XML files.") as told:
        find(tmp_path, DEFAULT)
    assert str(told.value).endswith("package.json: it has no images and no annotations")
    with pytest.raises(UserError, match=r"does not hold a folder with VOC's XML files."):
        find(tmp_path, Prepare(format="voc"))


def test_a_damaged_file_is_not_passed_over(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [')
    _, dataset, (problem,) = load(tmp_path, DEFAULT)
    assert dataset.images == ()
    assert problem.reason.startswith("is no JSON, or was cut short")


# Links and names


ELSEWHERE = {
    "/etc/passwd": "has an absolute path; write it relative to the folder of images",
    "C:\\x\\a.jpg": "has an absolute path; write it relative to the folder of images",
    "\\\\server\\share\\a.jpg": "has an absolute path; write it relative to the folder of images",
    "../a.jpg": "has a path that could leave the raw folder, or that is none",
    "x/..\\..\\a.jpg": "has a path that could leave the raw folder, or that is none",
    "a\0.jpg": "has a path that could leave the raw folder, or that is none",
    ".": "has a path that could leave the raw folder, or that is none",
    "n" * 300: "has a path that cannot be followed: File name too long",
    "link.jpg": LINK,
    "linked/a.jpg": LINK,
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_images_outside_the_raw_folder_are_refused(name, tmp_path):
    raw = tmp_path / "raw"
    path = write_json(raw / "a.json", content())
    touch(tmp_path / "outside/a.jpg")
    (raw / "link.jpg").symlink_to(tmp_path / "outside/a.jpg")
    (raw / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(ImageError) as told:
        find(raw, DEFAULT).path_of(image_entry(1, name, path))
    assert str(told.value) == ELSEWHERE[name]


def test_links_inside_and_a_linked_raw_folder_are_fine(tmp_path):
    raw = tmp_path / "raw"
    write_json(raw / "a.json", content())
    touch(raw / "stored/x.jpg")
    (raw / "1.jpg").symlink_to("stored/x.jpg")
    (tmp_path / "linked").symlink_to(raw)
    assert image_paths(tmp_path / "linked") == ["1.jpg"]


def test_links_in_a_circle_are_no_files(tmp_path):
    path = write_json(tmp_path / "a.json", content())
    (tmp_path / "1.jpg").symlink_to("1.jpg")
    (tmp_path / "b.json").symlink_to("b.json")
    assert find(tmp_path, Prepare(annotations=("a.json",))).path_of(image_entry(1, "1.jpg", path)).name == "1.jpg"
    assert [problem.reason for problem in load(tmp_path, DEFAULT)[2]] == ["does not exist"]


def test_annotation_files_outside_the_raw_folder_are_not_read(tmp_path):
    write_json(tmp_path / "outside.json", content())
    write_xml(tmp_path / "outside/a.xml", an_object())
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.json").symlink_to(tmp_path / "outside.json")
    (raw / "Annotations").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"a\.json: is a link that leaves the raw folder"):
        find(raw, DEFAULT)
    for name in ("a.json", "Annotations"):
        with pytest.raises(UserError, match=rf"'{name}' is a link that leaves the raw folder"):
            find(raw, Prepare(annotations=(name,)))


def test_images_that_are_nowhere_have_the_first_place(tmp_path):
    path = write_json(tmp_path / "annotations/a.json", content())
    (tmp_path / "images").mkdir()
    assert find(tmp_path, DEFAULT).path_of(image_entry(1, "x/none.jpg", path)) == tmp_path / "images/x/none.jpg"


# Lists


def listed(folder: Path, text: str | bytes, *file_names: str) -> tuple[set[int], list[str]]:
    images = [an_image(number, file_name=name) for number, name in enumerate(file_names)]
    write_json(folder / "a.json", content(images=images))
    (folder / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    settings = Prepare.model_validate({"split": {"given": {"train": "list.txt"}}})
    raw, _, problems = load(folder, settings)
    assert set(raw.lists) == {"train"}
    return set(raw.lists["train"]), [problem.reason for problem in problems]


LISTS = {
    "stems": ("a\nc", ["a.jpg", "b.jpg", "c.jpg"], {0, 2}, []),
    "file names": ("a.jpg\r\nc.jpg\r\n", ["a.jpg", "b.jpg", "c.jpg"], {0, 2}, []),
    "blank lines": ("\n\n a \n\t\nb\n", ["a.jpg", "b.jpg"], {0, 1}, []),
    "comments": ("# train\n#b\na", ["a.jpg", "#b.jpg"], {0, 1}, []),
    "byte order mark": ("\ufeffa\n", ["a.jpg"], {0}, []),
    "labels of a class": ("a  1\nb -1\nc  0\n", ["a.jpg", "b.jpg", "c.jpg"], {0, 1, 2}, []),
    "spaces": ("my cat\nmy cat 1\n", ["my cat.jpg", "my cat 1.jpg", "my.jpg"], {0, 1}, []),
    "space and label": ("my cat 1 -1\nmy cat 0\n", ["my cat.jpg", "my cat 1.jpg"], {0, 1}, []),
    "folders": ("x/a\nb\n", ["x/a.jpg", "y/b.jpg", "y/a.jpg"], {0, 1}, []),
    "other folders": ("./data/a.jpg\n/home/me/b.png\n", ["a.jpg", "b.jpg"], {0, 1}, []),
    "dots": ("a.b\nc.jpg\n", ["a.b.jpg", "a.jpg", "c.jpg.png", "c.jpg"], {0, 3}, []),
    "several": ("a\n", ["x/a.jpg", "y/a.jpg"], set(), ["line 1: 'a' may be x/a.jpg or y/a.jpg"]),
    "two entries of one file": ("a\n", ["a.jpg", "a.jpg"], {0, 1}, []),
    "nobody": (
        "a\n\nz.jpg\nq 1\n",
        ["a.jpg"],
        {0},
        ["line 3: there is no image 'z.jpg'", "line 4: there is no image 'q 1'"],
    ),
    "nothing": ("", ["a.jpg"], set(), []),
    "Latin-1": ("ä".encode("latin-1"), ["a.jpg"], set(), ["is not in UTF-8; save it in that encoding"]),
}


@pytest.mark.parametrize("case", LISTS)
def test_names_on_a_list(case, tmp_path):
    text, file_names, expected, reasons = LISTS[case]
    assert listed(tmp_path, text, *file_names) == (expected, reasons)


def test_a_list_may_be_a_coco_file(tmp_path):
    write_json(tmp_path / "a.json", content(images=[an_image(number) for number in (1, 2, 3)]))
    lists = {"train": content(images=[an_image(7, file_name="2.jpg")]), "test": content(images=[an_image(4)])}
    for side, value in lists.items():
        write_json(tmp_path / f"lists/{side}.json", value)
    given = {side: f"lists/{side}.json" for side in lists}
    raw, dataset, problems = load(tmp_path, Prepare.model_validate({"split": {"given": given}}))
    assert raw.lists == {"train": {2}, "test": set()}
    assert [problem.reason for problem in problems] == ["image 4: there is no image '4.jpg'"]
    assert len(dataset.images) == 3


def test_a_list_that_is_not_there_is_told(tmp_path):
    write_json(tmp_path / "a.json", content())
    with pytest.raises(UserError, match=r"detection.prepare.split.given.test: 'none.txt' does not exist"):
        load(tmp_path, Prepare.model_validate({"split": {"given": {"test": "none.txt"}}}))


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder of real data")
@pytest.mark.parametrize(("form", "boxes"), [("auto", 4886), ("voc", 4888)])
def test_real_folder_with_its_lists(form, boxes):
    folder = Path(SHARED or "") / "detection/bccd"
    given = {"train": "ImageSets/Main/train.txt", "validation": "ImageSets/Main/val.txt", "test": "instances_test.json"}
    raw, dataset, problems = load(folder, Prepare.model_validate({"format": form, "split": {"given": given}}))
    assert problems == []
    assert len(dataset.annotations) == boxes
    assert {side: len(ids) for side, ids in raw.lists.items()} == {"train": 205, "validation": 87, "test": 72}
    assert all(raw.path_of(image).is_file() for image in dataset.images)
    assert not raw.lists["train"] & (raw.lists["validation"] | raw.lists["test"])
