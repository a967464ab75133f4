"""All scores of one method over the tiles of one or more sources, from counts that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from millrace.roof.calibration import calibration_counts, calibration_error
from millrace.roof.classes import HEADS, LINES, SUPERSTRUCTURES, UNKNOWN, segment_names
from millrace.roof.height_scores import height_counts, height_scores
from millrace.roof.line_scores import SAP_THRESHOLDS, LineMatches, line_pixel_counts, match_lines, structural_ap
from millrace.roof.params import Evaluate
from millrace.roof.scene import Labelled, Lines
from millrace.roof.scores import (
    agreement,
    azimuth_error,
    binary_scores,
    boundary_counts,
    class_iou,
    confusion,
    mean_iou,
    mean_of,
)

if TYPE_CHECKING:
    from millrace.roof.infer import Maps
    from millrace.roof.vector_lines import VectorLines

NO_LINES = Lines(np.zeros(0, np.uint8), np.zeros((0, 4)))
RANKED_BY = ("azimuth_miou", "roof_iou", "line_f1_mean", "depth_delta")
"""A tile's own score, by which the worst ones are shown, is the mean of those of these that it has."""


@dataclass(frozen=True)
class TileCounts:
    """All that scores are made of, of one tile or several.

    Attributes:
        segments: Confusion of segments (A + 2, A + 2).
        superstructures: Confusion of superstructures (9, 9).
        roof: Confusion of the roof mask (2, 2).
        boundary: `boundary_counts` of the roof mask (4,).
        line_pixels: `line_pixel_counts` (5, 4).
        heights: `height_counts` (2, 4).
        calibration: `calibration_counts` of segments (BINS, 3).
        lines: Compared straight lines.
    """

    segments: NDArray[np.int64]
    superstructures: NDArray[np.int64]
    roof: NDArray[np.int64]
    boundary: NDArray[np.int64]
    line_pixels: NDArray[np.int64]
    heights: NDArray[np.float64]
    calibration: NDArray[np.float64]
    lines: LineMatches

    @classmethod
    def of(
        cls,
        labels: Labelled,
        azimuths: int,
        maps: Maps,
        lines: VectorLines,
        settings: Evaluate,
        heads: Sequence[str] = HEADS,
    ) -> TileCounts:
        """Compare one tile for some of the heads; what is not labelled counts nowhere.

        Raises:
            ValueError: The labels have another number of azimuth classes than `azimuths`.
        """
        shape = labels.image.shape[:2]
        if labels.segments is not None and labels.azimuths != azimuths:
            raise ValueError(f"the labels have {labels.azimuths} azimuth classes, the prediction {azimuths}")
        classes: dict[str, NDArray[np.uint8]] = {}
        for head in ("segments", "superstructures", "roof"):
            truth = getattr(labels, head) if head in heads else None
            classes[head] = np.full(shape, UNKNOWN, np.uint8) if truth is None else truth
        true_lines, known, vectors, vector_kinds = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), NO_LINES, 0
        if "lines" in heads:
            vectors, vector_kinds = labels.vectors or NO_LINES, labels.vector_kinds
            if labels.lines is not None and labels.lines_known is not None:
                true_lines, known = labels.lines, labels.lines_known
        height = labels.height if "height" in heads else None
        height = np.full(shape, np.nan, np.float32) if height is None else height
        on_roof = np.asarray(maps.roof) >= settings.vectorise.roof_threshold
        return cls(
            segments=confusion(classes["segments"], maps.segments, azimuths + 2),
            superstructures=confusion(classes["superstructures"], maps.superstructures, len(SUPERSTRUCTURES)),
            roof=confusion(classes["roof"], on_roof.astype(np.uint8), 2),
            boundary=boundary_counts(classes["roof"], on_roof, settings.boundary_tolerance_px),
            line_pixels=line_pixel_counts(
                true_lines, known, maps.lines, settings.vectorise.line_threshold, settings.line_tolerance_px
            ),
            heights=height_counts(height, maps.height, labels.roof),
            calibration=calibration_counts(classes["segments"], maps.segments, maps.confidence),
            lines=match_lines(vectors, vector_kinds, lines, shape),
        )

    @classmethod
    def sum(cls, parts: Sequence[TileCounts]) -> TileCounts:
        """Those of at least one part together."""
        names = [field.name for field in fields(cls) if field.name != "lines"]
        sums: dict[str, Any] = {name: np.sum([getattr(part, name) for part in parts], axis=0) for name in names}
        return cls(**sums, lines=LineMatches.joined([part.lines for part in parts]))

    def scores(self) -> dict[str, Any]:
        """The scores; NaN where there is nothing to count."""
        iou, f1 = binary_scores(self.roof)
        line_f1 = np.array([agreement(counts)[2] for counts in self.line_pixels])
        ap = structural_ap(self.lines)
        names = [f"sap{threshold}" for threshold in SAP_THRESHOLDS]
        return {
            "azimuth_miou": mean_iou(self.segments),
            "azimuth_error_deg": azimuth_error(self.segments),
            "superstructure_miou": mean_iou(self.superstructures),
            "roof_iou": iou,
            "roof_f1": f1,
            "roof_boundary_f1": agreement(self.boundary)[2],
            "line_f1": {**dict(zip(LINES, line_f1.tolist(), strict=True)), "mean": mean_of(line_f1)},
            **{f"line_{name}": mean_of(values) for name, values in zip(names, ap.T, strict=True)},
            "line_sap": {
                kind: dict(zip(names, values.tolist(), strict=True)) for kind, values in zip(LINES, ap, strict=True)
            },
            **height_scores(self.heights),
            "calibration_ece": calibration_error(self.calibration),
        }


