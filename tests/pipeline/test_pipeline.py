"""The real dvc on a copy of the repository."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from repository_copy import ENVIRONMENT, Copy, stages_run

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]
SPHEROID = ["spheroid-sample", "spheroid-prepare", "spheroid-train", "spheroid-evaluate"]
KEYFRAMES = [f"keyframes-{step}" for step in ("sample", "parse", "windows", "train", "evaluate")]
COMPRESSION = [
    f"compression-{step}"
    for step in ("sample", "prepare", *(f"train@q{number}" for number in (1, 2, 3, 4)), "evaluate")
]

DETECTION = [f"detection-{step}" for step in ("sample", "prepare", "train", "evaluate", "report")]
PREPARED = [f"roof-prepare@{name}" for name in ("airs", "full", "rid", "roofline")]
ROOF = ["roof-sample", *PREPARED, "roof-train", "roof-evaluate"]


def assert_all_ran(output: str) -> None:
    """All stages, each task's in its order; which task comes first is DVC's choice."""
    ran = stages_run(output)
    assert [name for name in ran if name in SPHEROID] == SPHEROID
    assert [name for name in ran if name in KEYFRAMES] == KEYFRAMES
    assert [name for name in ran if name in DETECTION] == DETECTION
    roof = [name for name in ran if name.startswith("roof")]
    assert [roof[0], *sorted(roof[1:-2]), *roof[-2:]] == ROOF
    compression = [name for name in ran if name not in SPHEROID + KEYFRAMES + DETECTION + roof]
    assert sorted(compression) == sorted(COMPRESSION)
    assert compression[-1] == "compression-evaluate"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("repository"))
    assert_all_ran(copy.dvc("repro"))
    copy.commit("first run")
    return copy


@pytest.fixture
def copy(base) -> Copy:
    """The repository after its first run; each test leaves it as it was."""
    yield base
    base.run("git", "checkout", "-q", "--", ".")
    base.run("git", "clean", "-qfd")
    base.dvc("checkout", "--quiet", "--force")


def test_a_run_leaves_metrics_and_plots_for_git_and_data_for_dvc(copy):
    tracked = copy.run("git", "ls-files").splitlines()
    assert "metrics/spheroid/evaluate.json" in tracked
    assert "metrics/spheroid/evaluate/examples.png" in tracked
    assert not [name for name in tracked if name.startswith(("data/", "models/", "runs/"))]
    shown = json.loads(copy.dvc("metrics", "show", "--json"))[""]["data"]
    assert "dice" in shown["metrics/spheroid/evaluate.json"]["data"]["model"]
    assert copy.run("git", "status", "--porcelain") == ""


def test_a_second_run_does_nothing(copy):
    assert stages_run(copy.dvc("repro")) == []
    assert "up to date" in copy.dvc("status")


def test_a_cold_run_repeats_every_byte(copy):
    before = copy.read("dvc.lock")
    assert_all_ran(copy.dvc("repro", "--force"))
    assert copy.read("dvc.lock") == before
    assert copy.run("git", "status", "--porcelain") == ""


def test_a_threshold_re_runs_the_evaluation_alone(copy):
    output = copy.dvc("exp", "run", "-S", "spheroid.evaluate.threshold=0.4")
    assert stages_run(output) == ["spheroid-evaluate"]
    assert "spheroid.evaluate.threshold" in copy.dvc("params", "diff")


def test_timelines_follow_a_parameter_as_far_as_it_reaches(copy):
    copy.dvc("exp", "run", "-S", "keyframes.train.objective=infill")
    before = json.loads(copy.read("metrics/keyframes/evaluate.json"))
    assert stages_run(copy.dvc("exp", "run", "-S", "keyframes.evaluate.stride=60")) == ["keyframes-evaluate"]
    after = json.loads(copy.read("metrics/keyframes/evaluate.json"))
    assert after["cases"] < before["cases"]
    copy.millrace("predict", "keyframes", "data/sample/keyframes/video_0000.xml", "--out", "predicted", fails=True)
    span = ("keyframes.predict.fill_from_s=4", "keyframes.predict.fill_to_s=5.5")
    copy.millrace("params", *(part for assignment in span for part in ("--set", assignment)))
    copy.millrace("predict", "keyframes", "data/sample/keyframes/video_0000.xml", "--out", "predicted")
    assert (copy.folder / "predicted/timelines/video_0000.xml").is_file()
    copy.millrace("evaluate", "keyframes", "--raw", "data/sample/keyframes", "--out", "scored")
    assert "mean" in json.loads((copy.folder / "scored/evaluate.json").read_text())


def test_a_rate_point_is_trained_alone_and_its_files_come_back(copy):
    ran = stages_run(copy.dvc("exp", "run", "-S", "compression.rates.q2=0.002"))
    assert ran == ["compression-train@q2", "compression-evaluate"]
    assert stages_run(copy.dvc("exp", "run", "-S", "compression.evaluate.bits=16")) == ["compression-evaluate"]
    scores = json.loads(copy.read("metrics/compression/evaluate.json"))
    assert {"bd_rate_jpeg2000_percent", "bd_psnr_jpeg2000_db"} <= scores.keys()
    assert {*scores["points"]["model"]} == {"q1", "q2", "q3", "q4"}
    scene = "data/sample/compression/scene_000.tif"
    copy.millrace("compress", scene, "--out", "scene.mrz", "--rate", "0.5")
    assert json.loads(copy.millrace("info", "scene.mrz"))["damaged"] == []
    copy.millrace("decompress", "scene.mrz", "--out", "back.tif")
    assert (copy.folder / "scene.mrz").stat().st_size < (copy.folder / "back.tif").stat().st_size
    copy.millrace("evaluate", "compression", "--raw", "data/sample/compression", "--out", "scored")
    assert (copy.folder / "scored/points.csv").is_file()


def test_boxes_follow_a_parameter_as_far_as_it_reaches_and_pictures_get_theirs(copy):
    ran = stages_run(copy.dvc("exp", "run", "-S", "detection.evaluate.match_iou=0.4"))
    assert ran == ["detection-evaluate", "detection-report"]
    scores = json.loads(copy.read("metrics/detection/evaluate.json"))
    assert {"ap", "ap50", "ar100", "f1", "score_threshold", "per_class"} <= scores["model"].keys() & scores[
        "baseline"
    ].keys()
    assert "# " in copy.read("metrics/detection/report.md")
    copy.millrace("predict", "detection", "data/sample/detection/images", "--out", "predicted")
    assert isinstance(json.loads((copy.folder / "predicted/results.json").read_text()), list)
    copy.millrace("evaluate", "detection", "--raw", "data/sample/detection", "--out", "scored")
    assert "model" in json.loads((copy.folder / "scored/evaluate.json").read_text())
    copy.millrace("convert", "detection", "--to", "voc", "--out", "voc")
    assert len(list((copy.folder / "voc").rglob("*.xml"))) == 24


def test_the_source_systems_preset_trains(copy):
    copy.millrace("params", "--preset", "seed-keyframes", "--set", "keyframes.train.epochs=1")
    copy.millrace("params", "--set", "keyframes.train.batch_size=8")
    copy.dvc("repro", "keyframes-evaluate")
    assert json.loads(copy.read("models/keyframes/config.json"))["objective"] == "reconstruct"
    assert "to reconstruct its input" in copy.millrace(
        "predict", "keyframes", "data/sample/keyframes/video_0000.xml", "--out", "predicted", fails=True
    )
    assert "has no 'export'" in copy.millrace("export", "keyframes", "--format", "onnx", fails=True)


def test_the_runtime_section_re_runs_nothing(copy):
    copy.millrace("params", "--set", "runtime.workers=1", "--set", "runtime.threads=2")
    assert stages_run(copy.dvc("repro")) == []


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("min_area_px: 16", "min_area: 16", "spheroid.evaluate.min_area is unknown; did you mean 'min_area_px'?"),
        ("images: 10", "images: 3", "spheroid.sample.images is 3: input should be greater than or equal to 6"),
    ],
)
def test_a_wrong_parameter_stops_the_run_before_any_work(copy, right, wrong, message):
    before = copy.read("dvc.lock")
    text = copy.read("params.yaml")
    assert right in text
    (copy.folder / "params.yaml").write_text(text.replace(right, wrong))
    assert message in copy.dvc("repro", fails=True)
    assert copy.read("dvc.lock") == before


def test_an_unknown_parameter_cannot_be_set(copy):
    copy.dvc("exp", "run", "-S", "spheroid.train.learning_rte=1", fails=True)


def test_with_data_of_ones_own_the_sample_stage_falls_out(copy):
    (copy.folder / "mine").mkdir()
    copy.run("cp", "-r", "data/sample/spheroid/images", "data/sample/spheroid/masks", "mine")
    copy.millrace("params", "--set", "spheroid.raw=mine")
    assert stages_run(copy.dvc("repro", "spheroid-prepare")) == ["spheroid-prepare"]


def test_a_queued_experiment_runs_its_own_code(copy):
    """The code is changed, queued, and changed back before the queue starts."""
    source = "src/millrace/spheroid/scores.py"
    text = copy.read(source)
    assert text.count('"images": ') == 1
    (copy.folder / source).write_text(text.replace('"images": ', '"queued_code": 1, "images": '))
    copy.dvc("exp", "run", "--queue", "--name", "queued")
    (copy.folder / source).write_text(text)
    copy.dvc("queue", "start")
    deadline = time.monotonic() + 300
    while "Success" not in (status := copy.dvc("queue", "status")):
        assert "Failed" not in status, copy.dvc("queue", "logs", "queued")
        assert time.monotonic() < deadline, status
        time.sleep(2)
    copy.dvc("exp", "apply", "queued")
    assert json.loads(copy.read("metrics/spheroid/evaluate.json"))["model"]["queued_code"] == 1
    copy.dvc("queue", "stop", "--kill")


def test_a_killed_training_is_continued_by_the_next_run(copy):
    copy.millrace("params", "--set", "spheroid.train.epochs=8")
    checkpoint = copy.folder / "runs/spheroid/train/checkpoints/resume/last.ckpt"
    running = subprocess.Popen(
        ["python", "src/millrace", "train", "spheroid"], cwd=copy.folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert "Continuing the interrupted training" in copy.dvc("repro", "spheroid-train")
    resumed = (copy.folder / "models/spheroid/model.safetensors").read_bytes()
    output = copy.dvc("repro", "--force", "--single-item", "spheroid-train")
    assert "Continuing" not in output
    assert (copy.folder / "models/spheroid/model.safetensors").read_bytes() == resumed


def test_two_processes_train_through_the_command_line(copy):
    copy.millrace("params", "--set", "runtime.devices=2", "--set", "runtime.accelerator=cpu")
    copy.millrace("train", "spheroid")
    config = json.loads(copy.read("models/spheroid/config.json"))
    assert config["training"]["epochs"] == 2
    copy.millrace("fold", "spheroid", "1")
    assert json.loads(copy.read("metrics/spheroid/folds/1/evaluate.json"))["model"]["images"] == 2


def test_the_preset_turns_cross_validation_on(copy):
    names = [line.split()[0] for line in copy.dvc("stage", "list").splitlines()]
    assert set(names) == {*SPHEROID, *KEYFRAMES, *COMPRESSION, *DETECTION, *ROOF}
    copy.millrace("params", "--preset", "crossvalidation")
    names = [line.split()[0] for line in copy.dvc("stage", "list").splitlines()]
    folds = {*(f"spheroid-fold@{fold}" for fold in range(5)), "spheroid-folds@all"}
    assert set(names) == {*SPHEROID, *KEYFRAMES, *COMPRESSION, *DETECTION, *ROOF, *folds}
    copy.millrace("params", "--set", "spheroid.crossvalidation.folds=[1, 4]")
    assert stages_run(copy.dvc("repro")) == ["spheroid-fold@1", "spheroid-fold@4", "spheroid-folds@all"]
    assert json.loads(copy.read("metrics/spheroid/folds.json"))["folds"] == 2
    assert "metrics/spheroid/folds.json" in copy.dvc("metrics", "show")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ending"), [("onnx", "onnx"), ("torchscript", "pt"), ("torch-export", "pt2")])
def test_the_model_exports_and_agrees(copy, kind, ending):
    output = copy.millrace("export", "spheroid", "--format", kind)
    assert "largest difference from the model" in output
    assert (copy.folder / f"models/spheroid.{ending}").is_file()
    assert "up to date" in copy.dvc("status")
