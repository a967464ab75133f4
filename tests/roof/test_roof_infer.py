"""The network on whole images."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from painted_roofs import AZIMUTHS, SURE, PaintedNetwork, hipped_roof, painted, roof_image

from millrace.roof.classes import LINES, SUPERSTRUCTURES
from millrace.roof.infer import Mapper
from millrace.roof.params import Evaluate
from millrace.settings import Runtime

QUIET = Runtime(accelerator="cpu", progress=False)
CONFIG = {"azimuths": AZIMUTHS}


def mapper(network=None, **settings):
    return Mapper(network or PaintedNetwork(), CONFIG, Evaluate(**({"tile_px": 64, "batch_size": 3} | settings)), QUIET)


@given(height=st.integers(1, 150), width=st.integers(1, 150), overlap=st.floats(0, 0.75), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_maps_say_of_each_pixel_what_the_network_says(height, width, overlap, seed):
    random = np.random.default_rng(seed)
    segments = random.integers(0, AZIMUTHS + 2, (height, width))
    superstructures = random.integers(0, len(SUPERSTRUCTURES), (height, width))
    bits = random.integers(0, 1 << len(LINES), (height, width))
    heights = random.integers(0, 256, (height, width)) / 10
    maps = mapper(overlap=overlap).maps(painted(segments, superstructures, bits, heights))
    assert (maps.segments == segments).all()
    assert (maps.superstructures == superstructures).all()
    assert ((maps.lines > 0.5) == (bits >> np.arange(len(LINES))[:, None, None] & 1)).all()
    np.testing.assert_allclose(maps.height, heights, atol=1e-5)
    assert ((maps.roof > 0.5) == (segments != AZIMUTHS + 1)).all()
    certain = 1 / (1 + (AZIMUTHS + 1) * np.exp(-SURE))
    np.testing.assert_allclose(maps.confidence, certain, atol=1e-3)
    assert {field.name: getattr(maps, field.name).dtype.name for field in fields(maps)} == {
        "segments": "uint8",
        "confidence": "float16",
        "superstructures": "uint8",
        "superstructure_confidence": "float16",
        "roof": "float16",
        "lines": "float16",
        "height": "float32",
    }


def test_mapped_maps_are_those_in_memory(tmp_path):
    image = roof_image((150, 170), [hipped_roof((70, 80), 90, 50, 30)], 0.1)
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "maps").mkdir()
    one = mapper().maps(image)
    other = mapper().maps(np.load(tmp_path / "image.npy", mmap_mode="r"), tmp_path / "maps")
    for field in fields(one):
        assert (getattr(one, field.name) == getattr(other, field.name)).all()
        assert (np.load(tmp_path / "maps" / f"{field.name}.npy") == getattr(one, field.name)).all()


class Tilted(torch.nn.Module):
    """Sure of class 0 at the left of a tile and, less so, of class 1 at its right."""

    def forward(self, image):
        count, _, height, width = image.shape
        ramp = torch.linspace(0, 1, width).expand(count, height, width)
        logits = torch.stack([4 * (1 - ramp), 3 * ramp, *[torch.full_like(ramp, -9.0)] * AZIMUTHS], 1)
        blank = torch.zeros(count, 1, height, width)
        return {
            "segments": logits,
            "superstructures": blank.expand(-1, len(SUPERSTRUCTURES), -1, -1),
            "roof": blank,
            "lines": blank.expand(-1, len(LINES), -1, -1),
            "height": blank + 1,
        }


def test_a_class_is_chosen_from_probabilities_that_tiles_were_averaged_for():
    """In the middle of the overlap one tile is sure of class 1, the other of class 0, and surer."""
    maps = mapper(Tilted(), overlap=0.5).maps(np.zeros((64, 96, 3), np.uint8))
    assert maps.segments[0, :20].max() == 0
    assert maps.segments[0, -20:].min() == 1
    middle = maps.confidence[32, 48]
    assert maps.segments[32, 48] == 0
    assert 0.5 < middle < 0.9
    assert (maps.roof == 0.5).all()
    assert (maps.lines == 0.5).all()
    assert (maps.height == 1).all()


def test_the_network_sees_rgb_from_0_to_1_in_tiles_of_whole_strides():
    seen = []

    class Watcher(PaintedNetwork):
        def forward(self, image):
            seen.append(image)
            return super().forward(image)

    image = np.zeros((40, 50, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    mapper(Watcher()).maps(image)
    assert {tuple(tiles.shape[1:]) for tiles in seen} == {(3, 64, 64)}
    for channel, value in enumerate((1, 0, 0.2)):
        torch.testing.assert_close(seen[0][:, channel], torch.full_like(seen[0][:, channel], value))


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_changes_nothing(batch_size):
    image = roof_image((130, 150), [hipped_roof((60, 70), 90, 50, 30)], 0.1)
    expected = mapper().maps(image)
    found = mapper(batch_size=batch_size).maps(image)
    assert (found.lines == expected.lines).all()
    assert (found.height == expected.height).all()
