"""Mixed patches: deterministic, in the wanted proportions, and unknown where nothing is labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_roofs import OUTLINE, RIDGE, hipped, labelled, partial_source, write_source

from millrace.roof.classes import ALL_LINES, NO_SUPERSTRUCTURE, UNKNOWN, background_class
from millrace.roof.data import (
    TrainingPatches,
    ValidationPatches,
    crop,
    mix_shares,
    taken_as_background,
    training_labels,
)
from millrace.roof.losses import OF_HEAD, TERMS
from millrace.roof.params import Augmentation, Loss, Patches, Train
from millrace.roof.scene import Window
from millrace.roof.store import FIELDS

STILL = Augmentation(flip=0, turn=False, scale=1.0, brightness=0, contrast=0, saturation=0)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    return [partial_source(root, name, 3, 2) for name in ("planes", "heights", "masks")]


def settings(**changes: object) -> Train:
    defaults = {"patches": Patches(size_px=64, per_epoch=40, validation_per_source=3), "mix": {"planes": 2.0}}
    return Train(**(defaults | changes))


def test_every_source_gives_batches_of_the_same_form(sources):
    patches = TrainingPatches(sources, settings())
    batch = patches.collate([patches[0, index] for index in range(40)])
    assert batch["input"].shape == (40, 3, 64, 64)
    assert batch["input"].dtype == torch.float32
    assert 0 <= float(batch["input"].min()) <= float(batch["input"].max()) <= 1
    for name, dtype in FIELDS.items():
        assert batch[name].shape == (40, 64, 64)
        assert batch[name].numpy().dtype == dtype
    assert batch["weights"].shape == (40, len(TERMS))
    masks = torch.tensor([source == "masks" for source in batch["source"]])
    assert bool((batch["segments"][masks] == UNKNOWN).all())
    assert bool(batch["height"][masks].isnan().all())
    assert set(batch["lines_known"][masks].unique().tolist()) == {OUTLINE}
    assert bool((batch["roof"][~masks] == UNKNOWN).all())
    assert bool((batch["roof"][masks] != UNKNOWN).all())
    assert batch["name"][0].split("/")[0] in batch["source"]


def test_sources_are_mixed_as_the_weights_say_in_every_epoch(sources):
    patches = TrainingPatches(sources, settings(mix={"planes": 2.0, "masks": 0.5}))
    assert mix_shares(sources, {"planes": 2.0, "masks": 0.5}).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    for epoch in (0, 1):
        names = [patches[epoch, index]["source"] for index in range(40)]
        for name, share in (("planes", 4 / 7), ("heights", 2 / 7), ("masks", 1 / 7)):
            assert abs(names.count(name) - 40 * share) < 1


def test_weights_make_up_for_the_mix(sources):
    assert training_labels(sources[0])[OF_HEAD["segments"]].all()
    patches = TrainingPatches(sources, settings())
    by_source = {sample["source"]: sample["weights"] for sample in (patches[0, index] for index in range(40))}
    named = {
        name: dict(zip([kind or head for head, kind in TERMS], row.tolist(), strict=True))
        for name, row in by_source.items()
    }
    assert named["planes"]["segments"] == pytest.approx(2)  # half of the patches
    assert named["heights"]["height"] == pytest.approx(4)
    assert named["heights"]["ridge"] == pytest.approx(4 / 5)  # five kinds
    assert named["masks"]["outline"] == pytest.approx(4 / 5)
    assert named["masks"]["segments"] == named["planes"]["ridge"] == named["heights"]["outline"] == 0
    assert patches.heads == ["segments", "superstructures", "roof", "lines", "height"]
    assert TrainingPatches(sources[2:], settings()).heads == ["roof", "lines"]


def test_a_patch_depends_on_seed_epoch_and_index_alone(sources):
    first, again = TrainingPatches(sources, settings()), TrainingPatches(sources, settings())
    for index in reversed(range(6)):
        one, other = first[3, index], again[3, index]
        assert one["name"] == other["name"]
        for name in ("input", "segments", "lines"):
            assert torch.equal(one[name], other[name])
    assert first[3, 0]["name"] != first[4, 0]["name"]
    assert first[3, 0]["name"] != TrainingPatches(sources, settings(seed=1))[3, 0]["name"]


def test_beyond_the_edge_the_image_is_mirrored_and_nothing_is_labelled():
    tile = labelled(hipped(40, (20.0, 20.0), (12.0, 8.0)), 8, ("segments", "lines", "roof", "height"))
    patch = crop(tile, Window(-8, 10, 64, 64))
    np.testing.assert_array_equal(patch.image[8:48, :30], tile.image[:, 10:])
    np.testing.assert_array_equal(patch.image[:8, 0], tile.image[7::-1, 10])
    inside = np.zeros((64, 64), bool)
    inside[8:48, :30] = True
    assert ((patch.segments != UNKNOWN) == inside).all()
    assert ((patch.lines_known != 0) == inside).all()
    assert (np.isfinite(patch.height) == inside).all()
    assert (patch.lines[~inside] == 0).all()
    assert (patch.superstructures == UNKNOWN).all()
    np.testing.assert_array_equal(patch.roof[8:48, :30], tile.roof[:, 10:])


def test_tiles_smaller_than_a_patch_are_padded(tmp_path):
    tile = labelled(hipped(40, (20.0, 20.0), (12.0, 8.0)), 8, ("segments", "height"))
    store = write_source(tmp_path, "small", [tile, tile], ["train", "validation"])
    for patches in (TrainingPatches([store], settings(mix={})), ValidationPatches([store], settings(mix={}))):
        sample = patches[0, 0]
        assert sample["input"].shape == (3, 64, 64)
        assert 0 < int((sample["segments"] == UNKNOWN).sum()) < 64 * 64
        assert bool(((sample["segments"] == UNKNOWN) == sample["height"].isnan()).all())


def test_patches_are_placed_on_what_is_labelled(tmp_path):
    height = np.zeros((400, 400), np.float32)
    height[300:324, 40:64] = hipped(24, (12.0, 12.0), (9.0, 7.0))
    tile = labelled(height, 8, ("segments", "roof"))
    empty = labelled(hipped(400, (9.0, 9.0), (5.0, 5.0)), 8, ("segments", "roof"))
    empty = replace(empty, segments=np.full((400, 400), background_class(8), np.uint8), roof=np.zeros_like(empty.roof))
    store = write_source(tmp_path, "rare", [tile, empty], ["train", "train"])
    for share, low, high in ((1.0, 0.95, 1), (0.0, 0, 0.2)):
        own = settings(
            patches=Patches(size_px=64, per_epoch=100, roof_share=share), augmentation=STILL, mix={}, loss=Loss()
        )
        patches = TrainingPatches([store], own)
        hits = [bool((patches[0, index]["roof"] == 1).any()) for index in range(100)]
        assert low <= np.mean(hits) <= high


def test_thin_lines_and_metres_survive_a_change_of_scale(sources):
    augmentation = Augmentation(scale=4.0)
    patches = TrainingPatches(sources[1:2], settings(augmentation=augmentation, mix={}))
    seen = [patches[0, index] for index in range(40)]
    assert all(sample["input"].shape == (3, 64, 64) for sample in seen)
    assert sum(bool((sample["lines"] & RIDGE).any()) for sample in seen) > 20
    assert max(float(sample["height"].nan_to_num().max()) for sample in seen) < 8


def test_without_masks_the_unlabelled_becomes_background():
    """What the source system did: facts, bug (d)."""
    tile = labelled(hipped(40, (20.0, 20.0), (12.0, 8.0)), 8, ("roof",))
    patch = taken_as_background(crop(tile, Window(0, 0, 64, 64)))
    assert (patch.segments == background_class(8)).all()
    assert (patch.superstructures == NO_SUPERSTRUCTURE).all()
    assert (patch.lines == 0).all()
    assert (patch.lines_known == ALL_LINES).all()
    assert (patch.height == 0).all()
    np.testing.assert_array_equal(patch.roof[:40, :40], tile.roof)


def test_without_masks_every_head_learns_from_every_source(sources):
    unmasked = settings(loss=Loss(masked=False))
    sample = TrainingPatches(sources[2:], unmasked)[0, 0]
    assert sample["weights"].tolist() == pytest.approx([1, 1, 1, *[0.2] * 5, 1])
    assert bool((sample["segments"] == background_class(8)).all())
    # Validation asks for the truth.
    assert bool((ValidationPatches(sources[2:], unmasked)[0, 0]["segments"] == UNKNOWN).all())


def test_validation_is_the_same_in_every_epoch_and_weighs_what_is_labelled(sources):
    patches = ValidationPatches(sources, settings())
    assert len(patches) == 9
    assert [patches[0, index]["source"] for index in range(9)] == ["planes"] * 3 + ["heights"] * 3 + ["masks"] * 3
    assert torch.equal(patches[0, 4]["input"], patches[7, 4]["input"])
    weights = torch.stack([patches[0, index]["weights"] for index in range(9)])
    # So that the mean over all patches is the mean over those with the label.
    for head in ("segments", "roof", "lines", "height"):
        assert float(weights[:, OF_HEAD[head]].sum(1).mean()) == pytest.approx(1)
    windows = {patches[0, index]["name"].split("[")[1] for index in range(9)}
    assert windows <= {"0:0:64]", "0:16:64]", "16:0:64]", "16:16:64]"}
