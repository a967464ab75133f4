"""The detectron2 backend, against the real library."""

from __future__ import annotations

import copy
import logging
import sys
import warnings

import pytest
import torch
from torchvision.ops import box_iou

from millrace.detection import model
from millrace.detection.detectron2_network import PIXEL_STD, VALIDATION_SEED, build, configuration
from millrace.detection.params import Model, Resize
from millrace.errors import UserError
from millrace.training import model_folder

pytestmark = pytest.mark.detectron2
CLASSES = 2
TINY = {
    "backend": "detectron2",
    "encoder": "resnet18",
    "channels": 32,
    "head": 64,
    "levels": (3, 4),
    "anchors_px": (16, 32),
    "proposals": 100,
    "rois": 32,
}


@pytest.fixture(autouse=True, scope="module")
def installed():
    pytest.importorskip("detectron2", reason="detectron2 is not installed (docs/detection.md)", exc_type=ImportError)


def tiny(classes: int = CLASSES, **changes):
    torch.manual_seed(0)
    return build(Model(**(TINY | changes)), classes)


def squares():
    """Two grey pictures of different sizes, the first with a red and a blue square, the second with a blue one."""
    pictures = [torch.full((3, 96, 128), 0.5), torch.full((3, 100, 80), 0.5)]
    boxes = [[[20.0, 30.0, 50.0, 60.0], [70.0, 10.0, 110.0, 50.0]], [[24.0, 40.0, 60.0, 76.0]]]
    labels = [[0, 1], [1]]
    for picture, its_boxes, its_labels in zip(pictures, boxes, labels, strict=True):
        for (left, top, right, bottom), label in zip(its_boxes, its_labels, strict=True):
            picture[:, int(top) : int(bottom), int(left) : int(right)] = 0.0
            picture[2 * label, int(top) : int(bottom), int(left) : int(right)] = 1.0
    targets = [
        {"boxes": torch.tensor(its_boxes), "labels": torch.tensor(its_labels)}
        for its_boxes, its_labels in zip(boxes, labels, strict=True)
    ]
    return {"images": pictures, "targets": targets}


