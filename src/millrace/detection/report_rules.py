"""Judgements of the report: each is a rule from numbers to a sentence, and holds its tongue where it does not apply."""

from __future__ import annotations

import math

from millrace.detection.report_format import count, escaped, listed, percent, score
from millrace.detection.report_results import Results

CLOSE = 0.05
"""Scores that differ by less are called equal: so wide, to either side, is the interval of 0.8 over 200 objects."""
FEW_IMAGES, FEW_BOXES = 50, 30
"""Of the test set: below these a score says little."""
KINDS = {
    "classification": "right place, wrong class",
    "localisation": "right class, but only roughly the right place",
    "both": "wrong class and only roughly the right place",
    "duplicate": "a second box on an object that was found already",
    "background": "a box where no object is labelled",
    "missed": "an object without a box, unless a box of wrong class or place stands for it",
}
"""What is meant by each kind of error."""


def interval(rate: float, trials: float) -> tuple[float, float]:
    """Wilson's 95% interval of a rate seen in so many trials (E. B. Wilson, 1927, JASA 22, 209-212)."""
    z = 1.959964
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def verdict(results: Results) -> str:
    """The model against the baseline, by AP50."""
    own, other = results.model.get("ap50"), results.baseline.get("ap50")
    if own is None:
        return "**Nothing can be said about the model: the test images hold no box to be found.**"
    if other is None:
        return f"The model has an AP50 of {score(own)}; there is no baseline to hold it against."
    numbers = f"AP50 is {score(own)}, the baseline's {score(other)}"
    if own - other >= CLOSE:
        return f"**The model is better than the baseline**: {numbers}."
    if other - own >= CLOSE:
        return f"**The model is worse than the baseline: do not use it.** {numbers}."
    return f"**The model is no better than the baseline, which needs no network.** {numbers}."


def at_threshold(results: Results) -> str:
    """How often the model is right at the score threshold, and what a user meets more often: objects that were not
    found, or boxes where nothing is.
    """
    precision, recall = results.model["precision"], results.model["recall"]
    threshold = score(results.model["score_threshold"])
    if not results.test_boxes:
        return f"How often it is right at the score threshold {threshold} is unknown: the test images hold no box."
    low, high = interval(recall, results.test_boxes)
    spread = f"{percent(low)} to {percent(high)}"
    said = f"At the score threshold {threshold} it finds {percent(recall)} of the objects ({spread})"
    if precision is None:
        return f"{said}: it reports no box at all."
    if precision - recall >= CLOSE:
        more = "It rather misses an object than reports one that is not there."
    elif recall - precision >= CLOSE:
        more = "It rather reports an object that is not there than misses one."
    else:
        more = "It misses objects about as often as it reports some that are not there."
    return f"{said}, and {percent(precision)} of the boxes that it reports are right. {more}"


def source_of_threshold(results: Results) -> str:
    """Where the score threshold comes from."""
    threshold, f1 = score(results.model.get("score_threshold")), results.validation.get("f1")
    if not f1:
        return f"The threshold {threshold} was not chosen by F1: no score finds anything in validation images."
    return f"The threshold {threshold} has the best F1 of all scores on the **validation** images, {score(f1)}."


def cautions(results: Results) -> list[str]:
    """Why the scores may say less than they seem to."""
    said = []
    boxes = results.per_class.set_index("category")["boxes"]
    if results.test_images < FEW_IMAGES:
        said.append(
            f"Only {count(results.test_images, 'test image')}: another draw of as many would give other scores. "
            f"Below {FEW_IMAGES} take them as a rough guide."
        )
    if absent := list(boxes.index[boxes == 0]):
        said.append(f"No test image shows {listed(absent)}: how well it is found is unknown.")
    if rare := list(boxes.index[(boxes > 0) & (boxes < FEW_BOXES)]):
        said.append(f"Fewer than {FEW_BOXES} test boxes of {listed(rare)}: scores of a class with so few are rough.")
    if not results.validation.get("f1"):
        said.append("The score threshold was not chosen by F1 on validation images: what follows from it means little.")
    behind = ahead(results)
    if behind >= CLOSE:
        said.append(
            f"Validation scores are better than test scores (AP50 {score(results.validation['ap50'])} against "
            f"{score(results.model['ap50'])}): expect the test's, or less, on new images."
        )
    table = results.per_class
    if len(worse := table[table["ap50"] < table["ap50_baseline"]]):
        said.append(f"The baseline finds {listed(list(worse['category']))} better than the model does.")
    return said


def largest_error(results: Results) -> str:
    """The kind whose mending would bring most."""
    gains = {kind: row["ap50_gain"] for kind, row in results.errors.items() if row["ap50_gain"] > 0}
    if not gains:
        return "Mending any one kind of error would not raise AP50."
    kind = max(gains, key=gains.__getitem__)
    return (
        f"**The errors that cost most are of the kind {escaped(kind)}** ({KINDS.get(kind, 'see below')}): "
        f"{many(results, kind)} at the threshold. Without them AP50 would be higher by {score(gains[kind])}."
    )


def many(results: Results, kind: str) -> str:
    """How many errors of a kind there are at the score threshold."""
    row = results.errors[kind]
    return f"{count(row['count'], 'error')} ({percent(row['share'])} of all)"


def ahead(results: Results) -> float:
    """AP50 by which validation images score higher than test images."""
    validation, test = results.validation.get("ap50"), results.model.get("ap50")
    return 0.0 if validation is None or test is None else float(validation - test)
