"""Stage `keyframes-parse`: a folder of timelines to one table, a row a video and time step."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from millrace.errors import DataError, Problem
from millrace.files import whole_folder, write_csv, write_json
from millrace.keyframes.params import Keyframes, Parse
from millrace.keyframes.reading import find_timelines, read_timeline
from millrace.keyframes.table import Sampled, check_length, tabulate
from millrace.keyframes.timeline import Sequence
from millrace.keyframes.xml_events import TimelineError
from millrace.parallel import parallel_map
from millrace.settings import Runtime

log = logging.getLogger(__name__)
TIMELINES = Path("data/prepared/keyframes/timelines")
METRICS = Path("metrics/keyframes")
TABLE, VIDEOS = "timelines.parquet", "videos.parquet"
OF_VIDEOS = ["video_id", "file", "rows", "frame_rate", "width", "height"]
"""What the next stages need to know of a video beside its rows."""

SHOWN, REASON = 20, 500
"""Problems of one file that are listed, and characters of each: what is damaged may be so in each of its lines."""


@dataclass
class Parsed:
    """What one file gave.

    Attributes:
        path: The file.
        tables: One a sequence that shows anything.
        report: A row for each of them.
        problems: Why the file, or single clips of it, were left out.
        ignored: What was passed over, counted by kind.
        guessed: Gaps that were filled, counted by kind.
    """

    path: Path
    tables: list[pd.DataFrame] = field(default_factory=list)
    report: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    guessed: Counter[str] = field(default_factory=Counter)


def run(params: Keyframes, runtime: Runtime) -> None:
    """Read `raw` and write `data/prepared/keyframes/timelines`, `metrics/keyframes/parse.json` and `parse/files.csv`.

    Raises:
        DataError: Files or clips were refused and `bad_files` is `stop`, or nothing is left.
    """
    settings = params.parse
    parsed, problems = usable_files(Path(params.raw), settings, runtime)
    table = pd.concat([table for file in parsed for table in file.tables], ignore_index=True)
    with whole_folder(TIMELINES) as folder:
        table.to_parquet(folder / TABLE, index=False)
        report_of(parsed)[OF_VIDEOS].to_parquet(folder / VIDEOS, index=False)
        if settings.csv:
            write_csv(folder / "timelines.csv", table)
    with whole_folder(METRICS / "parse") as folder:
        write_csv(folder / "files.csv", report_of(parsed))
    write_json(METRICS / "parse.json", summary(parsed, problems))


def usable_files(raw: Path, settings: Parse, runtime: Runtime) -> tuple[list[Parsed], list[Problem]]:
    """Parse all timelines of a folder, at least one of which shows something; what is left out is logged.

    Raises:
        DataError: Files or clips were refused and `bad_files` is `stop`, or nothing is left.
    """
    parsed, problems = parse_folder(raw, settings, runtime)
    if problems and (settings.bad_files == "stop" or not any(file.tables for file in parsed)):
        raise DataError(
            f"{raw}: {len(problems)} problem(s); nothing was written. Mend them, or set keyframes.parse.bad_files to "
            f"drop to leave these files and clips out.",
            shortened(problems),
        )
    for problem in shortened(problems):
        log.warning("Left out: %s", problem)
    return parsed, problems


def parse_folder(raw: Path, settings: Parse, runtime: Runtime) -> tuple[list[Parsed], list[Problem]]:
    """Parse all timelines of a folder, in parallel; what is wrong with any of them is returned, not raised.

    A file is left out if one of its videos has the name of another file's: a.xml with two sequences, and a#1.xml.

    Returns:
        What each file gave, and all problems by file, as they stand in it.

    Raises:
        UserError: The folder is missing or holds no timeline.
    """
    files, problems = find_timelines(raw)
    parsed = parallel_map(partial(_parse, settings=settings), files, runtime, "keyframes parse")
    known: dict[str, Path] = {}
    for file in parsed:
        names = [row["video_id"] for row in file.report]
        clash = next((name for name in names if name in known), None)
        if clash is None:
            known |= dict.fromkeys(names, file.path)
        else:
            file.tables, file.report = [], []
            file.problems.append(
                Problem(file.path, f"its video {clash!r} has the same name as one of {known[clash]}; rename the file")
            )
    problems += (problem for file in parsed for problem in file.problems)
    return parsed, sorted(problems, key=lambda problem: problem.path)


def shortened(problems: list[Problem]) -> list[Problem]:
    """The first SHOWN problems of each file, and how many more it has; `problems` are in order of files."""
    shown = []
    for path, group in groupby(problems, key=lambda problem: problem.path):
        of_file = list(group)
        shown += of_file[:SHOWN]
        if len(of_file) > SHOWN:
            shown.append(Problem(path, f"… and {len(of_file) - SHOWN} more"))  # sorted behind the others
    return shown


def _parse(file: tuple[str, Path], settings: Parse) -> Parsed:
    return parse_file(*file, settings)


def parse_file(name: str, path: Path, settings: Parse) -> Parsed:
    """Parse one timeline file.

    A file with one sequence is the video `name`, the sequences of one with several are `name#1`, `name#2` and so on, as
    they stand in the file. Sequences that show nothing are left out and counted.
    """
    try:
        return _parsed(name, path, settings)
    except TimelineError as error:
        reason = str(error)
    except (ValueError, ArithmeticError, RecursionError, MemoryError) as error:  # what nobody thought of
        reason = f"it cannot be used: {type(error).__name__}: {error}"
    return Parsed(path, problems=[Problem(path, reason[:REASON])])


def _parsed(name: str, path: Path, settings: Parse) -> Parsed:
    found = Parsed(path)
    document = read_timeline(path, settings)
    found.ignored, found.guessed = document.notes.ignored, document.notes.guessed
    found.problems += [Problem(path, text[:REASON]) for text in document.notes.problems]
    check_length(document.sequences, settings)
    for number, sequence in enumerate(document.sequences, start=1):
        video_id = name if len(document.sequences) == 1 else f"{name}#{number}"
        sampled = tabulate(sequence, video_id, settings)
        found.ignored.update(sampled.ignored)
        if sampled.clips == 0:
            found.ignored["sequence that shows no clip"] += 1
            continue
        found.tables.append(sampled.table)
        found.report.append({"file": name, "video_id": video_id} | _facts(sequence, sampled))
    if not found.tables and not found.problems:
        found.problems.append(Problem(path, "none of its sequences shows a clip on a video track"))
    for row in found.report:
        row |= {"ignored": listed(found.ignored), "guessed": listed(found.guessed), "left_out": len(found.problems)}
    return found


def _facts(sequence: Sequence, sampled: Sampled) -> dict[str, Any]:
    return {
        "sequence": sequence.name[:60],
        "rows": len(sampled.table),
        "duration_s": float(sequence.duration),
        "frame_rate": float(sequence.frame_rate),
        "width": sequence.width,
        "height": sequence.height,
        "tracks": sampled.tracks,
        "clips": sampled.clips,
        "animated": sampled.animated,
        "cells_beyond_track_20": sampled.beyond,
    }


def listed(counts: Mapping[str, int]) -> str:
    """Counts in one line of text."""
    return "; ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))


def report_of(parsed: list[Parsed]) -> pd.DataFrame:
    """A row a video: its size, and what its file's reader ignored and guessed."""
    return pd.DataFrame([row for file in parsed for row in file.report])


def summary(parsed: list[Parsed], problems: list[Problem]) -> dict[str, Any]:
    """Totals over all files."""
    report = report_of(parsed)
    totals = {name: int(report[name].sum()) for name in ("rows", "clips", "animated", "cells_beyond_track_20")}
    ignored: Counter[str] = sum((file.ignored for file in parsed), Counter())
    guessed: Counter[str] = sum((file.guessed for file in parsed), Counter())
    return {
        "files": len(parsed),
        "videos": len(report),
        "left_out": len(problems),
        "duration_s": float(report["duration_s"].sum()),
        **totals,
        "ignored": ignored,
        "guessed": guessed,
    }
