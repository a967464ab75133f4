"""The command `evaluate --raw`: an existing model scored on any labelled folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from millrace.errors import DataError
from millrace.files import write_json
from millrace.settings import Runtime
from millrace.spheroid import model
from millrace.spheroid.check import check_folder
from millrace.spheroid.evaluate import Labelled, Result, score, write_details
from millrace.spheroid.params import Preprocessing, Spheroid
from millrace.spheroid.reading import read_pair
from millrace.spheroid.segment import Segmenter


def evaluate_folder(raw: Path, out: Path, folder: Path, params: Spheroid, runtime: Runtime) -> Result:
    """Score an existing model on any labelled folder.

    Args:
        raw: Folder with `images/` and `masks/` (or `labels/`).
        out: Gets `evaluate.json` with the blocks `model` and `baseline`, curves, a table and pictures.
        folder: The model.
        params: `evaluate` and the checks of `prepare` are used; preprocessing is the model's own.
        runtime: The machine.

    Raises:
        DataError: Files of the folder cannot be used; nothing is written. With `bad_files: drop` they are left out.
    """
    network, config = model.load(folder)
    settings = params.prepare.model_copy(update={"preprocessing": Preprocessing(**config["preprocessing"])})
    report = check_folder(raw, settings, runtime)
    if report.problems and (settings.bad_files == "stop" or not report.pairs):
        raise DataError(f"{raw}: {len(report.problems)} problem(s); nothing was scored.", report.problems)

    def images() -> Iterator[Labelled]:
        for pair in report.pairs:
            image, scale, labels = read_pair(pair, settings)
            yield pair.name, scale.apply(image), labels

    segmenter = Segmenter(network, params.evaluate, runtime)
    result = score(images(), segmenter, params.evaluate, len(report.pairs), runtime.progress)
    out.mkdir(parents=True, exist_ok=True)
    write_details(result, images(), segmenter, out)
    write_json(out / "evaluate.json", result.summary())
    return result
