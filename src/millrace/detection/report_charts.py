"""Curves of the report as SVG files, drawn by Vega-Lite without a browser or a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

from millrace.detection.report_format import plain
from millrace.detection.report_results import Results
from millrace.plots_page import VEGA_LITE

CHARTS = "report"
"""Folder of the drawings, beside the report."""
WIDTH_PX, HEIGHT_PX = 460, 240
MOST_POINTS = 200
MOST_CLASSES = 8
"""Curves that one can still tell apart."""
LOSSES = ("train_loss", "val_loss")
VALIDATION_SCORES = ("val_ap", "val_ap50", "val_f1")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Most are told apart by people who confuse colours: Okabe and Ito 2008, https://jfly.uni-koeln.de/color/."""
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3], [5, 2, 1, 2])
AXIS = {"labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal"}
LEGEND = {"labelFontSize": 12, "labelLimit": 200, "symbolSize": 400}
_UNIT = (0.0, 1.0)


def charts(results: Results) -> dict[str, str]:
    """SVG texts by file name; one without anything to show is left out."""
    drawn = {
        "sizes.svg": _sizes(results),
        "loss.svg": _training(results, LOSSES, "loss", None),
        "validation.svg": _training(results, VALIDATION_SCORES, "score on validation images", _UNIT),
        "f1.svg": _f1(results),
        "precision_recall.svg": _precision_recall(results),
        "errors.svg": _errors(results),
    }
    return {name: svg for name, svg in drawn.items() if svg is not None}


