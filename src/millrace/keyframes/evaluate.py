"""Stage `keyframes-evaluate`: the model and three baselines on videos it has not seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.imagery.pictures import sheet, write_png
from millrace.keyframes import baselines, model
from millrace.keyframes.cases import Case, Video, cases_of
from millrace.keyframes.forecast import Forecaster
from millrace.keyframes.normalisation import ACTIVE, NUMBERS, Cells, Normalisation
from millrace.keyframes.params import Evaluate, Keyframes
from millrace.keyframes.parse import METRICS
from millrace.keyframes.picture import tracks_picture
from millrace.keyframes.scores import SCOPES, Scores
from millrace.keyframes.views import attention_sheet
from millrace.keyframes.window_store import WINDOWS, WindowStore
from millrace.settings import Runtime

MODEL = Path("models/keyframes")
log = logging.getLogger(__name__)
EXAMPLE_PX = 720
NEAR, FEW_CELLS = 0.1, 1000
HEADLINE = ("active_f1", "asset_accuracy", "error")
METHODS = ("model", "copy_last", "mean", "linear")


@dataclass(frozen=True)
class Predicted:
    """A case, what the model says of its asked rows, and how much of that is right.

    Attributes:
        video: Its video.
        case: The case.
        layout: Of the asked rows, by the model.
        cells: Asked cells on tracks that change.
        right: Those which the model tells, see `_right`.
        copy_last: Those which the repeated last row tells.
    """

    video: Video
    case: Case
    layout: Cells
    cells: int
    right: int
    copy_last: int

    @property
    def share(self) -> float:
        """Of changing cells that are right."""
        return self.right / self.cells if self.cells else 1.0


@dataclass
class Result:
    """Scores of all methods on the same cases."""

    scores: dict[str, Scores]
    predicted: list[Predicted]
    too_short: int

    def summary(self) -> dict[str, Any]:
        counts = {"cases": len(self.predicted), "videos_too_short": self.too_short}
        return {name: scores.summary() for name, scores in self.scores.items()} | counts

    def by_step(self, score: str, rate: float) -> pd.DataFrame:
        """A score of each method at each step after the last known row, over changing cells."""
        table = pd.DataFrame({name: scores.by_step("changing")[score] for name, scores in self.scores.items()})
        steps = np.arange(1, len(table) + 1)
        return table.assign(step=steps, seconds=steps / rate)

    def per_video(self) -> pd.DataFrame:
        """Share of changing cells that model and repeated last row tell, a row a video, the worst first."""
        found = pd.DataFrame(
            [(each.video.name, 1, each.cells, each.right, each.copy_last) for each in self.predicted],
            columns=["video_id", "cases", "changing_cells", "right", "copy_last_right"],
        )
        table = found.groupby("video_id", as_index=False).sum()
        for name in ("right", "copy_last_right"):
            table[name] = table[name] / table["changing_cells"].where(table["changing_cells"] > 0)
        return table.sort_values(["right", "video_id"])

    def examples(self, count: int) -> list[Predicted]:
        """Cases in which something changes, evenly from the worst to the best."""
        ranked = sorted((each for each in self.predicted if each.cells), key=lambda each: each.share)
        picks = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
        return [ranked[pick] for pick in picks]

    def per_track(self) -> pd.DataFrame:
        """A row a track and method."""
        return pd.concat([scores.per_track().assign(method=name) for name, scores in self.scores.items()])


def run(params: Keyframes, runtime: Runtime) -> None:
    """Score `models/keyframes` on the test videos; write `evaluate.json`, `scores.json` and `evaluate/`.

    Scores on the validation videos stand beside, for whoever chooses settings.
    """
    store = WindowStore()
    trained = model.load(MODEL)
    found = store.normalisation.parameters, float(store.meta["rate"])
    if found != (trained.normalisation.parameters, trained.rate):
        raise UserError(f"{MODEL} was trained on other columns or at another rate than {WINDOWS} has. Run `dvc repro`.")
    if not store.of("test"):
        raise UserError("The test split holds no video; keyframes.windows.split.test is its share")
    forecaster = Forecaster(trained, runtime, params.evaluate.batch_size)
    result = score(videos_of(store, "test"), forecaster, params.evaluate, runtime.progress)
    summary = result.summary()
    if store.of("validation"):
        chosen_on = score(videos_of(store, "validation"), forecaster, params.evaluate, runtime.progress)
        summary["validation"] = chosen_on.summary()["model"]
    write_json(METRICS / "evaluate.json", summary)
    write_json(METRICS / "scores.json", headline(summary))
    with whole_folder(METRICS / "evaluate") as folder:
        write_details(result, forecaster, params.evaluate, folder)
    warn_if_useless(summary)


def warn_if_useless(summary: dict[str, Any]) -> None:
    """Say so where the model is no better than repeating the last row, or where hardly anything was scored."""
    model_, last = (summary[name]["changing"] for name in ("model", "copy_last"))
    if model_["active_cells"] < FEW_CELLS:
        log.warning("Only %d active cells of the scored videos change: the scores say little", model_["active_cells"])
    # Not "less than": without a changing cell there is no number.
    if not (model_["error"] < last["error"] or model_["active_f1"] > last["active_f1"]):
        log.warning("On changing cells the model is no better than repeating the last row")


def headline(summary: dict[str, Any]) -> dict[str, Any]:
    """The few scores that one compares experiments by, for `dvc metrics`.

    They have other names than in `evaluate.json`: DVC takes a metric called `error` for a failure to read the file.
    """
    return {
        name: {f"{scope}_{score}": summary[name][scope][score] for scope in SCOPES for score in HEADLINE}
        for name in (*METHODS, "validation")
        if name in summary
    }


def videos_of(store: WindowStore, split: str) -> list[Video]:
    """Prepared videos of a side."""
    table = store.videos
    return [
        Video(
            str(table["video_id"].iloc[position]),
            store.cells(position),
            int(table["width"].iloc[position]),
            int(table["height"].iloc[position]),
        )
        for position in store.of(split)
    ]


def score(videos: Sequence[Video], forecaster: Forecaster, settings: Evaluate, progress: bool) -> Result:
    """Run the model and the baselines over all cases of some videos.

    Raises:
        UserError: No video is long enough.
    """
    trained = forecaster.trained
    cases = [
        (video, case)
        for number, video in enumerate(videos)
        for case in cases_of(video, number, trained.objective, trained.length, trained.horizon, settings)
    ]
    if not cases:
        raise UserError(
            f"None of {len(videos)} videos has the {settings.min_history + trained.horizon} rows that a case takes "
            f"(keyframes.evaluate.min_history {settings.min_history} and the model's horizon {trained.horizon})"
        )
    tracks = cases[0][1].window.shape[1]
    result = Result(
        {name: Scores(trained.normalisation, trained.horizon, tracks) for name in METHODS},
        [],
        len(videos) - len({video.name for video, _ in cases}),
    )
    batches = range(0, len(cases), settings.batch_size)
    for start in tqdm(batches, desc="keyframes evaluate", disable=not progress):
        batch = cases[start : start + settings.batch_size]
        filled = forecaster.fill([(case.window, case.target) for _, case in batch])
        for (video, case), window in zip(batch, filled, strict=True):
            layouts = {
                "model": window[case.start : case.stop],
                "copy_last": baselines.copy_last(case),
                "mean": baselines.typical(case, trained.typical_row),
                "linear": baselines.linear(case),
            }
            for name, layout in layouts.items():
                result.scores[name].add(case, video, layout)
            result.predicted.append(_predicted(video, case, layouts, trained.normalisation))
    return result


def _example(each: Predicted, rate: float) -> NDArray[np.uint8]:
    filled = each.case.window.copy()
    filled[each.case.target] = each.layout[:, each.case.tracks].reshape(-1, filled.shape[-1])
    layouts = [("true", each.case.window), (f"predicted: {each.share:.0%} of the changing tracks' cells right", filled)]
    return tracks_picture(layouts, rate, first_row=each.case.first, marked=each.case.target, width_px=EXAMPLE_PX)


def _predicted(video: Video, case: Case, layouts: dict[str, Cells], normalisation: Normalisation) -> Predicted:
    chosen = case.changing
    right, copied = (
        int(_right(case.truth, layouts[name], normalisation)[:, chosen].sum()) for name in ("model", "copy_last")
    )
    cells = len(case.truth) * int(chosen.sum())
    return Predicted(video, case, layouts["model"], cells, right, copied)


def _right(truth: Cells, layout: Cells, normalisation: Normalisation) -> NDArray[np.bool_]:
    """Cells (R, tracks) that are told: active or not, and if so the class, and each number to a tenth of its spread."""
    shown = truth[..., ACTIVE] > 0
    same_kind = (truth[..., :NUMBERS] == layout[..., :NUMBERS]).all(axis=-1)
    near = np.abs(truth - layout)[..., NUMBERS:] <= np.array(normalisation.spread) * NEAR
    right: NDArray[np.bool_] = same_kind & (near.all(axis=-1) | ~shown)
    return right


def write_details(result: Result, forecaster: Forecaster, settings: Evaluate, folder: Path) -> None:
    """Write the error by step, by track and by video, and pictures of layouts and of what the network looks at."""
    rate = forecaster.trained.rate
    for score_name in ("error", "active_f1"):
        write_csv(folder / f"{score_name}_by_step.csv", result.by_step(score_name, rate))
    write_csv(folder / "per_track.csv", result.per_track())
    write_csv(folder / "per_video.csv", result.per_video())
    examples = result.examples(settings.examples)
    if examples:
        pictures = [_example(each, rate) for each in examples]
        captions = [f"{each.video.name} at {(each.case.first + each.case.start) / rate:g} s" for each in examples]
        write_png(folder / "examples.png", sheet(pictures, captions, columns=2, cell_px=EXAMPLE_PX))
    busiest = max(result.predicted, key=lambda each: int(each.case.changing.sum()))
    maps = forecaster.maps(busiest.case.window, busiest.case.target)
    write_png(folder / "attention.png", attention_sheet(maps, np.flatnonzero(busiest.case.changing).tolist()))
