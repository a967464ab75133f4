"""The network: what goes in, what comes out, and what it costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from millrace.errors import UserError
from millrace.roof import model
from millrace.roof.classes import HEADS
from millrace.roof.losses import TERMS, roof_losses
from millrace.roof.params import Loss, Model
from millrace.training import model_folder

SMALL = Model(encoder="resnet10t", decoder_channels=(16, 16, 16), head_channels=8)


def with_(**changes: object) -> Model:
    return Model.model_validate(SMALL.model_dump() | changes)


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        with_(architecture="fpn", decoder_channels=(32,)),
        with_(encoder="convnext_atto"),
        with_(encoder="tf_efficientnet_lite0"),
        with_(checkpointing=True),
    ],
    ids=lambda settings: f"{settings.architecture}-{settings.encoder}-{settings.checkpointing}",
)
def test_every_head_has_the_images_size(settings):
    network = model.build(settings, 8)
    image = torch.rand(2, 3, 64, 96)
    for train in (True, False):
        outputs = network.train(train)(image)
        shapes = {name: tuple(each.shape) for name, each in outputs.items()}
        channels = {"segments": 10, "superstructures": 9, "roof": 1, "lines": 5, "height": 1}
        assert shapes == {name: (2, channels[name], 64, 96) for name in HEADS}
        assert bool((outputs["height"] >= 0).all())


def test_heads_put_out_logits():
    """Facts, bug (c): a sigmoid inside a head."""
    network = model.build(SMALL, 8).eval().requires_grad_(False)
    for name in ("roof", "lines", "segments", "superstructures"):
        network.heads[name][-1].bias.data.fill_(-50.0)
        assert float(network(torch.rand(1, 3, 32, 32))[name].mean()) < -30


def test_pictures_are_normalised_inside():
    network = model.build(SMALL, 8).eval()
    seen = []
    network.encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(torch.tensor(model.IMAGENET_MEAN).reshape(1, 3, 1, 1).expand(1, 3, 32, 32))
    assert float(seen[0].abs().max()) < 1e-6


def test_heights_are_float32_under_mixed_precision():
    network = model.build(SMALL, 8)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(torch.rand(2, 3, 32, 32))
    assert outputs["height"].dtype == torch.float32
    assert outputs["segments"].dtype == torch.bfloat16


def test_random_weights_start_from_the_classes_shares():
    network = model.build(SMALL, 8).eval()
    shares = np.array([0.9, 0.1, *[0.0] * 7])
    model.start_from_priors(network, {"superstructures": 3 * shares})
    network.heads["superstructures"][-1].weight.data.zero_()
    network.heads["lines"][-1].weight.data.zero_()
    outputs = network(torch.rand(1, 3, 32, 32))
    np.testing.assert_allclose(outputs["superstructures"].softmax(1)[0, :2, 5, 5].detach(), [0.9, 0.1], rtol=0.01)
    assert float(outputs["lines"].detach().sigmoid().mean()) == pytest.approx(model.LINE_PRIOR, rel=1e-4)
    model.start_from_priors(network, {"segments": np.zeros(10)})
    assert bool(torch.isfinite(network.heads["segments"][-1].bias).all())


@pytest.mark.parametrize("encoder", ["resnet10t", "tf_efficientnet_lite0"])
def test_checkpointing_changes_nothing_but_memory(encoder):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = model.build(with_(encoder=encoder, checkpointing=checkpointing), 8)
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        for _ in range(2):
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                outputs = network(torch.linspace(0, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64))
            torch.stack([each.square().mean() for each in outputs.values()]).sum().backward()
        buffers = {name: each for name, each in network.named_buffers() if "running" in name}
        gradients = {name: each.grad for name, each in network.named_parameters()}
        found.append((kept, buffers, gradients))
    (kept, buffers, gradients), (less, *others) = found
    assert less < 0.8 * kept
    for expected, other in zip((buffers, gradients), others, strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(other[name], value, msg=name)


def test_a_training_step_at_1024_keeps_at_most_1_5_gib():
    """As benchmarks/roof_memory.py counts it, on tensors without content."""
    side = 1024
    with FakeTensorMode():
        network = model.build(Model(encoder="resnet50", checkpointing=True), 8)
        classes = torch.zeros(1, side, side, dtype=torch.uint8)
        batch = dict.fromkeys(("segments", "superstructures", "roof", "lines", "lines_known"), classes)
        batch |= {"height": torch.zeros(1, side, side), "weights": torch.ones(1, len(TERMS))}
        kept = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = network(torch.zeros(1, 3, side, side))
            weights = {"segments": torch.ones(10), "superstructures": torch.ones(9), "lines": torch.ones(5)}
            roof_losses(outputs, batch, Loss(), HEADS, weights)
        assert 0.5 < sum(kept.values()) / 2**30 < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "resnet1"}, r"cannot be built from .*resnet1.*Unknown model"),
        ({"encoder": "vit_tiny_patch16_224"}, r"strides \[16, 16, 16\], needed are \[4, 8, 16, 32\]"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "channels last"),
        ({"decoder_channels": (16, 16)}, "decoder_channels has 2 numbers, a unet takes 3"),
        ({"architecture": "fpn", "decoder_channels": (20,)}, "cannot be built from"),
        ({"weights": "no.safetensors"}, r"no\.safetensors cannot be read"),
    ],
)
def test_networks_that_do_not_exist_are_refused(changes, message):
    settings = with_(**changes)
    with pytest.raises(UserError, match=message):
        model.initialise(model.build(settings, 8), settings)


def test_an_installed_encoders_weights_can_be_taken():
    settings = with_(encoder="tf_efficientnet_lite0", encoder_weights="imagenet")
    network = model.build(settings, 8)
    before = network.encoder.model.conv_stem.weight.clone()
    (path,) = model.initialise(network, settings)
    assert path.name.startswith("efficientnet-lite0")
    assert not torch.equal(network.encoder.model.conv_stem.weight, before)
    with pytest.raises(UserError, match="no installed package carries ImageNet weights of tu-resnet10t"):
        model.initialise(model.build(SMALL, 8), with_(encoder_weights="imagenet"))


def test_a_model_folder_comes_back_as_it_was(tmp_path):
    network = model.build(SMALL, 4).eval()
    model_folder.save(tmp_path / "model", network, model.config_of(SMALL, 4, 0.25, ["roof", "height"]))
    again, config = model.load(tmp_path / "model")
    assert not again.training
    assert (config["azimuths"], config["pixel_size_m"], config["heads"]) == (4, 0.25, ["roof", "height"])
    image = torch.rand(1, 3, 32, 32)
    for name, value in network(image).items():
        torch.testing.assert_close(again(image)[name], value)


@pytest.mark.parametrize("key", ["architecture", "azimuths", "pixel_size_m", "heads"])
def test_a_damaged_model_folder_is_refused(tmp_path, key):
    model_folder.save(tmp_path / "model", model.build(SMALL, 8), model.config_of(SMALL, 8, 0.25, ["roof"]))
    path = tmp_path / "model" / model_folder.CONFIG
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        model.load(tmp_path / "model")
