"""The report: every number is that of a file, every judgement follows a rule, every name from data is harmless."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import markdown
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from millrace.detection import prepare, report, report_rules, sample
from millrace.detection.boxes import Detections
from millrace.detection.evaluate import evaluate_split
from millrace.detection.params import Detection
from millrace.detection.report_advice import RULES, Advice, advice
from millrace.detection.report_charts import shown_classes
from millrace.detection.report_format import LONGEST_NAME, count, escaped, listed, plain
from millrace.detection.report_page import PICTURE_BYTES, data_uri
from millrace.detection.report_results import Results, read_results
from millrace.detection.store import Store
from millrace.errors import UserError
from millrace.files import write_csv, write_json
from millrace.settings import Runtime
from millrace.splitting import SIDES

CLASSES = ("bolt", "nut", "washer")
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100", "precision", "recall", "f1")


def block(level: float, boxes: dict[str, int]) -> dict[str, Any]:
    per_class = {
        name: {"boxes": number, **dict.fromkeys(("ap", "ap50", "precision", "recall", "f1"), level)}
        for name, number in boxes.items()
    }
    return {**dict.fromkeys(KEYS, level), "score_threshold": 0.45, "per_class": per_class}


@dataclass
class MadeUp:
    """Numbers of a run that has nothing wrong with it, but for what a test changes before it is written."""

    classes: tuple[str, ...] = CLASSES
    test_boxes: tuple[int, ...] = (300, 120, 60)
    test_images: int = 80
    model: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, tuple[int, float]] = field(default_factory=lambda: dict.fromkeys(report_rules.KINDS, (1, 0.001)))
    sizes: dict[str, tuple[int, float, float]] = field(
        default_factory=lambda: {"small": (100, 0.5, 0.6), "medium": (200, 0.6, 0.7), "large": (180, 0.6, 0.7)}
    )
    train_boxes: tuple[int, ...] = (1200, 500, 240)
    curves: dict[str, list[float]] = field(
        default_factory=lambda: {
            "train_loss": [2.0, 1.5, 1.2, 1.0, 0.9, 0.8, 0.75, 0.72, 0.7, 0.69],
            "val_loss": [2.1, 1.6, 1.3, 1.1, 1.0, 0.95, 0.93, 0.92, 0.92, 0.92],
            "val_ap": [0.1, 0.3, 0.4, 0.45, 0.5, 0.52, 0.54, 0.55, 0.55, 0.55],
            "val_ap50": [0.2, 0.5, 0.6, 0.7, 0.75, 0.78, 0.79, 0.8, 0.8, 0.8],
        }
    )
    confused: dict[tuple[str, str], int] = field(default_factory=dict)
    findings: list[tuple[str, str]] = field(default_factory=list)
    best_test_f1: float | None = None
    kept_epoch: int = 7
    skipped: int = 0
    file_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        boxes = dict(zip(self.classes, self.test_boxes, strict=True))
        self.model = block(0.8, boxes) | self.model
        self.baseline = block(0.3, boxes) | self.baseline
        self.validation = block(0.81, boxes) | self.validation

    def write(self, root: Path) -> Results:
        """`root/metrics` and `root/model`, read back."""
        folder = root / "metrics"
        write_json(
            folder / "evaluate.json", {name: getattr(self, name) for name in ("model", "baseline", "validation")}
        )
        self._write_data(folder)
        self.write_training(folder / "train", root / "model")
        self._write_tables(folder / "evaluate")
        for name in report.PICTURES:
            Image.fromarray(np.full((60, 90, 3), 128, np.uint8)).save(folder / name)
        return read_results(folder, root / "model")

    def _write_data(self, folder: Path) -> None:
        sides = {"train": (205, self.train_boxes), "validation": (87, self.test_boxes)}
        sides["test"] = (self.test_images, self.test_boxes)
        counts = {side: {"images": images, "boxes": sum(boxes)} for side, (images, boxes) in sides.items()}
        used = {name: sum(each[name] for each in counts.values()) for name in ("images", "boxes")}
        stated = {"images_stated": used["images"] + 1, "boxes_stated": used["boxes"] + 2}
        others = {"images_without_box": 4, "copies": 1, "boxes_ignored": 0, "median_box_px": 56.789}
        write_json(folder / "data.json", counts | used | stated | others)
        columns = ["kind", "file", "image_id", "file_name", "annotation_id", "what", "done"]
        rows = [(kind, "a.json", 1, "NA", None, "what", done) for kind, done in self.findings]
        write_csv(folder / "data" / "findings.csv", pd.DataFrame(rows, columns=columns))
        balance = {"all": (used["images"], self.train_boxes)} | sides  # the numbers of "all" are not read
        rows = [
            (name, side, 1, number, 0.5)
            for side, (_, boxes) in balance.items()
            for name, number in zip(self.classes, boxes, strict=True)
        ]
        columns = ["category", "split", "images", "boxes", "share"]
        write_csv(folder / "data" / "class_balance.csv", pd.DataFrame(rows, columns=columns))
        sizes = [(name, start, 10 + start) for name in self.classes for start in range(0, 200, 10)]
        write_csv(folder / "data" / "box_sizes.csv", pd.DataFrame(sizes, columns=["category", "start_px", "boxes"]))

    def write_training(self, folder: Path, model: Path) -> None:
        epochs = len(next(iter(self.curves.values())))
        write_json(folder / "metrics.json", {"kept_epoch": self.kept_epoch, "skipped": self.skipped})
        for name, values in self.curves.items():
            path = folder / "plots" / "metrics" / f"{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("step\t" + name + "\n" + "".join(f"{at}\t{value}\n" for at, value in enumerate(values)))
        architecture = Detection().train.model.model_dump() | {"anchors_px": [16.0, 33.333333, 80.0]}
        training = {
            "epochs": epochs,
            "kept_epoch": self.kept_epoch,
            "fingerprint": {"data": "d" * 64, "code": "c" * 64},
        }
        classes = [{"id": 10 * at, "name": name} for at, name in enumerate(self.classes)]
        config = {"architecture": architecture, "classes": classes, "training": training}
        write_json(model / "config.json", config | {"resize": {"short_side_px": 240, "long_side_px": 480}})

    def _write_tables(self, folder: Path) -> None:
        names = ("ap", "ap50", "precision", "recall", "f1")
        rows = []
        for name in self.classes:
            own, other = self.model["per_class"][name], self.baseline["per_class"][name]
            baseline = {f"{key}_baseline": other[key] for key in names}
            rows.append({"category": name, "boxes": own["boxes"], **{key: own[key] for key in names}, **baseline})
        write_csv(folder / "per_class.csv", pd.DataFrame(rows))
        recall = np.linspace(0, 1, 101)
        curve = {"recall": recall, "precision": 1 - recall**4, "score": 1 - recall}
        curves = [pd.DataFrame({"category": name, **curve}) for name in self.classes]
        write_csv(folder / "pr_curve.csv", pd.concat(curves))
        best = {"validation": 0.81, "test": self.best_test_f1 or 0.8}
        f1 = {split: top * 4 * recall * (1 - recall) for split, top in best.items()}
        columns = {"score": recall, "precision": recall, "recall": 1 - recall}
        table = pd.DataFrame({**columns, "f1": f1["test"], "f1_validation": f1["validation"]})
        write_csv(folder / "f1_curve.csv", table)
        names = [*self.classes, ""]
        confusion = [
            {
                "actual": a or "background",
                "predicted": b or "background",
                "count": self.confused.get((a, b), 40 * (a == b)),
            }
            for a in names
            for b in names
            if a or b
        ]
        write_csv(folder / "confusion.csv", pd.DataFrame(confusion))
        every = sum(number for number, _ in self.errors.values())
        errors = [(kind, number, number / max(1, every), gain) for kind, (number, gain) in self.errors.items()]
        write_csv(folder / "errors.csv", pd.DataFrame(errors, columns=["kind", "count", "share", "ap50_gain"]))
        sizes = [(size, *values) for size, values in self.sizes.items()]
        write_csv(folder / "sizes.csv", pd.DataFrame(sizes, columns=["size", "boxes", "ap", "ar"]))
        images = self.file_names or tuple(f"BloodImage_{at:05}.jpg" for at in range(self.test_images))
        per_image = {"file_name": images, "boxes": 6, "detections": 7, "true_positives": 5, "false_positives": 2}
        scores = np.linspace(0.2, 1, len(images))
        write_csv(folder / "per_image.csv", pd.DataFrame({**per_image, "missed": 1, "f1": 0.77, "score": scores}))


def rules_of(made: MadeUp, root: Path, **train: Any) -> dict[str, Advice]:
    """Advice by the rule that gave it."""
    results = made.write(root)
    params = Detection.model_validate({"train": train})
    given = {rule.__name__.strip("_"): rule(results, params) for rule in RULES}
    return {name: each for name, each in given.items() if each is not None}


def write(made: MadeUp, root: Path, params: Detection | None = None) -> tuple[str, str]:
    made.write(root)
    report.write_report(root / "metrics", root / "model", params or Detection())
    return tuple((root / "metrics" / name).read_text("utf-8") for name in ("report.md", "report.html"))


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def cells(text: str, first: str) -> list[str]:
    """The row of a table that begins with a cell."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return next(row for row in rows if row[0] == first)


