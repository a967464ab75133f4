"""Stage `compression-evaluate`: whole files of the model and of other codecs, on the test scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from millrace.compression.bjontegaard import bd_psnr, bd_rate, decibels
from millrace.compression.codec_model import MODELS
from millrace.compression.comparison_picture import write_examples
from millrace.compression.params import Compression, Evaluate
from millrace.compression.rate_distortion import MODEL, Case, Job, rows_of
from millrace.compression.scores import paired
from millrace.compression.store import Store
from millrace.compression.targets import RatePoints
from millrace.errors import UserError
from millrace.files import whole_folder, write_csv, write_json
from millrace.parallel import parallel_map
from millrace.settings import Runtime

METRICS = Path("metrics/compression")
ANCHOR = "jpeg2000"
_LABELS = {"image", "codec", "point", "multiplier"}


@dataclass(frozen=True)
class Result:
    """Scores of all images.

    Attributes:
        points: One row an image, codec and point.
        differences: One row an image and codec but JPEG 2000: `bd_rate_percent`, `bd_psnr_db` and
            `bd_rate_ms_ssim_percent` against it. Empty where two curves do not overlap.
    """

    points: pd.DataFrame
    differences: pd.DataFrame

    def summary(self) -> dict[str, Any]:
        """Content of `evaluate.json`."""
        model = self.differences[self.differences["codec"] == MODEL]
        compared = model["bd_rate_percent"].notna()
        test = paired(model["bd_psnr_db"].tolist(), [0.0] * len(model))
        others = self.differences[self.differences["codec"] != MODEL].groupby("codec")["bd_rate_percent"].mean()
        return {
            "bd_rate_jpeg2000_percent": model["bd_rate_percent"].mean(),
            "bd_psnr_jpeg2000_db": model["bd_psnr_db"].mean(),
            "bd_rate_jpeg2000_ms_ssim_percent": model["bd_rate_ms_ssim_percent"].mean(),
            "images": len(model),
            "images_compared": int(compared.sum()),
            "images_smaller_than_jpeg2000": int((model["bd_rate_percent"] < 0).sum()),
            "p_value": test.p_value,
            "peers_bd_rate_jpeg2000_percent": others.to_dict(),
            "points": {codec: _means(own) for codec, own in self.points.groupby("codec")},
        }


def run(params: Compression, runtime: Runtime) -> None:
    """Score the rate points on the test scenes; write `metrics/compression/evaluate.json` and `evaluate/`.

    Raises:
        UserError: There is no test scene, or a rate point's model is missing.
    """
    store = Store()
    kept = None if store.meta["values"] == "linear" else ("low", "high")
    cases = [
        Case.of(name, values, valid, kept and (row["low"], row["high"]), params.evaluate.bits)
        for name, values, valid, row in store.scenes("test")
    ]
    if not cases:
        raise UserError("there is no test scene: give compression.prepare.split.test a share, or add scenes")
    names = tuple(params.rates)
    result = score(cases, MODELS, names, params.evaluate, runtime)
    with whole_folder(METRICS / "evaluate") as folder:
        write_details(result, cases, RatePoints(MODELS, names), params.evaluate, folder)
    write_json(METRICS / "evaluate.json", result.summary())


def score(
    cases: Sequence[Case], models: Path, names: tuple[str, ...] | None, settings: Evaluate, runtime: Runtime
) -> Result:
    """Rate and distortion of all codecs on all images.

    Args:
        cases: The images.
        models: Folder of rate points.
        names: Those to score; None scores all that are there.
        settings: Peers and their rates.
        runtime: The machine.
    """
    jobs = [Job(case, models, names, settings) for case in cases]
    points = pd.DataFrame([row for rows in parallel_map(rows_of, jobs, runtime, "evaluate") for row in rows])
    differences = []
    for image, own in points.groupby("image"):
        anchor = own[own["codec"] == ANCHOR]
        for codec, curve in own[own["codec"] != ANCHOR].groupby("codec"):
            differences.append({"image": image, "codec": codec, **_differences(anchor, curve, settings.compared)})
    return Result(points, pd.DataFrame(differences))


def write_details(result: Result, cases: Sequence[Case], points: RatePoints, settings: Evaluate, folder: Path) -> None:
    """Write `points.csv`, `images.csv`, a curve for each codec under `curves/`, and `examples.png`."""
    write_csv(folder / "points.csv", result.points)
    write_csv(folder / "images.csv", result.differences)
    for codec, own in result.points.groupby("codec"):
        curve = own.groupby(["point", "multiplier"])[["bits_per_pixel", "psnr_db", "ms_ssim"]].mean()
        write_csv(folder / "curves" / f"{codec}.csv", curve.sort_values("bits_per_pixel").reset_index())
    if settings.examples:
        write_examples(folder / "examples.png", cases[: settings.examples], points)


def _differences(anchor: pd.DataFrame, curve: pd.DataFrame, rates: tuple[float, float]) -> dict[str, float | None]:
    def points(table: pd.DataFrame, quality: str) -> list[tuple[float, float]]:
        known = table.dropna(subset=[quality])
        values = known[quality] if quality == "psnr_db" else decibels(known[quality])
        return list(zip(known["bits_per_pixel"], values, strict=True))

    def difference(measure: Any, quality: str) -> float | None:
        try:
            value: float = measure(points(anchor, quality), points(curve, quality), rates).value
        except ValueError:
            return None
        return value

    return {
        "bd_rate_percent": difference(bd_rate, "psnr_db"),
        "bd_psnr_db": difference(bd_psnr, "psnr_db"),
        "bd_rate_ms_ssim_percent": difference(bd_rate, "ms_ssim"),
    }


def _means(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean scores over the images of each point that was asked for by name."""
    own = rows[rows["multiplier"] == 1.0]
    numbers = [name for name in own.columns if name not in _LABELS]
    means = own.groupby("point", sort=False)[numbers].mean(numeric_only=False)
    return {str(point): {str(name): float(values[name]) for name in numbers} for point, values in means.iterrows()}
