"""The synthetic workbench: whole, deterministic, one truth in both forms, and hard where real sets are."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from builders import places
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from millrace.detection import raw, sample, sample_parts
from millrace.detection.boxes import ious
from millrace.detection.dataset import Annotation, Dataset
from millrace.detection.params import Detection, Prepare, Sample
from millrace.detection.sample_parts import Light, Sprite, draw_part
from millrace.detection.sample_scene import EXTENT_PX, LABELLED_SHARE, PARTS, Bench, Placed, draw_scene, seen
from millrace.settings import Runtime

IMAGES = 60
LAMP = Light(0.6, 0.0, 0.8)


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1, **changes: int) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    sample.run(Detection(sample=Sample(**changes)), Runtime(jobs=jobs, progress=False))
    return folder / sample.FOLDER


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return write(tmp_path_factory.mktemp("sample") / "default", patch, images=IMAGES)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    found, dataset, problems = raw.load(folder, Prepare())
    assert (found.format, found.annotations) == ("coco", (folder / "instances.json",))
    assert problems == []
    return dataset


@pytest.fixture(scope="module")
def parts(dataset: Dataset) -> list[Annotation]:
    return [each for each in dataset.annotations if not each.crowd]


def test_equal_bytes_whichever_process_draws_and_however_many(folder, tmp_path, monkeypatch):
    small = contents(write(tmp_path / "small", monkeypatch, jobs=2, images=12))
    assert small == contents(write(tmp_path / "again", monkeypatch, images=12))
    del small["instances.json"]  # it lists all images
    whole = contents(folder)
    assert len(small) == 24
    assert small == {name: whole[name] for name in small}


def test_seed_changes_every_image(folder, tmp_path, monkeypatch):
    other, whole = contents(write(tmp_path / "other", monkeypatch, images=12, seed=1)), contents(folder)
    images = [name for name in other if name.startswith("images/")]
    assert len(images) == 12
    assert all(other[name] != whole[name] for name in images)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "broken", monkeypatch, images=12)
    assert contents(tmp_path) == {}


def test_both_forms_hold_the_same(folder, dataset):
    found, voc, problems = raw.load(folder, Prepare(format="voc"))
    assert (found.annotations, problems) == ((folder / "Annotations",), [])
    listed = []
    for each in (dataset, voc):
        names = {category.id: category.name for category in each.categories}
        files = {image.id: (Path(image.file_name).name, image.width, image.height) for image in each.images}
        boxes = [(files[box.image_id], names[box.category_id], place) for box, place in boxes_of(each)]
        listed.append((sorted(files.values()), sorted(names.values()), sorted(boxes)))
    assert listed[0] == listed[1]
    assert sum(box.difficult for box in voc.annotations) == sum(box.crowd for box in dataset.annotations) > 0


def boxes_of(dataset: Dataset) -> list[tuple[Annotation, tuple[float, float, float, float]]]:
    return list(zip(dataset.annotations, places(dataset.annotations), strict=True))


def test_images_are_what_the_files_state(folder, dataset):
    assert [image.id for image in dataset.images] == list(range(1, IMAGES + 1))
    for image in dataset.images:
        with Image.open(folder / image.file_name) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (image.width, image.height))
            pixels = np.asarray(picture)
        assert not picture.getexif()
        assert 20 < pixels.mean() < 235
        assert pixels.std() > 8


def test_boxes_lie_in_their_frames(dataset):
    sizes = {image.id: (image.width, image.height) for image in dataset.images}
    for box in dataset.annotations:
        width, height = sizes[box.image_id]
        assert 0 <= box.x < box.x + box.width <= width
        assert 0 <= box.y < box.y + box.height <= height
        assert box.crowd or max(box.width, box.height) <= EXTENT_PX[1] + 1


def test_category_ids_have_gaps_and_classes_are_skewed(dataset, parts):
    assert {category.name: category.id for category in dataset.categories} == sample.CATEGORY_IDS
    assert sorted(sample.CATEGORY_IDS.values()) != list(range(1, 5))
    counts = Counter(box.category_id for box in parts)
    for name, (_, _, share) in PARTS.items():
        assert counts[sample.CATEGORY_IDS[name]] / len(parts) == pytest.approx(share, abs=0.05)


def test_set_holds_what_makes_real_sets_hard(dataset, parts):
    upright = [image for image in dataset.images if image.height > image.width]
    assert len(upright) == IMAGES / 5
    assert sum(box.crowd for box in dataset.annotations) == IMAGES / 12
    full = {box.image_id for box in dataset.annotations}
    assert len(dataset.images) - len(full) == IMAGES / 20
    sides = np.array([(box.width, box.height) for box in parts])
    assert sides.max() > 90
    assert (sides.max(axis=1) < 20).sum() > 10
    overlapping = 0
    for image in full:
        corners = [(x, y, x + w, y + h) for x, y, w, h in places(box for box in parts if box.image_id == image)]
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        overlapping += int((np.triu(ious(boxes, boxes), 1) > 0.1).sum())
    assert overlapping > len(parts) / 10
    sizes = {image.id: (image.width, image.height) for image in dataset.images}
    cut = [box.x == 0 or box.y == 0 or (box.x + box.width, box.y + box.height) == sizes[box.image_id] for box in parts]
    assert np.mean(cut) > 0.03


@pytest.mark.parametrize("name", PARTS)
def test_box_is_tight_around_what_is_drawn(name):
    generator = np.random.default_rng(0)
    bench = Bench(np.full((120, 150, 3), 0.1, np.float32), Light(0.0, 0.0, 1.0))
    sprite = draw_part(generator, PARTS[name][0], 60, np.array((0.9, 0.9, 0.9)), bench.light)
    bench.lay(sprite, 20, 30, 1)
    thing = seen(bench, Placed(name, sprite, 20, 30), 1)
    rows, columns = np.nonzero(bench.colour.max(axis=2) > 0.25)
    drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert thing is not None
    assert (thing.truncated, thing.occluded) == (False, False)
    np.testing.assert_allclose(thing.box, drawn, atol=2)
    left, top, right, bottom = thing.box
    # A hexagon turned by a random angle is at least as wide as across its flats.
    assert 60 * np.cos(np.pi / 6) - 2 <= np.hypot(right - left, bottom - top) <= 60 * np.sqrt(2) + 2


def square(side: int) -> Sprite:
    return Sprite(np.ones((side, side)), np.ones((side, side, 3)), 2.0)


@pytest.mark.parametrize(("hidden", "labelled"), [(0, True), (7, True), (8, False), (10, False)])
def test_what_is_mostly_hidden_has_no_box(hidden, labelled):
    bench = Bench(np.zeros((40, 40, 3), np.float32), LAMP)
    part = Placed("nut", square(10), 10, 10)
    bench.lay(part.sprite, 10, 10, 1)
    bench.lay(square(10), 10, 10 - (10 - hidden), 2)
    thing = seen(bench, part, 1)
    assert (thing is not None) == labelled == (1 - hidden / 10 >= LABELLED_SHARE)
    if thing:
        # The box is that of the whole part, not of what the other leaves of it.
        assert thing.box == (10, 10, 20, 20)
        assert thing.occluded == (hidden > 0)


@pytest.mark.parametrize(("left", "box"), [(-4, (0, 10, 6, 20)), (36, (36, 10, 40, 20)), (-9, None), (60, None)])
def test_frame_cuts_boxes(left, box):
    bench = Bench(np.zeros((30, 40, 3), np.float32), LAMP)
    part = Placed("nut", square(10), 10, left)
    bench.lay(part.sprite, 10, left, 1)
    thing = seen(bench, part, 1)
    assert (thing and thing.box) == box
    assert thing is None or (thing.truncated and not thing.occluded)


def test_shadow_falls_away_from_the_lamp():
    bench = Bench(np.ones((40, 60, 3), np.float32), LAMP)
    bench.lay(Sprite(np.ones((10, 10)), np.ones((10, 10, 3)), 8.0), 15, 25, 1)
    away, towards = bench.colour[20, 22].mean(), bench.colour[20, 38].mean()
    assert away < 0.8 < towards


@given(seed=st.integers(0, 2**32), width=st.integers(128, 200), height=st.integers(128, 200), heap=st.booleans())
@settings(max_examples=15)
def test_what_holds_for_every_scene(seed, width, height, heap):
    colour, things = draw_scene(np.random.default_rng(seed), width, height, False, heap)
    assert colour.shape == (height, width, 3)
    assert np.isfinite(colour).all()
    assert colour.min() >= -0.5
    assert sum(thing.crowd for thing in things) == heap
    for thing in things:
        left, top, right, bottom = thing.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert thing.name in PARTS
    assert draw_scene(np.random.default_rng(seed), width, height, True, heap)[1] == []


@pytest.mark.parametrize("sigma", [1.0, 3.0, 20.0, (0.5, 30.0)])
def test_noise_has_the_breadth_that_it_is_asked_for(sigma):
    field = sample_parts.smooth_noise(np.random.default_rng(0), (300, 400), sigma)
    assert field.shape == (300, 400)
    assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=1e-3)
    for axis, width in enumerate(np.broadcast_to(sigma, 2)):
        # White noise filtered by a Gaussian correlates as exp(-d^2 / 4 sigma^2).
        step = max(1, round(float(width)))
        first, second = np.take(field, range(300 - step), axis), np.take(field, range(step, 300), axis)
        assert np.mean(first * second) == pytest.approx(np.exp(-(step**2) / (4 * width**2)), abs=0.12)


def test_does_not_import_torch():
    code = "import sys, millrace.detection.sample; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
