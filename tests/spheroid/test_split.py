"""Splits by image that leak nothing."""

from __future__ import annotations

import contextlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UserError
from millrace.spheroid.params import Split
from millrace.spheroid.split import assign, read_groups


def table(coverages: list[float], contents: list[int] | None = None) -> pd.DataFrame:
    names = [f"i{index}" for index in range(len(coverages))]
    return pd.DataFrame({"name": names, "coverage": coverages, "content": contents or names})


@given(
    contents=st.lists(st.integers(0, 12), min_size=8, max_size=40),
    groups=st.lists(st.integers(0, 9), min_size=40, max_size=40),
    seed=st.integers(0, 5),
)
def test_neither_duplicates_nor_groups_stand_on_two_sides(contents, groups, seed):
    images = table([index / len(contents) for index in range(len(contents))], contents)
    named = {name: f"g{group}" for name, group in zip(images["name"], groups, strict=False) if group > 4}
    with contextlib.suppress(UserError):  # too few independent images
        assigned = images.join(assign(images, named, Split(seed=seed, folds=2)))
        _assert_nothing_leaks(assigned, named)


def _assert_nothing_leaks(assigned: pd.DataFrame, named: dict[str, str]) -> None:
    for column in ("split", "fold"):
        assert assigned.groupby("content")[column].nunique().max() == 1
        in_group = assigned[assigned["name"].isin(list(named))]
        if len(in_group):
            assert in_group.groupby(in_group["name"].map(named))[column].nunique().max() == 1


@given(count=st.integers(10, 200), seed=st.integers(0, 20))
def test_shares_are_kept_to_an_image_and_coverage_is_balanced(count, seed):
    images = table([index / count for index in range(count)])
    assigned = assign(images, {}, Split(seed=seed))
    for side, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        chosen = images[assigned["split"] == side]
        assert abs(len(chosen) - share * count) <= 1
        if count >= 50:
            assert abs(chosen["coverage"].mean() - images["coverage"].mean()) < 0.12
    sizes = assigned["fold"].value_counts()
    assert set(sizes.index) == set(range(5))
    assert sizes.max() - sizes.min() <= 1


def test_the_seed_decides(monkeypatch):
    images = table([0.5] * 30)
    splits = [tuple(assign(images, {}, Split(seed=seed))["split"]) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_side_without_a_share_gets_nothing():
    assigned = assign(table([0.1] * 10), {}, Split(train=0.8, validation=0.2, test=0.0))
    assert set(assigned["split"]) == {"train", "validation"}


def test_too_few_independent_images_are_refused():
    with pytest.raises(UserError, match=r"6 images form 2 independent units .*too few for train \+ validation \+ test"):
        assign(table([0.1] * 6, [0, 0, 0, 1, 1, 1]), {}, Split())


@pytest.mark.parametrize(
    ("text", "groups", "message"),
    [
        ("image,group\na,1\nb,1\n", "g.csv", None),
        ("image,group\na,1\nb,1\nb,\n", "g.csv", None),
        ("image,group\na,1\n", "g.csv", r"1 image\(s\) with no group or several: b"),
        ("image,group\na,1\na,2\nb,1\n", "g.csv", "with no group or several: a"),
        ("image,plate\na,1\n", "g.csv", r"lacks the column\(s\) group; it has image, plate"),
        ("", "g.csv", "cannot be read as CSV"),
        (None, "g.csv", "cannot be read as CSV"),
        ("image,group\na,1\nb,1\n", "../g.csv", "leaves the raw folder"),
    ],
)
def test_groups_come_from_a_table_in_the_raw_folder(tmp_path, text, groups, message):
    raw = tmp_path / "raw"
    raw.mkdir()
    if text is not None:
        (raw / groups).write_text(text)
    if message is None:
        assert read_groups(raw, Split(groups=groups), ["a", "b"]) == {"a": "1", "b": "1"}
    else:
        with pytest.raises(UserError, match=message):
            read_groups(raw, Split(groups=groups), ["a", "b"])
