"""The report as Markdown: what the model is, what it was made of, what to do next. Judgements are `report_rules`'."""

from __future__ import annotations

from collections import Counter

from millrace.detection import findings, report_advice, report_rules, report_scores
from millrace.detection.params import Augmentation, Detection
from millrace.detection.report_charts import CHARTS
from millrace.detection.report_format import count, escaped, figure, joined, listed, percent, score, table
from millrace.detection.report_results import Results
from millrace.splitting import SIDES

TITLE = "Detection: performance report"


def report(results: Results, params: Detection) -> str:
    """The whole text.

    Args:
        results: What the stages wrote.
        params: The `detection` section that they ran with.
    """
    return joined(
        f"# {TITLE}",
        _in_short(results, params),
        _words(params),
        _data(results, params),
        _training(results, params),
        report_scores.result(results),
        report_scores.by_class(results),
        report_scores.by_size(results),
        report_scores.threshold(results),
        report_scores.confusion(results, params),
        report_scores.errors(results),
        report_scores.images(results, params),
        _next(results, params),
        _again(results, params),
    )


def _in_short(results: Results, params: Detection) -> str:
    points = [
        f"It finds objects of {count(len(results.classes), 'class')} in pictures, as boxes: {listed(results.classes)}. "
        f"It was scored on {count(results.test_images, 'image')} with {count(results.test_boxes, 'box')} that it was "
        "neither trained on nor tuned to.",
        report_rules.verdict(results),
        report_rules.at_threshold(results),
        report_rules.largest_error(results),
        *report_rules.cautions(results),
    ]
    if given := report_advice.advice(results, params):
        points.append(f"The first thing to mend: {given[0].found} {given[0].do}")
    return joined("## In short", "\n".join(f"- {point}" for point in points))


def _words(params: Detection) -> str:
    iou = params.evaluate.match_iou
    return f"""## What the words mean

- **IoU** of two boxes: area that they share, divided by the area that they cover together. 1 is the same box.
- **Score** of a box: how sure the model is, from 0 to 1. **Threshold**: boxes with a lower score are not reported.
- A box is **right** if an object of its class is there with an IoU of at least {iou:g}, and no better box took it.
- **Precision**: share of the reported boxes that are right. **Recall**: share of the objects that were found.
  **F1**: their harmonic mean.
- **AP**: mean of the precision over all recalls, so without a threshold, averaged over classes (COCO's definition).
  AP50 asks for an IoU of 0.5, AP for the mean over 0.5, 0.55 ... 0.95, which rewards tight boxes.
- All scores go from 0 to 1, more is better; a dash stands where there was nothing to count.
- **Intervals** are Wilson's 95% intervals. They take objects as independent; those of one image are not, so the truth
  is rather wider."""


def _data(results: Results, params: Detection) -> str:
    data, balance = results.data, results.balance
    every = max(1, balance.to_numpy().sum())
    rows = [["**images**", *(count(data[side]["images"]) for side in SIDES), ""]]
    rows += [[escaped(name), *map(count, row), percent(sum(row) / every)] for name, *row in balance.itertuples()]
    return joined(
        "## Data",
        f"Raw data: {escaped(params.raw)}. Of {count(data['images_stated'], 'image')} and "
        f"{count(data['boxes_stated'], 'box')} that they state, {count(data['images'], 'image')} and "
        f"{count(data['boxes'], 'box')} are used. {count(data['images_without_box'], 'image')} without a box; "
        f"{count(data['copies'], 'copy')} of other images; {count(data['boxes_ignored'], 'box')} neither trained on "
        "nor counted (crowds and the like). Half of the boxes are smaller than "
        f"{data['median_box_px']:.3g} px (square root of the area).",
        "Boxes of each class on each side of the split. An image and its copies are on one side.",
        table(["boxes of", *SIDES, "share"], rows),
        figure(results.folder, f"{CHARTS}/sizes.svg", "Boxes by size, the square root of the area."),
        figure(results.folder, "data/sheet.png", "Some of the images with their true boxes."),
        _findings(results),
    )


