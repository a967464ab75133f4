"""Which steps the guard lets pass, and what it does about the others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from millrace.errors import UserError
from millrace.training.guard import StepGuard


def guard(model: nn.Module, **options) -> StepGuard:
    made = StepGuard(model, max_norm=10.0, max_skipped_share=0.5, steps_per_epoch=4, **options)
    made.begin_epoch()
    return made


@pytest.mark.parametrize(
    ("norm", "accepted"), [(0.0, True), (10.0, True), (10.1, False), (math.inf, False), (math.nan, False)]
)
def test_gradient_norms(norm, accepted):
    assert guard(nn.BatchNorm1d(2)).accept(norm, epoch=0) == accepted


def test_buffers_of_a_skipped_step_are_put_back():
    model = nn.BatchNorm1d(2)
    watching = guard(model)
    model(torch.randn(4, 2))
    assert watching.accept(1.0, 0)
    before = model.running_mean.clone()
    model(torch.full((4, 2), torch.nan))
    assert not watching.accept(math.nan, 0)
    assert torch.equal(model.running_mean, before)


def test_an_overflow_of_loss_scaling_is_skipped_but_not_counted():
    watching = guard(nn.Identity(), overflow_expected=True)
    watching.observe(["a"], torch.tensor(0.5))
    assert not watching.accept(math.inf, 0)
    assert watching.skipped_in_all == 0
    watching.observe(["b"], torch.tensor(math.nan))
    assert not watching.accept(math.nan, 0)
    assert watching.skipped_in_all == 1


def test_the_limit_is_a_share_of_each_epoch(caplog):
    watching = guard(nn.Identity())
    for epoch in range(2):
        watching.begin_epoch()
        assert not watching.accept(math.inf, epoch)
        assert not watching.accept(math.inf, epoch)
    watching.observe([f"s{index}" for index in range(20)], torch.tensor(1.0))
    with pytest.raises(UserError, match=r"3 of 4 steps were skipped .*s15 and 4 more"):
        watching.accept(math.inf, 1)
