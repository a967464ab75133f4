"""Exported networks agree with their origin, at sizes they were not exported with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from millrace.errors import UserError
from millrace.training.export import export


class Halving(nn.Module):
    """Down, up, normalise: what segmentation networks consist of."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        deep = torch.relu(self.norm(self.down(image)))
        return self.up(nn.functional.interpolate(deep, scale_factor=2, mode="nearest")).sigmoid()


EXAMPLE = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "torch-export"])
def test_parity(tmp_path, kind):
    torch.manual_seed(0)
    path, difference = export(Halving().eval(), EXAMPLE, kind, tmp_path / "toy")
    assert difference < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_of_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"format onnx ends in \.onnx"):
        export(Halving().eval(), EXAMPLE, "onnx", tmp_path, tmp_path / "model.pt")


class ByWidth(nn.Module):
    """Takes another path for another width, as no trace can."""

    def forward(self, image: Tensor) -> Tensor:
        return image * 2 if image.shape[3] == EXAMPLE.shape[3] else image


def test_a_file_that_disagrees_is_not_left_behind(tmp_path):
    with pytest.raises(UserError, match="differs from the model by"):
        export(ByWidth().eval(), EXAMPLE, "torchscript", tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_expressed_is_refused(tmp_path):
    class Unscriptable(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image if float(image.sum()) > 1e9 else torch.from_numpy(image.numpy() * 2)

    with pytest.raises(UserError, match="torch-export cannot express this network"):
        export(Unscriptable().eval(), EXAMPLE, "torch-export", tmp_path)
