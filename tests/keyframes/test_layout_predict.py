"""Prediction on timeline files, and the score of a model on a folder of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pandas as pd
import pytest

from keyframes.layouts import QUIET, prepare
from keyframes.xmeml_files import clip, sequence, track, xmeml
from millrace.errors import DataError, UserError
from millrace.keyframes import train
from millrace.keyframes.evaluate_folder import evaluate_folder
from millrace.keyframes.params import Keyframes
from millrace.keyframes.predict import Predictor, predict_files
from millrace.keyframes.reading import find_timelines, read_timeline
from millrace.keyframes.sample_timeline import draw_timeline
from millrace.keyframes.table import columns, tabulate
from millrace.keyframes.xmeml.write import write

CELLS = columns(rotation_and_opacity=False)
SHARED = os.environ.get("MILLRACE_SHARED_DATA")


@pytest.fixture
def model(trained_layouts) -> Path:
    return trained_layouts / "models/keyframes"


@pytest.fixture
def raw(tmp_path) -> Path:
    """A folder with three synthetic timelines, one in a folder of its own."""
    folder = tmp_path / "raw"
    for index, name in enumerate(("a.xml", "b.xml", "deep/c.xml")):
        write(draw_timeline(3, index), folder / name)
    return folder


@pytest.fixture(scope="module")
def filling_in(tmp_path_factory, small) -> Path:
    """A model that was trained to fill in."""
    folder = tmp_path_factory.mktemp("infill")
    settings = small.model_dump()
    settings["train"] |= {"epochs": 1, "objective": "infill"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare()
        train.run(Keyframes.model_validate(settings), QUIET)
    return folder / "models/keyframes"


def with_predict(small: Keyframes, **settings) -> Keyframes:
    return Keyframes.model_validate(small.model_dump() | {"predict": settings})


def read_rows(path: Path, small: Keyframes) -> pd.DataFrame:
    """The table of a written timeline, by the reader."""
    (found,) = read_timeline(path, small.parse).sequences
    return tabulate(found, "v", small.parse).table[CELLS]


def test_a_timeline_is_continued_and_reads_back_to_the_same_table(model, raw, tmp_path, small):
    out = tmp_path / "out"
    assert predict_files([raw], out, model, with_predict(small, seconds=1.5), QUIET) == []
    for name in ("a", "b", "deep/c"):
        written = read_rows(out / f"timelines/{name}.xml", small)
        table = pd.read_csv(out / f"tables/{name}.csv")
        assert (table[CELLS].astype(np.float32).to_numpy() == written.astype(np.float32).to_numpy()).all()
        before = read_rows(raw / f"{name}.xml", small)
        assert len(written) == len(before) + 15
        pd.testing.assert_frame_equal(written.iloc[: len(before)], before)
        assert table["predicted"].sum() == 15
        assert (out / f"pictures/{name}.png").is_file()
    report = pd.read_csv(out / "predictions.csv")
    assert report["video_id"].to_list() == ["a", "b", "deep/c"]
    assert (report["predicted_rows"] == 15).all()
    assert (report["predicted_clips"] >= 1).all()
    for name, row in report.set_index("video_id").iterrows():
        assert row["from_s"] == len(read_rows(raw / f"{name}.xml", small)) / 10


def test_media_is_kept_and_keys_are_few(model, raw, tmp_path, small):
    predict_files([raw / "a.xml"], tmp_path / "out", model, small, QUIET)
    (before,), (after,) = (
        read_timeline(path, small.parse).sequences for path in (raw / "a.xml", tmp_path / "out/timelines/a.xml")
    )
    kept, added = 0, []
    for track_before, track_after in zip(before.tracks, after.tracks, strict=True):
        old = {(each.name, each.media, each.start) for each in track_before.clips}
        kept += sum((each.name, each.media, each.start) in old for each in track_after.clips)
        added += [each for each in track_after.clips if each.start >= before.duration]
    assert kept == sum(len(each.clips) for each in before.tracks)
    media = {each.media for each_track in before.tracks for each in each_track.clips}
    assert {each.media for each in added} <= media | {None}
    for each in added:
        rows = max(1, float(each.end - each.start) * 10)
        assert all(len(curve.keys) <= max(2, rows / 2) for curve in each.animation.values())


def test_the_written_timeline_loads_elsewhere(model, raw, tmp_path, small):
    predict_files([raw / "a.xml"], tmp_path / "out", model, small, QUIET)
    timeline = otio.adapters.read_from_file(str(tmp_path / "out/timelines/a.xml"), adapter_name="fcp_xml")
    assert timeline.name == "video_0000"
    assert len(timeline.video_tracks()) == len(draw_timeline(3, 0).tracks)


def test_a_stretch_is_filled_in_and_the_rest_stays(filling_in, raw, tmp_path, small):
    params = with_predict(small, fill_from_s=5.0, fill_to_s=7.0, fill_tracks=[2, 3])
    assert predict_files([raw / "a.xml"], tmp_path / "out", filling_in, params, QUIET) == []
    before, after = (read_rows(path, small) for path in (raw / "a.xml", tmp_path / "out/timelines/a.xml"))
    assert len(before) == len(after)
    same = (before == after).to_numpy().reshape(len(before), 20, 9).all(axis=2)
    changed_rows, changed_tracks = np.nonzero(~same)
    assert set(changed_tracks) <= {1, 2}
    assert set(changed_rows) <= set(range(50, 70))
    assert len(changed_rows)
    assert pd.read_csv(tmp_path / "out/tables/a.csv")["predicted"].to_numpy().nonzero()[0].tolist() == list(
        range(50, 70)
    )


def test_filling_in_has_to_be_told_where(filling_in, raw, tmp_path, small):
    with pytest.raises(UserError, match=r"set keyframes.predict.fill_from_s"):
        predict_files([raw / "a.xml"], tmp_path / "out", filling_in, small, QUIET)


def test_a_stretch_behind_the_end_is_a_problem_of_that_file(filling_in, raw, tmp_path, small):
    params = with_predict(small, fill_from_s=500.0, fill_to_s=501.0)
    (problem,) = predict_files([raw / "a.xml"], tmp_path / "out", filling_in, params, QUIET)
    assert "no row between 500 and 501 s" in str(problem)


def test_one_bad_file_stops_no_other(model, raw, tmp_path, small):
    (raw / "broken.xml").write_text("<xmeml><sequence>")
    (raw / "other.xml").write_text("<html/>")
    (raw / "empty.xml").write_text(xmeml(sequence(track(), duration=30)))
    (raw / "two.xml").write_text(
        xmeml(sequence(track(clip(0, 90))), sequence(track(clip(0, 60)), own_id="t", name="second"))
    )
    problems = predict_files([raw, tmp_path / "none.xml"], tmp_path / "out", model, small, QUIET)
    assert {problem.path.name for problem in problems} == {"broken.xml", "other.xml", "empty.xml", "none.xml"}
    written = sorted(path.name for path in (tmp_path / "out/timelines").rglob("*.xml"))
    assert written == ["a.xml", "b.xml", "c.xml", "two#1.xml", "two#2.xml"]


def test_one_sequence_that_fails_stops_no_other_of_its_file(model, tmp_path, small, monkeypatch):
    text = xmeml(*(sequence(track(clip(0, 90)), own_id=name, name=name) for name in ("one", "two", "three")))
    (tmp_path / "a.xml").write_text(text)
    predict = Predictor.predict

    def failing(self, each, name):
        if each.name == "two":
            raise ZeroDivisionError("by nothing")
        return predict(self, each, name)

    monkeypatch.setattr(Predictor, "predict", failing)
    (problem,) = predict_files([tmp_path / "a.xml"], tmp_path / "out", model, small, QUIET)
    assert "sequence a#2: ZeroDivisionError: by nothing" in str(problem)
    assert sorted(path.name for path in (tmp_path / "out/timelines").iterdir()) == ["a#1.xml", "a#3.xml"]


def test_an_impossible_clip_stops_its_file_or_is_left_out(model, tmp_path, small):
    path = tmp_path / "odd.xml"
    path.write_text(xmeml(sequence(track(clip(0, 60), clip(90, 70, 0, 20)))))
    (problem,) = predict_files([path], tmp_path / "out", model, small, QUIET)
    assert "line" in str(problem)
    assert not (tmp_path / "out/timelines").exists()
    drop = Keyframes.model_validate(small.model_dump() | {"parse": {"bad_files": "drop"}})
    assert len(predict_files([path], tmp_path / "out", model, drop, QUIET)) == 1
    assert (tmp_path / "out/timelines/odd.xml").is_file()


def test_inputs_are_never_overwritten(model, raw, tmp_path, small):
    with pytest.raises(UserError, match="results would be inputs"):
        predict_files([raw], raw / "out", model, small, QUIET)
    assert not (raw / "out").exists()
    predict_files([raw / "a.xml"], tmp_path / "out", model, small, QUIET)
    again = tmp_path / "out/timelines/a.xml"
    before = again.read_bytes()
    (problem,) = predict_files([again], tmp_path / "out", model, small, QUIET)
    assert "would overwrite" in str(problem)
    assert again.read_bytes() == before
    (problem,) = predict_files([raw / "a.xml", again], tmp_path / "other", model, small, QUIET)
    assert "would have the name" in str(problem)


def test_no_input_is_overwritten_by_the_result_of_another(model, raw, tmp_path, small):
    for name in ("a.xml", "out/timelines/a.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(draw_timeline(3, 0), tmp_path / name)
    other = tmp_path / "out/timelines/b.xml"
    other.write_bytes((raw / "b.xml").read_bytes())
    (problem,) = predict_files([raw / "b.xml", other.parent / "a.xml"], tmp_path / "out", model, small, QUIET)
    assert "would overwrite" in str(problem)
    (clash,) = predict_files([other, tmp_path / "a.xml"], tmp_path / "out", model, small, QUIET)
    assert "would overwrite" in str(clash)


def test_two_sequences_never_share_a_result(model, tmp_path, small):
    two = xmeml(sequence(track(clip(0, 90))), sequence(track(clip(0, 60)), own_id="t"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.xml").write_text(two)
    (tmp_path / "in/a#1.xml").write_text(xmeml(sequence(track(clip(0, 30)))))
    problems = predict_files([tmp_path / "in"], tmp_path / "out", model, small, QUIET)
    assert any("would overwrite" in str(problem) for problem in problems)


def test_a_file_for_out_stops_before_any_work(model, raw, tmp_path, small):
    (tmp_path / "out").write_text("x")
    with pytest.raises(FileExistsError):
        predict_files([raw / "a.xml"], tmp_path / "out", model, small, QUIET)
    with pytest.raises(UserError, match="is a file"):
        evaluate_folder(raw, tmp_path / "out", model, small, QUIET)


def test_what_cannot_be_predicted_with_is_said(model, raw, tmp_path, small, monkeypatch):
    with pytest.raises(UserError, match="no --probabilities"):
        predict_files([raw], tmp_path / "out", model, small, QUIET, probabilities=True)
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="holds no timeline"):
        predict_files([tmp_path / "void"], tmp_path / "out", model, small, QUIET)
    copy = tmp_path / "model"
    copy.mkdir()
    config = json.loads((model / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"objective": "reconstruct"}))
    (copy / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="has nothing to add"):
        Predictor(copy, small, QUIET)


def test_a_folder_of_timelines_is_scored(model, raw, tmp_path, small):
    evaluate_folder(raw, tmp_path / "scores", model, small, QUIET)
    scores = json.loads((tmp_path / "scores/evaluate.json").read_text())
    assert scores["videos"] == 3
    for method in ("model", "copy_last", "mean", "linear"):
        assert scores[method]["all"]["cells"] > 0
        assert scores[method]["all"]["x_px"] >= 0
    assert {path.name for path in (tmp_path / "scores").iterdir()} >= {
        "error_by_step.csv",
        "per_track.csv",
        "per_video.csv",
        "examples.png",
        "attention.png",
    }


def test_a_folder_with_a_bad_file_is_refused_or_scored_without_it(model, raw, tmp_path, small):
    (raw / "broken.xml").write_text("<xmeml>")
    with pytest.raises(DataError, match="1 problem"):
        evaluate_folder(raw, tmp_path / "scores", model, small, QUIET)
    assert not (tmp_path / "scores").exists()
    drop = Keyframes.model_validate(small.model_dump() | {"parse": {"bad_files": "drop"}})
    evaluate_folder(raw, tmp_path / "scores", model, drop, QUIET)
    assert json.loads((tmp_path / "scores/evaluate.json").read_text())["left_out"] == 1


@pytest.mark.skipif(not SHARED, reason="MILLRACE_SHARED_DATA does not name a folder with real files")
def test_every_real_timeline_is_continued_or_refused_with_a_reason(model, tmp_path, small):
    folder = Path(str(SHARED)) / "keyframes"
    problems = predict_files([folder], tmp_path / "out", model, small, QUIET)
    files = dict(find_timelines(folder)[0])
    written = sorted((tmp_path / "out/timelines").rglob("*.xml"))
    refused = {problem.path.name: str(problem) for problem in problems}
    assert len({path.name.partition("#")[0].removesuffix(".xml") for path in written}) + len(refused) >= len(files)
    for path in written:
        name = path.relative_to(tmp_path / "out/timelines").with_suffix("")
        table = pd.read_csv(tmp_path / f"out/tables/{name}.csv")
        read = read_rows(path, small)
        assert (table[CELLS].astype(np.float32).to_numpy() == read.astype(np.float32).to_numpy()).all(), name
        assert table["predicted"].sum() == 20
    assert set(refused) == REFUSED


REFUSED = {"premiere_example_filter.xml", "sample_just_track.xml", "fcpx_clips.fcpxml"}
"""A filter, clips without a timeline, and a track without a clip."""
