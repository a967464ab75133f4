"""The exported network finds what the network finds, in pictures of sizes that it was not exported with."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from millrace.detection import model_export, torchvision_network
from millrace.detection.model_export import export_onnx, export_torchscript
from millrace.detection.params import Model
from millrace.errors import UserError

EXAMPLE = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))


def detector(floor: float = 0.02, **settings) -> torchvision_network.TorchvisionDetector:
    """A small network whose random weights are large enough that scores differ."""
    torch.manual_seed(0)
    small = {"encoder": "resnet18", "norm": "group", "channels": 16, "head": 32, "proposals": 50}
    network = torchvision_network.build(Model(**small | {"anchors_px": (16.0, 32.0, 64.0)} | settings), 3).eval()
    with torch.no_grad():
        network.network.roi_heads.box_predictor.cls_score.weight.normal_(std=1.5)
        network.network.rpn.head.cls_logits.weight.normal_(std=0.3)
    network.configure(floor, 0.5, 100)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"encoder": "tf_efficientnet_lite0", "norm": "batch", "levels": (4, 5, 6)}])
def test_onnx_finds_what_the_network_finds_at_any_size(tmp_path, settings):
    network = detector(**settings)
    assert export_onnx(network, tmp_path / "model.onnx", EXAMPLE) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores", "labels"]
    for height, width in [(64, 64), (240, 131), (33, 320)]:
        picture = model_export._scene(height, width, 0)
        with torch.no_grad():
            expected = network({"images": [picture[0]]})["detections"][0]
        boxes, scores, labels = session.run(None, {"image": picture.numpy()})
        assert len(labels) == len(expected["labels"]) > 10
        assert set(labels) <= {0, 1, 2}
        np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)
        np.testing.assert_allclose(np.sort(boxes, axis=0), np.sort(expected["boxes"], axis=0), atol=1e-2)


@pytest.mark.slow
def test_torchscript_finds_what_the_network_finds(tmp_path):
    assert export_torchscript(detector(), tmp_path / "model.pt", EXAMPLE) < 1e-6


@pytest.mark.slow
def test_a_network_that_finds_nothing_is_compared_under_a_lower_floor(tmp_path, monkeypatch):
    compared = []
    difference = model_export._difference

    def counting(single, run, picture, path):
        compared.append(len(run(picture)[1]))
        return difference(single, run, picture, path)

    monkeypatch.setattr(model_export, "_difference", counting)
    network = detector(floor=1.0)
    export_torchscript(network, tmp_path / "model.pt", EXAMPLE)
    assert sum(compared[:3]) > 0
    assert compared[3:] == [0, 0, 0]
    assert network.network.roi_heads.score_thresh == 1.0
    assert not torch.jit.load(tmp_path / "model.pt")(EXAMPLE)[1].numel()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda boxes, scores, labels: (boxes + 0.1, scores, labels), "differs from the model by"),
        (lambda boxes, scores, labels: (boxes * torch.nan, scores, labels), "model.onnx is not written"),
        (lambda boxes, scores, labels: (boxes, scores + 2e-4, labels), "differs from the model by"),
        (lambda boxes, scores, labels: (boxes, scores, labels + 1), "boxes that are not the"),
        (lambda boxes, scores, labels: (boxes[1:], scores[1:], labels[1:]), "boxes that are not the"),
    ],
)
def test_a_file_that_finds_something_else_is_not_left_behind(tmp_path, monkeypatch, change, message):
    network = detector()

    def write(single, example, path):
        path.write_bytes(b"a graph")
        return lambda picture: change(*single(picture))

    monkeypatch.setattr(model_export, "_write_onnx", write)
    with pytest.raises(UserError, match=message):
        export_onnx(network, tmp_path / "model.onnx", EXAMPLE)
    assert list(tmp_path.iterdir()) == []


def test_boxes_of_equal_scores_may_change_places(tmp_path, monkeypatch):
    def write(single, example, path):
        path.write_bytes(b"a graph")
        return lambda picture: tuple(part.flip(0) for part in single(picture))

    monkeypatch.setattr(model_export, "_write_onnx", write)
    assert export_onnx(detector(), tmp_path / "model.onnx", EXAMPLE) == 0.0
    assert (tmp_path / "model.onnx").read_bytes() == b"a graph"


def test_a_network_that_cannot_be_expressed_is_a_clear_error(tmp_path, monkeypatch):
    def write(single, example, path):
        path.write_bytes(b"half")
        raise RuntimeError("unsupported operator")

    monkeypatch.setattr(model_export, "_write_onnx", write)
    with pytest.raises(UserError, match="the format cannot express this network: unsupported operator"):
        export_onnx(detector(), tmp_path / "model.onnx", EXAMPLE)
    assert list(tmp_path.iterdir()) == []