def test_every_section_stands_in_both_files(tmp_path: Path) -> None:
    text, html = write(MadeUp(findings=[("box_empty", "dropped")] * 3), tmp_path)
    sections = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert sections[:4] == ["In short", "What the words mean", "Data", "Model and training"]
    assert len(sections) == 13
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("h2") == 13
    assert all(section in page.words for section in sections)
    assert cells(text, "boxes without an area") == ["boxes without an area", "dropped", "3"]


def test_numbers_are_those_of_the_files(tmp_path: Path) -> None:
    made = MadeUp(model={"ap": 0.4321, "f1": None}, baseline={"ap": 0.1234}, validation={"ap": 0.4567})
    made.model["per_class"]["nut"] |= {"ap": 0.2, "recall": 0.5}
    text, _ = write(made, tmp_path)
    assert cells(text, "AP (mean over IoU 0.5 to 0.95)")[1:] == ["0.432", "0.123", "0.457"]
    assert cells(text, "F1 at the threshold")[1] == "-"
    by_class = text[text.index("## By class") :]
    assert cells(by_class, "nut") == [
        "nut",
        "120",
        "0.200",
        "0.800",
        "0.300",
        "0.800",
        "0.500",
        "0.412 to 0.588",
        "0.800",
    ]
    assert by_class.index("| nut") < by_class.index("| bolt")
    assert cells(text, "**images**")[1:4] == ["205", "87", "80"]
    assert "Of 373 images and 2,902 boxes that they state, 372 images and 2,900 boxes are used" in text
    assert "4 images without a box; 1 copy of other images; 0 boxes neither" in text
    assert "smaller than 56.8 px" in text
    assert cells(text, "nut")[1:5] == ["500", "120", "120", "26%"]
    assert cells(text, "epoch that became the model")[1] == "8: the best by val_loss"
    assert "8 images" in text
    assert "The threshold 0.450 has the best F1" in text


