"""Masked losses: what is unknown teaches nothing, and what is known teaches as much as it should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from millrace.roof.augment import mirrored, turned
from millrace.roof.classes import HEADS, LINES, UNKNOWN
from millrace.roof.head_losses import class_losses, dilated, height_losses, line_planes, mask_losses
from millrace.roof.losses import (
    OF_HEAD,
    TERMS,
    Balanced,
    augmented_shares,
    class_weights,
    line_shares,
    line_weights,
    roof_losses,
    term_weights,
)
from millrace.roof.params import Augmentation, HeadWeights, Loss
from millrace.roof.scene import Labelled

SIDE, AZIMUTHS = 6, 4
CHANNELS = {"segments": AZIMUTHS + 2, "superstructures": 9, "roof": 1, "lines": 5, "height": 1}
ONES = {"segments": torch.ones(AZIMUTHS + 2), "superstructures": torch.ones(9), "lines": torch.ones(len(LINES))}
LABELS_OF = {
    "rid": ("segments", "superstructures"),
    "roofline": ("ridge", "hip", "eave", "height"),
    "airs": ("roof", "outline"),
    "nothing": (),
}


def labels_of(source: str) -> np.ndarray:
    return np.array([(kind or head) in LABELS_OF[source] for head, kind in TERMS])


def outputs_for(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(count, size, SIDE, SIDE, generator=generator) for name, size in CHANNELS.items()}
    return {name: (each.abs() if name == "height" else each).requires_grad_() for name, each in found.items()}


def batch_of(sources: list[str], seed: int = 1, weights: np.ndarray | None = None) -> dict[str, torch.Tensor]:
    """Random labels of what each source labels; half of the pixels of each are unknown."""
    rng = np.random.default_rng(seed)
    shape = len(sources), SIDE, SIDE
    labels = np.array([labels_of(source) for source in sources])
    known = rng.random((len(TERMS), *shape)) < 0.5
    known &= labels.T[:, :, None, None]
    places = {kind or head: place for place, (head, kind) in enumerate(TERMS)}

    def classes(head: str, count: int) -> np.ndarray:
        return np.where(known[places[head]], rng.integers(0, count, shape), UNKNOWN).astype(np.uint8)

    bits = sum(known[places[kind]] << bit for bit, kind in enumerate(LINES)).astype(np.uint8)
    height = np.where(known[places["height"]], rng.uniform(-1, 9, shape), np.nan).astype(np.float32)
    arrays = {
        "segments": classes("segments", AZIMUTHS + 2),
        "superstructures": classes("superstructures", 9),
        "roof": classes("roof", 2),
        "lines": rng.integers(0, 32, shape, np.uint8) & bits,
        "lines_known": bits,
        "height": height,
        "weights": labels.astype(np.float32) if weights is None else weights,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def known_pixels(batch: dict[str, torch.Tensor], head: str) -> torch.Tensor:
    if head == "lines":
        return line_planes(batch["lines_known"])
    known = torch.isfinite(batch["height"]) if head == "height" else batch[head] != UNKNOWN
    return known[:, None].expand(-1, CHANNELS[head], -1, -1)


def test_nothing_unknown_has_a_gradient_and_all_known_has_one():
    """Facts, bug (d): absent targets must not be trained as negatives."""
    batch = batch_of(["rid", "roofline", "airs", "nothing"])
    outputs = outputs_for(4)
    roof_losses(outputs, batch, Loss(), HEADS, ONES)["loss"].backward()
    for head in HEADS:
        known, gradient = known_pixels(batch, head), outputs[head].grad
        assert bool((gradient[~known] == 0).all()), head
        assert bool((gradient[known] != 0).all()), head


@pytest.mark.parametrize("source", ["rid", "roofline", "airs", "nothing"])
def test_a_head_without_a_label_in_the_batch_has_no_loss(source):
    outputs = outputs_for(2)
    losses = roof_losses(outputs, batch_of([source] * 2), Loss(), HEADS, ONES)
    losses["loss"].backward()
    for head in HEADS:
        labelled = labels_of(source)[OF_HEAD[head]].any()
        assert bool(losses[head] > 0) == labelled
        assert bool(outputs[head].grad.any()) == labelled
    total = sum(float(losses[head]) for head in HEADS)
    assert float(losses["loss"]) == pytest.approx(total)


def test_what_stands_at_unknown_pixels_has_no_influence():
    batch, outputs = batch_of(["rid", "roofline", "airs"]), outputs_for(3)
    wild = {
        head: torch.where(known_pixels(batch, head), outputs[head], torch.full_like(outputs[head], 1e4))
        for head in HEADS
    }
    first, second = (roof_losses(each, batch, Loss(), HEADS, ONES) for each in (outputs, wild))
    for name, value in first.items():
        assert float(value) == pytest.approx(float(second[name]), rel=1e-6), name


def test_the_loss_does_not_depend_on_how_a_batch_is_cut():
    sources = ["rid", "airs", "rid", "roofline", "nothing", "airs"]
    outputs = outputs_for(6)
    log_variances = Balanced(torch.nn.Identity(), HEADS).log_variances
    with torch.no_grad():
        for number, s in enumerate(log_variances.values()):
            s += 0.3 * number - 0.5
    batch = batch_of(sources)
    for learned in (None, log_variances):
        whole = roof_losses(outputs, batch, Loss(), HEADS, ONES, learned)
        for size in (1, 2, 3):
            parts = [
                roof_losses(
                    {name: each[start : start + size] for name, each in outputs.items()},
                    {name: each[start : start + size] for name, each in batch.items()},
                    Loss(),
                    HEADS,
                    ONES,
                    learned,
                )
                for start in range(0, 6, size)
            ]
            for name, value in whole.items():
                assert float(value) == pytest.approx(sum(float(part[name]) for part in parts) * size / 6, rel=1e-5)


def test_a_rarely_labelled_head_is_taught_as_strongly_as_one_that_is_always_labelled():
    """Over batches in the proportions of the mix, the loss is the mean over the samples that have the label."""
    sources, shares = ["rid", "roofline", "airs"], np.array([0.8, 0.1, 0.1])
    weights = term_weights(np.array([labels_of(source) for source in sources]), shares)
    batch = batch_of(["rid"] * 8 + ["roofline", "airs"], weights=np.repeat(weights, [8, 1, 1], axis=0))
    outputs = outputs_for(10)
    mixed = roof_losses(outputs, batch, Loss(), HEADS, ONES)
    for head, own in (("height", slice(8, 9)), ("roof", slice(9, 10)), ("segments", slice(0, 8))):
        alone = roof_losses(
            {name: each[own] for name, each in outputs.items()},
            {name: each[own] for name, each in batch.items()}
            | {"weights": torch.ones(own.stop - own.start, len(TERMS))},
            Loss(),
            [head],
            ONES,
        )
        assert float(mixed[head]) == pytest.approx(float(alone[head]), rel=1e-5)


def test_kinds_of_lines_share_their_heads_weight():
    weights = term_weights(np.array([labels_of("roofline"), labels_of("airs")]), np.array([0.5, 0.5]))
    named = dict(zip([kind for head, kind in TERMS if head == "lines"], weights[:, OF_HEAD["lines"]].T, strict=True))
    for kind in ("ridge", "hip", "eave"):
        assert named[kind].tolist() == [0.5, 0]  # 2 for half of the samples, shared by four kinds
    assert named["outline"].tolist() == [0, 0.5]
    assert named["valley"].tolist() == [0, 0]  # nobody labels it


def test_logits_are_logits():
    """Facts, bug (c): a loss on logits that went through a sigmoid cannot come near 0."""
    target = torch.tensor([[[[1.0, 0.0]]]])
    known = torch.ones_like(target, dtype=torch.bool)
    certain = (2 * target - 1) * 40
    assert float(mask_losses(certain, target, known)) < 1e-6
    assert float(mask_losses(certain.sigmoid(), target, known)) > 0.3


def test_weights_of_what_is_set_count_in_the_cross_entropy_alone():
    target, known = torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3, dtype=torch.bool)
    target[:, :, 0] = 1
    logits = torch.randn(1, 2, 3, 3)
    plain = mask_losses(logits, target, known)
    weighted = mask_losses(logits, target, known, torch.tensor([1.0, 5.0]))
    of_set = (F.softplus(-logits) * target).mean((2, 3))
    torch.testing.assert_close(weighted, plain + of_set * torch.tensor([0.0, 4.0]))


def test_mask_loss_of_a_sample_without_any():
    target, known = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2, dtype=torch.bool)
    known[0, 1] = False
    losses = mask_losses(torch.full((1, 2, 2, 2), 40.0), target, known)
    assert losses[0].tolist() == pytest.approx([40, 0])  # no Dice: it would push rare kinds down in every sample


def test_cross_entropy_is_pytorchs_and_weights_count():
    logits = torch.randn(2, 4, 3, 5)
    target = torch.randint(0, 4, (2, 3, 5), dtype=torch.uint8)
    target[0, 0] = UNKNOWN
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    found = class_losses(logits, target, weights, 0.0)[:, 0]
    for sample in range(2):
        true = target[sample].long()
        entropy = F.cross_entropy(
            logits[sample : sample + 1], true[None], weights, ignore_index=UNKNOWN, reduction="sum"
        )
        assert float(found[sample]) == pytest.approx(float(entropy) / int((true != UNKNOWN).sum()), rel=1e-5)


def test_the_focal_loss_turns_to_what_is_hard():
    logits = torch.tensor([[2.0, 0.0]])[..., None, None].requires_grad_()
    target = torch.zeros(1, 1, 1, dtype=torch.uint8)
    probability = math.exp(2) / (math.exp(2) + 1)
    for gamma in (0.0, 0.5, 2.0):
        expected = (1 - probability) ** gamma * -math.log(probability)
        assert float(class_losses(logits, target, torch.ones(2), gamma)) == pytest.approx(expected, rel=1e-5)
    certain = (logits.detach() * 50).requires_grad_()
    class_losses(certain, target, torch.ones(2), 0.5).sum().backward()
    assert bool(torch.isfinite(certain.grad).all())


def test_heights_scale_may_be_forgiven_but_not_the_error_in_metres():
    target = torch.tensor([[[[0.0, 3.0], [7.0, float("nan")]]]])
    true = torch.nan_to_num(target)
    scaled = 2 * (true + 1) - 1
    metres = float((scaled - true)[0, 0].flatten()[:3].mean())
    assert float(height_losses(scaled, target, 1.0)) == pytest.approx(metres, rel=1e-5)
    assert float(height_losses(scaled, target, 0.0)) == pytest.approx(metres + math.log(2) ** 2, rel=1e-5)
    assert float(height_losses(true, target, 0.5)) == 0
    below = torch.full((1, 1, 2, 2), -4.0)
    assert math.isfinite(float(height_losses(true, below, 0.5)))


@given(st.just(0.0) | st.floats(0.1, 5), st.integers(0, 2**32 - 1))
def test_dilated_targets_fall_off_with_the_distance(radius, seed):
    masks = np.random.default_rng(seed).random((2, 2, 9, 12)) < 0.05
    masks[..., 4, 6] = True
    found = dilated(torch.from_numpy(masks), radius).numpy()
    distance = np.stack([[ndimage.distance_transform_edt(~mask) for mask in sample] for sample in masks])
    expected = np.clip(1 - distance / radius, 0, 1) if radius else masks
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_shares_of_lines_are_those_of_the_data_sets_that_label_them():
    drawn, known = np.array([[10, 0, 5], [30, 0, 0]]), np.array([[100, 0, 100], [100, 0, 0]])
    found = line_shares(drawn, known, np.array([0.25, 0.75]))
    assert found.tolist() == pytest.approx([0.25, 0, 0.05])
    assert line_weights(found, 0.5).tolist() == pytest.approx([1, 1, 5**0.5])  # nobody labels the second
    assert line_weights(found, 0.0).tolist() == [1, 1, 1]
    assert line_weights(np.zeros(3), 0.5).tolist() == [1, 1, 1]


def test_class_weights_are_1_on_average():
    shares = np.array([0.81, 0.01, 0.09, 0.09, 0])
    weights = class_weights(shares, 0.5)
    assert (weights * shares).sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(9)
    assert weights[4] == 1
    assert class_weights(shares, 0.0).tolist() == pytest.approx([1] * 5)
    assert class_weights(np.zeros(3), 0.5).tolist() == [1, 1, 1]


@pytest.mark.parametrize("azimuths", [4, 8, 16])
@pytest.mark.parametrize("turn", [True, False])
def test_expected_shares_are_those_of_all_turned_and_mirrored_pictures(azimuths, turn):
    rng = np.random.default_rng(azimuths)
    tile = Labelled(
        np.zeros((20, 20, 3), np.uint8), rng.integers(0, azimuths + 2, (20, 20), np.uint8) // 2, azimuths=azimuths
    )
    found = np.zeros(azimuths + 2)
    flip = 0.3
    for rows in (False, True):
        for cols in (False, True):
            chance = (flip if rows else 1 - flip) * (flip if cols else 1 - flip)
            changed = mirrored(tile, 0) if rows else tile
            changed = mirrored(changed, 1) if cols else changed
            turns = range(4) if turn else [0]
            for quarters in turns:
                segments = turned(changed, quarters).segments
                found += chance / len(turns) * np.bincount(segments.ravel(), minlength=azimuths + 2) / 400
    own = np.bincount(tile.segments.ravel(), minlength=azimuths + 2) / 400
    np.testing.assert_allclose(augmented_shares(own, azimuths, Augmentation(flip=flip, turn=turn)), found, atol=1e-12)


def test_a_head_that_is_absent_leaves_its_learned_uncertainty_alone():
    balanced = Balanced(torch.nn.Identity(), HEADS)
    batch = batch_of(["rid", "rid"])
    losses = roof_losses(outputs_for(2), batch, Loss(balance="learned"), HEADS, ONES, balanced.log_variances)
    losses["loss"].backward()
    for head in HEADS:
        gradient = float(balanced.log_variances[head].grad)
        if head in ("segments", "superstructures"):
            # d/ds (exp(-s) L + s / 2) at s = 0
            assert gradient == pytest.approx(0.5 - float(losses[head]), rel=1e-5)
        else:
            assert gradient == 0


def test_learned_uncertainties_settle_where_they_should_however_rare_the_label():
    """The minimum of exp(-s) L + s / 2 is at exp(s) = 2 L, of exp(-s) L / 2 + s / 2 at exp(s) = L."""
    weights = np.concatenate([np.zeros((3, len(TERMS))), np.full((1, len(TERMS)), 4)]).astype(np.float32)
    batch = batch_of(["nothing"] * 3 + ["roofline"], weights=weights)
    batch["weights"][:, OF_HEAD["lines"]] /= 3
    log_variances = Balanced(torch.nn.Identity(), HEADS).log_variances
    optimiser = torch.optim.LBFGS(log_variances.parameters(), max_iter=50, line_search_fn="strong_wolfe")
    outputs = {name: each.detach() for name, each in outputs_for(4).items()}

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = roof_losses(outputs, batch, Loss(), HEADS, ONES, log_variances)["loss"]
        loss.backward()
        return loss

    optimiser.step(closure)
    losses = roof_losses(outputs, batch, Loss(), HEADS, ONES)
    assert math.exp(log_variances["lines"]) == pytest.approx(2 * float(losses["lines"]), rel=1e-3)
    assert math.exp(log_variances["height"]) == pytest.approx(float(losses["height"]), rel=1e-3)
    assert float(log_variances["roof"]) == 0


def test_heads_are_weighted_and_may_be_left_out():
    batch, outputs = batch_of(["rid", "roofline", "airs"]), outputs_for(3)
    losses = roof_losses(outputs, batch, Loss(weights=HeadWeights(segments=3.0, height=0.5)), HEADS, ONES)
    expected = sum({"segments": 3.0, "height": 0.5}.get(head, 1.0) * float(losses[head]) for head in HEADS)
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-5)
    assert set(roof_losses(outputs, batch, Loss(), ["roof"], ONES)) == {"loss", "roof"}
