"""The classical methods, on houses that they can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from prepared_stores import AZIMUTHS, GRASS, ROOF_M, SIDE, house, only, write_source

from millrace.roof.baseline import Baseline, Frequent, hough_lines, roof_mask
from millrace.roof.classes import LINES, NO_SUPERSTRUCTURE, background_class
from millrace.roof.store import Store

DARK, STREET = (70, 60, 60), (150, 150, 150)


@pytest.fixture
def fitted(tmp_path):
    write_source(tmp_path / "full", {"train": [house(0), house(1, left=4)], "test": [house(2, roof=DARK)]})
    return Baseline.fit([Store(tmp_path / "full")])


def test_mask_is_what_is_bright_and_no_plant():
    found = roof_mask(house().image, "bright")
    assert np.mean(found == (house().roof == 1)) > 0.95


def test_plants_are_never_roof_however_bright():
    image = np.full((SIDE, SIDE, 3), STREET, np.uint8)
    image[:, 32:] = (120, 250, 110)
    assert not roof_mask(image, "any")[:, 34:].any()
    assert roof_mask(image, "any")[:, :30].all()


def test_rule_is_learnt_from_the_training_side(tmp_path, fitted):
    assert fitted.rule in ("bright", "any")

    def with_street(seed, roof):
        tile = house(seed, roof=roof)
        tile.image[52:] = STREET
        return tile

    write_source(tmp_path / "dark", {"train": [with_street(0, DARK)], "test": [with_street(1, (240, 230, 230))]})
    assert Baseline.fit([Store(tmp_path / "dark")]).rule == "dark"


def test_most_frequent_classes_of_the_training_side(fitted):
    assert fitted.segment.label in (0, 4)
    assert fitted.segment.share == pytest.approx(0.5, abs=0.03)
    assert fitted.ground == Frequent(background_class(AZIMUTHS), pytest.approx(1, abs=0.03))
    assert fitted.superstructure.label == 2
    assert fitted.superstructure.share == pytest.approx(40 / 1200, rel=0.2)
    assert fitted.height_m == pytest.approx(ROOF_M * 1200 / SIDE**2)


def test_test_side_is_never_looked_at(tmp_path, fitted):
    write_source(tmp_path / "other", {"train": [house(0), house(1, left=4)], "test": [house(3, roof=GRASS)]})
    assert Baseline.fit([Store(tmp_path / "other")]) == fitted


def test_prediction_says_what_was_learnt(fitted):
    maps, lines = fitted.predict(house(5).image, 0.25)
    mask = maps.roof == 1
    assert set(np.unique(maps.segments[mask])) == {fitted.segment.label}
    assert set(np.unique(maps.segments[~mask])) == {background_class(AZIMUTHS)}
    assert set(np.unique(maps.superstructures[~mask])) == {NO_SUPERSTRUCTURE}
    assert np.ptp(maps.height) == 0
    assert maps.lines.any()
    assert (maps.lines == maps.lines[0]).all()
    assert np.bincount(lines.kinds).tolist() == [len(lines.kinds) // len(LINES)] * len(LINES)
    assert ((lines.scores > 0) & (lines.scores <= 1)).all()


def test_lines_lie_on_edges():
    image = np.full((SIDE, SIDE, 3), GRASS, np.uint8)
    image[:, 32:] = STREET
    ends = hough_lines(image)
    assert len(ends)
    assert np.abs(ends[:, [1, 3]] - 32).max() <= 1.5
    assert np.abs(ends[:, 2] - ends[:, 0]).max() > 40


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), GRASS])
def test_plain_pictures_do_no_harm(fitted, colour):
    maps, lines = fitted.predict(np.full((40, 50, 3), colour, np.uint8), 0.25)
    assert maps.roof.shape == (40, 50)
    assert lines.ends.shape == (0, 4)


def test_prediction_is_the_same_every_time(fitted):
    (one, one_lines), (other, other_lines) = (fitted.predict(house(7).image, 0.25) for _ in range(2))
    np.testing.assert_array_equal(one.lines, other.lines)
    np.testing.assert_array_equal(one_lines.ends, other_lines.ends)


def test_heads_that_nobody_labels_are_background(tmp_path):
    write_source(tmp_path / "airs", {"train": [only(house(), "roof")]})
    fitted = Baseline.fit([Store(tmp_path / "airs")])
    assert fitted.segment.label == fitted.ground.label == background_class(AZIMUTHS)
    assert fitted.superstructure.label == NO_SUPERSTRUCTURE
    assert fitted.height_m == 0


def test_sources_are_learnt_from_together(tmp_path):
    write_source(tmp_path / "airs", {"train": [only(house(), "roof")]})
    write_source(tmp_path / "lines", {"train": [only(house(), "lines", "height")]})
    fitted = Baseline.fit([Store(tmp_path / "airs"), Store(tmp_path / "lines")])
    assert fitted.height_m == pytest.approx(ROOF_M * 1200 / SIDE**2)
    assert fitted.segment.label == background_class(AZIMUTHS)
    assert fitted.rule == Baseline.fit([Store(tmp_path / "airs")]).rule


def test_without_a_training_side(tmp_path):
    write_source(tmp_path / "full", {"test": [house()]})
    maps, _ = Baseline.fit([Store(tmp_path / "full")]).predict(house().image, 0.25)
    assert set(np.unique(maps.segments)) == {background_class(AZIMUTHS)}
