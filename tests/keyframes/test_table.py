"""The table's columns, asset classes and names."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from keyframes.timelines import nested, sequence, still
from millrace.keyframes.assets import asset_of, media_name
from millrace.keyframes.params import SOURCE_RULES, AssetRule, Parse
from millrace.keyframes.table import KEYS, check_length, columns, tabulate
from millrace.keyframes.xml_events import TimelineError


def test_there_are_183_columns_and_223_with_rotation_and_opacity():
    plain = tabulate(sequence([still(0, 1)]), "v", Parse()).table
    assert list(plain.columns) == [*KEYS, *columns(rotation_and_opacity=False)]
    assert len(plain.columns) == 183
    assert list(plain.columns[3:12]) == [
        f"target_v1_{name}" for name in ("active", "asset", "scale", "x", "y", "crop_l", "crop_r", "crop_t", "crop_b")
    ]
    full = tabulate(sequence([still(0, 1, rotation=5)]), "v", Parse(rotation_and_opacity=True)).table
    assert len(full.columns) == 223
    assert full["target_v1_rotation"].to_list() == [5.0] * 10 + [0.0] * 30


def test_empty_cells_hold_the_defaults():
    row = tabulate(sequence([still(1, 2, scale=50)]), "v", Parse()).table.iloc[0]
    for track in range(1, 21):
        assert row[f"target_v{track}_scale"] == 100
        assert not row[[f"target_v{track}_{name}" for name in ("active", "asset", "x", "y", "crop_b")]].any()


def test_times_are_row_over_rate_and_not_a_sum():
    table = tabulate(sequence([still(0, 700)], duration=700), "v", Parse()).table
    assert table["time"].to_list() == [row / 10 for row in range(7000)]


def test_tracks_beyond_twenty_are_counted():
    found = tabulate(sequence(*[[still(0, 1)] for _ in range(22)]), "v", Parse())
    assert (found.tracks, found.beyond) == (22, 20)
    assert found.table["target_v20_active"].sum() == 10


def test_a_sequence_of_days_is_refused():
    with pytest.raises(TimelineError, match=r"lasts 30\.0 hours, more than max_hours"):
        tabulate(sequence([still(0, 1)], duration=30 * 3600), "v", Parse())


def test_more_sequences_than_fit_into_memory_are_refused():
    day = sequence([still(0, 1)], duration=24 * 3600)
    check_length([day, day], Parse())
    with pytest.raises(
        TimelineError, match=r"2592000 rows, more than 2000000; lower .*rate, or export fewer sequences"
    ):
        check_length([day] * 3, Parse())
    with pytest.raises(TimelineError, match="8640000 rows"):
        tabulate(day, "v", Parse(rate=100.0))


@pytest.mark.parametrize(("levels", "scale"), [(2, r"1e\+16"), (5, r"1e\+37"), (50, "inf")])
def test_scales_that_multiply_beyond_all_bounds_are_refused(levels, scale):
    """Five levels are more than float32 holds, fifty more than float64."""
    whole = sequence([still(0, 4, x=0.5, rotation=1)])
    for _ in range(levels):
        whole = sequence([nested(whole, 0, 4, scale=1e9, rotation=1e9)])
    with pytest.raises(TimelineError, match=rf"scale on track 1 comes to {scale} in row 0, .*not between -1e\+09"):
        tabulate(whole, "v", Parse())


def test_a_value_that_no_edit_has_is_refused():
    with pytest.raises(TimelineError, match=r"crop_b on track 2 comes to -2e\+09 in row 5"):
        tabulate(sequence([], [still(0.5, 1, crop_b=-2e9)]), "v", Parse())
    with pytest.raises(TimelineError, match=r"x on track 1 comes to nan in row 0"):
        tabulate(sequence([still(0, 1, x=float("nan"))]), "v", Parse())


def test_times_rise_at_rates_of_many_decimals():
    table = tabulate(sequence([still(0, 1)], duration=7200), "v", Parse(rate=29.97002997002997)).table
    assert (np.diff(table["time"]) > 0).all()
    assert table["time"].iloc[-1] == pytest.approx(7200, abs=0.04)


def test_names_of_any_length_are_searched_at_once():
    start = time.process_time()
    assert asset_of(still(0, 1, "id" * 30_000), 3, SOURCE_RULES) == 2
    assert time.process_time() - start < 1
    assert asset_of(still(0, 1, "class 7" + "x" * 30_000), 3, SOURCE_RULES) == 7


@pytest.mark.parametrize(
    ("track", "name", "media", "asset"),
    [
        (1, "photo.png", None, 0),
        (2, "anything", None, 1),
        (3, "photo.PNG", None, 3),
        (3, "a clip", "file://localhost/C:/x/photo%20one.webp", 3),
        (3, "layer.psd", None, 2),
        (5, "Main Title", None, 2),
        (5, "Class 7", None, 7),
        (5, "id_1", None, 2),
        (5, "class 12345", None, 9),
        (5, "class 99999999999999999999", None, 2),
        (20, "グラフィック", None, 2),
    ],
)
def test_the_default_rules_give_the_classes_of_the_source(track, name, media, asset):
    assert asset_of(replace(still(0, 1, name), media=media), track, SOURCE_RULES) == asset


def test_rules_of_ones_own_come_first_match_first():
    rules = (AssetRule(name="^logo", asset=9), AssetRule(track=1, extensions=("MOV",), asset=4), AssetRule(asset=5))
    assert asset_of(still(0, 1, "LOGO.mov"), 1, rules) == 9
    assert asset_of(still(0, 1, "b.mov"), 1, rules) == 4
    assert asset_of(still(0, 1, "b.mov"), 2, rules) == 5


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"name": "(", "asset": 1}, "not a regular expression"),
        ({"asset": 10}, "must be from 0 to 9"),
        ({"asset": "number"}, "needs a name with a group"),
        ({"asset": "number", "name": "id"}, "needs a name with a group"),
    ],
)
def test_rules_that_cannot_work_are_refused(rule, reason):
    with pytest.raises(ValidationError, match=reason):
        AssetRule(**rule)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("file://localhost/C%3a/a%20b/c%20d.mov", "c d.mov"),
        ("C:\\videos\\e.mp4", "e.mp4"),
        ("../../etc/passwd", "passwd"),
        ("http://[", "["),
        ("http://[/a/b.mov?x=/y#z", "b.mov"),
        (None, ""),
    ],
)
def test_media_names_are_cut_from_any_path(path, name):
    assert media_name(replace(still(0, 1), media=path)) == name


def test_the_source_is_the_first_video_file():
    clips = [replace(still(at, at + 1), media=media) for at, media in enumerate(["a.psd", "x/Game.MP4", "b.mov"])]
    assert set(tabulate(sequence(clips), "v", Parse()).table["source_video_name"]) == {"Game"}
    assert set(tabulate(sequence([still(0, 1)]), "v", Parse()).table["source_video_name"]) == {"unknown"}


def test_asset_classes_stand_in_the_rows_of_their_clips():
    clips = [still(0, 1, "a.png"), still(1, 2, "b"), still(3, 4, "class 5")]
    table = tabulate(sequence([], [], clips, duration=Fraction(4)), "v", Parse()).table
    assert table["target_v3_asset"].to_list() == [3] * 10 + [2] * 10 + [0] * 10 + [5] * 10
    assert table["target_v3_asset"].dtype == np.int8
