"""Models on disk: what loads and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from millrace.errors import UserError
from millrace.training import model_folder


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model_folder.save(tmp_path / "m", model, {"task": "toy", "classes": 4})
    return tmp_path / "m", model


def test_a_model_comes_back(saved):
    folder, model = saved
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model_folder.load_weights(other, folder)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert model_folder.load_config(folder, "toy")["classes"] == 4


def test_equal_models_are_equal_bytes(saved, tmp_path):
    folder, model = saved
    model_folder.save(tmp_path / "again", model, {"task": "toy", "classes": 4})
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "format version None"),
        (json.dumps({"format_version": 99, "task": "toy"}), "format version 99, this program reads 1"),
        (json.dumps({"format_version": 1, "task": "roof"}), "task 'roof', expected 'toy'"),
    ],
)
def test_foreign_configurations_are_refused(saved, content, message):
    folder, _ = saved
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        model_folder.load_config(folder, "toy")


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        model_folder.load_config(tmp_path, "toy")


def test_weights_of_another_architecture_are_refused(saved):
    folder, _ = saved
    with pytest.raises(UserError, match=r"2 tensors missing.*5 unknown.*2 of another shape"):
        model_folder.load_weights(nn.Sequential(nn.Linear(3, 5), nn.Identity(), nn.Linear(1, 1)), folder)


@pytest.mark.parametrize("damage", ["truncate", "pickle", "missing"])
def test_damaged_weights_are_refused_and_nothing_is_unpickled(saved, damage):
    folder, model = saved
    path = folder / "model.safetensors"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "pickle":
        torch.save(model.state_dict(), path)
    else:
        path.unlink()
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        model_folder.load_weights(model, folder)


def test_weights_that_are_no_numbers_are_refused(saved):
    folder, model = saved
    with torch.no_grad():
        model[0].bias[1] = torch.nan
    model_folder.save(folder, model, {"task": "toy"})
    with pytest.raises(UserError, match=r"1 tensors hold values that are no numbers .*0.bias"):
        model_folder.load_weights(model, folder)
