"""The windows stage: split by video, normalisation, where windows lie."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframes.layouts import NAMES, QUIET, nothing, prepare, rhythm, write_table
from millrace.errors import UserError
from millrace.keyframes import windows
from millrace.keyframes.near_duplicates import near_duplicates
from millrace.keyframes.normalisation import empty_cell, typical_row
from millrace.keyframes.params import Keyframes
from millrace.keyframes.window_store import WindowStore, padded, window_starts


@given(st.integers(1, 1000), st.integers(2, 120), st.data())
def test_windows_cover_every_row_and_none_lies_behind_the_end(rows, length, data):
    overlap = data.draw(st.integers(0, length - 1))
    starts = window_starts(rows, length, overlap)
    assert starts[0] == 0
    assert starts[-1] + length >= rows
    assert len(starts) == 1 or starts[-1] + overlap < rows
    assert len(starts) == 1 or starts[-2] + length < rows


def test_counts_follow_from_the_rows_as_in_the_source_system():
    # There 64,929 rows of 88 videos gave 836 windows and 15,640 of 22 gave 202; rows of single videos are not known.
    # A window more adds its overlap to what is seen twice: valid rows = rows + 20 * (windows - videos).
    assert [len(window_starts(rows, 100, 20)) for rows in (1, 100, 101, 180, 181, 260, 261)] == [1, 1, 2, 2, 3, 3, 4]
    for videos, rows, found in ((88, 64_929, 836), (22, 15_640, 202)):
        fewest = (rows - 20 * videos) / 80
        assert fewest <= found <= fewest + videos
        assert 0.95 < (rows + 20 * (found - videos)) / (100 * found) < 0.96


def test_a_short_window_is_padded_and_says_so():
    cells, valid = padded(rhythm(3, 4), 5)
    assert valid.tolist() == [True, True, True, False, False]
    assert (cells[:3] == rhythm(3, 4)).all()
    assert not cells[3:].any()


def test_the_stage_splits_by_video_and_writes_what_training_needs(workspace):
    prepare()
    store = WindowStore()
    sides = [store.of(side) for side in ("train", "validation", "test")]
    assert sorted(video for side in sides for video in side) == list(range(12))
    assert all(sides)
    for video, (_, row) in enumerate(store.videos.iterrows()):
        number = int(row["video_id"][1:])
        expected = rhythm(60 + 7 * number, 12 + number, offset=3 * number, scale=120.0 + 10 * number)
        assert (store.cells(video) == expected).all()
        mine = store.index[store.index["video"] == video]
        assert set(mine["split"]) == {row["split"]}
        assert mine["first"].to_list() == list(window_starts(row["rows"], 40, 8))
        assert (mine["first"] + mine["rows"]).max() == row["rows"]
    report = json.loads(Path("metrics/keyframes/windows.json").read_text())
    assert sum(report[side]["windows"] for side in ("train", "validation", "test")) == len(store.index)


def test_only_active_cells_of_training_videos_are_normalised_by(workspace):
    prepare()
    store = WindowStore()
    active = np.concatenate([cells[cells[..., 0] > 0] for cells in map(store.cells, store.of("train"))])
    assert store.normalisation.parameters == NAMES
    assert store.normalisation.mean == pytest.approx(active[:, 2:].mean(axis=0), rel=1e-5)
    assert store.normalisation.spread[:3] == pytest.approx(active[:, 2:5].std(axis=0), rel=1e-5)
    assert store.normalisation.spread[3:] == (1.0,) * 4  # crops never vary here


def test_two_runs_give_the_same_bytes(workspace):
    def everything() -> dict[str, bytes]:
        windows.run(Keyframes.model_validate({"windows": {"length": 40, "overlap": 8}}), QUIET)
        return {str(path): path.read_bytes() for path in Path("data/prepared/keyframes/windows").rglob("*.*")}

    prepare()
    assert everything() == everything()


def test_near_duplicates_are_found_and_others_are_not():
    original = rhythm(200, 17, scale=130)
    trimmed = original[30:170]
    prefixed = np.concatenate([rhythm(40, 9), original])
    renamed, other = original.copy(), rhythm(200, 19, scale=170)
    pairs = list(near_duplicates([original, trimmed, prefixed, renamed, other], 0.5))
    assert {(first, second) for first, second, _ in pairs} == {(0, 1), (0, 2), (0, 3), (1, 2)}
    assert next(share for first, second, share in pairs if (first, second) == (0, 3)) == 1.0


def test_near_duplicates_and_sequences_of_one_file_stay_together(workspace):
    videos = {f"v{number}": rhythm(100, 11 + number, scale=100.0 + number) for number in range(9)}
    videos |= {"copy": videos["v3"].copy(), "trim": videos["v4"][20:]}
    write_table(videos, files={"v0": "one", "v1": "one"})
    windows.run(Keyframes(), QUIET)
    split = dict(zip(WindowStore().videos["video_id"], WindowStore().videos["split"], strict=True))
    assert split["copy"] == split["v3"]
    assert split["trim"] == split["v4"]
    assert split["v0"] == split["v1"]
    pairs = pd.read_csv("metrics/keyframes/windows/pairs.csv")
    assert set(zip(pairs["first"], pairs["second"], strict=True)) == {("v3", "copy"), ("v4", "trim")}


def test_shares_far_from_those_asked_for_are_said(workspace, caplog):
    write_table(
        {f"v{number}": rhythm(60 + 600 * (number == 0), 9 + number, scale=100.0 + 50 * number) for number in range(6)}
    )
    windows.run(Keyframes(), QUIET)
    assert "instead of" in caplog.text
    assert "stay together has 1 of 6" in caplog.text


def test_rotation_and_opacity_are_taken_where_the_table_has_them(workspace):
    write_table({f"v{number}": rhythm(60, 9 + number, scale=100.0 + 50 * number) for number in range(6)})
    path = Path("data/prepared/keyframes/timelines/timelines.parquet")
    more = {
        f"target_v{track}_{name}": each for track in range(1, 21) for name, each in (("rotation", 5), ("opacity", 80))
    }
    pd.read_parquet(path).assign(**more).to_parquet(path, index=False)
    windows.run(Keyframes(), QUIET)
    store = WindowStore()
    assert store.normalisation.parameters == (*NAMES, "rotation", "opacity")
    assert store.cells(0).shape == (60, 20, 11)
    assert store.normalisation.mean[-2:] == (5, 80)


def test_too_few_videos_are_refused(workspace):
    write_table({"a": rhythm(50, 9), "b": rhythm(50, 9)})
    with pytest.raises(UserError, match=r"2 videos form 1 independent units .* too few for train . validation . test"):
        windows.run(Keyframes(), QUIET)
    assert not Path("data/prepared/keyframes/windows").exists()


def test_training_videos_without_a_clip_are_refused(workspace):
    shown = nothing(50)
    shown[:20, 0, :3] = 1, 0, 110
    write_table({"a": nothing(50), "b": nothing(60), "c": nothing(70), "d": shown})
    settings = {"windows": {"split": {"train": 0.3, "validation": 0.3, "test": 0.4, "seed": 1}}}
    with pytest.raises(UserError, match=r"No clip is active"):
        windows.run(Keyframes.model_validate(settings), QUIET)


def test_without_a_table_the_remedy_is_named(workspace):
    with pytest.raises(UserError, match="dvc repro keyframes-parse"):
        windows.run(Keyframes(), QUIET)
    with pytest.raises(UserError, match="dvc repro keyframes-windows"):
        WindowStore()


def test_a_damaged_table_is_refused(workspace):
    write_table({f"v{number}": rhythm(60, 9 + number) for number in range(6)})
    path = Path("data/prepared/keyframes/timelines/timelines.parquet")
    table = pd.read_parquet(path)
    for damaged in (
        table.iloc[:-5],
        table.drop(columns="target_v3_scale"),
        table.assign(target_v1_scale=np.inf),
        table.assign(target_v1_asset=99),
        table.assign(target_v1_x="left"),
    ):
        damaged.to_parquet(path, index=False)
        with pytest.raises(UserError, match=r"is damaged .*`dvc repro --force keyframes-parse"):
            windows.run(Keyframes(), QUIET)
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is damaged"):
        windows.run(Keyframes(), QUIET)
    assert not Path("data/prepared/keyframes/windows").exists()


@pytest.mark.parametrize("name", ["rows.npy", "meta.json", "videos.parquet", "windows.parquet"])
def test_damaged_windows_are_refused(workspace, name):
    prepare()
    path = Path("data/prepared/keyframes/windows") / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"is damaged .*`dvc repro --force keyframes-windows"):
        WindowStore()
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        WindowStore()


def test_windows_that_do_not_belong_together_are_refused(workspace):
    prepare()
    folder = Path("data/prepared/keyframes/windows")
    meta = json.loads((folder / "meta.json").read_text())
    for missing in ("overlap", "rate", "typical_row", "normalisation"):
        (folder / "meta.json").write_text(json.dumps({name: each for name, each in meta.items() if name != missing}))
        with pytest.raises(UserError, match="is damaged"):
            WindowStore()
    (folder / "meta.json").write_text(json.dumps(meta))
    rows = np.load(folder / "rows.npy")
    np.save(folder / "rows.npy", rows[:-3])
    with pytest.raises(UserError, match=r"rows.npy is float32"):
        WindowStore()
    np.save(folder / "rows.npy", rows)
    index = pd.read_parquet(folder / "windows.parquet")
    index.assign(rows=10_000).to_parquet(folder / "windows.parquet")
    with pytest.raises(UserError, match="rows that no video has"):
        WindowStore()


def test_many_copies_are_compared_once(monkeypatch):
    compared = []
    monkeypatch.setattr(
        "millrace.keyframes.near_duplicates.combinations",
        lambda held, size: compared.append(len(held)) or combinations(held, size),
    )
    pairs = list(near_duplicates([rhythm(100, 9)] * 50, 0.5))
    assert [(first, second) for first, second, _ in pairs] == [(0, other) for other in range(1, 50)]
    assert max(compared) == 1


def test_a_typical_row_is_what_mostly_stands_there():
    row = typical_row(rhythm(100, 10), empty_cell(NAMES))
    assert row[0].tolist() == [1, 0, 150, 0, 0, 0, 0, 0, 0]
    assert (row[3:] == empty_cell(NAMES)).all()
