"""The command line: quick answers, clear errors, exit codes."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from millrace import cli
from millrace.cli import main
from repository import REPOSITORY

HEAVY = ("torch", "lightning", "segmentation_models_pytorch", "skimage", "pandas")


def test_help_and_parameters_answer_without_heavy_imports(workspace):
    shutil.copy(REPOSITORY / "params.yaml", workspace)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from millrace.cli import main; assert main(['params']) == 0; "
        "print(*(name for name in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, REPOSITORY / "src"], capture_output=True, text=True, check=True
    )
    assert [name for name in HEAVY if name in result.stdout.split()] == []


def test_a_wrong_parameter_stops_every_command_before_any_work(workspace, capsys):
    text = (REPOSITORY / "params.yaml").read_text().replace("min_area_px: 16", "min_area: 16")
    (workspace / "params.yaml").write_text(text)
    for arguments in (["sample", "spheroid"], ["train", "spheroid"], ["check", "spheroid"]):
        assert main(arguments) == 2
        assert "spheroid.evaluate.min_area is unknown; did you mean 'min_area_px'" in capsys.readouterr().err
    assert [path.name for path in workspace.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    "arguments", [[], ["train"], ["train", "cats"], ["predict", "spheroid", "x.png"], ["export", "spheroid"]]
)
def test_wrong_arguments_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "spheroid", "--raw", "x"], "--raw and --out together"),
        (["predict", "spheroid", "x.png", "--out", "o"], "holds no model"),
        (["export", "spheroid", "--format", "onnx"], "dvc repro spheroid-train"),
        (["prepare", "spheroid"], "does not exist. Set spheroid.raw"),
        (["train", "spheroid"], "holds no prepared data"),
        (["fold", "spheroid", "1"], "holds no prepared data"),
        (["folds", "spheroid"], "No result of any fold"),
        (["parse", "keyframes"], "does not exist. Set keyframes.raw"),
        (["parse", "spheroid"], "the task spheroid has no 'parse'"),
        (["fold", "keyframes", "1"], "the task keyframes has no 'fold'"),
        (["train", "compression"], "train compression needs one more word"),
        (["train", "compression", "q9"], "compression.rates has no 'q9'; there: q1"),
        (["train", "spheroid", "q1"], "train spheroid takes no 'q1'"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(workspace, capsys, arguments, message):
    shutil.copy(REPOSITORY / "params.yaml", workspace)
    (workspace / "x.png").write_bytes(b"no image")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_in_the_place_of_the_results_is_an_error(workspace, capsys, monkeypatch):
    shutil.copy(REPOSITORY / "params.yaml", workspace)
    (workspace / "taken").write_text("mine")
    monkeypatch.setattr(cli, "_check", lambda options: options.out.mkdir())
    assert main(["check", "spheroid", "--out", "taken"]) == 2
    assert "error: taken: File exists" in capsys.readouterr().err
    assert (workspace / "taken").read_text() == "mine"
