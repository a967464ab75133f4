"""Checkpoint files of the best and the last epoch."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from millrace.training.checkpoints import BestAndLast, WholeFiles

NAN = math.nan


def epochs(folder: Path, scores: list[float], mode: str) -> BestAndLast:
    """A callback after one epoch for each score; a checkpoint holds its epoch's number."""
    callback = BestAndLast(folder, "val_x", mode)
    for epoch, score in enumerate(scores):
        trainer = SimpleNamespace(
            callback_metrics={"val_x": score},
            is_global_zero=True,
            save_checkpoint=lambda path, epoch=epoch: replaced(path, str(epoch)),
        )
        callback.on_train_epoch_end(trainer, None)
    return callback


def replaced(path: Path, text: str) -> None:
    """As `WholeFiles` does: a new file under the name, never new bytes in the old one."""
    path.with_suffix(".partial").write_text(text)
    path.with_suffix(".partial").replace(path)


@pytest.mark.parametrize(
    ("scores", "mode", "best"),
    [
        ([3, 1, 2], "min", 1),
        ([3, 1, 2], "max", 0),
        ([1, 2, 3], "max", 2),
        ([2, 2, 2], "min", 0),
        ([NAN, 5, NAN], "min", 1),
        ([NAN, NAN], "max", 0),
    ],
)
@pytest.mark.parametrize("links", [True, False])
def test_best_and_last_hold_the_right_epochs(tmp_path, monkeypatch, scores, mode, best, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    callback = epochs(tmp_path, scores, mode)
    assert callback.best.read_text() == str(best)
    assert callback.last.read_text() == str(len(scores) - 1)
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_an_epoch_that_is_best_and_last_takes_the_space_of_one(tmp_path):
    callback = epochs(tmp_path, [1, 2], "max")
    assert callback.best.samefile(callback.last)


def test_a_resumed_run_remembers_the_best_score(tmp_path):
    callback = epochs(tmp_path, [1, 9], "max")
    resumed = BestAndLast(tmp_path, "val_x", "max")
    resumed.load_state_dict(callback.state_dict())
    trainer = SimpleNamespace(
        callback_metrics={"val_x": 5.0}, is_global_zero=True, save_checkpoint=lambda path: replaced(path, "resumed")
    )
    resumed.on_train_epoch_end(trainer, None)
    assert callback.best.read_text() == "1"
    assert callback.last.read_text() == "resumed"


def test_a_checkpoint_takes_its_place_only_when_it_is_whole(tmp_path, monkeypatch):
    def torn(checkpoint, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    (tmp_path / "last.ckpt").write_bytes(b"old")
    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint({}, tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == b"old"
