"""The torchvision network: built, run, filled, saved, loaded, and used by `Finder`."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import skimage
import timm
import torch
from PIL import Image
from stores import CATEGORIES, TINY
from torch.nn import functional as F
from torchvision.models import detection as published
from torchvision.ops import box_iou

from millrace.detection import finder, model
from millrace.detection.finder import Finder
from millrace.detection.params import Evaluate, Model, Resize
from millrace.errors import UserError
from millrace.settings import Runtime
from millrace.training import model_folder

CPU = Runtime(accelerator="cpu", threads=1)
RESIZE = Resize(short_side_px=64, long_side_px=96)
EXTRA = {"score_threshold": 0.4}


def tiny(classes: int = 2, **changes) -> model.Detector:
    torch.manual_seed(0)
    return model.build(Model(**(TINY | changes)), classes)


def squares() -> dict:
    """Two grey pictures of different sizes: a red and a blue square, and a blue one."""
    pictures = [torch.full((3, 64, 96), 0.5), torch.full((3, 80, 64), 0.5)]
    boxes = [[[8.0, 12.0, 32.0, 36.0], [56.0, 24.0, 88.0, 56.0]], [[20.0, 40.0, 50.0, 70.0]]]
    labels = [[0, 1], [1]]
    for picture, own, classes in zip(pictures, boxes, labels, strict=True):
        for (left, top, right, bottom), label in zip(torch.tensor(own).int().tolist(), classes, strict=True):
            picture[:, top:bottom, left:right] = 0
            picture[2 * label, top:bottom, left:right] = 1
    targets = [
        {"boxes": torch.tensor(own), "labels": torch.tensor(classes)}
        for own, classes in zip(boxes, labels, strict=True)
    ]
    return {"images": pictures, "targets": targets}


def pixels(picture: torch.Tensor) -> np.ndarray:
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def trained() -> model.Detector:
    """Knows these squares."""
    network, batch = tiny(norm="group"), squares()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    network.train()
    for step in range(70):
        torch.manual_seed(step)
        optimiser.zero_grad()
        torch.stack(list(network(batch)["losses"].values())).sum().backward()
        optimiser.step()
    return network.eval()


@pytest.fixture
def saved(trained, tmp_path) -> Path:
    trained.configure(0.05, 0.5, 100)
    model_folder.save(
        tmp_path / "model", trained, model.config_of(Model(**TINY, norm="group"), RESIZE, CATEGORIES) | EXTRA
    )
    return tmp_path / "model"


# Networks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({"architecture": "resnet50_fpn", "norm": "frozen"}, published.FasterRCNN_ResNet50_FPN_Weights),
        ({"architecture": "resnet50_fpn_v2", "norm": "batch"}, published.FasterRCNN_ResNet50_FPN_V2_Weights),
        (
            {"architecture": "mobilenet_v3_large_320_fpn", "norm": "frozen"},
            published.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
        ),
    ],
)
def test_published_networks_have_as_many_parameters_as_published(settings, weights):
    with torch.device("meta"):
        network = model.build(Model(**settings), 90)
    assert parameters(network) == weights.COCO_V1.meta["num_params"]


def test_building_a_network_says_nothing():
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        model.build(Model(architecture="mobilenet_v3_large_320_fpn"), 2)


POOLED = TINY | {"encoder": "test_resnet", "levels": (4, 5, 6), "anchors_px": (16, 32, 64)}


@pytest.mark.parametrize(
    ("settings", "norm"),
    [
        *((settings, norm) for settings in (TINY, POOLED) for norm in ("batch", "frozen", "group")),
        ({"architecture": "mobilenet_v3_large_320_fpn"}, "group"),
        pytest.param({"architecture": "mobilenet_v3_large_320_fpn"}, "batch", marks=pytest.mark.slow),
        pytest.param({"architecture": "resnet50_fpn"}, "frozen", marks=pytest.mark.slow),
        pytest.param({"architecture": "resnet50_fpn_v2"}, "batch", marks=pytest.mark.slow),
        pytest.param({"architecture": "resnet50_fpn_v2"}, "group", marks=pytest.mark.slow),
    ],
)
def test_every_network_learns_and_finds(settings, norm):
    torch.manual_seed(0)
    network = model.build(Model(**settings, norm=norm), 3)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    targets = [
        {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0], [10.0, 30.0, 60.0, 60.0]]), "labels": torch.tensor([0, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = network.train()({"images": images, "targets": targets})["losses"]
    assert set(losses) == set(model.LOSSES)
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    network.eval().configure(0.01, 0.7, 5)
    with torch.no_grad():
        plain = network({"images": images})
        outputs = network({"images": images, "targets": targets})
    assert "losses" not in plain
    assert set(outputs["losses"]) == set(model.LOSSES)
    assert all(torch.isfinite(loss) for loss in outputs["losses"].values())
    for found, again in zip(plain["detections"], outputs["detections"], strict=True):
        boxes, labels, scores = model.as_tensors(found)
        assert len(boxes) == len(labels) == len(scores) <= 5
        assert (scores > 0.01).all()
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert ((boxes >= 0) & (boxes <= 64)).all()
        assert set(labels.tolist()) <= {0, 1, 2}
        assert torch.equal(found["boxes"], again["boxes"])  # targets do not change what is found


@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_resnet"])
@pytest.mark.parametrize("levels", [(3, 4), (4, 5), (5, 6)])
def test_every_parameter_learns(encoder, levels):
    """One that does not is a part of the encoder that is computed for nothing, and an error where processes train."""
    network = tiny(encoder=encoder, levels=levels, anchors_px=(16, 32), norm="group").train()
    torch.stack(list(network(squares())["losses"].values())).sum().backward()
    assert [name for name, each in network.named_parameters() if each.grad is None] == []
    assert all(torch.isfinite(each.grad).all() for each in network.parameters())


def test_what_is_kept_of_the_boxes_can_be_set(trained):
    def found(*settings) -> list[int]:
        trained.configure(*settings)
        with torch.no_grad():
            return [len(each["boxes"]) for each in trained({"images": squares()["images"]})["detections"]]

    assert found(0.999999, 0.5, 100) == [0, 0]
    assert found(0.001, 0.5, 1) == [1, 1]
    assert sum(found(0.001, 0.95, 100)) > sum(found(0.001, 0.05, 100)) > 2


def test_a_trained_network_finds_each_square_as_its_class_where_it_is(trained):
    """Labels count from 0 outside, and boxes are in the picture's own pixels."""
    trained.configure(0.3, 0.5, 100)
    batch = squares()
    with torch.no_grad():
        results = trained({"images": batch["images"]})["detections"]
    for found, truth in zip(results, batch["targets"], strict=True):
        overlaps, nearest = box_iou(truth["boxes"], found["boxes"]).max(dim=1)
        assert (overlaps > 0.5).all()
        assert torch.equal(found["labels"][nearest], truth["labels"])