def shown_classes(results: Results) -> list[str]:
    """Classes whose curves are drawn: all, or of many the weakest half and the strongest half of `MOST_CLASSES`."""
    ranked = list(results.per_class.dropna(subset="ap50").sort_values("ap50", kind="stable")["category"])
    if len(ranked) <= MOST_CLASSES:
        return [name for name in results.per_class["category"] if name in ranked]
    return ranked[: MOST_CLASSES // 2] + ranked[-MOST_CLASSES // 2 :]


def _sizes(results: Results) -> str | None:
    """Histogram of box sizes; many classes are counted together."""
    sizes = results.box_sizes
    starts = sorted(set(sizes["start_px"]))
    if not sizes["boxes"].sum() or len(starts) < 2:
        return None
    names = [plain(name) for name in results.classes] if len(results.classes) <= MOST_CLASSES else []
    rows = [
        {"class": plain(name), "start": start, "end": start + starts[1] - starts[0], "boxes": boxes}
        for name, start, boxes in zip(sizes["category"], sizes["start_px"], sizes["boxes"], strict=True)
        if boxes
    ]
    encoding: dict[str, Any] = {
        "x": {"field": "start", "type": "quantitative", "bin": "binned", "title": "size of a box in px"},
        "x2": {"field": "end"},
        "y": {"field": "boxes", "type": "quantitative", "aggregate": "sum", "title": "boxes"},
    }
    if names:
        colours = {"domain": names, "range": COLOURS[: len(names)]}
        encoding["color"] = {"field": "class", "type": "nominal", "title": None, "scale": colours}
    return _svg([{"data": {"values": rows}, "mark": {"type": "bar"}, "encoding": encoding}], HEIGHT_PX)


def _training(results: Results, metrics: Sequence[str], title: str, limits: tuple[float, float] | None) -> str | None:
    epochs = [float(epoch) for epoch in results.curves.index]
    lines = {name: (epochs, results.curves[name].tolist()) for name in metrics if name in results.curves}
    if not lines:
        return None
    kept = (float(results.kept_epoch), "kept epoch")
    return _lines(lines, "epoch", title, (1.0, max(2.0, *epochs)), limits, kept)


def _f1(results: Results) -> str | None:
    labels = {"f1_validation": "F1, validation", "f1": "F1, test", "precision": "precision", "recall": "recall"}
    scores = results.f1["score"].tolist()
    lines = {label: (scores, results.f1[name].tolist()) for name, label in labels.items()}
    threshold = results.model.get("score_threshold")
    mark = None if threshold is None else (float(threshold), "threshold")
    return _lines(lines, "least score of a box", "F1, precision, recall", _UNIT, _UNIT, mark) if scores else None


def _precision_recall(results: Results) -> str | None:
    lines = {}
    for name in shown_classes(results):
        rows = results.precision_recall[results.precision_recall["category"] == name]
        if len(rows):
            lines[plain(name)] = (rows["recall"].tolist(), rows["precision"].tolist())
    return _lines(lines, "recall", "precision", _UNIT, _UNIT, None) if lines else None


def _errors(results: Results) -> str | None:
    gains = {kind: row["ap50_gain"] for kind, row in results.errors.items() if math.isfinite(row["ap50_gain"])}
    if not gains:
        return None
    rows = [{"kind": plain(kind), "gain": gain} for kind, gain in gains.items()]
    encoding = {
        "y": {"field": "kind", "type": "nominal", "sort": "-x", "title": None},
        "x": {"field": "gain", "type": "quantitative", "title": "AP50 that mending it would bring"},
    }
    return _svg([{"data": {"values": rows}, "mark": {"type": "bar"}, "encoding": encoding}], 26 * len(rows))


def _lines(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_title: str,
    y_title: str,
    x_limits: tuple[float, float],
    y_limits: tuple[float, float] | None,
    mark: tuple[float, str] | None,
) -> str:
    """Lines by name, each of x and y values, and maybe a mark on the x axis."""
    rows = [
        {"line": name, "order": order, "x": x, "y": y}
        for name, (xs, ys) in lines.items()
        for order, (x, y) in enumerate(_thinned(list(zip(xs, ys, strict=True))))
    ]
    names = list(lines)
    scale = {"zero": False} if y_limits is None else {"domain": list(y_limits)}
    series = {"field": "line", "type": "nominal", "title": None}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            # A curve of one epoch is a point.
            "mark": {"type": "line", "strokeWidth": 2, "point": len(rows) == len(names)},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "title": x_title,
                    "scale": {"domain": list(x_limits)},
                    "axis": {"tickMinStep": 0.1 if x_limits == _UNIT else 1},
                },
                "y": {"field": "y", "type": "quantitative", "title": y_title, "scale": scale},
                "order": {"field": "order", "type": "quantitative"},
                # Dashes besides colours: for those who tell colours apart badly, and on paper.
                "color": {**series, "scale": {"domain": names, "range": COLOURS[: len(names)]}},
                "strokeDash": {**series, "scale": {"domain": names, "range": _DASHES[: len(names)]}},
            },
        }
    ]
    if mark is not None:
        at, label = mark
        rule = {"values": [{"x": at, "label": f"{label} {at:g}" if at == int(at) else f"{label} {at:.3f}"}]}
        place = {"field": "x", "type": "quantitative"}
        layers.append({"data": rule, "mark": {"type": "rule", "color": "#555"}, "encoding": {"x": place}})
        text = {"type": "text", "align": "left", "dx": 4, "y": -6, "color": "#333"}
        layers.append({"data": rule, "mark": text, "encoding": {"x": place, "text": {"field": "label"}}})
    return _svg(layers, HEIGHT_PX)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` of them, evenly, with the first and the last; those without a value are left out."""
    known = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(known) <= MOST_POINTS:
        return known
    return [known[round(at * (len(known) - 1) / (MOST_POINTS - 1))] for at in range(MOST_POINTS)]


def _svg(layers: list[dict[str, Any]], height_px: int) -> str:
    chart = {
        "width": WIDTH_PX,
        "height": height_px,
        "background": "white",
        "padding": 10,
        "layer": layers,
        "config": {"font": "sans-serif", "axis": AXIS, "legend": LEGEND},
    }
    svg: str = vl_convert.vegalite_to_svg(chart, vl_version=VEGA_LITE)
    return svg
