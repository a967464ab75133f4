"""Steps that would destroy a model are skipped, counted and reported; too many of them stop the run."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from millrace.errors import UserError

log = logging.getLogger(__name__)
NAMES_SHOWN = 16


class StepGuard:
    """Watches gradient norms.

    Batch normalisation has already taken a bad batch into its running statistics when the loss turns out not to be
    finite, so buffers are copied before each step and put back when it is skipped.

    Args:
        model: Whose buffers are protected.
        max_norm: Largest accepted gradient norm.
        max_skipped_share: Share of an epoch's steps that may be skipped.
        steps_per_epoch: Optimiser steps of an epoch.
        overflow_expected: Float16 loss scaling lets gradients overflow now and then and skips such steps by itself:
            they do not count, unless a loss was not finite either.
    """

    def __init__(
        self,
        model: nn.Module,
        max_norm: float,
        max_skipped_share: float,
        steps_per_epoch: int,
        *,
        overflow_expected: bool = False,
    ) -> None:
        self.skipped_in_epoch = 0
        self.skipped_in_all = 0
        self._buffers = list(model.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]
        self._max_norm = max_norm
        self._allowed = max_skipped_share * steps_per_epoch
        self._steps_per_epoch = steps_per_epoch
        self._overflow_expected = overflow_expected
        self._names: list[str] = []
        self._losses: list[Tensor] = []

    def begin_epoch(self) -> None:
        self.skipped_in_epoch = 0
        self._keep_buffers()

    def observe(self, names: Sequence[str], loss: Tensor) -> None:
        """Note a micro-batch of the step under way."""
        self._names.extend(names)
        self._losses.append(loss.detach())

    def accept(self, gradient_norm: float, epoch: int) -> bool:
        """Whether the step may be taken.

        Args:
            gradient_norm: L2 norm of all gradients; not finite where the loss was not.
            epoch: For the message.

        Raises:
            UserError: More than the allowed share of this epoch's steps was skipped.
        """
        names, losses = self._names, self._losses
        self._names, self._losses = [], []
        if gradient_norm <= self._max_norm:
            self._keep_buffers()
            return True
        self._copy(self._kept, self._buffers)
        values = [float(loss) for loss in losses]
        overflow = not math.isfinite(gradient_norm) and all(math.isfinite(value) for value in values)
        if not (overflow and self._overflow_expected):
            self._report(gradient_norm, epoch, names, values)
        return False

    def _keep_buffers(self) -> None:
        self._copy(self._buffers, self._kept)

    @staticmethod
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        if source:
            torch._foreach_copy_(target, source)

    def _report(self, norm: float, epoch: int, names: list[str], losses: list[float]) -> None:
        self.skipped_in_epoch += 1
        self.skipped_in_all += 1
        kind = (
            f"gradient norm {norm:.3g} above {self._max_norm:g}"
            if math.isfinite(norm)
            else "loss or gradient not finite"
        )
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        shown = ", ".join(names[:NAMES_SHOWN]) + more
        log.warning("Epoch %d: step skipped, %s. Losses %s. Samples: %s", epoch, kind, losses, shown)
        if self.skipped_in_epoch > self._allowed:
            raise UserError(
                f"Training stopped in epoch {epoch}: {self.skipped_in_epoch} of {self._steps_per_epoch} steps were "
                f"skipped ({kind}; last samples: {shown}). Lower learning_rate, check these samples, or raise "
                f"max_gradient_norm or max_skipped_share."
            )
