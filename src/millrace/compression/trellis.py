"""Dependent quantisation: a trellis chooses between two quantisers, and a search chooses the best path through it.

The two share the zero; one has the even multiples of the step, the other the odd ones. Which is used for a latent
follows from the parities of the indices before it, so nothing is sent, and the reconstruction points of a whole
sequence lie as densely in its space as those of a quantiser with half the error.

Sources: M. W. Marcellin and T. R. Fischer, Trellis coded quantization, IEEE Trans. Comm. 38 (1990); H. Schwarz et al.,
Quantization and entropy coding in the Versatile Video Coding standard, IEEE Trans. CSVT 31 (2021).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STATES = 8
_PARITY_CHECKS = (0o13, 0o04)  # Ungerboeck's code of eight states
EVEN, ODD = 0, 1
"""The two quantisers. In `ODD`, index k means 2k - 1 steps, and 0 means 0."""
LARGEST = 1 << 14
"""Indices stay below this in magnitude: twice as many steps are an int16."""


def _transitions() -> NDArray[np.int64]:
    """Next state by (state, parity of the index). The lowest bit of a state is its quantiser."""
    feedback, forward = _PARITY_CHECKS
    memory = STATES.bit_length() - 1
    following = np.zeros((STATES, 2), np.int64)
    for state in range(STATES):
        for parity in (0, 1):
            for bit in range(memory):
                value = (feedback >> (bit + 1) & state & 1) ^ (forward >> (bit + 1) & parity) ^ (state >> (bit + 1))
                following[state, parity] |= (value & 1) << bit
    return following


TRANSITIONS = _transitions()
# Of each state, its two predecessors, and which of the four branches (2 * quantiser + parity) leads from them.
_INTO = [[(s, p) for s in range(STATES) for p in (0, 1) if TRANSITIONS[s, p] == state] for state in range(STATES)]
_PREDECESSORS = torch.tensor([[s for s, _ in pair] for pair in _INTO]).T
_BRANCHES = torch.tensor([[2 * (s & 1) + p for s, p in pair] for pair in _INTO]).T


def magnitude(index: Tensor, quantiser: Tensor | int) -> Tensor:
    """Steps of a non-negative index."""
    return torch.where(torch.as_tensor(quantiser) == EVEN, 2 * index, (2 * index - 1).clamp(min=0))


def quantise(latents: Tensor, scale: Tensor, bits: Tensor, multiplier: float) -> tuple[Tensor, Tensor]:
    """Indices of least squared error + multiplier * bits along each sequence.

    Args:
        latents: (T, B) in steps; T is along the sequence, of which B are independent.
        scale: Row (T, B) of the table of bits that each latent is expected to be coded by.
        bits: Estimated bits (scales, 2, K) of an index by its magnitude in each quantiser, its sign included. Larger
            indices count as the last.
        multiplier: Of a bit, in squared steps.

    Returns:
        Signed indices and quantisers (T, B), int64. Quantisers follow from the indices; they come for convenience.
    """
    size = latents.abs()
    cost, index = _branches(size, scale, bits, multiplier)
    branch = _best_path(cost)
    chosen = index.gather(0, branch[None])[0]
    return chosen * torch.sign(latents).long(), branch >> 1


def _branches(size: Tensor, scale: Tensor, bits: Tensor, multiplier: float) -> tuple[Tensor, Tensor]:
    """Cost and index (4, T, B) of the best index on each branch: the nearest of its parity, or the next lower."""
    rows, last = bits.reshape(-1), bits.shape[2] - 1
    costs, indices = [], []
    for quantiser in (EVEN, ODD):
        start = scale * (2 * (last + 1)) + quantiser * (last + 1)
        middle = (size + quantiser) / 2
        for parity in (0, 1):
            near = (2 * torch.round((middle - parity) / 2) + parity).clamp(parity, LARGEST - 2 + parity).long()
            candidates = []
            for index in (near, (near - 2).clamp(min=parity)):
                error = (size - magnitude(index, quantiser)).square_()
                candidates.append(error.add_(rows[start + index.clamp(max=last)], alpha=multiplier))
            lower = candidates[1] < candidates[0]
            costs.append(torch.where(lower, candidates[1], candidates[0]))
            indices.append(torch.where(lower, (near - 2).clamp(min=parity), near))
    return torch.stack(costs), torch.stack(indices)


def _best_path(cost: Tensor) -> Tensor:
    """Branches (T, B) of least total cost, by Viterbi's algorithm. All sequences start in state 0."""
    length, count = cost.shape[1:]
    total = torch.full((STATES, count), torch.inf)
    total[0] = 0
    second = torch.empty((length, STATES, count), dtype=torch.bool)
    (from_a, from_b), (branch_a, branch_b) = _PREDECESSORS, _BRANCHES
    for step in range(length):
        a, b = total[from_a] + cost[branch_a, step], total[from_b] + cost[branch_b, step]
        torch.lt(b, a, out=second[step])
        total = torch.minimum(a, b)
    state, everywhere = total.argmin(0), torch.arange(count)
    path = torch.empty((length, count), dtype=torch.long)
    for step in range(length - 1, -1, -1):
        choice = second[step, state, everywhere].long()
        path[step] = _BRANCHES[choice, state]
        state = _PREDECESSORS[choice, state]
    return path