@pytest.mark.parametrize("shape", [(33, 120), (65, 65)])
def test_what_is_found_does_not_depend_on_the_picture_that_was_seen_first(shape):
    """Its library guesses how much smaller each level is from the first batch, in which padding misleads it."""
    network, batch = tiny().eval(), squares()
    with torch.no_grad():
        network({"images": [torch.rand(3, *shape)]})
        used, fresh = network(batch), tiny().eval()(batch)
    for name in model.LOSSES:
        torch.testing.assert_close(used["losses"][name], fresh["losses"][name])
    for first, second in zip(used["detections"], fresh["detections"], strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("settings", [TINY, {"architecture": "mobilenet_v3_large_320_fpn"}])
def test_pictures_and_boxes_keep_their_size_inside_and_labels_start_from_one(settings, mode):
    """The library's own transform resizes in evaluation even where it is told not to in training."""
    torch.manual_seed(0)
    network, batch = model.build(Model(**settings), 2), squares()
    seen = {}
    inside = network.network
    inside.backbone.register_forward_pre_hook(lambda module, args: seen.update(shape=args[0].shape))
    inside.rpn.register_forward_pre_hook(lambda module, args: seen.update(sizes=args[0].image_sizes, rpn=args[2:]))
    inside.roi_heads.register_forward_pre_hook(lambda module, args: seen.update(targets=args[3]) if args[3:] else None)
    getattr(network, mode)()
    with torch.no_grad():
        network(batch)
    assert seen["shape"] == (2, 3, 96, 96)  # padded to a common multiple of 32
    assert seen["sizes"] == [(64, 96), (80, 64)]
    for inner, truth, fresh in zip(seen["targets"], batch["targets"], squares()["targets"], strict=True):
        torch.testing.assert_close(inner["boxes"], truth["boxes"])
        assert torch.equal(inner["labels"], truth["labels"] + 1)
        assert torch.equal(truth["labels"], fresh["labels"])  # the caller's stay as they are


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_evaluation_leaves_the_network_and_the_generator_as_they_were(norm):
    network, batch = tiny(norm=norm).eval(), squares()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flags = {name: module.training for name, module in network.named_modules()}
    generator = torch.get_rng_state()
    first = network(batch)["losses"]
    assert torch.equal(torch.get_rng_state(), generator)
    assert {name: module.training for name, module in network.named_modules()} == flags
    assert not any(flags.values())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    torch.manual_seed(77)  # what was drawn before does not matter
    torch.rand(13)
    again = network(batch)["losses"]
    assert all(torch.equal(first[name], again[name]) for name in model.LOSSES)


def test_an_error_in_evaluation_leaves_no_part_in_training():
    network, batch = tiny().eval(), squares()
    batch["targets"][0]["boxes"] = torch.zeros(2, 3)
    with pytest.raises(Exception):  # noqa: B017, PT011  # whichever
        network(batch)
    assert not any(module.training for module in network.modules())


def test_losses_of_evaluation_are_those_of_training():
    network, batch = tiny(norm="group"), squares()
    torch.manual_seed(0)
    training = network.train()(batch)["losses"]
    validation = network.eval()(batch)["losses"]
    for name in model.LOSSES:
        torch.testing.assert_close(validation[name], training[name])


# Normalisation, freezing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["resnet18", "tf_efficientnet_lite0"])
def test_no_branch_of_a_random_encoder_begins_at_zero(encoder):
    modules = tiny(encoder=encoder).network.backbone.encoder.modules()
    norms = [module for module in modules if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all((norm.weight == 1).all() for norm in norms)


def test_group_norm_replaces_every_batch_norm_and_keeps_its_activation():
    batch, group = tiny(norm="batch"), tiny(norm="group")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in group.modules())
    assert [name for name, _ in group.named_buffers() if "running" in name] == []
    replaced = {name: module for name, module in batch.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    others, activations = dict(group.named_modules()), 0
    for name, norm in replaced.items():
        features = torch.randn(2, norm.num_features, 5, 5)
        other = others[name]
        assert norm.num_features % other.num_groups == 0
        assert other.num_groups > 1
        plain = F.group_norm(features, other.num_groups, other.weight, other.bias, other.eps)
        expected = norm.act(plain.clone())
        torch.testing.assert_close(other(features), expected)
        activations += not torch.equal(expected, plain)
    assert 3 < activations < len(replaced)


def test_frozen_norm_neither_learns_nor_counts():
    network = tiny(norm="frozen").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if "running" in name}
    assert len(before) > 10
    network(squares())
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    assert parameters(network) < parameters(tiny(norm="batch"))


def trainable(encoder: str, stages: int, **changes) -> dict[str, bool]:
    network = tiny(encoder=encoder, frozen_stages=stages, **({"encoder_weights": "any"} | changes))
    rest = [parameter.requires_grad for name, parameter in network.named_parameters() if ".encoder." not in name]
    assert all(rest)
    return {name: each.requires_grad for name, each in network.network.backbone.encoder.named_parameters()}


@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_stages_are_frozen_from_the_first_on(encoder):
    """What comes before the features of level n is frozen, and nothing behind them."""
    network = tiny(encoder=encoder, levels=(3, 4, 5), anchors_px=(8, 16, 32))
    full = timm.create_model(encoder, features_only=True)
    names = [name for name, _ in network.network.backbone.encoder.named_parameters()]
    levels = [round(np.log2(reduction)) for reduction in full.feature_info.reduction()]
    counts = []
    for stage in range(1, len(levels) + 1):
        flags = list(trainable(encoder, stage, levels=(3, 4, 5), anchors_px=(8, 16, 32)).values())
        frozen = flags.index(True) if True in flags else len(flags)
        assert not any(flags[:frozen])
        assert all(flags[frozen:])
        counts.append(frozen)
    assert counts == sorted(set(counts))
    assert counts[0] > 0
    assert counts[-1] == len(names)


def test_stages_that_the_encoder_has_not_are_all_frozen_or_refused():
    """Level 5 is not built here, so that its stage cannot be frozen."""
    with contextlib.suppress(UserError):
        assert not any(trainable("test_resnet", 5, levels=(3, 4)).values())


def test_nothing_is_frozen_without_weights():
    assert all(trainable("test_efficientnet", 2, encoder_weights=None).values())
    with pytest.raises(UserError, match="frozen_stages goes with architecture fpn"), torch.device("meta"):
        model.build(Model(architecture="mobilenet_v3_large_320_fpn", frozen_stages=1, weights="any"), 2)


def test_frozen_stages_do_not_count_either():
    """Statistics that go on moving would change what the frozen weights were learnt for."""
    network = tiny(frozen_stages=2, encoder_weights="any").train()
    encoder = network.network.backbone.encoder
    frozen = [name.removesuffix(".weight") for name, each in encoder.named_parameters() if not each.requires_grad]
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    network(squares())
    moved = {
        name
        for name, tensor in encoder.state_dict().items()
        if "running_mean" in name and not torch.equal(tensor, before[name])
    }
    assert moved
    assert not {name for name in moved if name.removesuffix(".running_mean") in frozen}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "resnet1"}, "encoder 'resnet1' with levels .*must be an encoder of timm"),
        ({"encoder": "test_vit"}, "'test_vit' with levels"),
        ({"encoder": "hf-hub:timm/resnet18.a1_in1k"}, "encoder 'hf-hub:timm/resnet18.a1_in1k'"),
    ],
)
def test_encoders_that_do_not_exist_are_refused_and_none_is_downloaded(monkeypatch, changes, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message):
        tiny(**changes)


