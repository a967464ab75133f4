"""Stage `detection-report`: what the other stages found out about a model, told to someone who was not there."""

from __future__ import annotations

from pathlib import Path

from millrace.detection.params import Detection
from millrace.detection.report_charts import CHARTS, charts
from millrace.detection.report_page import page
from millrace.detection.report_results import read_results
from millrace.detection.report_text import TITLE, report
from millrace.files import whole_folder, write_text
from millrace.settings import Runtime

MODEL = Path("models/detection")
METRICS = Path("metrics/detection")
PICTURES = ("data/sheet.png", "evaluate/examples.png", "evaluate/worst.png", "evaluate/errors.png")


def run(params: Detection, runtime: Runtime) -> None:
    """Write `metrics/detection/report.md`, `report.html` and the curves of `report/`."""
    write_report(METRICS, MODEL, params)


def write_report(folder: Path, model: Path, params: Detection) -> None:
    """Report on a model: Markdown with links to pictures, and one HTML file with the pictures in it.

    Args:
        folder: Where the stages' numbers and pictures are; gets `report.md`, `report.html` and `report/`.
        model: The model folder.
        params: The `detection` section that the stages ran with.

    Raises:
        UserError: A file of the stages is missing or cannot be read.
    """
    results = read_results(folder, model)
    drawn = charts(results)
    with whole_folder(folder / CHARTS) as partial:
        for name, svg in drawn.items():
            (partial / name).write_text(svg, encoding="utf-8", newline="\n")
    addresses = [*(each for each in PICTURES if (folder / each).is_file()), *(f"{CHARTS}/{name}" for name in drawn)]
    text = report(results, params)
    html = page(text, TITLE, {address: folder / address for address in addresses})
    write_text(folder / "report.md", lambda stream: stream.write(text))
    write_text(folder / "report.html", lambda stream: stream.write(html))
