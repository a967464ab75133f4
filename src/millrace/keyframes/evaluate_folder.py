"""The command `evaluate --raw`: an existing model scored on any folder of timelines."""

from __future__ import annotations

from pathlib import Path

from millrace.errors import UserError
from millrace.files import write_json
from millrace.keyframes import model
from millrace.keyframes.cases import Video
from millrace.keyframes.evaluate import Result, score, warn_if_useless, write_details
from millrace.keyframes.forecast import Forecaster
from millrace.keyframes.model import Trained
from millrace.keyframes.params import Keyframes, Parse
from millrace.keyframes.parse import usable_files
from millrace.keyframes.windows import cells_of
from millrace.settings import Runtime


def evaluate_folder(raw: Path, out: Path, folder: Path, params: Keyframes, runtime: Runtime) -> Result:
    """Score a model on all timelines of a folder; write `evaluate.json`, tables and pictures to `out`.

    Args:
        raw: Folder of timelines.
        out: Folder for the results.
        folder: Model folder.
        params: `parse` says how files are read, but the rate and the columns are the model's; `evaluate` where
            forecasts begin.
        runtime: The machine.

    Raises:
        UserError: The folder or the model cannot be used, or no video is long enough.
    """
    trained = model.load(folder)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out names a folder")
    parsed, problems = usable_files(raw, parse_as(trained, params.parse), runtime)
    videos = [
        Video(row["video_id"], cells_of(table)[1], row["width"], row["height"])
        for file in parsed
        for table, row in zip(file.tables, file.report, strict=True)
    ]
    forecaster = Forecaster(trained, runtime, params.evaluate.batch_size)
    result = score(videos, forecaster, params.evaluate, runtime.progress)
    write_details(result, forecaster, params.evaluate, out)
    write_json(out / "evaluate.json", result.summary() | {"videos": len(videos), "left_out": len(problems)})
    warn_if_useless(result.summary())
    return result


def parse_as(trained: Trained, settings: Parse) -> Parse:
    """Settings that give the rows and columns which a model was trained on."""
    extra = "rotation" in trained.normalisation.parameters
    return settings.model_copy(update={"rate": trained.rate, "rotation_and_opacity": extra})