# Weights -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chelsea() -> torch.Tensor:
    with Image.open(Path(skimage.__file__).parent / "data/chelsea.png") as picture:
        return torch.from_numpy(np.array(picture.convert("RGB").resize((128, 96)))).permute(2, 0, 1) / 255


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_packaged_weights_give_the_encoders_own_features(chelsea, norm):
    settings = Model(encoder="tf_efficientnet_lite0", encoder_weights="imagenet", anchors_px=(16, 32, 64), norm=norm)
    network = model.build(settings, 2).eval()
    files = model.initialise(network, settings)
    assert [path.suffix for path in files] == [".pth"]
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    given = torch.load(files[0], map_location="cpu", weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), given.values(), strict=True)))
    inside = network.network
    normalised, _ = inside.transform([chelsea])
    mean, std = (torch.tensor(part)[:, None, None] for part in (whole.default_cfg["mean"], whole.default_cfg["std"]))
    torch.testing.assert_close(normalised.tensors[0], (chelsea - mean) / std)
    with torch.no_grad():
        features = inside.backbone.encoder(normalised.tensors)
        deepest = whole.blocks(whole.bn1(whole.conv_stem(normalised.tensors)))
        pyramid = inside.backbone(normalised.tensors)
    torch.testing.assert_close(features[-1], deepest, rtol=1e-3, atol=1e-3)
    assert features[-1].std() > 0.1
    for level, name in zip((3, 4, 5), pyramid, strict=True):
        assert pyramid[name].shape == (1, 96, 96 // 2**level, 128 // 2**level)
        assert torch.isfinite(pyramid[name]).all()
        assert pyramid[name].std() > 1e-3


def test_a_file_of_timms_names_fills_the_encoder(tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model("test_efficientnet")
    safetensors.torch.save_file(whole.state_dict(), tmp_path / "encoder.safetensors")
    settings = Model(**TINY, encoder_weights=str(tmp_path / "encoder.safetensors"))
    network = model.build(settings, 2)
    assert model.initialise(network, settings) == [tmp_path / "encoder.safetensors"]
    for name, tensor in network.network.backbone.encoder.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_weights": "imagenet"}, "no installed package carries ImageNet weights of tu-test_efficientnet"),
        ({"encoder_weights": "none.safetensors"}, r"none\.safetensors, which is not a file"),
        ({"weights": "none.safetensors"}, r"none\.safetensors, which is not a file"),
        (
            {"architecture": "mobilenet_v3_large_320_fpn", "encoder_weights": "imagenet"},
            "encoder_weights goes with backend torchvision, architecture fpn",
        ),
    ],
)
def test_weights_that_are_not_there_are_refused(workspace, changes, message):
    settings = Model(**TINY | changes)
    with torch.device("meta"):
        network = model.build(settings, 2)
    with pytest.raises(UserError, match=message):
        model.initialise(network, settings)


