"""Sections of the report about the test images: scores, threshold, confusions, errors, pictures."""

from __future__ import annotations

import math

from millrace.detection import report_advice, report_rules
from millrace.detection.params import Detection
from millrace.detection.report_charts import CHARTS, shown_classes
from millrace.detection.report_format import NOTHING, count, escaped, figure, joined, percent, score, table
from millrace.detection.report_results import Results

MOST_ROWS = 20
"""Of a table that could be long; the file with all of it is named."""
MOST_CONFUSED = 12
"""Classes that a confusion table shows whole."""
_SUMMARY = {
    "ap": "AP (mean over IoU 0.5 to 0.95)",
    "ap50": "AP50 (IoU 0.5)",
    "ap75": "AP75 (IoU 0.75)",
    "ap_small": "AP of small objects",
    "ap_medium": "AP of medium objects",
    "ap_large": "AP of large objects",
    "ar100": "AR100 (average recall)",
    "precision": "precision at the threshold",
    "recall": "recall at the threshold",
    "f1": "F1 at the threshold",
    "score_threshold": "score threshold",
}
_SIZES = {"small": "up to 32 x 32 pixels", "medium": "up to 96 x 96 pixels", "large": "more than that"}


def result(results: Results) -> str:
    blocks = [results.model, results.baseline, results.validation]
    rows = [[title, *(score(block[key]) for block in blocks)] for key, title in _SUMMARY.items()]
    return joined(
        "## Result",
        report_rules.verdict(results),
        table(["", "model, test", "baseline, test", "model, validation"], rows),
        "The first column is the result. The **baseline** is a detector without a network: regions that stand out from "
        "the background, told apart by how the regions of training boxes look. Validation images chose the threshold "
        "and maybe the epoch, so the scores on them flatter the model.",
    )


def by_class(results: Results) -> str:
    rows = []
    for _, row in results.per_class.sort_values("ap", kind="stable").iterrows():
        own = [score(row[name]) for name in ("ap", "ap50", "ap50_baseline", "precision", "recall")]
        interval = _interval(row["recall"], row["boxes"])
        rows.append([escaped(row["category"]), count(row["boxes"]), *own, interval, score(row["f1"])])
    header = ["class", "boxes", "AP", "AP50", "AP50 baseline", "precision", "recall", "95% interval", "F1"]
    drawn = len(shown_classes(results))
    which = "" if drawn == len(results.classes) else f" of {count(drawn, 'class')}, the weakest and the strongest"
    caption = f"Precision by recall at IoU 0.5{which}. Where a curve ends, the model never finds the rest."
    return joined(
        "## By class",
        "The weakest by AP first.",
        table(header, rows),
        figure(results.folder, f"{CHARTS}/precision_recall.svg", caption),
    )


def _interval(rate: float, trials: float) -> str:
    if math.isnan(rate) or not trials:
        return NOTHING
    low, high = report_rules.interval(rate, trials)
    return f"{score(low)} to {score(high)}"


def by_size(results: Results) -> str:
    rows = [
        [f"{escaped(size)}: {_SIZES.get(size, '')}", count(row["boxes"]), score(row["ap"]), score(row["ar"])]
        for size, row in results.sizes.items()
    ]
    header = ["size of the true box", "boxes", "AP", "average recall"]
    return joined("## By size", "In pixels of the images as they are on disk.", table(header, rows))


def threshold(results: Results) -> str:
    return joined(
        "## Score threshold",
        f"{report_rules.source_of_threshold(results)} On the test images, which had no say in it, F1 is "
        f"{score(results.model['f1'])}. `predict` reports boxes from this score on, unless `detection.predict.score` "
        "says otherwise: lower finds more, higher is wrong less often.",
        figure(
            results.folder,
            f"{CHARTS}/f1.svg",
            "F1, precision and recall by threshold; the upright line marks the one that is used.",
        ),
    )


def confusion(results: Results, params: Detection) -> str:
    names = [*map(escaped, results.classes), "*background*"]
    if len(results.classes) <= MOST_CONFUSED:
        cells = [[count(number) for number in row] for row in results.confusion]
        for place, row in enumerate(cells):
            row[place] = f"**{row[place]}**"
        cells[-1][-1] = NOTHING
        shown = table(["is / reported as", *names], [[name, *row] for name, row in zip(names, cells, strict=True)])
    else:
        pairs = report_advice.confusions(results)[:MOST_ROWS]
        rows = [[escaped(actual), escaped(predicted), count(number)] for actual, predicted, number in pairs]
        shown = joined("The classes taken for another most often:", table(["is", "reported as", "times"], rows, 2))
    return joined(
        "## Confusion",
        f"Reported boxes and true ones that overlap with an IoU of at least {params.evaluate.match_iou:g}. A row is "
        "what is there, a column what was reported. The row *background* counts boxes where nothing is, the column "
        "*background* objects that were not found.",
        shown,
        "All of it: `metrics/detection/evaluate/confusion.csv`.",
    )


def errors(results: Results) -> str:
    rows = []
    for kind, row in sorted(results.errors.items(), key=lambda item: -item[1]["ap50_gain"]):
        meaning = report_rules.KINDS.get(kind, "")
        rows.append([escaped(kind), meaning, count(row["count"]), percent(row["share"]), score(row["ap50_gain"])])
    return joined(
        "## Errors",
        report_rules.largest_error(results),
        table(["kind", "what it is", "count", "share", "AP50 that mending it brings"], rows, 2),
        "The kinds are those of TIDE (Bolya et al. 2020). Errors are counted at the score threshold; AP50 takes boxes "
        "of all scores, so that a few errors with high scores can cost more than many with low ones.",
        figure(results.folder, f"{CHARTS}/errors.svg", "What mending each kind of error would bring."),
        figure(
            results.folder,
            "evaluate/errors.png",
            "Errors of each kind. The true box is white, the reported one has the colour of its class.",
        ),
    )


def images(results: Results, params: Detection) -> str:
    columns = ("boxes", "detections", "true_positives", "false_positives", "missed")
    rows = [
        [escaped(row["file_name"]), *(count(row[name]) for name in columns), score(row["f1"]), score(row["score"])]
        for _, row in results.per_image.head(MOST_ROWS).iterrows()
    ]
    pair = "Left the true boxes, those not to be counted in grey; right the reported ones with their scores."
    return joined(
        "## Images",
        "The lowest-scoring first. All of them: `metrics/detection/evaluate/per_image.csv`.",
        table(["image", "objects", "boxes reported", "right", "wrong", "missed", "F1", "score"], rows),
        "**Score** here is the mean over the classes of an image of their AP within it, at an IoU of "
        f"{params.evaluate.match_iou:g}. An image without objects has 1, or 0 where a box was reported in it.",
        figure(results.folder, "evaluate/worst.png", f"The lowest-scoring images. {pair}"),
        figure(results.folder, "evaluate/examples.png", f"The highest-scoring images with objects. {pair}"),
    )
