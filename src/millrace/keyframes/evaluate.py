"""Stage `keyframes-evaluate`: the model and three baselines on videos it has not seen."""

from __future__ import annotations

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
from millrace.keyframes.window_store import WindowStore
from millrace.settings import Runtime

MODEL = Path("models/keyframes")
EXAMPLE_PX = 720
HEADLINE = ("active_f1", "asset_accuracy", "error")
METHODS = ("model", "copy_last", "mean", "linear")


@dataclass(frozen=True)
class Predicted:
    """A case, what the model says of its asked rows, and how wrong that and the repeated last row are.

    Attributes:
        video: Its video.
        case: The case.
        layout: Of the asked rows, by the model.
        cells: Active cells on tracks that change.
        error: Sum over these of the model's error, as in `Scores`.
        copy_last: The same of the repeated last row.
    """

    video: Video
    case: Case
    layout: Cells
    cells: int
    error: float
    copy_last: float

    @property
    def mean_error(self) -> float:
        return self.error / self.cells if self.cells else 0.0


@dataclass
class Result:
    """Scores of all methods on the same cases."""

    scores: dict[str, Scores]
    predicted: list[Predicted]
    too_short: int

    def summary(self) -> dict[str, Any]:
        counts = {"cases": len(self.predicted), "videos_too_short": self.too_short}
        return {name: scores.summary() for name, scores in self.scores.items()} | counts

    def by_step(self, rate: float) -> pd.DataFrame:
        """Error of each method at each step after the last known row, over changing cells."""
        table = pd.DataFrame({name: scores.by_step("changing")["error"] for name, scores in self.scores.items()})
        steps = np.arange(1, len(table) + 1)
        return table.assign(step=steps, seconds=steps / rate)

    def per_video(self) -> pd.DataFrame:
        """Error over changing cells of the model and of the repeated last row, a row a video, the worst first."""
        found = pd.DataFrame(
            [(each.video.name, 1, each.cells, each.error, each.copy_last) for each in self.predicted],
            columns=["video_id", "cases", "changing_cells", "error", "copy_last"],
        )
        table = found.groupby("video_id", as_index=False).sum()
        for name in ("error", "copy_last"):
            table[name] /= table["changing_cells"].where(table["changing_cells"] > 0)
        return table.sort_values(["error", "video_id"], ascending=[False, True])

    def examples(self, count: int) -> list[Predicted]:
        """Cases in which something changes, evenly from the best to the worst."""
        ranked = sorted((each for each in self.predicted if each.cells), key=lambda each: each.mean_error)
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
    forecaster = Forecaster(model.load(MODEL), runtime, params.evaluate.batch_size)
    result = score(videos_of(store, "test"), forecaster, params.evaluate, runtime.progress)
    summary = result.summary()
    if store.of("validation"):
        chosen_on = score(videos_of(store, "validation"), forecaster, params.evaluate, runtime.progress)
        summary["validation"] = chosen_on.summary()["model"]
    write_json(METRICS / "evaluate.json", summary)
    write_json(METRICS / "scores.json", headline(summary))
    with whole_folder(METRICS / "evaluate") as folder:
        write_details(result, forecaster, params.evaluate, folder)


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
    filled[each.case.start : each.case.stop] = each.layout
    layouts = [("true", each.case.window), (f"predicted, error {each.mean_error:.3f}", filled)]
    return tracks_picture(layouts, rate, first_row=each.case.first, mark_from_row=each.case.start, width_px=EXAMPLE_PX)


def _predicted(video: Video, case: Case, layouts: dict[str, Cells], normalisation: Normalisation) -> Predicted:
    chosen = (case.truth[..., ACTIVE] > 0) & case.changing
    spread = np.array(normalisation.spread)
    wrong = {
        name: float((np.abs(layouts[name] - case.truth)[chosen][:, NUMBERS:] / spread).mean(axis=1).sum())
        for name in ("model", "copy_last")
    }
    return Predicted(video, case, layouts["model"], int(chosen.sum()), wrong["model"], wrong["copy_last"])


def write_details(result: Result, forecaster: Forecaster, settings: Evaluate, folder: Path) -> None:
    """Write the error by step, by track and by video, and pictures of layouts and of what the network looks at."""
    write_csv(folder / "by_step.csv", result.by_step(forecaster.trained.rate))
    write_csv(folder / "per_track.csv", result.per_track())
    write_csv(folder / "per_video.csv", result.per_video())
    rate, examples = forecaster.trained.rate, result.examples(settings.examples)
    if examples:
        pictures = [_example(each, rate) for each in examples]
        captions = [f"{each.video.name} at {(each.case.first + each.case.start) / rate:g} s" for each in examples]
        write_png(folder / "examples.png", sheet(pictures, captions, columns=2, cell_px=EXAMPLE_PX))
    busiest = max(result.predicted, key=lambda each: int(each.case.changing.sum()))
    maps = forecaster.maps(busiest.case.window, busiest.case.target)
    write_png(folder / "attention.png", attention_sheet(maps, np.flatnonzero(busiest.case.changing).tolist()))
