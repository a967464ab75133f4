"""A trained layout model for the tests that need one."""

from __future__ import annotations

import pytest

from keyframes.layouts import QUIET, prepare
from millrace.keyframes import train
from millrace.keyframes.params import Keyframes

SMALL = {
    "train": {
        "epochs": 8,
        "per_window": 4,
        "batch_size": 4,
        "learning_rate": 0.01,
        "horizon": 8,
        "monitor": "val_error",
        "pictures_every": 0,
        "model": {"width": 8, "heads": 1, "layers": 1, "feedforward": 8},
    },
    "evaluate": {"min_history": 16, "stride": 8, "batch_size": 8, "examples": 2},
}


@pytest.fixture(scope="session")
def small() -> Keyframes:
    return Keyframes.model_validate(SMALL)


@pytest.fixture(scope="session")
def trained_layouts(tmp_path_factory, small):
    """A working folder with prepared windows and a model that was trained on them."""
    folder = tmp_path_factory.mktemp("layouts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare(15)
        train.run(small, QUIET)
    return folder
