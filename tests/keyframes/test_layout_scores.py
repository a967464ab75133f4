"""Cases, baselines and scores, each held against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from keyframes.layouts import NAMES, nothing, rhythm
from millrace.keyframes import baselines
from millrace.keyframes.cases import Video, cases_of
from millrace.keyframes.normalisation import Normalisation, empty_cell, typical_row
from millrace.keyframes.params import Evaluate
from millrace.keyframes.scores import Scores

NORMALISATION = Normalisation(NAMES, (100.0,) * 7, (50.0, 0.1, 0.2, 1.0, 1.0, 1.0, 1.0))
SETTINGS = Evaluate(stride=10, min_history=15)


def cases(cells, objective="forecast", settings=SETTINGS, name="v", length=40, horizon=10):
    video = Video(name, cells, 1000, 500)
    return video, list(cases_of(video, 0, objective, length, horizon, settings))


def test_forecasts_know_what_lies_before_and_never_more_than_a_window():
    cells = rhythm(100, 12)
    _, found = cases(cells)
    assert [case.first + case.start for case in found] == [15, 25, 35, 45, 55, 65, 75, 85]
    for case in found:
        start = case.first + case.start
        assert case.first == max(0, start - 30)
        assert len(case.window) == start + 10 - case.first
        assert (case.truth == cells[start : start + 10]).all()
        assert case.target[case.start :].all()
        assert not case.target[: case.start].any()


def test_filled_in_stretches_have_something_known_on_both_sides():
    cells = rhythm(100, 12)
    _, found = cases(cells, "infill")
    assert all(case.stop < len(case.window) for case in found if case.first + case.stop < 100)
    assert all(case.tracks.all() for case in found[::2])
    assert any(not case.tracks.all() for case in found[1::2])
    assert all(len(case.window) <= 40 for case in found)


def test_a_short_video_has_no_case():
    assert cases(rhythm(24, 12))[1] == []
    assert len(cases(rhythm(25, 12))[1]) == 1


def test_tracks_change_when_they_differ_from_the_last_known_row():
    cells = nothing(40)
    cells[:, 0, :3] = 1, 0, 120
    cells[22, 0, 2] = 121  # one row of one track
    _, found = cases(cells)
    assert [case.changing.nonzero()[0].tolist() for case in found] == [[0], []]


def test_copy_last_repeats_the_last_known_row():
    _, (case, *_) = cases(rhythm(60, 12))
    assert (baselines.copy_last(case) == case.window[case.start - 1]).all()
    assert baselines.copy_last(case).shape == (10, 20, 9)


def test_linear_goes_on_as_the_last_two_rows_move():
    cells = nothing(40)
    cells[:, 0, :3] = np.stack([np.ones(40), np.zeros(40), 100 + 2.0 * np.arange(40)], -1)
    cells[:, 1, :3] = 1, 1, 50
    cells[14, 2, :3] = 1, 2, 80  # shown in the last row only: nothing to draw a line through
    _, (case, *_) = cases(cells)
    layout = baselines.linear(case)
    assert layout[:, 0, 2].tolist() == cells[15:25, 0, 2].tolist()
    assert (layout[:, 1] == cells[15:25, 1]).all()
    assert (layout[:, 2, 2] == 80).all()


def test_linear_joins_both_sides_of_a_stretch():
    cells = nothing(60)
    cells[:, 0, :3] = np.stack([np.ones(60), np.zeros(60), 100 + 2.0 * np.arange(60)], -1)
    _, (case, *_) = cases(cells, "infill")
    np.testing.assert_allclose(baselines.linear(case)[:, 0, 2], case.truth[:, 0, 2], rtol=1e-6)


def scored(case, video, predicted):
    scores = Scores(NORMALISATION, 10, 20)
    scores.add(case, video, predicted)
    return scores


def test_the_truth_scores_perfectly():
    video, found = cases(rhythm(80, 12))
    scores = Scores(NORMALISATION, 10, 20)
    for case in found:
        scores.add(case, video, case.truth)
    for scope in scores.summary().values():
        assert (scope["active_f1"], scope["active_iou"], scope["active_accuracy"], scope["asset_accuracy"]) == (1,) * 4
        assert (scope["error"], scope["scale_percent"], scope["x_px"], scope["crop_percent"]) == (0,) * 4


def test_scores_are_those_of_the_definition():
    video, (_, case, *_) = cases(rhythm(80, 12))
    rng = np.random.default_rng(1)
    predicted = case.truth.copy()
    predicted[..., 0] = rng.random(predicted.shape[:2]) < 0.3
    predicted[..., 1] = rng.integers(0, 3, predicted.shape[:2])
    predicted[..., 2:] += rng.normal(0, 5, predicted[..., 2:].shape)
    summary = scored(case, video, predicted).summary()
    for scope, chosen in (("all", np.ones(20, bool)), ("changing", case.changing)):
        truth, guess = case.truth[:, chosen], predicted[:, chosen]
        real, said = truth[..., 0] > 0, guess[..., 0] > 0
        both, either = (real & said).sum(), (real | said).sum()
        found = summary[scope]
        assert found["cells"] == real.size
        assert found["active_accuracy"] == (real == said).mean()
        assert found["active_iou"] == both / either
        assert found["active_f1"] == 2 * both / (real.sum() + said.sum())
        assert found["asset_accuracy"] == (said & (truth[..., 1] == guess[..., 1]))[real].mean()
        errors = np.abs(guess - truth)[..., 2:][real].astype(np.float64).mean(axis=0)
        assert found["scale_percent"] == pytest.approx(errors[0])
        assert found["x_px"] == pytest.approx(1000 * errors[1])
        assert found["y_px"] == pytest.approx(500 * errors[2])
        assert found["crop_percent"] == pytest.approx(errors[3:].mean())
        assert found["error"] == pytest.approx((errors / np.array(NORMALISATION.spread)).mean())
    assert 0 < case.changing.sum() < 20


def test_steps_and_tracks_sum_up_to_the_whole():
    video, (_, case, *_) = cases(rhythm(80, 12))
    scores = scored(case, video, baselines.copy_last(case))
    whole = scores.summary()["all"]
    for table in (scores.by_step("all"), scores.per_track()):
        assert table["cells"].sum() == whole["cells"]
        weighted = (table["error"].fillna(0) * table["active_cells"]).sum() / table["active_cells"].sum()
        assert weighted == pytest.approx(whole["error"])
    assert scores.by_step("all")["error"].iloc[0] <= scores.by_step("all")["error"].iloc[-1]


def test_pixels_are_left_out_where_the_frame_is_unknown():
    video, (case, *_) = cases(rhythm(60, 12))
    unknown = Video("u", video.cells, 0, 0)
    scores = scored(case, unknown, baselines.copy_last(case))
    assert np.isnan(scores.summary()["all"]["x_px"])
    assert scores.summary()["all"]["x_fraction"] >= 0


def test_nothing_to_score_is_null_and_not_perfect():
    video, (case, *_) = cases(nothing(60))
    summary = scored(case, video, case.truth).summary()
    assert summary["changing"]["cells"] == 0
    assert np.isnan(summary["changing"]["error"])
    assert np.isnan(summary["all"]["active_f1"])
    assert summary["all"]["active_accuracy"] == 1


def test_the_mean_is_the_training_videos_usual_row():
    _, (case, *_) = cases(rhythm(60, 12))
    row = typical_row(rhythm(60, 12), empty_cell(NAMES))
    layout = baselines.typical(case, row)
    assert layout.shape == (10, 20, 9)
    assert (layout == row).all()
