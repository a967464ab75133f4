"""Learning-rate curves against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from millrace.training.optimisation import make_optimiser, plateau_schedule, step_schedules
from millrace.training.params import Training

EPOCHS, STEPS = 6, 10


def curve(settings: Training) -> list[float]:
    optimiser = make_optimiser([nn.Parameter(torch.zeros(1))], settings)
    schedules = step_schedules(optimiser, settings, STEPS)
    rates = []
    for _ in range(EPOCHS * STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        for schedule in schedules:
            schedule.step()
    return rates


def warmup(step: int, steps: int) -> float:
    return 1.0 if step >= steps else 0.01 + 0.99 * step / steps


@pytest.mark.parametrize("steps", [0, 15])
@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("none", lambda step: 1.0),
        ("cosine", lambda step: (1 + math.cos(math.pi * step / (EPOCHS * STEPS))) / 2),
        ("step", lambda step: 0.5 ** (step // (2 * STEPS))),
    ],
)
def test_schedules_multiply_with_a_linear_warmup(schedule, factor, steps):
    settings = Training(
        epochs=EPOCHS, learning_rate=0.2, schedule=schedule, schedule_factor=0.5, schedule_epochs=2, warmup_steps=steps
    )
    expected = [0.2 * factor(step) * warmup(step, steps) for step in range(EPOCHS * STEPS)]
    assert curve(settings) == pytest.approx(expected, rel=1e-9)


def test_plateau_reduces_after_the_stated_epochs_without_improvement():
    settings = Training(
        learning_rate=1.0, schedule="plateau", schedule_factor=0.5, schedule_epochs=2, monitor_mode="max", min_delta=0.1
    )
    optimiser = make_optimiser([nn.Parameter(torch.zeros(1))], settings)
    schedule = plateau_schedule(optimiser, settings)
    assert schedule is not None
    rates = []
    for metric in (0.5, 0.55, 0.58, 0.9, 0.9, 0.9):
        schedule.step(metric)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(("name", "kind"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_optimisers_take_their_settings(name, kind):
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    settings = Training(optimiser=name, learning_rate=0.3, weight_decay=0.02, momentum=0.7)
    optimiser = make_optimiser([nn.Parameter(torch.zeros(1)), frozen], settings)
    assert type(optimiser).__name__ == kind
    group = optimiser.param_groups[0]
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.3, 0.02, 1)
    assert group.get("momentum", 0.7) == 0.7