def test_settings_are_those_that_were_trained_with(tmp_path: Path) -> None:
    augmentation = {"flip": 0.0, "scale": 1.0, "turn": True, "brightness": 0.0, "contrast": 0.3, "saturation": 0.0}
    model = {"encoder_weights": "imagenet"}
    train = {"augmentation": augmentation, "model": model, "keep": "last", "repeat": 0.25, "average_decay": 0.99}
    text, _ = write(MadeUp(), tmp_path, Detection.model_validate({"train": train}))
    assert cells(text, "augmentation")[1] == "turn, contrast 0.3"
    assert cells(text, "initial weights")[1] == "encoder from imagenet"
    assert cells(text, "epoch that became the model")[1] == "8: the last"
    assert "less than 25%" in cells(text, "sampling")[1]
    assert cells(text, "average of weights")[1] == "decay 0.99"
    assert cells(text, "anchors")[1] == "16, 33.3, 80 px"


def test_writes_the_same_bytes_again(tmp_path: Path) -> None:
    made = MadeUp()
    made.write(tmp_path)
    folder = tmp_path / "metrics"
    written = []
    for _ in range(2):
        report.write_report(folder, tmp_path / "model", Detection())
        files = [folder / "report.md", folder / "report.html", *sorted((folder / "report").iterdir())]
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    assert set(written[0]) > {"errors.svg", "f1.svg", "loss.svg", "precision_recall.svg", "sizes.svg", "validation.svg"}


HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "`code` *bold* _under_ [link](http://example.com)",
    '" onerror="alert(1)',
    'src="data/sheet.png"',
    "Zelle/Größe 細胞",
    "![x](javascript:alert(1))",
    "&lt;b&gt; &amp;",
    "NA",
    "1",
    "\u202egnp.exe\x1b[31m\n# heading",
)


