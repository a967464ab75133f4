"""The command `check keyframes`: what the timelines of a folder hold, and all that is wrong with them."""

from __future__ import annotations

from pathlib import Path

from millrace.files import write_csv, write_json
from millrace.keyframes.params import Keyframes
from millrace.keyframes.parse import parse_folder, report_of, shortened, summary
from millrace.settings import Runtime


def print_check(raw: Path, out: Path, params: Keyframes, runtime: Runtime) -> bool:
    """Parse a folder without writing its table; print and write the report.

    Of a file with many problems the first ones are printed, and how many more it has.

    Args:
        raw: Folder of timelines.
        out: Gets `files.csv` and `parse.json`.
        params: The `keyframes` section.
        runtime: The machine.

    Returns:
        Whether nothing was refused.
    """
    parsed, problems = parse_folder(raw, params.parse, runtime)
    report = report_of(parsed)
    if len(report):
        shown = ["video_id", "sequence", "rows", "duration_s", "frame_rate", "tracks", "clips", "animated"]
        print(report[shown].to_string(index=False))
        write_csv(out / "files.csv", report)
        write_json(out / "parse.json", summary(parsed, problems))
        print(f"\n{out}/files.csv says what was ignored and guessed in each file.")
    for problem in shortened(problems):
        print(f"problem: {problem}")
    return not problems
