"""Prediction on timelines: what comes next, or what is missing, as a table, a picture and a timeline to import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from millrace.errors import Problem, UserError
from millrace.files import write_csv
from millrace.imagery.pictures import write_png
from millrace.keyframes import model, timeline
from millrace.keyframes.evaluate_folder import parse_as
from millrace.keyframes.flatten import flatten
from millrace.keyframes.forecast import Forecaster
from millrace.keyframes.masking import Mask
from millrace.keyframes.normalisation import Cells
from millrace.keyframes.params import Keyframes
from millrace.keyframes.picture import tracks_picture
from millrace.keyframes.reading import ENDINGS, find_timelines, read_timeline
from millrace.keyframes.replace import replace_cells
from millrace.keyframes.table import TRACKS, tabulate
from millrace.keyframes.windows import cells_of
from millrace.keyframes.writable import on_writable_frames
from millrace.keyframes.xmeml.write import write
from millrace.keyframes.xml_events import TimelineError
from millrace.settings import Runtime

SHOWN_S = 20
"""Seconds before a prediction that its picture shows."""


@dataclass(frozen=True)
class Prediction:
    """A timeline with what the model says in it.

    Attributes:
        sequence: Ready to be written; what was not asked for is as it was, nested sequences are flattened.
        table: Its rows as `tabulate` gives them: exactly those of the written file read again.
        asked: Cells that the model filled in, bool (rows, TRACKS).
    """

    sequence: timeline.Sequence
    table: pd.DataFrame
    asked: Mask


class Predictor:
    """A trained model ready for timelines.

    Args:
        folder: Model folder.
        params: `parse` says how files are read, but the rate and the columns are the model's; `predict` what is asked.
        runtime: The machine.

    Raises:
        UserError: The folder holds no model of this task, or one that `predict` cannot use as it is set.
    """

    def __init__(self, folder: Path, params: Keyframes, runtime: Runtime) -> None:
        trained = model.load(folder)
        self._settings = params.predict
        if trained.objective == "reconstruct":
            raise UserError(f"{folder} was trained to reconstruct its input: it has nothing to add to a timeline")
        if trained.objective == "infill" and params.predict.fill_from_s is None:
            raise UserError(
                f"{folder} fills in: set keyframes.predict.fill_from_s and fill_to_s, and fill_tracks if not all"
            )
        if wrong := [track for track in params.predict.fill_tracks if not 1 <= track <= TRACKS]:
            raise UserError(f"keyframes.predict.fill_tracks {wrong[0]} is not from 1 to {TRACKS}")
        self.parse = parse_as(trained, params.parse)
        self._rate = Fraction(str(trained.rate))
        self._forecaster = Forecaster(trained, runtime, params.evaluate.batch_size)

    def predict(self, sequence: timeline.Sequence, name: str) -> Prediction:
        """Continue a timeline, or fill in the stretch that is asked for.

        Args:
            sequence: As a reader gives it.
            name: Its `video_id` in the table.

        Raises:
            TimelineError: It shows nothing, does not reach the stretch, or cannot be written as xmeml.
        """
        flat = on_writable_frames(flatten(sequence, self._rate, self.parse.max_clips), self._rate)
        history = tabulate(flat, name, self.parse)
        if history.clips == 0:
            raise TimelineError("it shows no clip on a video track")
        cells = cells_of(history.table)[1]
        first, asked = self._asked(len(cells))
        if self._forecaster.trained.objective == "forecast":
            layout = self._forecaster.continue_(cells, len(asked))
        else:
            layout = self._filled(cells, first, asked)
        tolerance = self._settings.tolerance.by_parameter()
        edited = replace_cells(flat, layout, asked, first_row=first, settings=self.parse, tolerance=tolerance)
        table = tabulate(edited, name, self.parse).table
        whole = np.zeros((len(table), TRACKS), bool)
        whole[first : first + len(asked)] = asked
        return Prediction(edited, table, whole)

    def _asked(self, rows: int) -> tuple[int, Mask]:
        """First asked row, and the asked cells from there on (R, TRACKS)."""
        settings, rate = self._settings, float(self._rate)
        if self._forecaster.trained.objective == "forecast":
            return rows, np.ones((max(1, round(settings.seconds * rate)), TRACKS), bool)
        assert settings.fill_from_s is not None
        assert settings.fill_to_s is not None
        first, stop = ceil(settings.fill_from_s * rate), min(rows, ceil(settings.fill_to_s * rate))
        if first >= stop:
            raise TimelineError(f"it lasts {rows / rate:g} s, and the stretch to fill in begins at {first / rate:g} s")
        asked = np.zeros((stop - first, TRACKS), bool)
        asked[:, [track - 1 for track in settings.fill_tracks] or slice(None)] = True
        return first, asked

    def _filled(self, cells: Cells, first: int, asked: Mask) -> Cells:
        """Layout of the asked rows; what lies beyond the horizon builds on what was said before."""
        trained, stop = self._forecaster.trained, first + len(asked)
        cells = cells.copy()
        for start in range(first, stop, trained.horizon):
            end = min(stop, start + trained.horizon)
            begin = max(0, start - (trained.length - trained.horizon) // 2)
            window = cells[begin : begin + trained.length]
            target = np.zeros(window.shape[:2], bool)
            still = asked[start - first :][: max(0, begin + trained.length - start)]
            target[start - begin : start - begin + len(still)] = still
            (filled,) = self._forecaster.fill([(window, target)])
            cells[start:end] = filled[start - begin : end - begin]
        return cells[first:stop]


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Keyframes, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Predict timeline files and folders of them.

    Writes, for each sequence, `timelines/NAME.xml` (FCP7 XML), `tables/NAME.csv` (its rows; `predicted` is 1 where the
    model had a say) and `pictures/NAME.png`, and `predictions.csv` for all.

    Args:
        inputs: Files, or folders whose timelines are taken.
        out: Folder for the results.
        folder: Model folder.
        params: The `keyframes` section.
        runtime: The machine.
        probabilities: Not for this task.

    Returns:
        One problem for each file or sequence that failed; the others are complete.
    """
    if probabilities:
        raise UserError("the task keyframes has no --probabilities: its result is a layout")
    predictor = Predictor(folder, params, runtime)
    files, problems = _input_files(inputs)
    report = []
    for name, path in tqdm(files, desc="predict", disable=not runtime.progress):
        try:
            for video_id, sequence in _sequences(name, path, predictor, problems):
                if (target := out / "timelines" / f"{video_id}.xml").resolve() == path.resolve():
                    raise TimelineError("the result would overwrite it; choose another --out")
                prediction = predictor.predict(sequence, video_id)
                _write(prediction, video_id, out, target, float(predictor.parse.rate))
                report.append(_facts(prediction, video_id))
        except (TimelineError, OSError, MemoryError) as error:
            problems.append(Problem(path, str(error) or type(error).__name__))
    if report:
        write_csv(out / "predictions.csv", pd.DataFrame(report))
    return sorted(problems)


