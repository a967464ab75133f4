"""What a check of a source found, as tables, counts, pictures and text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from millrace.errors import UserError
from millrace.files import write_csv, write_json
from millrace.roof import raw as reader
from millrace.roof.class_counts import known_shares, labelled_heads, table
from millrace.roof.data_pictures import write_sheet
from millrace.roof.source_check import Report, check_source
from millrace.roof.windows import read_band
from millrace.settings import Runtime
from millrace.splitting import SIDES

if TYPE_CHECKING:
    from millrace.roof.params import Prepare, Roof

SHEET_ROWS = 8
SHOWN = 20
"""Problems that are printed; all of them are in failed.csv."""


def summary(report: Report) -> dict[str, Any]:
    """Counts for data.json."""
    tiles = report.tiles[report.tiles["labelled"]]
    pixels = tiles["height"] * tiles["width"]
    everything = report.of_side("all")
    classes = table(everything, report.azimuths, "all")
    shares: dict[str, dict[str, float]] = {}
    for head, name, share in zip(classes["head"], classes["class"], classes["share"], strict=True):
        shares.setdefault(head, {})[name] = float(share)
    sides = {
        side: {
            "scenes": int(tiles.loc[tiles["side"] == side, "scene"].nunique()),
            "tiles": int((tiles["side"] == side).sum()),
            "megapixels": float(pixels[tiles["side"] == side].sum() / 1e6),
        }
        for side in SIDES
    }
    return {
        "format": report.source.format,
        "azimuths": report.azimuths,
        "heads": labelled_heads(everything, report.azimuths),
        "scenes": len(report.scenes),
        "failed_samples": report.bad,
        "problems": len(report.problems),
        "copies": report.copies,
        "tiles": len(tiles),
        "tiles_without_label": int((~report.tiles["labelled"]).sum()),
        "megapixels": float(pixels.sum() / 1e6),
        "heights_outside": report.heights_outside,
        "known_share": known_shares(everything, report.azimuths, max(1, int(pixels.sum()))),
        "class_share": shares,
        "sides": sides,
    }


def write_report(report: Report, settings: Prepare, folder: Path) -> None:
    """Write `classes.csv`, `failed.csv`, `data.json` and `sheet.png`."""
    tables = [table(report.of_side(side), report.azimuths, side) for side in ("all", *SIDES)]
    write_csv(folder / "classes.csv", pd.concat(tables, ignore_index=True))
    failed = [(str(problem.path), problem.reason) for problem in report.problems]
    write_csv(folder / "failed.csv", pd.DataFrame(failed, columns=["file", "reason"]))
    write_json(folder / "data.json", summary(report))
    shown = report.tiles[report.tiles["labelled"]]
    shown = shown.iloc[:: max(1, math.ceil(len(shown) / SHEET_ROWS))]
    if not len(shown):
        return
    tiles = []
    for band, place_in_band in zip(shown["band"], shown["place"], strict=True):
        tiles.append(read_band(report.bands[band], report.source, settings)[0][place_in_band].labelled)
    captions = [f"{name} {side}".strip() for name, side in zip(shown["scene"], shown["side"], strict=True)]
    write_sheet(folder / "sheet.png", tiles, captions, labelled_heads(report.of_side("all"), report.azimuths))


def print_check(raw: Path | None, out: Path, params: Roof, runtime: Runtime) -> bool:
    """The command `check roof`: print what was found; write tables, counts and pictures, but no data.

    Args:
        raw: Folder of a data set of any of the known structures; None checks all sources of `params`.
        out: Gets `classes.csv`, `failed.csv`, `data.json` and `sheet.png`, in a folder for each source of `params`.
        params: The `roof` section.
        runtime: The machine.

    Returns:
        Whether nothing was found that stops.
    """
    if raw is not None:
        return _print_source(check_source("raw", reader.detect(raw), params.prepare, runtime), out, params.prepare)
    clean = True
    for name, source in sorted(params.raw.items()):
        try:
            report = check_source(name, source, params.prepare, runtime)
        except UserError as error:
            # One data set that is not there must not hide what is wrong with the others.
            tqdm.write(f"{name}: {error}")
            clean = False
            continue
        clean &= _print_source(report, out / name, params.prepare)
    return clean


def _print_source(report: Report, out: Path, settings: Prepare) -> bool:
    out.mkdir(parents=True, exist_ok=True)
    write_report(report, settings, out)
    counts = summary(report)
    tqdm.write(f"{report.name}: {report.source.path}")
    for key in ("format", "scenes", "tiles", "megapixels", "copies", "tiles_without_label", "heights_outside"):
        value = counts[key]
        tqdm.write(f"  {key:20} {value:.4g}" if isinstance(value, float) else f"  {key:20} {value}")
    for head, share in counts["known_share"].items():
        parts = share.items() if isinstance(share, dict) else [("", share)]
        for kind, part in parts:
            tqdm.write(f"  {'labelled ' + head + ' ' + kind:28} {part:.1%}")
    for note in report.notes:
        tqdm.write(f"  note: {note}")
    for problem in report.problems[:SHOWN]:
        tqdm.write(f"  problem: {problem}")
    if len(report.problems) > SHOWN:
        tqdm.write(f"  and {len(report.problems) - SHOWN} more problems, see {out / 'failed.csv'}")
    for reason in report.blocking:
        tqdm.write(f"  problem: {reason}")
    tqdm.write(f"  Tables and pictures: {out}")
    return not report.problems and not report.blocking