def flat(scores: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested scores as one row of a table: keys are joined by underscores."""
    row: dict[str, float] = {}
    for key, value in scores.items():
        row |= flat(value, f"{prefix}{key}_") if isinstance(value, dict) else {prefix + key: value}
    return row


class Scored:
    """Collects the tiles of one method.

    Args:
        azimuths: How many azimuth classes it predicts.
    """

    def __init__(self, azimuths: int) -> None:
        self.azimuths = azimuths
        self._places: list[tuple[str, str]] = []
        self._counts: list[TileCounts] = []

    def add(self, source: str, name: str, counts: TileCounts) -> None:
        self._places.append((source, name))
        self._counts.append(counts)

    @property
    def total(self) -> TileCounts:
        """Of all tiles; at least one must have been added."""
        return TileCounts.sum(self._counts)

    def summary(self) -> dict[str, Any]:
        """Scores over all tiles, and `per_source` those of each source."""
        per_source = {source: self._of(source).scores() for source in self.sources}
        return {**self.total.scores(), "tiles": len(self._counts), "per_source": per_source}

    def _of(self, source: str) -> TileCounts:
        places = zip(self._places, self._counts, strict=True)
        return TileCounts.sum([counts for (own, _), counts in places if own == source])

    @property
    def sources(self) -> list[str]:
        return sorted({source for source, _ in self._places})

    def per_source(self) -> pd.DataFrame:
        """One row a source, with all scores side by side."""
        return pd.DataFrame([{"source": source, **flat(self._of(source).scores())} for source in self.sources])

    def per_tile(self) -> pd.DataFrame:
        """One row a tile, in the order they were added; `score` is the mean of those of `RANKED_BY` that it has."""
        rows = []
        for (source, name), counts in zip(self._places, self._counts, strict=True):
            scores = flat(counts.scores())
            own = mean_of(np.array([scores[key] for key in RANKED_BY]))
            rows.append({"source": source, "tile": name, "score": own, **scores})
        return pd.DataFrame(rows)

    def segment_confusion(self) -> pd.DataFrame:
        return _confusion_table(self.total.segments, segment_names(self.azimuths))

    def superstructure_confusion(self) -> pd.DataFrame:
        return _confusion_table(self.total.superstructures, SUPERSTRUCTURES)

    def segment_iou(self) -> pd.DataFrame:
        return _iou_table(self.total.segments, segment_names(self.azimuths))

    def superstructure_iou(self) -> pd.DataFrame:
        return _iou_table(self.total.superstructures, SUPERSTRUCTURES)

    def lines(self) -> pd.DataFrame:
        """One row a kind: precision, recall and F1 of pixels, AP, and how much truth there is."""
        total = self.total
        ap = structural_ap(total.lines)
        rows = []
        for kind, name in enumerate(LINES):
            precision, recall, f1 = agreement(total.line_pixels[kind])
            aps = {f"sap{threshold}": ap[kind, place] for place, threshold in enumerate(SAP_THRESHOLDS)}
            truth = {"true_pixels": int(total.line_pixels[kind, 2]), "true_lines": int(total.lines.true[kind])}
            rows.append({"kind": name, "precision": precision, "recall": recall, "f1": f1, **aps, **truth})
        return pd.DataFrame(rows)


def _confusion_table(counts: NDArray[np.int64], names: Sequence[str]) -> pd.DataFrame:
    rows, columns = np.indices(counts.shape).reshape(2, -1)
    actual, predicted = [names[row] for row in rows], [names[column] for column in columns]
    return pd.DataFrame({"actual": actual, "predicted": predicted, "count": counts.ravel()})


def _iou_table(counts: NDArray[np.int64], names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"class": names, "iou": class_iou(counts), "true_pixels": counts.sum(axis=1)})