def test_weights_of_a_whole_network_give_the_same_detections(trained, saved):
    settings = Model(**TINY, norm="group", weights=str(saved / model_folder.WEIGHTS))
    network = tiny(norm="group", weights=settings.weights).eval()
    assert model.initialise(network, settings) == [saved / model_folder.WEIGHTS]
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_a_head_for_another_number_of_classes_is_replaced_with_a_message(trained, saved, caplog):
    settings = Model(**TINY, norm="group", weights=str(saved / model_folder.WEIGHTS))
    network = tiny(classes=5, norm="group").eval()
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        model.initialise(network, settings)
    assert "2 classes, this network has 5" in caplog.text
    for name, tensor in network.state_dict().items():
        expected = fresh if ".box_predictor." in name else trained.state_dict()
        assert torch.equal(tensor, expected[name]), name
    with torch.no_grad():
        assert len(network({"images": squares()["images"]})["detections"]) == 2


def test_weights_of_another_architecture_are_refused(saved):
    settings = Model(**TINY | {"channels": 24}, norm="group", weights=str(saved / model_folder.WEIGHTS))
    with pytest.raises(UserError, match="does not fit"):
        model.initialise(model.build(settings, 2), settings)


# The model folder ----------------------------------------------------------------------------------------------------


def test_a_saved_model_comes_back(trained, saved):
    network, config = model.load(saved)
    assert not network.training
    assert config["classes"] == CATEGORIES
    assert config["resize"] == {"short_side_px": 64, "long_side_px": 96}
    assert not {"weights", "encoder_weights"} & config["architecture"].keys()
    trained.configure(0.05, 0.5, 100)
    network.configure(0.05, 0.5, 100)
    batch = {"images": squares()["images"]}
    with torch.no_grad():
        for first, second in zip(trained(batch)["detections"], network(batch)["detections"], strict=True):
            assert len(first["boxes"]) > 0
            assert all(torch.equal(first[name], second[name]) for name in ("boxes", "labels", "scores"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "spheroid"}, "a model of task 'spheroid', expected 'detection'"),
        ({"format_version": 7}, "format version 7"),
        ({"architecture": None}, "config.json is damaged"),
        ({"architecture": {"layers": 3}}, "config.json is damaged"),
        ({"architecture": TINY | {"levels": []}}, "config.json is damaged"),
        ({"architecture": TINY | {"anchors_px": None}}, "config.json is damaged"),
        ({"classes": 2}, "config.json is damaged"),
        ({"classes": []}, "does not fit|config.json is damaged"),
        ({"classes": [*CATEGORIES, {"id": 9, "name": "green"}]}, "does not fit this architecture.*cls_score"),
        ({"resize": {"short_side_px": 640, "long_side_px": 64}}, "config.json is damaged"),
        ({"score_threshold": None}, "config.json is damaged"),
        ({"score_threshold": "high"}, "config.json is damaged"),
    ],
)
def test_a_damaged_configuration_is_refused(saved, changes, message):
    path = saved / model_folder.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=message):
        Finder(saved, Evaluate(), CPU)


