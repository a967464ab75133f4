"""Encoders that start from weights learnt on other images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import skimage
import timm
import torch
from PIL import Image

from millrace.errors import UserError
from millrace.training.encoder_weights import _packaged, load_encoder_weights, weights_file

LITE0 = "tu-tf_efficientnet_lite0"
CATS = {281, 282, 283, 284, 285}
"""ImageNet's classes from tabby to Egyptian cat."""


def encoder(name: str, channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    return smp.Unet(name, encoder_weights=None, in_channels=channels, classes=1).encoder


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    """Weights under timm's names, classifier included."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet18").state_dict(), path)
    return path


def test_the_packaged_weights_know_a_cat():
    """They are matched by position, so each must have come to its right place."""
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(_packaged(weights_file(LITE0, "imagenet"), LITE0))
    with Image.open(Path(skimage.__file__).parent / "data/chelsea.png") as picture:
        pixels = np.asarray(picture.convert("RGB").resize((224, 224)), np.float32)
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None])
    assert int(logits.argmax()) in CATS


def test_grey_input_gives_what_three_equal_channels_give():
    grey, colour = encoder(LITE0, 1).eval(), encoder(LITE0, 3).eval()
    for network in (grey, colour):
        load_encoder_weights(network, LITE0, "imagenet")
    image = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        deep = [network(image.expand(-1, channels, -1, -1))[-1] for network, channels in ((grey, 1), (colour, 3))]
    torch.testing.assert_close(*deep, rtol=1e-3, atol=1e-3)
    assert deep[0].std() > 0.1


@pytest.mark.parametrize("name", ["resnet18", "tu-resnet18"])
def test_a_file_with_timms_names_fills_either_librarys_encoder(name, resnet_file):
    filled = encoder(name, 3)
    load_encoder_weights(filled, name, str(resnet_file))
    given = safetensors.torch.load_file(resnet_file)
    inner = getattr(filled, "model", filled)
    for key, tensor in inner.state_dict().items():
        torch.testing.assert_close(tensor, given[key])


def test_what_does_not_fit_is_refused(tmp_path, resnet_file):
    with pytest.raises(UserError, match=r"no installed package carries ImageNet weights of resnet18, only of tu-tf_"):
        weights_file("resnet18", "imagenet")
    with pytest.raises(UserError, match=r"none\.safetensors, which is not a file"):
        weights_file("resnet18", str(tmp_path / "none.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes(resnet_file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"torn\.safetensors cannot be read as safetensors"):
        load_encoder_weights(encoder("resnet18"), "resnet18", str(tmp_path / "torn.safetensors"))
    with pytest.raises(UserError, match=r"lacks \d+ of \d+ tensors of resnet34"):
        load_encoder_weights(encoder("resnet34"), "resnet34", str(resnet_file))
    with pytest.raises(UserError, match=r"tensors have another shape than in resnet18: \['conv1\.weight'"):
        load_encoder_weights(encoder("resnet18", 5), "resnet18", str(resnet_file))