def _findings(results: Results) -> str:
    """What was found in the raw data and done with it, counted."""
    if results.findings.empty:
        return "The check of the raw data found nothing."
    counted = Counter(zip(results.findings["kind"], results.findings["done"], strict=True))
    rows = [
        [findings.KINDS[kind].title[1] if kind in findings.KINDS else escaped(kind), escaped(done), count(number)]
        for (kind, done), number in counted.items()
    ]
    return joined(
        "### Findings",
        table(["the check found", "what was done", "how many"], rows, 2),
        "Each of them: `metrics/detection/data/findings.csv`.",
    )


def _training(results: Results, params: Detection) -> str:
    return joined(
        "## Model and training",
        table(["setting", "value"], _settings(results, params), 2),
        "All settings: `params.yaml`, section `detection.train`.",
        figure(
            results.folder,
            f"{CHARTS}/loss.svg",
            "Loss by epoch on training and validation images. The upright line marks the epoch that became the model.",
        ),
        figure(results.folder, f"{CHARTS}/validation.svg", "Scores on validation images by epoch."),
    )


def _settings(results: Results, params: Detection) -> list[list[str]]:
    """Those that matter most, as name and value."""
    architecture, resize, settings = results.config["architecture"], results.config["resize"], params.train
    network, anchors = architecture["architecture"], "as published"
    if network == "fpn":
        network += f", encoder {architecture['encoder']}"
        anchors = f"{', '.join(f'{side:.3g}' for side in architecture['anchors_px'])} px"
    weights = {"encoder": settings.model.encoder_weights, "whole network": settings.model.weights}
    start = [f"{part} from {escaped(source)}" for part, source in weights.items() if source is not None]
    trained = results.config["training"]["epochs"]
    rule = f"the best by {escaped(settings.monitor)}" if settings.keep == "best" else "the last"
    repeat = "each image once an epoch"
    if settings.repeat:
        repeat = f"more often images with a class that is in less than {percent(settings.repeat)} of them"
    return [
        ["network", f"Faster R-CNN, {escaped(network)}; backend {escaped(architecture['backend'])}"],
        ["initial weights", ", ".join(start) or "random numbers"],
        ["what the network sees", f"short side {resize['short_side_px']} px, long {resize['long_side_px']} px at most"],
        ["anchors", anchors],
        ["normalisation", escaped(architecture["norm"])],
        ["epochs", f"{trained} of {settings.epochs} at most"],
        ["epoch that became the model", f"{results.kept_epoch}: {rule}"],
        ["batch", count(settings.batch_size, "image")],
        ["optimiser", f"{settings.optimiser}, learning rate {settings.learning_rate:g}, schedule {settings.schedule}"],
        ["arithmetic", settings.precision],
        ["augmentation", escaped(_augmentation(settings.augmentation))],
        ["sampling", repeat],
        ["average of weights", "none" if settings.average_decay is None else f"decay {settings.average_decay:g}"],
        ["seed", str(settings.seed)],
    ]


def _augmentation(settings: Augmentation) -> str:
    """Those that change anything."""
    values = {name: value for name, value in settings.model_dump().items() if value}
    if not settings.crop:
        values = {name: value for name, value in values.items() if name not in ("crop_share", "min_visible")}
    if settings.scale == 1:
        del values["scale"]
    return ", ".join(name if value is True else f"{name} {value:g}" for name, value in values.items()) or "none"


def _next(results: Results, params: Detection) -> str:
    given = report_advice.advice(results, params)
    if not given:
        return joined("## What to do next", "No rule of this report has anything to advise.")
    return joined(
        "## What to do next",
        "The largest known gain first. Gains are what mending all errors of a kind would bring: upper limits, which do "
        "not add up.",
        table(
            ["found", "what to do", "AP50 that mending it brings"],
            [[each.found, each.do, score(each.gain)] for each in given],
            2,
        ),
    )


def _again(results: Results, params: Detection) -> str:
    commands = (
        "dvc repro detection-report                                          # only what has changed is run",
        "python src/millrace evaluate detection --raw FOLDER --out FOLDER    # score it on other labelled images",
        "python src/millrace predict detection IMAGES --out FOLDER           # use it",
    )
    prints = results.config["training"]["fingerprint"]
    same = ", ".join(f"{escaped(name)} {escaped(str(value)[:16])}" for name, value in sorted(prints.items()))
    return joined(
        "## How to get this again",
        f"With `params.yaml` as it was committed with this report, and raw data in {escaped(params.raw)}:",
        "\n".join(f"    {command}" for command in commands),
        f"A training with the same fingerprints gives the same model: {same}.",
    )
