"""Parameters that every gradient-trained model shares; a task's `train` section extends `Training`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from millrace.settings import Section


class Training(Section):
    """The engine's parameters; those of the machine stand in `runtime`."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=8, ge=1)
    """Samples behind one optimiser step, over all devices and accumulated micro-batches together."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches a step: a larger number needs less memory for the same batch size."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Of the forward and backward pass; losses are float32 in each."""
    deterministic: bool = True
    """Refuse operations without a deterministic implementation."""

    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate, reached after the warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`; the Adams keep PyTorch's betas."""
    schedule: Literal["cosine", "step", "plateau", "none"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps over which the learning rate rises linearly from a hundredth of its peak."""
    schedule_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """`step`, `plateau`: the learning rate is multiplied by this."""
    schedule_epochs: int = Field(default=10, ge=1)
    """`step`: epochs between reductions; `plateau`: epochs without improvement before one."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest gradient norm (L2, all parameters); null does not clip."""

    monitor: str = "val_loss"
    """Validation metric that picks the best epoch, stops early and drives `plateau`."""
    monitor_mode: Literal["min", "max"] = "min"
    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the model: the best by `monitor`, or the last, which a small or mixed validation set with a
    schedule that decays to nothing speaks for."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without an improvement before training stops early; null trains all epochs."""
    min_delta: float = Field(default=0.0, ge=0)
    """Smallest change of the monitored metric that counts as an improvement."""
    checkpoint_every: int | None = Field(default=None, ge=1)
    """Also keep a checkpoint every so many epochs under runs/; null keeps the best and the last."""
    pictures_every: int = Field(default=5, ge=0)
    """Epochs between sample predictions in TensorBoard; 0 writes none."""

    max_gradient_norm: float = Field(default=1e4, gt=0)
    """A step whose gradient norm is above this, or not finite, is skipped."""
    max_skipped_share: float = Field(default=0.1, ge=0, le=1)
    """The run stops when more than this share of an epoch's steps was skipped."""

    @model_validator(mode="after")
    def _micro_batches(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        return self
