"""A small trained model, made once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from spheroid_files import QUIET, section, write_raw

from millrace.spheroid import evaluate, prepare, train
from millrace.spheroid.params import Spheroid

SMALL = {
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "patches": {"size_px": 32, "per_image": 8},
    "model": {"encoder": "resnet18", "decoder_channels": [16, 16, 8, 8, 8]},
}


class Trained(NamedTuple):
    """A folder in which prepare, train and evaluate have run."""

    folder: Path
    params: Spheroid

    @property
    def model(self) -> Path:
        return self.folder / "models/spheroid"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_raw(folder / "raw", 12, size=64)
        params = section(folder / "raw", train=SMALL, evaluate={"tile_px": 64})
        for stage in (prepare, train, evaluate):
            stage.run(params, QUIET)
    return Trained(folder, params)
