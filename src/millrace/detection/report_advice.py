"""Advice of the report: each rule goes from numbers to what to do, and is silent where it does not apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from millrace.detection.params import Detection
from millrace.detection.report_format import count, escaped, listed, percent, score
from millrace.detection.report_results import Results
from millrace.detection.report_rules import CLOSE, ahead, many

WORTH = 0.02
"""AP50 that mending a kind of error must bring to be worth advice."""
COMMON, FEW_ERRORS = 0.2, 10
"""Or its share of all errors, where it is not about fewer than that."""
FEW_TRAINING_BOXES = 100
BEHIND = 0.15
"""Average recall by which small objects must trail the others to be called a weakness."""
RISING, LATE = 0.02, 0.2
"""Share by which the monitored metric must have improved in this last share of the epochs."""
RISEN = 1.1
"""Times its minimum that a validation loss must have come to."""


class Advice(NamedTuple):
    """Something found, what to do about it, and the AP50 that mending it would bring, nan where nobody knows."""

    found: str
    do: str
    gain: float = math.nan


Rule = Callable[[Results, Detection], Advice | None]


def advice(results: Results, params: Detection) -> list[Advice]:
    """What to do, the largest known gain first, then in the order of `RULES`."""
    given = [each for rule in RULES if (each := rule(results, params)) is not None]
    return sorted(given, key=lambda each: -each.gain if not math.isnan(each.gain) else math.inf)


def _localisation(results: Results, params: Detection) -> Advice | None:
    if (gain := _costly(results, "localisation")) is None:
        return None
    return Advice(
        f"{many(results, 'localisation')} of the kind localisation: the box lies only roughly on its object.",
        "Look at the pictures under Errors. Where true boxes are loose or shifted, mend the labels. Where they are "
        f"tight, let the network see more: raise `detection.train.resize.short_side_px` (now {_short_side(results)}).",
        gain,
    )


def _background(results: Results, params: Detection) -> Advice | None:
    if (gain := _costly(results, "background")) is None:
        return None
    return Advice(
        f"{many(results, 'background')} of the kind background: the box lies where no object is labelled.",
        "Look at the pictures under Errors. Where they do show an object, its label is missing: complete the labels. "
        "Otherwise add training images of what is mistaken for an object, without any box "
        f"(now {count(results.data['images_without_box'], 'image')} of {count(results.data['images'])}).",
        gain,
    )


def _missed_small(results: Results, params: Detection) -> Advice | None:
    recalls = {size: row["ar"] for size, row in results.sizes.items() if not math.isnan(row["ar"])}
    small = recalls.pop("small", math.nan)
    best = max(recalls, key=recalls.__getitem__, default=None)
    if best is None or not small <= recalls[best] - BEHIND:
        return None
    return Advice(
        f"Small objects are found less often: average recall {score(small)} against {score(recalls[best])} of "
        f"{escaped(best)} ones.",
        f"Raise `detection.train.resize.short_side_px` (now {_short_side(results)}), so that they cover more pixels of "
        "what the network sees. In large images set `detection.predict.tile_px` too.",
    )


def _missed(results: Results, params: Detection) -> Advice | None:
    if (gain := _costly(results, "missed")) is None:
        return None
    return Advice(
        f"{many(results, 'missed')} of the kind missed: an object was not found.",
        "Look at the pictures under Errors and Images for what such objects have in common, and add training images "
        "that show it. Who would rather check more boxes than miss objects sets `detection.predict.score` lower than "
        f"{score(results.model.get('score_threshold'))}.",
        gain,
    )


def _classification(results: Results, params: Detection) -> Advice | None:
    gains = [gain for kind in ("classification", "both") if (gain := _costly(results, kind)) is not None]
    if not gains:
        return None
    confused = confusions(results)
    pair = ""
    if confused:
        actual, predicted, times = confused[0]
        pair = f", most often {escaped(actual)} that of {escaped(predicted)} ({count(times, 'time')})"
    return Advice(
        f"Objects are given the wrong class{pair}.",
        "Check that people who label would agree on these classes; mend the labels, or make one class of two whose "
        "difference does not matter. Otherwise add training images that show the difference.",
        max(gains),
    )


def _duplicate(results: Results, params: Detection) -> Advice | None:
    if (gain := _costly(results, "duplicate")) is None:
        return None
    return Advice(
        f"{many(results, 'duplicate')} of the kind duplicate: the box lies on an object that has one already.",
        f"Lower `detection.evaluate.nms_iou` (now {params.evaluate.nms_iou:g}), but not where objects of one class "
        "overlap as much.",
        gain,
    )


def _few_training_boxes(results: Results, params: Detection) -> Advice | None:
    training = results.balance["train"]
    rare = training[training < FEW_TRAINING_BOXES].sort_values(kind="stable")
    if rare.empty:
        return None
    if params.train.repeat > 0:
        repeat = "rare classes are drawn more often already."
    else:
        repeat = "set `detection.train.repeat` above 0, which draws images with rare classes more often."
    return Advice(
        f"There are few training boxes of {listed(list(rare.index))}: {count(rare.iloc[0])} of the rarest.",
        f"Label more images that show them. Meanwhile, {repeat}",
    )


def _validation_ahead(results: Results, params: Detection) -> Advice | None:
    if ahead(results) < CLOSE:
        return None
    return Advice(
        f"The model does better on validation than on test images, by an AP50 of {score(ahead(results))}.",
        "Check how test images differ (place, device, day), and bring such images into the training set. With few "
        "images, look for frames of one scene on both the training and the validation side.",
    )


def _still_rising(results: Results, params: Detection) -> Advice | None:
    improved = late_improvement(results, params)
    if math.isnan(improved) or improved < RISING or len(results.curves) < params.train.epochs:
        return None
    return Advice(
        f"Training was still getting better when it ended: `{params.train.monitor}` by {percent(improved)} in the last "
        f"{percent(LATE)} of the epochs.",
        f"Train longer: raise `detection.train.epochs` (now {params.train.epochs}).",
    )


def _overfitting(results: Results, params: Detection) -> Advice | None:
    curves = results.curves
    if not {"train_loss", "val_loss"} <= set(curves):
        return None
    lowest = int(curves["val_loss"].to_numpy().argmin())
    last, best = curves.iloc[-1], curves.iloc[lowest]
    if last["val_loss"] < RISEN * best["val_loss"] or last["train_loss"] >= best["train_loss"]:
        return None
    return Advice(
        f"The loss on validation images rose from {best['val_loss']:.3g} in epoch {curves.index[lowest]} to "
        f"{last['val_loss']:.3g} while that on training images fell: the network learns its training images by heart.",
        "Add training images, or let `detection.train.augmentation` change them more (`scale`, `crop`, `mosaic`).",
    )


def _skipped_steps(results: Results, params: Detection) -> Advice | None:
    if not results.skipped_steps:
        return None
    return Advice(
        f"{count(results.skipped_steps, 'training step')} changed nothing: the gradient was too large or not finite.",
        f"Lower `detection.train.learning_rate` (now {params.train.learning_rate:g}) or lengthen "
        f"`detection.train.warmup_steps` (now {params.train.warmup_steps}).",
    )


def _threshold_moved(results: Results, params: Detection) -> Advice | None:
    own, best = results.model.get("f1"), results.f1["f1"].max()
    if own is None or math.isnan(best) or best - own < WORTH:
        return None
    return Advice(
        f"The threshold that is best on validation images is not the best on test images: F1 {score(own)} where "
        f"{score(best)} was possible.",
        "Do not choose it on test images. Put more on the validation side (`detection.prepare.split.validation`), so "
        "that it is chosen better.",
    )


RULES: tuple[Rule, ...] = (
    _localisation,
    _background,
    _missed,
    _missed_small,
    _classification,
    _duplicate,
    _few_training_boxes,
    _validation_ahead,
    _still_rising,
    _overfitting,
    _threshold_moved,
    _skipped_steps,
)


def confusions(results: Results) -> list[tuple[str, str, float]]:
    """Class, class that it was reported as, and how often; the most frequent first, background left out."""
    names = results.classes
    pairs = [
        (actual, predicted, float(results.confusion[row, column]))
        for row, actual in enumerate(names)
        for column, predicted in enumerate(names)
        if row != column and results.confusion[row, column]
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def late_improvement(results: Results, params: Detection) -> float:
    """Share by which the monitored metric became better in the last epochs; nan where that cannot be said."""
    monitor, sign = params.train.monitor, 1 if params.train.monitor_mode == "max" else -1
    late = int(LATE * len(results.curves))
    if monitor not in results.curves or not late:
        return math.nan
    values = sign * results.curves[monitor]
    before, best = values.iloc[:-late].max(), values.max()
    return float((best - before) / abs(best)) if best else math.nan


def _costly(results: Results, kind: str) -> float | None:
    """AP50 that mending a kind of error would bring, if it is worth speaking of."""
    row = results.errors.get(kind)
    if row is None or not (row["ap50_gain"] >= WORTH or (row["share"] >= COMMON and row["count"] >= FEW_ERRORS)):
        return None
    return row["ap50_gain"]


def _short_side(results: Results) -> int:
    return int(results.config["resize"]["short_side_px"])