@pytest.mark.parametrize("key", ["architecture", "classes", "resize", "score_threshold"])
def test_a_configuration_that_lacks_a_part_is_refused(saved, key):
    path = saved / model_folder.CONFIG
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"config.json is damaged: .*{key}"):
        Finder(saved, Evaluate(), CPU)


def test_a_folder_without_weights_or_configuration_is_refused(saved):
    (saved / model_folder.WEIGHTS).unlink()
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        Finder(saved, Evaluate(), CPU)
    (saved / model_folder.CONFIG).unlink()
    with pytest.raises(UserError, match=r"holds no model: .*dvc repro detection-train"):
        Finder(saved, Evaluate(), CPU)


# Finder --------------------------------------------------------------------------------------------------------------


class Everywhere(model.Detector):
    """Finds the whole frame, and a corner of it with a higher score, in every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, batch):
        found = []
        for image in batch["images"]:
            assert image.dtype == torch.float32
            assert 0 <= image.min() <= image.max() <= 1
            height, width = image.shape[-2:]
            self.seen.append((height, width))
            boxes = torch.tensor([[0.0, 0.0, width, height], [width / 2, height / 2, width + 5.0, height + 0.1]])
            found.append({"boxes": boxes, "labels": torch.tensor([1, 0]), "scores": torch.tensor([0.3, 0.8])})
        return {"detections": found}

    def configure(self, score_floor, nms_iou, max_detections):
        self.configured = (score_floor, nms_iou, max_detections)


def test_boxes_come_back_in_the_pixels_of_the_picture(monkeypatch):
    network = Everywhere()
    config = {"resize": RESIZE.model_dump(), "classes": CATEGORIES} | EXTRA
    monkeypatch.setattr(finder.model, "load", lambda folder: (network, config))
    settings = Evaluate(batch_size=2, score_floor=0.1, nms_iou=0.6, max_detections=7)
    model_finder = Finder(Path("anywhere"), settings, CPU)
    assert network.configured == (0.1, 0.6, 7)
    shapes = [(64, 96), (640, 961), (33, 31), (10, 300), (1, 1)]
    found = model_finder.find([np.zeros((*shape, 3), np.uint8) for shape in shapes])
    assert network.seen == [(64, 96), (64, 96), (68, 64), (3, 96), (64, 64)]
    assert len(found) == len(shapes)
    for (height, width), each in zip(shapes, found, strict=True):
        np.testing.assert_allclose(
            each.boxes, [[width / 2, height / 2, width, height], [0, 0, width, height]], rtol=1e-5, atol=1e-5
        )
        assert each.labels.tolist() == [0, 1]
        np.testing.assert_allclose(each.scores, [0.8, 0.3])
        assert (each.boxes.dtype, each.labels.dtype, each.scores.dtype) == (np.float32, np.int64, np.float32)
        assert (each.boxes <= [width, height, width, height]).all()
    assert model_finder.find([]) == []


def test_a_finder_finds_the_squares_at_any_magnification(saved):
    model_finder = Finder(saved, Evaluate(score_floor=0.3), CPU)
    assert model_finder.categories == CATEGORIES
    assert model_finder.score_threshold == 0.4
    batch = squares()
    for factor in (1, 3):
        pictures = [pixels(image).repeat(factor, 0).repeat(factor, 1) for image in batch["images"]]
        found = model_finder.find(pictures)
        for each, truth in zip(found, batch["targets"], strict=True):
            overlaps, nearest = box_iou(factor * truth["boxes"], torch.from_numpy(each.boxes)).max(dim=1)
            assert (overlaps > 0.5).all()
            assert each.labels[nearest.numpy()].tolist() == truth["labels"].tolist()
            assert (np.diff(each.scores) <= 0).all()
            assert (each.scores >= 0.3).all()


def test_a_finder_keeps_to_floor_and_number_and_batches_do_not_matter(saved):
    pictures = [pixels(squares()["images"][0])] * 3
    everything = Finder(saved, Evaluate(score_floor=0.001, nms_iou=0.9), CPU).find(pictures)
    few = Finder(saved, Evaluate(score_floor=0.001, nms_iou=0.9, max_detections=3, batch_size=1), CPU).find(pictures)
    assert len(everything[0].scores) > 3
    for every, best in zip(everything, few, strict=True):
        assert len(best.scores) == 3
        np.testing.assert_allclose(best.boxes, every.boxes[:3], atol=1e-2)
        np.testing.assert_allclose(best.scores, every.scores[:3], atol=1e-4)
