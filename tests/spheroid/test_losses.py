"""Loss and validation Dice, with the empty cases stated."""

from __future__ import annotations

import pytest
import torch

from millrace.spheroid.losses import DiceFromCounts, soft_dice_loss, spheroid_losses
from millrace.spheroid.params import Loss

FAR = 30.0


def test_dice_loss_of_certain_predictions():
    target = torch.zeros(1, 4, 4)
    target[0, :2] = 1
    certain = (2 * target - 1) * FAR
    assert float(soft_dice_loss(certain, target)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(-certain, target)) == pytest.approx(1 - 1 / 17, abs=1e-6)
    half = certain.clone()
    half[0, 1] = -FAR  # finds 4 of 8 pixels
    assert float(soft_dice_loss(half, target)) == pytest.approx(1 - 9 / 13, abs=1e-6)


def test_a_patch_without_objects_scores_its_false_positives():
    target = torch.zeros(1, 4, 4)
    logits = torch.full((1, 4, 4), -FAR)
    assert float(soft_dice_loss(logits, target)) == pytest.approx(0, abs=1e-6)
    logits[0, 0] = FAR
    assert float(soft_dice_loss(logits, target)) == pytest.approx(1 - 1 / 5, abs=1e-6)


def test_the_loss_of_a_batch_is_the_mean_over_its_parts():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(6, 2, 8, 8, generator=generator), torch.rand(6, 2, 8, 8, generator=generator).round()
    whole = spheroid_losses(logits, target, Loss())
    parts = [spheroid_losses(logits[i : i + 2], target[i : i + 2], Loss()) for i in (0, 2, 4)]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for part in parts) / 3, rel=1e-5)


def test_weights_are_used():
    logits, target = torch.randn(2, 2, 8, 8), torch.rand(2, 2, 8, 8).round()
    parts = spheroid_losses(logits, target, Loss(bce=2.0, dice=3.0, distance=5.0))
    assert float(parts["loss"]) == pytest.approx(
        float(2 * parts["bce"] + 3 * parts["dice"] + 5 * parts["distance"]), rel=1e-5
    )


def test_validation_dice_is_computed_over_the_whole_set():
    metric = DiceFromCounts()
    assert float(metric.compute()) == 1  # nothing to find, nothing found
    one = torch.tensor([[True, True, False, False]])
    metric.update(one, torch.tensor([[True, False, False, False]]))
    metric.update(torch.zeros(1, 4, dtype=torch.bool), one)
    assert float(metric.compute()) == pytest.approx(2 * 1 / (3 + 2))
