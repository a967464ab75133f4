"""Training samples and the losses on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from keyframes.layouts import NAMES, nothing, prepare, rhythm
from millrace.keyframes.data import Windows, mirrored, normalised
from millrace.keyframes.losses import layout_losses
from millrace.keyframes.masking import forecast_target, infill_target
from millrace.keyframes.model import Heads
from millrace.keyframes.normalisation import Normalisation
from millrace.keyframes.params import Loss, Train
from millrace.keyframes.window_store import WindowStore


@pytest.fixture
def store(workspace):
    prepare()
    return WindowStore()


def test_a_sample_depends_on_epoch_and_index_alone(store):
    settings = Train(horizon=8, seed=3)
    first, again = (Windows(store, "train", settings, training=True) for _ in range(2))
    order = np.random.default_rng(0).permutation(len(first))
    later = {int(index): again[2, int(index)] for index in order}
    for index in range(len(first)):
        one, other = first[2, index], later[index]
        assert one["name"] == other["name"]
        assert all(torch.equal(one["input"][name], other["input"][name]) for name in one["input"])
        assert torch.equal(one["target"], other["target"])
    names = [[first[epoch, index]["name"] for index in range(len(first))] for epoch in (0, 1)]
    assert names[0] != names[1]


def test_validation_windows_are_the_same_in_every_epoch(store):
    for objective in ("forecast", "infill", "reconstruct"):
        windows = Windows(store, "validation", Train(horizon=8, objective=objective), training=False)
        for index in range(len(windows)):
            one, other = windows[0, index], windows[5, index]
            assert torch.equal(one["input"]["cells"], other["input"]["cells"])
            assert torch.equal(one["target"], other["target"])


@pytest.mark.parametrize("objective", ["forecast", "infill", "reconstruct"])
def test_what_is_asked_for_is_hidden_but_in_reconstruction(store, objective):
    windows = Windows(store, "train", Train(horizon=8, objective=objective), training=True)
    for index in range(len(windows)):
        sample = windows[1, index]
        known, valid, target = sample["input"]["known"], sample["input"]["valid"], sample["target"]
        assert target.any()
        assert not (target & ~valid[:, None]).any()
        assert not (known & ~valid[:, None]).any()
        if objective == "reconstruct":
            assert torch.equal(known, target)
        else:
            assert torch.equal(known, valid[:, None] & ~target)
            assert known.any()


def test_an_epoch_draws_each_window_as_often_as_asked(store):
    once, thrice = (Windows(store, "train", Train(horizon=8, per_window=n), training=True) for n in (1, 3))
    assert len(thrice) == 3 * len(once)


@given(st.integers(2, 200), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_masks_leave_something_known(rows, horizon, seed):
    forecast = forecast_target(rows, 5, horizon)
    asked = forecast.any(1)
    assert 1 <= asked.sum() <= max(1, rows // 2)
    assert asked.sum() == min(horizon, rows // 2)
    assert asked[-1]
    assert not asked[: rows - asked.sum()].any()
    spans = infill_target(rows, 5, horizon, np.random.default_rng(seed))
    assert spans.shape == (rows, 5)


def test_mirroring_exchanges_left_and_right_and_twice_is_nothing():
    cells = rhythm(20, 8)
    cells[:, 0, 5], cells[:, 0, 6] = 10, 30
    turned = mirrored(cells, NAMES)
    assert (turned[:, 0, 5] == 30).all()
    assert (turned[:, 0, 6] == 10).all()
    assert (turned[..., 3] == -cells[..., 3]).all()
    assert (mirrored(turned, NAMES) == cells).all()


def test_normalised_numbers_are_zero_where_nothing_is_shown():
    normalisation = Normalisation(NAMES, (150.0, *[0.0] * 6), (50.0, *[2.0] * 6))
    cells = nothing(2)
    cells[0, 0] = 1, 3, 200, 1, 0, 0, 0, 0, 0
    found = normalised(cells, normalisation)
    assert found[0, 0].tolist() == [1, 3, 1, 0.5, 0, 0, 0, 0, 0]
    assert not found[1].any()


def heads_that_say(cells: torch.Tensor, certainty: float) -> Heads:
    active = torch.nn.functional.one_hot(cells[..., 0].long(), 2) * certainty
    asset = torch.nn.functional.one_hot(cells[..., 1].long(), 10) * certainty
    return Heads(active.float(), asset.float(), cells[..., 2:])


@pytest.fixture
def cells() -> torch.Tensor:
    return torch.from_numpy(np.stack([rhythm(10, 6), rhythm(10, 4)]))


def test_a_certain_and_right_answer_costs_nothing(cells):
    target = torch.ones(cells.shape[:3], dtype=torch.bool)
    losses = layout_losses(heads_that_say(cells, 100.0), cells, target, NAMES, Loss())
    assert float(losses["loss"]) == pytest.approx(0, abs=1e-6)
    assert set(losses) == {"loss", "active", "asset", *NAMES}


def test_losses_are_the_weighted_sum_over_asked_and_active_cells(cells):
    target = torch.zeros(cells.shape[:3], dtype=torch.bool)
    target[:, 8:] = True
    heads = heads_that_say(cells, 100.0)
    wrong = heads.numbers.clone()
    wrong[..., 0] += 4.0  # Huber: 4 - .5
    wrong[:, :8] += 1000  # not asked for
    wrong[..., 1] += torch.where(cells[..., 0] > 0, 0.0, 50.0)  # not active
    weights = Loss(scale=2.0, position=0.0)
    losses = layout_losses(heads._replace(numbers=wrong), cells, target, NAMES, weights)
    assert float(losses["scale"]) == pytest.approx(3.5)
    assert float(losses["x"]) == 0
    assert float(losses["loss"]) == pytest.approx(7.0, rel=1e-5)
    assert (
        float(layout_losses(heads._replace(numbers=wrong), cells, target, NAMES, Loss(regression="mse"))["scale"]) == 16
    )
    assert (
        float(layout_losses(heads._replace(numbers=wrong), cells, target, NAMES, Loss(regression="l1"))["scale"]) == 4
    )


def test_a_batch_is_the_mean_of_its_samples(cells):
    target = torch.zeros(cells.shape[:3], dtype=torch.bool)
    target[0, 2:], target[1, 9:] = True, True
    torch.manual_seed(0)
    heads = Heads(*(torch.randn_like(each) for each in heads_that_say(cells, 1.0)))
    whole = layout_losses(heads, cells, target, NAMES, Loss())
    parts = [
        layout_losses(Heads(*(each[[index]] for each in heads)), cells[[index]], target[[index]], NAMES, Loss())
        for index in range(2)
    ]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for part in parts) / 2, rel=1e-5)


def test_a_batch_without_an_active_cell_has_a_finite_loss():
    cells = torch.zeros(1, 4, 20, 9)
    heads = heads_that_say(cells, 1.0)
    losses = layout_losses(heads, cells, torch.ones(1, 4, 20, dtype=torch.bool), NAMES, Loss())
    assert all(torch.isfinite(each) for each in losses.values())
    assert float(losses["asset"]) == 0
