"""`dvc plots show` and `dvc plots diff` draw in a real browser that reaches no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dvc_render.html import PAGE_HTML
from PIL import Image

from millrace.plots_page import PLOTS_DIR, plots_page

pytestmark = pytest.mark.pipeline

DVC = str(Path(sys.executable).with_name("dvc"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MAGENTA = (255, 0, 255)
DRAWN_CHART = '<svg[^>]* class="marks"'
ENVIRONMENT = os.environ | {
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "A Person",
    "GIT_AUTHOR_EMAIL": "person@example.com",
    "GIT_COMMITTER_NAME": "A Person",
    "GIT_COMMITTER_EMAIL": "person@example.com",
}
# "2024.csv" gives an id that starts with a digit; `broken` is a chart that Vega refuses.
DVC_YAML = """\
plots:
  - 2024.csv: {x: epoch, y: loss}
  - confusion: {x: actual, y: {classes.csv: predicted}, template: confusion}
  - broken: {x: epoch, y: {2024.csv: loss}, template: broken}
  - overlay.png
"""
BROKEN_CHART = """\
{
  "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
  "data": {"values": "<DVC_METRIC_DATA>"},
  "mark": "no such mark",
  "encoding": {"x": {"field": "<DVC_METRIC_X>"}, "y": {"field": "<DVC_METRIC_Y>"}}
}
"""


@dataclass(frozen=True)
class Visit:
    """What a browser without a network made of a page."""

    dom: str
    requests: list[str]
    screenshot: Image.Image

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.dom))

    def pixels(self, colour: tuple[int, int, int]) -> int:
        return int((np.asarray(self.screenshot) == colour).all(axis=-1).sum())


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked_by_page(net_log: Path) -> list[str]:
    """Addresses that the page itself wanted from a host; the browser's own background traffic has no origin."""
    log = json.loads(net_log.read_text())
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    starts = [event["params"] for event in log["events"] if event["type"] == start and "url" in event.get("params", {})]
    return [request["url"] for request in starts if request["initiator"] != "not an origin"]


def visit(page: Path, scratch: Path) -> Visit:
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on PATH to open the page in")
    screenshot, net_log = scratch / "page.png", scratch / "net.json"
    dom = run(
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={scratch / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=10000",
        "--window-size=1600,1600",
        f"--log-net-log={net_log}",
        f"--screenshot={screenshot}",
        "--dump-dom",
        page.as_uri(),
        folder=scratch,
    )
    with Image.open(screenshot) as image:
        return Visit(dom, asked_by_page(net_log), image.convert("RGB"))


def write_revision(folder: Path, revision: int) -> None:
    losses = "\n".join(f"{epoch},{1 / (1 + epoch + revision)}" for epoch in range(5))
    (folder / "2024.csv").write_text(f"epoch,loss\n{losses}\n")
    (folder / "classes.csv").write_text("actual,predicted\n" + "cell,cell\ncell,dust\ndust,dust\n" * revision)
    Image.new("RGB", (60 + revision, 40), MAGENTA).save(folder / "overlay.png")
    run("git", "add", "-A", folder=folder)
    run("git", "commit", "-q", "-m", f"revision {revision}", folder=folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of our .dvc folder with plots of its own, in two revisions."""
    folder = tmp_path_factory.mktemp("repository")
    not_tracked = shutil.ignore_patterns("tmp", "cache", "config.local")
    shutil.copytree(PLOTS_DIR.parent, folder / ".dvc", ignore=not_tracked)
    (folder / ".dvc" / "plots" / "broken.json").write_text(BROKEN_CHART)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    run("git", "init", "-q", folder=folder)
    write_revision(folder, 1)
    write_revision(folder, 2)
    return folder


def test_the_committed_page_is_the_generated_one():
    committed = (PLOTS_DIR / "page.html").read_text(encoding="utf-8")
    assert committed == plots_page(), "run `make plots-page` and commit .dvc/plots/page.html"


def check_drawn(page: Visit, revisions: int) -> None:
    assert page.requests == []
    assert page.count(DRAWN_CHART) == 2
    # A revision has one curve and its smoothed copy, and four cells that each have a frame for hovering.
    assert page.count('aria-roledescription="line mark"') == 2 * revisions
    assert page.count('aria-roledescription="rect mark"') == 8 * revisions


def test_plots_show_draws_without_a_network(repository: Path, tmp_path: Path):
    folder = repository / "below"
    folder.mkdir()
    run(DVC, "plots", "show", "-o", str(tmp_path / "plots"), folder=folder)
    page = visit(tmp_path / "plots" / "index.html", tmp_path)
    check_drawn(page, revisions=1)
    assert page.pixels(MAGENTA) == 62 * 40
    assert page.count('class="failed"') == 1
    assert "broken cannot be drawn: TypeError" in page.dom


def test_plots_diff_draws_both_revisions(repository: Path, tmp_path: Path):
    run(DVC, "plots", "diff", "HEAD~1", "HEAD", "-o", str(tmp_path / "plots"), folder=repository)
    page = visit(tmp_path / "plots" / "index.html", tmp_path)
    check_drawn(page, revisions=2)
    assert page.pixels(MAGENTA) == 61 * 40 + 62 * 40


def test_the_default_page_of_dvc_is_caught_asking_a_cdn(repository: Path, tmp_path: Path):
    """The control: without our page the same checks fail, so they can see what they look for."""
    (tmp_path / "default.html").write_text(PAGE_HTML)
    template = str(tmp_path / "default.html")
    run(DVC, "plots", "show", "--html-template", template, "-o", str(tmp_path / "plots"), folder=repository)
    page = visit(tmp_path / "plots" / "index.html", tmp_path)
    assert any("cdn.jsdelivr.net" in request for request in page.requests)
    assert page.count(DRAWN_CHART) == 0
