"""Prediction on timelines: what comes next, or what is missing, as a table, a picture and a timeline to import."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

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
from millrace.keyframes.params import Keyframes, Parse
from millrace.keyframes.parse import listed, shortened
from millrace.keyframes.picture import tracks_picture
from millrace.keyframes.reading import ENDINGS, find_timelines, read_timeline
from millrace.keyframes.replace import replace_cells
from millrace.keyframes.table import TRACKS, tabulate
from millrace.keyframes.windows import cells_of
from millrace.keyframes.writable import on_writable_frames
from millrace.keyframes.xmeml.write import write
from millrace.keyframes.xml_events import TimelineError
from millrace.settings import Runtime

log = logging.getLogger(__name__)
MARKER = "predicted"
FAILURES = (TimelineError, OSError, MemoryError, ValueError, ArithmeticError, RecursionError)
"""What a single file or sequence may fail with, without stopping the others."""

BEFORE_S, AFTER_S = 10, 5
"""Seconds around a prediction that its picture shows."""


@dataclass(frozen=True)
class Prediction:
    """A timeline with what the model says in it.

    Attributes:
        sequence: Ready to be written; what was not asked for is as it was, nested sequences are flattened.
        table: Its rows as `tabulate` gives them: exactly those of the written file read again.
        asked: Cells that the model filled in, bool (rows, TRACKS).
        added: Clips that are there because of it.
    """

    sequence: timeline.Sequence
    table: pd.DataFrame
    asked: Mask
    added: list[timeline.Clip]


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
        longer = self.parse.model_copy(update={"max_hours": self.parse.max_hours + self._settings.seconds / 3600})
        table = tabulate(edited, name, longer).table
        whole = np.zeros((len(table), TRACKS), bool)
        whole[first : first + len(asked)] = asked
        return Prediction(edited, table, whole, list(_added(flat, edited, asked, first / self._rate)))

    def _asked(self, rows: int) -> tuple[int, Mask]:
        """First asked row, and the asked cells from there on (R, TRACKS)."""
        settings, rate = self._settings, float(self._rate)
        if self._forecaster.trained.objective == "forecast":
            return rows, np.ones((max(1, round(settings.seconds * rate)), TRACKS), bool)
        assert settings.fill_from_s is not None
        assert settings.fill_to_s is not None
        first, stop = ceil(settings.fill_from_s * rate), min(rows, ceil(settings.fill_to_s * rate))
        if first >= stop:
            raise TimelineError(
                f"it lasts {rows / rate:g} s, with no row between {settings.fill_from_s:g} and {settings.fill_to_s:g} s"
            )
        if stop - first > self._forecaster.trained.horizon:
            log.warning(
                "Filling in %g s; the model was trained for %g s at most, and builds the rest on what it said before",
                (stop - first) / rate,
                self._forecaster.trained.horizon / rate,
            )
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


def _added(
    before: timeline.Sequence, after: timeline.Sequence, asked: Mask, start: Fraction
) -> Iterator[timeline.Clip]:
    """Clips of the asked tracks that begin where they were asked for, and not where one began before."""
    frame = 1 / after.frame_rate
    for number, track in enumerate(after.tracks[:TRACKS]):
        old = {id(clip) for clip in before.tracks[number].clips} if number < len(before.tracks) else set()
        for clip in track.clips if asked[:, number].any() else ():
            if id(clip) not in old and clip.enabled and clip.start > start - frame:
                yield clip


def predict_files(
    inputs: Sequence[Path], out: Path, folder: Path, params: Keyframes, runtime: Runtime, *, probabilities: bool = False
) -> list[Problem]:
    """Predict timeline files and folders of them.

    Writes, for each sequence, `timelines/NAME.xml` (FCP7 XML), `tables/NAME.csv` (its rows; `predicted` is 1 where the
    model had a say) and `pictures/NAME.png`, and `predictions.csv` for all, with what of the input was not written.

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
    if within := [path for path in inputs if path.is_dir() and out.resolve().is_relative_to(path.resolve())]:
        raise UserError(f"--out {out} lies in {within[0]}: results would be inputs next time. Choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    taken = {path.resolve() for _, path in files}
    report = []
    for name, path in tqdm(files, desc="predict", disable=not runtime.progress):
        try:
            document = read_timeline(path, predictor.parse)
            problems += [Problem(path, text) for text in document.notes.problems]
            if document.notes.problems and predictor.parse.bad_files == "stop":
                continue
            sequences = list(_shown(document, name, predictor.parse))
        except FAILURES as error:
            problems.append(_problem(path, error))
            continue
        for video_id, sequence in sequences:
            try:
                target = out / "timelines" / f"{video_id}.xml"
                if target.resolve() in taken:
                    raise TimelineError(f"the result would overwrite {target}; choose another --out")
                taken.add(target.resolve())
                prediction = predictor.predict(sequence, video_id)
                _write(prediction, video_id, out, target, float(predictor.parse.rate))
                report.append(_facts(prediction, video_id) | {"not_written": listed(document.notes.ignored)})
            except FAILURES as error:
                problems.append(_problem(path, error, "" if len(sequences) == 1 else f"sequence {video_id}: "))
    if report:
        write_csv(out / "predictions.csv", pd.DataFrame(report))
    return shortened(sorted(problems))


def _problem(path: Path, error: BaseException, where: str = "") -> Problem:
    kind = "" if isinstance(error, TimelineError) else f"{type(error).__name__}: "
    return Problem(path, f"{where}{kind}{error}")


def _shown(document: timeline.Document, name: str, settings: Parse) -> Iterator[tuple[str, timeline.Sequence]]:
    """Sequences of a file that show something, named as `parse` does.

    Raises:
        TimelineError: None does.
    """
    several, shown = len(document.sequences) > 1, False
    for number, sequence in enumerate(document.sequences, start=1):
        if tabulate(sequence, name, settings).clips:
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
    rows = np.flatnonzero(prediction.asked.any(1))
    rows_rate = Fraction(str(rate))
    marker = rows[0].item() / rows_rate, (rows[-1].item() + 1) / rows_rate, MARKER
    write(replace(prediction.sequence, name=prediction.sequence.name or name), target, markers=[marker])
    write_csv(out / "tables" / f"{name}.csv", prediction.table.assign(predicted=prediction.asked.any(1).astype(int)))
    first, stop = max(0, int(rows[0] - BEFORE_S * rate)), int(rows[-1] + 1 + AFTER_S * rate)
    layout = cells_of(prediction.table)[1][first:stop]
    picture = tracks_picture([(name, layout)], rate, first_row=first, marked=prediction.asked[first:stop])
    write_png(out / "pictures" / f"{name}.png", picture)


def _facts(prediction: Prediction, name: str) -> dict[str, Any]:
    rows = np.flatnonzero(prediction.asked.any(1))
    times = prediction.table["time"].to_numpy()
    curves = [curve for clip in prediction.added for curve in clip.animation.values()]
    return {
        "video_id": name,
        "from_s": times[rows[0]],
        "predicted_rows": len(rows),
        "predicted_clips": len(prediction.added),
        "predicted_keyframes": sum(len(curve.keys) for curve in curves if len(curve.keys) > 1),
        "placeholders": sum(clip.media is None and clip.media_id is None for clip in prediction.added),
    }
