"""Outlines, contact sheets and PNG files."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFont

from millrace.imagery.pictures import CAPTION_PX, _shortened, outlines, sheet, write_png

RED, BLUE, YELLOW = (255, 0, 0), (0, 0, 255), (255, 255, 0)
LABELS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 2))


def where(picture, colour):
    return (picture == np.array(colour, np.uint8)).all(axis=2)


@settings(max_examples=100, deadline=None)
@given(LABELS, st.integers(1, 3))
def test_outlines_are_object_pixels_near_another_label(labels, line_px):
    expected = np.zeros(labels.shape, bool)
    for row, column in zip(*np.nonzero(labels), strict=True):
        near = labels[
            max(row - line_px, 0) : row + line_px + 1,
            max(column - line_px, 0) : column + line_px + 1,
        ]
        expected[row, column] = (near != labels[row, column]).any()
    picture = outlines(np.zeros(labels.shape, np.float32), [(labels, RED)], line_px)
    np.testing.assert_array_equal(where(picture, RED), expected)
    assert (picture[~expected] == 0).all()


def test_the_image_shows_beside_the_outlines():
    grey = np.linspace(-0.5, 1.5, 21, dtype=np.float32).reshape(3, 7)
    picture = outlines(grey, [])
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.repeat(np.rint(grey.clip(0, 1) * 255)[..., None], 3, axis=2))


def test_two_layers_are_yellow_where_they_coincide():
    truth, predicted = np.zeros((9, 9), np.int32), np.zeros((9, 9), np.int32)
    truth[1:6, 1:6] = 1
    predicted[1:6, 3:8] = 4
    picture = outlines(np.zeros((9, 9), np.float32), [(truth, RED), (predicted, BLUE)])
    assert where(picture, YELLOW)[1, 3:6].all()
    assert where(picture, RED)[1, 1:3].all()
    assert where(picture, BLUE)[1, 6:8].all()
    assert where(picture, RED)[3, 5]
    assert where(picture, BLUE)[3, 3]
    # Yellow are the shared pieces of the top and bottom edges, nothing else.
    assert where(picture, YELLOW).sum() == 6


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def test_sheet_places_and_reduces_pictures():
    page = sheet([plain(40, 80, RED), plain(200, 100, BLUE), plain(10, 10, RED)], ["a", "b", "c"], 2, 60)
    red, blue = where(page, RED), where(page, BLUE)
    rows, columns = np.nonzero(blue)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (60, 30)
    assert red.sum() == 30 * 60 + 10 * 10
    assert np.nonzero(red)[1].max() < columns.min()
    # Captions stand below their pictures, dark on white.
    dark = (page < 100).all(axis=2)
    first_bottom = np.flatnonzero(red.any(axis=1) & blue.any(axis=1)).max()
    assert dark[first_bottom + 1 : first_bottom + 20].any()
    assert not dark[: first_bottom + 1].any()


def test_sheet_with_fewer_pictures_than_columns_is_no_wider():
    one = sheet([plain(20, 20, RED)], ["a"], 5, 60)
    assert one.shape[1] < 2 * 60
    columns = np.flatnonzero(where(one, RED).any(axis=0))
    assert columns[0] == one.shape[1] - 1 - columns[-1]


def test_a_long_caption_stays_in_its_cell_and_keeps_both_ends():
    cells = [sheet([plain(9, 9, RED)], [f"{start}{'x' * 90}{end}"], 1, 120) for start, end in ("a1", "b1", "a2")]
    page = cells[0]
    assert page.shape[1] < 140
    assert (page[:, :4] == 255).all()
    assert (page[:, -4:] == 255).all()
    for other in cells[1:]:
        assert (other != page).any()


def longest_that_fits(text, font, width_px):
    for kept in range(len(text), 0, -1):
        head = kept // 2
        shortened = text if kept == len(text) else f"{text[:head]}...{text[len(text) - (kept - head) :]}"
        if font.getlength(shortened) <= width_px:
            return shortened
    return ""


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=60), st.integers(0, 300))
def test_a_caption_keeps_as_many_letters_as_fit(text, width_px):
    font = ImageFont.load_default(CAPTION_PX)
    assert _shortened(text, font, width_px) == longest_that_fits(text, font, width_px)


def test_a_caption_of_thousands_of_letters_is_measured_a_few_times():
    measured = []
    font = SimpleNamespace(getlength=lambda text: measured.append(text) or 7.0 * len(text))
    assert _shortened("a" * 2500 + "b" * 2500, font, 70) == "aaa...bbbb"
    assert len(measured) < 20


def test_a_caption_a_picture():
    with pytest.raises(ValueError, match="shorter"):
        sheet([plain(9, 9, RED), plain(9, 9, RED)], ["a"], 1, 120)


def test_png_files_are_equal_for_equal_pictures(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    write_png(tmp_path / "new" / "one.png", picture)
    write_png(tmp_path / "two.png", picture.copy())
    assert (tmp_path / "new" / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "two.png") as image:
        assert not image.info
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_a_picture_of_few_colours_is_small_and_near(tmp_path):
    noise = np.random.default_rng(0).integers(0, 40, (64, 64, 3))
    picture = (np.indices((64, 64)).sum(0)[..., None] + noise).astype(np.uint8)
    write_png(tmp_path / "all.png", picture)
    write_png(tmp_path / "few.png", picture, 256)
    assert (tmp_path / "few.png").stat().st_size < 0.6 * (tmp_path / "all.png").stat().st_size
    few = np.asarray(Image.open(tmp_path / "few.png").convert("RGB"))
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 256
    assert np.abs(few.astype(int) - picture).mean() < 6