def test_names_from_data_show_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    files = tuple(f"{name}.jpg" for name in HOSTILE)
    boxes = (40,) * len(HOSTILE)
    made = MadeUp(classes=HOSTILE, test_boxes=boxes, train_boxes=boxes, file_names=files)
    made.confused = {(HOSTILE[0], HOSTILE[1]): 7}
    made.errors["classification"] = (60, 0.05)
    text, html = write(made, tmp_path, Detection(raw=HOSTILE[0]))
    page, clean = Page(html), Page(write(MadeUp(), tmp_path / "clean")[1])
    for name in HOSTILE[:10]:
        assert name in page.words
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in clean.tags}
    assert {key for _, attributes in page.tags for key in attributes} == {
        key for _, attributes in clean.tags for key in attributes
    }
    assert "alert(1)</script>" not in text
    # Each row has as many cells as its header, whatever the names hold.
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert all(len({line.count("|") for line in block.splitlines()}) == 1 for block in blocks)
    for svg in (tmp_path / "metrics" / "report").iterdir():
        assert "<script" not in svg.read_text("utf-8")
        ElementTree.fromstring(svg.read_text("utf-8"))


@given(st.text(max_size=60))
def test_an_escaped_name_reads_as_the_plain_one(name: str) -> None:
    cell = f"| head | next |\n| --- | --- |\n| {escaped(name)} | end |\n\nSentence with {escaped(name)} in it."
    html = markdown.markdown(cell, extensions=["tables"])
    page = Page(html)
    assert page.words.count(plain(name)) >= 2
    assert {tag for tag, _ in page.tags} == {"table", "thead", "tr", "th", "tbody", "td", "p"}
    assert [tag for tag, _ in page.tags].count("td") == 2


def test_plain_names_fit_and_keep_their_direction() -> None:
    assert plain("  a\n b ") == "a b"
    assert plain("") == "(no name)"
    assert plain("a\u202eb\x00\ud800") == "a\ufffdb\ufffd\ufffd"
    assert LONGEST_NAME - 1 <= len(plain("x" * 1000)) <= LONGEST_NAME
    assert escaped("BloodImage_00338.jpg") == "BloodImage_00338.jpg"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"
    assert listed(list("abcdefgh")) == "a, b, c, d, e and 3 more"
    assert (count(1, "box"), count(2, "box"), count(1234, "class")) == ("1 box", "2 boxes", "1,234 classes")


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    _, html = write(MadeUp(), tmp_path)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == len(report.PICTURES) + 6
    assert all(source.startswith("data:image/") for source in sources)
    assert all(attributes["href"].startswith("#") for tag, attributes in page.tags if tag == "a")
    assert "url(" not in html
    assert "@import" not in html


def test_pictures_are_linked_from_the_text_and_within_the_page(tmp_path: Path) -> None:
    text, html = write(MadeUp(), tmp_path)
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert set(report.PICTURES) < set(linked)
    assert all((tmp_path / "metrics" / address).is_file() for address in linked)
    png = base64.b64encode((tmp_path / "metrics" / "evaluate" / "worst.png").read_bytes()).decode()
    assert png in html


def test_a_picture_that_is_not_there_is_not_shown(tmp_path: Path) -> None:
    made = MadeUp()
    made.write(tmp_path)
    (tmp_path / "metrics" / "evaluate" / "errors.png").unlink()
    report.write_report(tmp_path / "metrics", tmp_path / "model", Detection())
    assert "errors.png" not in (tmp_path / "metrics" / "report.md").read_text("utf-8")


