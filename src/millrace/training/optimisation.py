"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, ReduceLROnPlateau, StepLR

from millrace.training.params import Training

WARMUP_START = 0.01


def make_optimiser(parameters: Iterable[Parameter], settings: Training) -> Optimizer:
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    learning_rate, weight_decay = settings.learning_rate, settings.weight_decay
    match settings.optimiser:
        case "adamw":
            return AdamW(trainable, lr=learning_rate, weight_decay=weight_decay)
        case "adam":
            return Adam(trainable, lr=learning_rate, weight_decay=weight_decay)
        case "sgd":
            return SGD(trainable, lr=learning_rate, weight_decay=weight_decay, momentum=settings.momentum)


def step_schedules(optimiser: Optimizer, settings: Training, steps_per_epoch: int) -> list[LRScheduler]:
    """Schedules that advance once an optimiser step. PyTorch's are chainable: their factors multiply.

    `plateau` is not among them: it advances once an epoch, see `plateau_schedule`.
    """
    schedules: list[LRScheduler] = []
    total_steps = steps_per_epoch * settings.epochs
    if settings.schedule == "cosine":
        schedules.append(CosineAnnealingLR(optimiser, T_max=total_steps))
    elif settings.schedule == "step":
        schedules.append(
            StepLR(optimiser, step_size=settings.schedule_epochs * steps_per_epoch, gamma=settings.schedule_factor)
        )
    if settings.warmup_steps:
        schedules.append(LinearLR(optimiser, start_factor=WARMUP_START, total_iters=settings.warmup_steps))
    return schedules


def plateau_schedule(optimiser: Optimizer, settings: Training) -> ReduceLROnPlateau | None:
    if settings.schedule != "plateau":
        return None
    return ReduceLROnPlateau(
        optimiser,
        mode=settings.monitor_mode,
        factor=settings.schedule_factor,
        patience=settings.schedule_epochs - 1,
        threshold=settings.min_delta,
        threshold_mode="abs",
    )
