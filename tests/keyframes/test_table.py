"""The table's columns, asset classes and names."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from keyframes.timelines import sequence, still
from millrace.keyframes.assets import asset_of, media_name
from millrace.keyframes.params import SOURCE_RULES, AssetRule, Parse
from millrace.keyframes.table import KEYS, columns, tabulate
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