def test_a_large_picture_is_reduced_within_the_page(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > PICTURE_BYTES
    uri = data_uri(tmp_path / "noise.png")
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert len(content) <= PICTURE_BYTES
    with Image.open(io.BytesIO(content)) as reduced:
        assert reduced.width / reduced.height == pytest.approx(4 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("model", "baseline", "said"),
    [
        (0.8, 0.3, "The model is better than the baseline"),
        (0.36, 0.3, "The model is better than the baseline"),
        (0.34, 0.3, "no better than the baseline"),
        (0.26, 0.3, "no better than the baseline"),
        (0.2, 0.3, "worse than the baseline: do not use it"),
        (None, None, "Nothing can be said"),
    ],
)
def test_verdict(tmp_path: Path, model: float | None, baseline: float | None, said: str) -> None:
    results = MadeUp(model={"ap50": model}, baseline={"ap50": baseline}).write(tmp_path)
    assert said in report_rules.verdict(results)


@pytest.mark.parametrize(
    ("precision", "recall", "said"),
    [
        (0.9, 0.7, "rather misses"),
        (0.7, 0.9, "rather reports"),
        (0.8, 0.8, "about as often"),
        (None, 0.0, "no box at all"),
    ],
)
def test_precision_and_recall_in_words(tmp_path: Path, precision: float | None, recall: float, said: str) -> None:
    results = MadeUp(model={"precision": precision, "recall": recall}).write(tmp_path)
    assert said in report_rules.at_threshold(results)


def test_interval_is_wilsons() -> None:
    assert report_rules.interval(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    assert report_rules.interval(1.0, 10) == pytest.approx((0.72246, 1.0), abs=1e-5)


def test_cautions_are_silent_where_nothing_is_to_be_said(tmp_path: Path) -> None:
    assert report_rules.cautions(MadeUp().write(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_images": 49}, "Only 49 test images"),
        ({"test_boxes": (300, 0, 60)}, "No test image shows nut"),
        ({"test_boxes": (300, 29, 60)}, "Fewer than 30 test boxes of nut"),
        ({"validation": {"f1": 0.0}}, "was not chosen by F1"),
        ({"validation": {"ap50": 0.86}}, "Validation scores are better than test scores (AP50 0.860 against 0.800)"),
    ],
)
def test_cautions(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    (caution,) = report_rules.cautions(MadeUp(**changes).write(tmp_path))
    assert said in caution


def test_a_class_that_the_baseline_finds_better_is_named(tmp_path: Path) -> None:
    made = MadeUp()
    made.baseline["per_class"]["washer"]["ap50"] = 0.9
    (caution,) = report_rules.cautions(made.write(tmp_path))
    assert "The baseline finds washer better" in caution


def test_largest_error_is_that_with_the_largest_gain(tmp_path: Path) -> None:
    made = MadeUp()
    made.errors |= {"missed": (50, 0.02), "background": (10, 0.07)}
    said = report_rules.largest_error(made.write(tmp_path))
    assert "of the kind background" in said
    assert "10 errors" in said
    assert "0.070" in said
    made.errors = dict.fromkeys(report_rules.KINDS, (0, 0.0))
    assert "would not raise AP50" in report_rules.largest_error(made.write(tmp_path))


def test_no_rule_has_advice_on_a_run_without_faults(tmp_path: Path) -> None:
    assert rules_of(MadeUp(), tmp_path) == {}
    text, _ = write(MadeUp(), tmp_path)
    assert "No rule of this report has anything to advise" in text


@pytest.mark.parametrize(
    ("kind", "rule", "said"),
    [
        ("localisation", "localisation", "short_side_px` (now 240)"),
        ("background", "background", "without any box"),
        ("missed", "missed", "lower than 0.450"),
        ("classification", "classification", "make one class of two"),
        ("both", "classification", "make one class of two"),
        ("duplicate", "duplicate", "nms_iou` (now 0.5)"),
    ],
)
def test_costly_errors_have_advice(tmp_path: Path, kind: str, rule: str, said: str) -> None:
    made = MadeUp()
    made.errors[kind] = (1, 0.02)
    given = rules_of(made, tmp_path)
    assert list(given) == [rule]
    assert said in given[rule].do
    assert given[rule].gain == pytest.approx(0.02)
    made.errors[kind] = (1, 0.019)
    assert rules_of(made, tmp_path) == {}
    made.errors[kind] = (10, 0.019)  # most of all errors
    assert list(rules_of(made, tmp_path)) == [rule]


@pytest.mark.parametrize(
    ("changes", "train", "rule", "said"),
    [
        ({"sizes": {"small": (9, 0.4, 0.54), "large": (9, 0.6, 0.7)}}, {}, "missed_small", "short_side_px"),
        ({"train_boxes": (1200, 500, 99)}, {}, "few_training_boxes", "`detection.train.repeat` above 0"),
        ({"train_boxes": (1200, 500, 99)}, {"repeat": 0.3}, "few_training_boxes", "already"),
        ({"validation": {"ap50": 0.86}}, {}, "validation_ahead", "how test images differ"),
        ({"curves": {"val_loss": [2.0, 1.5, 1.2, 1.1, 1.05]}}, {"epochs": 5}, "still_rising", "(now 5)"),
        (
            {"curves": {"val_ap": [0.1, 0.2, 0.3, 0.4, 0.41]}},
            {"epochs": 5, "monitor": "val_ap", "monitor_mode": "max"},
            "still_rising",
            "(now 5)",
        ),
        (
            {"curves": {"train_loss": [2.0, 1.0, 0.5], "val_loss": [2.0, 1.0, 1.1]}},
            {},
            "overfitting",
            "Add training images",
        ),
        ({"best_test_f1": 0.83}, {}, "threshold_moved", "Do not choose it on test images"),
        ({"skipped": 3}, {}, "skipped_steps", "learning_rate` (now 0.001)"),
    ],
)
def test_advice(tmp_path: Path, changes: dict[str, Any], train: dict[str, Any], rule: str, said: str) -> None:
    given = rules_of(MadeUp(**changes), tmp_path, **train)
    assert list(given) == [rule]
    assert said in given[rule].do


@pytest.mark.parametrize(
    ("changes", "train"),
    [
        ({"sizes": {"small": (9, 0.4, 0.56), "large": (9, 0.6, 0.7)}}, {}),
        ({"sizes": {"small": (0, math.nan, math.nan), "large": (9, 0.6, 0.7)}}, {}),
        ({"train_boxes": (1200, 500, 100)}, {}),
        ({"validation": {"ap50": 0.84}}, {}),
        ({"curves": {"val_loss": [2.0, 1.5, 1.2, 1.1, 1.09]}}, {"epochs": 5}),
        ({"curves": {"val_loss": [2.0, 1.5, 1.2, 1.1, 1.05]}}, {"epochs": 6}),  # stopped early: no longer better
        ({"curves": {"val_loss": [2.0, 1.5, 1.1, 1.0]}}, {"epochs": 4}),  # too short to tell
        ({"curves": {"train_loss": [2.0, 1.0, 1.1], "val_loss": [2.0, 1.0, 1.2]}}, {}),  # both rise: no overfitting
        ({"best_test_f1": 0.81}, {}),
    ],
)
def test_no_advice_below_the_thresholds(tmp_path: Path, changes: dict[str, Any], train: dict[str, Any]) -> None:
    assert rules_of(MadeUp(**changes), tmp_path, **train) == {}


def test_confused_classes_are_named(tmp_path: Path) -> None:
    made = MadeUp(confused={("nut", "bolt"): 3, ("bolt", "nut"): 9, ("bolt", ""): 50})
    made.errors["classification"] = (12, 0.03)
    assert "bolt that of nut (9 times)" in rules_of(made, tmp_path)["classification"].found
    text, _ = write(made, tmp_path)
    confusion = text[text.index("## Confusion") :]
    assert cells(confusion, "bolt") == ["bolt", "**40**", "9", "0", "50"]
    assert cells(confusion, "*background*") == ["*background*", "0", "0", "0", "-"]


def test_a_class_called_background_is_not_the_background(tmp_path: Path) -> None:
    made = MadeUp(classes=("background", "nut"), test_boxes=(50, 60), train_boxes=(200, 200))
    made.confused = {("background", "background"): 31, ("", "background"): 5, ("background", ""): 6}
    text, _ = write(made, tmp_path)
    confusion = text[text.index("## Confusion") :]
    assert cells(confusion, "background") == ["background", "**31**", "0", "6"]
    assert cells(confusion, "*background*") == ["*background*", "5", "0", "-"]


def test_advice_comes_in_the_order_of_its_gain(tmp_path: Path) -> None:
    made = MadeUp(skipped=3)
    made.errors |= {"localisation": (9, 0.03), "missed": (9, 0.08), "duplicate": (9, 0.05)}
    given = advice(made.write(tmp_path), Detection())
    assert [round(each.gain, 2) for each in given[:3]] == [0.08, 0.05, 0.03]
    assert math.isnan(given[3].gain)
    text, _ = write(made, tmp_path)
    assert f"The first thing to mend: {given[0].found} {given[0].do}" in text


def test_many_classes_and_images_stay_readable(tmp_path: Path) -> None:
    names = tuple(f"class {at:02}" for at in range(40))
    made = MadeUp(classes=names, test_boxes=(50,) * 40, train_boxes=(500,) * 40, confused={(names[3], names[5]): 4})
    for at, name in enumerate(names):
        made.model["per_class"][name]["ap50"] = 0.5 + at / 100
    results = made.write(tmp_path)
    assert shown_classes(results) == [*names[:4], *names[36:]]
    text, _ = write(made, tmp_path)
    assert cells(text[text.index("## Confusion") :], "class 03") == ["class 03", "class 05", "4"]
    assert text.count("BloodImage") == 20
    assert "of 8 classes, the weakest and the strongest" in text


def test_test_images_without_a_box(tmp_path: Path) -> None:
    nothing = dict.fromkeys((*KEYS, "f1"))
    made = MadeUp(test_boxes=(0, 0, 0), model=nothing, baseline=nothing)
    for each in (made.model, made.baseline):
        for row in each["per_class"].values():
            row |= dict.fromkeys(("ap", "ap50", "precision", "recall", "f1"))
    made.errors = {kind: (3 if kind == "background" else 0, math.nan) for kind in report_rules.KINDS}
    text, html = write(made, tmp_path)
    assert "Nothing can be said about the model" in text
    assert "nan" not in text.replace("nanmean", "")
    assert "precision_recall.svg" not in text
    assert html


def test_one_epoch_is_drawn(tmp_path: Path) -> None:
    text, _ = write(MadeUp(curves={"train_loss": [1.0], "val_loss": [1.2], "val_ap": [0.3]}, kept_epoch=0), tmp_path)
    assert cells(text, "epoch that became the model")[1].startswith("1:")
    assert "report/loss.svg" in text


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("metrics/evaluate.json", "evaluate"),
        ("metrics/evaluate/errors.csv", "evaluate"),
        ("metrics/data.json", "prepare"),
        ("metrics/train/metrics.json", "train"),
        ("model/config.json", "train"),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_its_stage(tmp_path: Path, name: str, stage: str) -> None:
    MadeUp().write(tmp_path)
    for damage in (lambda path: path.write_text('"'), Path.unlink):
        damage(tmp_path / name)
        with pytest.raises(UserError, match=rf"{re.escape(name)} .*detection-{stage}"):
            report.write_report(tmp_path / "metrics", tmp_path / "model", Detection())
    assert not (tmp_path / "metrics" / "report.md").exists()


def test_an_incomplete_file_is_told(tmp_path: Path) -> None:
    made = MadeUp()
    made.write(tmp_path)
    write_json(tmp_path / "metrics" / "evaluate.json", {"model": made.model})
    with pytest.raises(UserError, match="baseline"):
        read_results(tmp_path / "metrics", tmp_path / "model")


@pytest.mark.slow
def test_what_the_other_stages_write_can_be_told(workspace: Path) -> None:
    split = {"train": 0.4, "validation": 0.3, "test": 0.3}
    sections = {"sample": {"images": 20, "width_px": 160, "height_px": 128}, "prepare": {"split": split}}
    params, runtime = Detection.model_validate(sections), Runtime(progress=False, jobs=1)
    sample.run(params, runtime)
    prepare.run(params, runtime)
    store = Store()
    everything = [store.truth(place) for side in ("validation", "test") for place in store.positions(side)]
    rest = iter(everything)

    def find(pictures: Sequence[np.ndarray]) -> list[Detections]:
        """The true boxes, half of them of the first class, whatever they are."""
        found = []
        for _, truth in zip(pictures, rest, strict=False):
            labels = np.where(np.arange(len(truth.labels)) % 2, truth.labels, 0)
            found.append(Detections(truth.boxes, labels, np.linspace(0.9, 0.4, len(labels), dtype=np.float32)))
        return found

    def nothing(pictures: Sequence[np.ndarray]) -> list[Detections]:
        empty = np.zeros(0, np.float32)
        return [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), empty) for _ in pictures]

    finds = {"model": find, "baseline": nothing}
    evaluate_split(store, finds, params.evaluate.model_copy(update={"batch_size": 1}), report.METRICS, progress=False)
    classes = tuple(store.names)
    MadeUp(classes, (1,) * len(classes), train_boxes=(1,) * len(classes)).write_training(
        report.METRICS / "train", report.MODEL
    )
    report.run(params, runtime)
    text = (report.METRICS / "report.md").read_text("utf-8")
    results = read_results(report.METRICS, report.MODEL)
    assert "better than the baseline" in text
    assert "of the kind classification" in text
    assert cells(text, "**images**")[1:4] == [str(len(store.positions(side))) for side in SIDES]
    assert results.confusion.sum() == results.test_boxes == results.confusion[:, :-1].sum()
    assert all(f"]({address})" in text for address in report.PICTURES)
