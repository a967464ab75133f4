"""The loss of a batch that is mixed from partly labelled data sets.

A term is something that a data set labels or does not: a class head, the roof, one kind of line, the height. Its loss
in a batch is

    1 / N * sum over the N samples of weight * (mean over the sample's known pixels),

where the sample's weight is 0 if its data set does not label the term, and otherwise 1 over the share of samples that
are expected to come from data sets that do. So on average it is the mean over the samples that have the label, however
few those are: a data set that is a tenth of the mix teaches its head as strongly as one that is all of it. Nothing in
the formula depends on how the batch is cut. The mean over micro-batches and over processes is the value of the whole
batch, whether a part has ten labels or none, which a division by the labels that happen to be in a part would not give.

The kinds of lines share the weight of their head in equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millrace.roof.classes import HEADS, LINES, UNKNOWN
from millrace.roof.head_losses import class_losses, dilated, height_losses, line_planes, mask_losses
from millrace.roof.params import Augmentation, Loss
from millrace.training.module import Batch

TERMS = tuple((head, kind) for head in HEADS for kind in (LINES if head == "lines" else ("",)))
"""Head and kind of line of each term."""
OF_HEAD = {
    head: slice(min(own), max(own) + 1)
    for head in HEADS
    for own in [[place for place, term in enumerate(TERMS) if term[0] == head]]
}
"""Places of a head's terms."""


def term_weights(labels: NDArray[np.bool_], shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of the terms for the samples of each data set, (D, T).

    Args:
        labels: Which terms each data set labels, (D, T).
        shares: Of the samples that come from each data set, (D,), with sum 1.
    """
    expected = (labels * shares[:, None]).sum(axis=0)
    weights = np.divide(labels, expected, out=np.zeros(labels.shape), where=expected > 0)
    for terms in OF_HEAD.values():
        weights[:, terms] /= max(1, np.count_nonzero(expected[terms]))
    scaled: NDArray[np.float32] = weights.astype(np.float32)
    return scaled


def class_weights(shares: NDArray[np.float64], power: float) -> NDArray[np.float32]:
    """(1 / share) ** power of each class (C,), scaled to a mean of 1 over pixels; 1 for a class that has none."""
    present = shares > 0
    weights = np.power(shares, -power, out=np.ones(shares.shape), where=present)
    weights[present] /= (weights * shares).sum() / shares.sum() if present.any() else 1
    return weights.astype(np.float32)


def line_shares(
    drawn: NDArray[np.floating], known: NDArray[np.floating], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of each kind's pixels among those that are labelled for it, (5,), in a mix of data sets; 0 for a kind that
    none labels.

    Args:
        drawn: Pixels of each kind in each data set, (D, 5).
        known: Pixels that are labelled for it, (D, 5).
        shares: Of the samples that come from each data set, (D,).
    """
    mixed = (known > 0) * shares[:, None]
    own = drawn / np.maximum(known, 1)
    found: NDArray[np.float64] = (own * mixed).sum(axis=0) / np.maximum(mixed.sum(axis=0), np.finfo(np.float64).tiny)
    return found


def line_weights(shares: NDArray[np.float64], power: float) -> NDArray[np.float32]:
    """(Share of the commonest kind / share) ** power of each kind of line (5,); 1 for one that has none."""
    relative = np.divide(shares, shares.max(), out=np.ones(shares.shape), where=shares > 0)
    weights: NDArray[np.float32] = (relative**-power).astype(np.float32)
    return weights


def augmented_shares(shares: NDArray[np.float64], azimuths: int, settings: Augmentation) -> NDArray[np.float64]:
    """Shares (C,) of the segment classes as they are expected once pictures are flipped and turned."""
    own = shares[:azimuths]
    places = np.arange(azimuths)
    for flipped in (-places, azimuths // 2 - places):
        own = (1 - settings.flip) * own + settings.flip * own[flipped % azimuths]
    if settings.turn:
        own = np.mean([np.roll(own, quarters * azimuths // 4) for quarters in range(4)], axis=0)
    return np.concatenate([own, shares[azimuths:]])


class Balanced(nn.Module):
    """A network, and beside it the learned uncertainties of its heads (Kendall, Gal and Cipolla 2018).

    Attributes:
        log_variances: s of each head; training only.
    """

    def __init__(self, network: nn.Module, heads: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.log_variances = nn.ParameterDict({head: nn.Parameter(torch.zeros(())) for head in heads})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network(image)
        return outputs


def roof_losses(
    outputs: dict[str, Tensor],
    batch: Batch,
    settings: Loss,
    heads: Sequence[str],
    class_weights: dict[str, Tensor],
    log_variances: nn.ParameterDict | None = None,
) -> dict[str, Tensor]:
    """The heads' losses, and `loss`, their weighted sum; float32 scalars, each a mean over samples as said above.

    With uncertainties the sum is of exp(-s) L + s / 2 over the heads, of exp(-s) L / 2 + s / 2 for the height, and s is
    weighted in each sample as L is: a head that a batch has no label of leaves its s alone.

    Args:
        outputs: Of the network, float32.
        batch: As `data` makes it.
        settings: The `roof.train.loss` section.
        heads: Those that are trained; the others have no loss.
        class_weights: Of `segments` and `superstructures`, and of the kinds of `lines` those of what is set.
        log_variances: s by head, for `balance: learned`.
    """
    parts: dict[str, Tensor] = {}
    weighted = []
    for head in heads:
        losses, known = _losses(head, outputs[head], batch, settings, class_weights)
        # A sample of a labelling data set may still be all unknown.
        weights = batch["weights"][:, OF_HEAD[head]] * known
        parts[head] = (weights * losses).sum(1).mean()
        part = parts[head]
        if log_variances is not None:
            s = log_variances[head]
            part = (0.5 if head == "height" else 1) * torch.exp(-s) * part + s / 2 * weights.sum(1).mean()
        weighted.append(getattr(settings.weights, head) * part)
    return {"loss": torch.stack(weighted).sum(), **parts}


def _losses(
    head: str, output: Tensor, batch: Batch, settings: Loss, class_weights: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss of each sample and term of a head, and whether it has a known pixel, both (N, terms)."""
    if head == "height":
        target = batch["height"][:, None]
        losses, known = height_losses(output, target, settings.scale_invariance), torch.isfinite(target)
    elif head == "lines":
        known = line_planes(batch["lines_known"])
        target = dilated(line_planes(batch["lines"]) & known, settings.line_dilation_px)
        losses = mask_losses(output, target, known, class_weights[head])
    elif head == "roof":
        known = batch["roof"][:, None] != UNKNOWN
        losses = mask_losses(output, (batch["roof"][:, None] == 1).float(), known)
    else:
        known = batch[head][:, None] != UNKNOWN
        losses = class_losses(output, batch[head], class_weights[head], settings.focal_gamma)
    return losses, known.flatten(2).any(2)
