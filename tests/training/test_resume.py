"""A killed training goes on, and ends with the model that an undisturbed one gives, byte for byte."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_training import train

SCRIPT = Path(__file__).parent / "toy_training.py"
SOURCE = Path(__file__).resolve().parents[2] / "src"


def run(folder: Path, options: dict) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, folder, json.dumps(options)],
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("model", "metrics")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("training", "kill_at"),
    [
        ({"schedule": "plateau", "schedule_epochs": 1, "epochs": 6, "accumulate": 2}, (3, 2)),
        ({"schedule": "cosine", "warmup_steps": 6, "epochs": 5, "patience": 2}, (2, 1)),
    ],
)
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, training, kill_at):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    first = run(undisturbed, {"training": training})
    assert first.returncode == 0, first.stderr
    died = run(killed, {"training": training, "kill_at": kill_at})
    assert died.returncode == -signal.SIGKILL
    assert not (killed / "model").exists()
    resumed = run(killed, {"training": training})
    assert resumed.returncode == 0, resumed.stderr
    assert "Continuing the interrupted training" in resumed.stderr
    assert contents(killed) == contents(undisturbed)


def test_dvclive_is_written_again_when_its_folder_was_deleted(tmp_path):
    """DVC deletes a stage's outs before it runs the stage again."""
    training = {"epochs": 4}
    train(tmp_path / "a", {"training": training})
    died = run(tmp_path / "b", {"training": training, "kill_at": (2, 0)})
    assert died.returncode == -signal.SIGKILL
    for path in sorted((tmp_path / "b/metrics").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    train(tmp_path / "b", {"training": training})
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


@pytest.mark.parametrize("part", ["data", "code"])
def test_a_changed_fingerprint_starts_afresh_and_says_so(tmp_path, part):
    changed = {"data": "1", "code": "1"} | {part: "2"}
    died = run(tmp_path / "b", {"kill_at": (2, 0)})
    assert died.returncode == -signal.SIGKILL
    again = run(tmp_path / "b", {"fingerprint": changed})
    assert again.returncode == 0, again.stderr
    assert f"its {part} changed. Starting afresh" in again.stderr
    fresh = run(tmp_path / "a", {"fingerprint": changed})
    assert fresh.returncode == 0, fresh.stderr
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


@pytest.mark.parametrize("training", [{"epochs": 20, "patience": 2, "min_delta": 100.0}, {"epochs": 3}])
def test_a_run_killed_after_its_last_epoch_trains_no_further(tmp_path, monkeypatch, training):
    train(tmp_path / "a", {"training": training})
    with monkeypatch.context() as patch:
        patch.setattr("millrace.training.model_folder.save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", {"training": training})
    train(tmp_path / "b", {"training": training})
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_starts_afresh_and_says_so(tmp_path, caplog, damage):
    died = run(tmp_path / "b", {"kill_at": (2, 0)})
    assert died.returncode == -signal.SIGKILL
    checkpoint = tmp_path / "b/runs/checkpoints/resume/last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500] if damage is None else damage)
    train(tmp_path / "b", {})
    assert "is damaged" in caplog.text
    train(tmp_path / "a", {})
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