def _sequences(
    name: str, path: Path, predictor: Predictor, problems: list[Problem]
) -> Iterator[tuple[str, timeline.Sequence]]:
    """Sequences of a file that show something, named as `parse` does."""
    document = read_timeline(path, predictor.parse)
    problems += [Problem(path, text) for text in document.notes.problems]
    if document.notes.problems and predictor.parse.bad_files == "stop":
        return
    several, shown = len(document.sequences) > 1, False
    for number, sequence in enumerate(document.sequences, start=1):
        if tabulate(sequence, name, predictor.parse).clips:
            shown = True
            yield (f"{name}#{number}" if several else name), sequence
    if not shown:
        raise TimelineError("none of its sequences shows a clip on a video track")


def _input_files(inputs: Sequence[Path]) -> tuple[list[tuple[str, Path]], list[Problem]]:
    """Timelines with the names of their results, and one problem for each input that cannot be taken."""
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in inputs:
        if not path.exists():
            problems.append(Problem(path, "it does not exist"))
            continue
        bundle = path.is_dir() and path.suffix.lower() == ".fcpxmld"
        found, wrong = find_timelines(path) if path.is_dir() and not bundle else ([(path.stem, path)], [])
        problems += wrong
        for name, file in found:
            if name in files:
                problems.append(Problem(file, f"its result would have the name of that of {files[name]}"))
            else:
                files[name] = file / "Info.fcpxml" if bundle else file
    if not files and not problems:
        raise UserError(f"No timeline ({', '.join(ENDINGS)}) in {', '.join(map(str, inputs))}")
    return sorted(files.items()), problems


def _write(prediction: Prediction, name: str, out: Path, target: Path, rate: float) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write(replace(prediction.sequence, name=prediction.sequence.name or name), target)
    write_csv(out / "tables" / f"{name}.csv", prediction.table.assign(predicted=prediction.asked.any(1).astype(int)))
    rows = np.flatnonzero(prediction.asked.any(1))
    around = int(SHOWN_S * rate)
    first, stop = max(0, int(rows[0]) - around), int(rows[-1]) + 1 + around
    layout = cells_of(prediction.table)[1][first:stop]
    picture = tracks_picture([(name, layout)], rate, first_row=first, mark_from_row=int(rows[0]) - first)
    write_png(out / "pictures" / f"{name}.png", picture)


def _facts(prediction: Prediction, name: str) -> dict[str, object]:
    clips = [clip for track in prediction.sequence.tracks for clip in track.clips]
    return {
        "video_id": name,
        "rows": len(prediction.table),
        "predicted_rows": int(prediction.asked.any(1).sum()),
        "clips": len(clips),
        "keyframes": sum(len(curve.keys) for clip in clips for curve in clip.animation.values() if len(curve.keys) > 1),
    }