def train(network, batch, steps: int, learning_rate: float = 1e-3):
    optimiser = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], learning_rate)
    network.train()
    totals = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = torch.stack(list(network(batch)["losses"].values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    return totals


@pytest.fixture(scope="module")
def trained(installed):
    network = tiny()
    return network, train(network, squares(), 40)


def test_training_lowers_the_loss_and_finds_each_square_as_its_class(trained):
    network, losses = trained
    assert sum(losses[-3:]) < 0.4 * sum(losses[:3])
    network.configure(0.3, 0.5, 100)
    batch = squares()
    for found, truth in zip(network.eval()({"images": batch["images"]})["detections"], batch["targets"], strict=True):
        overlaps, nearest = box_iou(truth["boxes"], found["boxes"]).max(dim=1)
        assert (overlaps > 0.5).all()
        assert torch.equal(found["labels"][nearest], truth["labels"])


def test_training_gives_losses_that_depend_on_the_generator_alone():
    network, batch = tiny(norm="frozen"), squares()

    def losses(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return network(batch)["losses"]

    first, again, other = losses(1), losses(1), losses(2)
    assert sorted(first) == sorted(model.LOSSES)
    assert all(loss.shape == () and loss.dtype == torch.float32 and loss.isfinite() for loss in first.values())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_parameter_learns():
    pyramids = {(3, 4): (16, 32), (4, 5): (16, 32), (2, 3, 4, 5, 6): (8, 16, 32, 64, 128)}
    for levels, anchors_px in pyramids.items():
        network = tiny(levels=levels, anchors_px=anchors_px, norm="group")
        torch.stack(list(network(squares())["losses"].values())).sum().backward()
        assert [name for name, each in network.named_parameters() if each.grad is None] == []
        assert all(each.grad.isfinite().all() for each in network.parameters())


def test_detections_lie_in_their_picture_with_scores_in_order(trained):
    network, _ = trained
    network.eval().configure(0.01, 0.9, 4)
    batch = squares()
    for found, picture in zip(network({"images": batch["images"]})["detections"], batch["images"], strict=True):
        boxes, labels, scores = found["boxes"], found["labels"], found["scores"]
        assert boxes.shape == (4, 4)
        assert (boxes.dtype, labels.dtype, scores.dtype) == (torch.float32, torch.int64, torch.float32)
        height, width = picture.shape[1:]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert set(labels.tolist()) <= set(range(CLASSES))
        assert (scores >= 0.01).all()
        assert torch.equal(scores, scores.sort(descending=True).values)


def test_what_is_kept_of_the_boxes_is_configured(trained):
    network, _ = trained
    network.eval()

    def scores(*settings: float) -> list[float]:
        network.configure(*settings)
        return network({"images": squares()["images"][:1]})["detections"][0]["scores"].tolist()

    some = scores(0.01, 0.5, 100)
    assert min(some) < 0.2
    assert scores(0.2, 0.5, 100) == [score for score in some if score > 0.2]
    assert scores(0.01, 0.5, 3) == some[:3]
    assert len(scores(0.01, 0.1, 1000)) < len(scores(0.01, 0.9, 1000))


def test_validation_losses_are_those_of_training_where_no_statistics_are_learnt():
    network, batch = tiny(norm="frozen"), squares()
    torch.manual_seed(VALIDATION_SEED)
    trained = network(batch)["losses"]
    validated = network.eval()(batch)["losses"]
    for name in trained:
        torch.testing.assert_close(validated[name], trained[name].detach(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_validation_is_repeatable_and_changes_nothing():
    network, batch = tiny().eval(), squares()
    before, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    given = copy.deepcopy(batch)
    first = network(batch)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.rand(5)
    second, bare = network(batch), network({"images": batch["images"]})
    assert "losses" not in bare
    assert first["losses"] == second["losses"]
    for one, other in zip(first["detections"], bare["detections"], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(one, other) for one, other in zip(batch["images"], given["images"], strict=True))


def test_pictures_without_boxes_are_background():
    network, batch = tiny(), squares()
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    some = batch | {"targets": [nothing, batch["targets"][1]]}
    for targets in (some, batch | {"targets": [nothing, nothing]}):
        losses = network.train()(targets)["losses"]
        torch.stack(list(losses.values())).sum().backward()
        assert all(loss.isfinite() for loss in losses.values())
        assert all(loss.isfinite() for loss in network.eval()(targets)["losses"].values())
    assert losses["loss_box"].item() == losses["loss_rpn_box"].item() == 0
    assert all(each.grad is not None for each in network.parameters())


def test_a_diverged_network_gives_losses_that_are_no_numbers():
    """detectron2 would raise, and the engine's guard could not say which samples it was."""
    network, batch = tiny(), squares()
    batch["images"][1][0, 0, 0] = torch.nan
    losses = network(batch)["losses"]
    assert all(loss.isnan() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(each.grad.isnan().all() for each in network.parameters())
    results = network.eval()(batch)
    assert all(loss.isnan() for loss in results["losses"].values())
    assert len(results["detections"]) == 2


def test_mixed_precision_gives_float32():
    network, batch = tiny(), squares()
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(batch)["losses"]
        torch.stack(list(losses.values())).sum().backward()
        found = network.eval()(batch)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(loss.dtype == torch.float32 for loss in found["losses"].values())
    assert found["detections"][0]["boxes"].dtype == found["detections"][0]["scores"].dtype == torch.float32


@torch.no_grad()
def test_it_computes_what_detectron2_computes():
    """From red, green, blue of 0 to 1 here, from blue, green, red of 0 to 255 there."""
    from detectron2.modeling import build_model
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    settings = Model(**TINY | {"levels": (2, 3, 4, 5, 6), "anchors_px": (8, 16, 32, 64, 128)})
    ours, theirs = build(settings, CLASSES), build_model(configuration(settings, CLASSES))
    theirs.load_state_dict(ours.network.state_dict())
    batch = squares()
    inputs = [
        {
            "image": picture[[2, 1, 0]] * 255,
            "instances": Instances(picture.shape[1:], gt_boxes=Boxes(target["boxes"]), gt_classes=target["labels"]),
        }
        for picture, target in zip(batch["images"], batch["targets"], strict=True)
    ]
    torch.manual_seed(3)
    expected = ours(batch)["losses"]
    torch.manual_seed(3)
    with EventStorage():
        losses = theirs(inputs)
    assert sorted(map(float, losses.values())) == pytest.approx(sorted(map(float, expected.values())), rel=1e-4)
    found = ours.eval()(batch)["detections"]
    for one, other in zip(found, theirs.eval()(inputs), strict=True):
        torch.testing.assert_close(one["boxes"], other["instances"].pred_boxes.tensor, rtol=1e-3, atol=1e-2)
        assert torch.equal(one["labels"], other["instances"].pred_classes)


def test_resnet50_fpn_is_the_zoos_network():
    from detectron2 import config, modeling

    from millrace.detection.detectron2_network import ZOO_CONFIG, _folder

    zoo = config.get_cfg()
    zoo.merge_from_file(str(_folder() / ZOO_CONFIG))
    zoo.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        theirs = modeling.build_model(zoo)
    zoo.MODEL.DEVICE = "cpu"
    settings = Model(backend="detectron2", architecture="resnet50_fpn", norm="frozen", proposals=1000, rois=512)
    ours = build(settings, 80)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.network.state_dict().items()} == shapes
    made = configuration(settings, 80)
    made.MODEL.WEIGHTS, made.MODEL.PIXEL_STD = zoo.MODEL.WEIGHTS, zoo.MODEL.PIXEL_STD
    made.MODEL.BACKBONE.FREEZE_AT, made.MODEL.RPN.PRE_NMS_TOPK_TEST = 2, 1000
    assert made == zoo


def test_parameters_arrive_in_the_network():
    network = tiny(classes=5, norm="group", proposals=77, rois=24, aspect_ratios=(0.4, 1.0), channels=64, head=96)
    inner = network.network
    assert inner.proposal_generator.pre_nms_topk == {True: 154, False: 154}
    assert inner.proposal_generator.post_nms_topk == {True: 77, False: 77}
    assert inner.roi_heads.batch_size_per_image == 24
    assert inner.roi_heads.box_predictor.cls_score.weight.shape == (6, 96)
    assert inner.proposal_generator.rpn_head.objectness_logits.weight.shape[:2] == (2, 64)
    sizes = [cell[:, 2] - cell[:, 0] for cell in inner.proposal_generator.anchor_generator.cell_anchors]
    assert [float(each[1]) for each in sizes] == [16, 32]
    assert inner.pixel_std.flatten().tolist() == pytest.approx(PIXEL_STD)
    kinds = {type(module).__name__ for module in inner.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_frozen_stages_keep_weights_and_statistics(norm):
    network = tiny(norm=norm, weights="given.pth", frozen_stages=2)
    before = copy.deepcopy(network.state_dict())
    train(network, squares(), 2)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    encoder = "network.backbone.bottom_up"
    assert not any(name.startswith((f"{encoder}.stem", f"{encoder}.res2")) for name in changed)
    assert {name for name in before if name.startswith(f"{encoder}.res3")} <= changed
    assert network.training
    loose = tiny(norm=norm, frozen_stages=2)  # without weights there is nothing to keep
    assert all(each.requires_grad for each in loose.parameters())


@torch.no_grad()
def test_a_model_folder_gives_the_same_network_back(tmp_path, trained):
    network, _ = trained
    settings = Model(**TINY, frozen_stages=2, weights="given.pth")
    frozen = build(settings, CLASSES)
    frozen.load_state_dict(network.state_dict())
    categories = [{"id": 1, "name": "red"}, {"id": 5, "name": "blue"}]
    model_folder.save(tmp_path / "model", frozen, model.config_of(settings, Resize(), categories))
    loaded, config = model.load(tmp_path / "model")
    assert config["classes"] == categories
    batch = {"images": squares()["images"]}
    for each in (loaded, network.eval()):
        each.configure(0.1, 0.5, 100)
    for one, other in zip(loaded(batch)["detections"], network(batch)["detections"], strict=True):
        assert len(one["boxes"])
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_copy_learns_on_its_own():
    network = tiny()
    before = copy.deepcopy(network.state_dict())
    train(copy.deepcopy(network), squares(), 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_detectron2_has_not_is_refused():
    with pytest.raises(UserError, match="encoder 'efficientnet_b0' is none of detectron2's resnet18, resnet34"):
        tiny(encoder="efficientnet_b0")
    with pytest.raises(UserError, match="'resnet50_fpn_v2' is torchvision's; detectron2 has fpn and resnet50_fpn"):
        tiny(architecture="resnet50_fpn_v2")


def test_an_old_setuptools_is_not_needed():
    """detectron2's `model_zoo` imports `pkg_resources`, which setuptools lost in version 81."""
    tiny()
    assert "detectron2.model_zoo" not in sys.modules


def test_it_says_and_writes_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.INFO):
        network = tiny()
        train(network, squares(), 1)
        network.eval()(squares())
    assert [str(each.message) for each in heard] == []
    assert caplog.messages == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_it_runs_where_it_is_moved_to():
    network, batch = tiny().cuda(), squares()
    moved = {
        "images": [picture.cuda() for picture in batch["images"]],
        "targets": [{name: tensor.cuda() for name, tensor in target.items()} for target in batch["targets"]],
    }
    assert all(loss.is_cuda and loss.isfinite() for loss in network(moved)["losses"].values())
    generator = torch.cuda.get_rng_state()
    assert network.eval()(moved)["detections"][0]["boxes"].is_cuda
    assert torch.equal(torch.cuda.get_rng_state(), generator)
