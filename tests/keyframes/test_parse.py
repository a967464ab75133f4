"""The parse stage on folders, good and bad."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from keyframes.xmeml_files import clip, rate, sequence, track, xmeml
from millrace.errors import DataError, UserError
from millrace.keyframes import parse
from millrace.keyframes.check import print_check
from millrace.keyframes.params import Keyframes, Parse
from millrace.keyframes.reading import find_timelines
from millrace.settings import Runtime

QUIET = Runtime(progress=False, jobs=1)
BOMB = '<!DOCTYPE xmeml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xmeml><sequence><name>&b;</name></sequence></xmeml>'
OUTSIDE = (
    '<!DOCTYPE xmeml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xmeml><sequence><name>&x;</name></sequence></xmeml>'
)
GOOD = xmeml(sequence(track(clip(0, 60, name="a.mp4"))))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with good timelines in raw/."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    (raw / "one.xml").write_text(GOOD)
    (raw / "deep/two.XML").write_text(xmeml(sequence(track(clip(0, 30))), sequence(track(clip(0, 90)), own_id="t")))
    return raw


def params(**settings) -> Keyframes:
    return Keyframes(raw="raw", parse=Parse(**settings))


def test_a_folder_becomes_one_table_and_a_report(folder):
    parse.run(params(csv=True), QUIET)
    table = pd.read_parquet("data/prepared/keyframes/timelines/timelines.parquet")
    assert table.groupby("video_id", sort=False).size().to_dict() == {"deep/two#1": 10, "deep/two#2": 30, "one": 20}
    assert len(pd.read_csv("data/prepared/keyframes/timelines/timelines.csv")) == 60
    totals = json.loads(Path("metrics/keyframes/parse.json").read_text())
    assert (totals["files"], totals["videos"], totals["rows"], totals["clips"], totals["left_out"]) == (2, 3, 60, 3, 0)
    report = pd.read_csv("metrics/keyframes/parse/files.csv")
    assert report["video_id"].to_list() == ["deep/two#1", "deep/two#2", "one"]


def test_two_runs_give_the_same_bytes(folder):
    def everything() -> dict[str, bytes]:
        parse.run(params(), QUIET)
        return {str(path): path.read_bytes() for root in ("data", "metrics") for path in Path(root).rglob("*.*")}

    assert everything() == everything()


BAD = {
    "bomb": (BOMB, "it declares XML entities"),
    "outside": (OUTSIDE, "it declares XML entities"),
    "cut": (GOOD[:-40], "not well-formed XML, or was cut short"),
    "deep": ("<xmeml>" + "<a>" * 100_000, "not well-formed XML.*[dD]epth"),
    "empty": ("", "not well-formed XML"),
    "other": ("<html/>", "its root element is <html>, neither <xmeml> .* nor <fcpxml>"),
    "no rate": (xmeml(sequence(track(clip()), own_rate=rate(0))), "timebase"),
    "backwards": (xmeml(sequence(track(clip(50, 20)))), "clip 'a': .*end"),
    "not a number": (xmeml(sequence(track(clip("NaN", 20)))), "clip 'a': .*'NaN'"),
    "huge": (xmeml(sequence(track(clip(0, "1e300")))), "clip 'a': .*'1e300'"),
    "nothing": (xmeml(sequence(track())), "none of its sequences shows a clip"),
    "years": (xmeml(sequence(track(clip(0, 900_000_000)))), "hours, more than max_hours"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_stops_the_run_or_is_left_out_as_asked(folder, case):
    content, reason = BAD[case]
    (folder / "bad.xml").write_text(content)
    with pytest.raises(DataError, match=rf"1 problem.*(?s:.*)bad\.xml: .*{reason}"):
        parse.run(params(), QUIET)
    assert not Path("data").exists()
    assert not Path("metrics").exists()
    parse.run(params(bad_files="drop"), QUIET)
    totals = json.loads(Path("metrics/keyframes/parse.json").read_text())
    assert (totals["videos"], totals["left_out"]) == (3, 1)


def test_all_problems_are_told_at_once(folder):
    for case, (content, _) in BAD.items():
        (folder / f"{case}.xml").write_text(content)
    (folder / "one.fcpxml").write_text("<fcpxml/>")
    (folder / "folder.xml").mkdir()
    with pytest.raises(DataError) as stopped:
        parse.run(params(), QUIET)
    # The folder, one.xml for its twin's name, and that twin for having no version.
    assert len(stopped.value.problems) == len(BAD) + 3


def test_files_that_are_too_large_or_leave_the_folder_are_refused(folder, tmp_path):
    (tmp_path / "elsewhere.xml").write_text(GOOD)
    (folder / "link.xml").symlink_to(tmp_path / "elsewhere.xml")
    with pytest.raises(DataError, match=r"link\.xml: it is a link that leaves the raw folder"):
        parse.run(params(), QUIET)
    with pytest.raises(DataError, match="more than the 100 that max_megabytes allows"):
        parse.run(params(max_megabytes=0.0001), QUIET)


def test_a_linked_folder_is_told_and_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="2 problem") as stopped:
        parse.run(params(), QUIET)
    assert {problem.path.name for problem in stopped.value.problems} == {"linked", "loop"}


def test_two_videos_of_one_name_are_told(folder):
    (folder / "deep/two#1.xml").write_text(GOOD)
    with pytest.raises(DataError, match=r"two#1\.xml: its video 'deep/two#1' has the same name as one of .*two\.XML"):
        parse.run(params(), QUIET)
    parse.run(params(bad_files="drop"), QUIET)
    table = pd.read_parquet("data/prepared/keyframes/timelines/timelines.parquet")
    assert table.groupby("video_id", sort=False).size().to_dict() == {"deep/two#1": 10, "deep/two#2": 30, "one": 20}


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, MemoryError])
def test_what_nobody_thought_of_is_a_problem_of_its_file(folder, monkeypatch, error):
    def fail(*_):
        raise error("x" * 1000)

    monkeypatch.setattr(parse, "read_timeline", fail)
    (problem,) = parse.parse_file("one", folder / "one.xml", Parse()).problems
    assert problem.reason.startswith(f"it cannot be used: {error.__name__}: xxx")
    assert len(problem.reason) == parse.REASON


def test_of_many_problems_the_first_are_listed_and_all_are_counted(folder, tmp_path, capsys):
    (folder / "bad.xml").write_text(xmeml(sequence(track(*[clip(50, 20)] * 300, clip(60, 90)))))
    with pytest.raises(DataError, match=r"300 problem\(s\)") as stopped:
        parse.run(params(), QUIET)
    lines = str(stopped.value).splitlines()
    assert len(lines) == 1 + parse.SHOWN + 1
    assert lines[-1].endswith("bad.xml: … and 280 more")
    parse.run(params(bad_files="drop"), QUIET)
    assert json.loads(Path("metrics/keyframes/parse.json").read_text())["left_out"] == 300
    assert pd.read_csv("metrics/keyframes/parse/files.csv")["left_out"].to_list() == [300, 0, 0, 0]
    assert not print_check(folder, tmp_path / "out", params(), QUIET)
    assert capsys.readouterr().out.count("problem: ") == parse.SHOWN + 1


def test_a_folder_that_cannot_be_read_is_told(folder, monkeypatch):
    """Root, who runs these tests in containers, can read all."""
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, problems = find_timelines(folder)
    assert [name for name, _ in files] == ["one"]
    assert [str(problem) for problem in problems] == [f"{folder}/deep: the folder cannot be read: Permission denied"]


def test_a_file_that_cannot_be_looked_at_is_told(folder, monkeypatch):
    """It lies in a folder that may be listed, but not entered."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    files, problems = find_timelines(folder)
    assert files == []
    assert [problem.reason for problem in problems] == ["it cannot be looked at: Permission denied"] * 2


def test_a_name_that_is_not_utf8_is_told_and_can_be_printed(folder):
    (folder / os.fsdecode(b"caf\xe9.xml")).write_text(GOOD)
    (folder / os.fsdecode(b"caf\xe9.mp4")).touch()
    files, problems = find_timelines(folder)
    assert [name for name, _ in files] == ["deep/two", "one"]
    (problem,) = problems
    assert str(problem).encode() == f"{folder}/caf\\udce9.xml: its path is not UTF-8; rename it".encode()


def test_a_folder_that_is_missing_or_empty_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"does not exist\. Set keyframes\.raw"):
        parse.run(params(), QUIET)
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="holds no timeline"):
        parse.run(params(), QUIET)


def test_nothing_usable_is_an_error_even_when_bad_files_are_dropped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/bad.xml").write_text("<html/>")
    with pytest.raises(DataError, match="nothing was written"):
        parse.run(params(bad_files="drop"), QUIET)


def test_the_check_prints_a_row_a_video_and_every_problem(folder, tmp_path, capsys):
    assert print_check(folder, tmp_path / "out", params(), QUIET)
    (folder / "bad.xml").write_text("<html/>")
    assert not print_check(folder, tmp_path / "out", params(), QUIET)
    output = capsys.readouterr().out
    assert "deep/two#2" in output
    assert "bad.xml: its root element is <html>" in output
    assert (tmp_path / "out/files.csv").is_file()


@pytest.mark.skipif(
    "MILLRACE_SHARED_DATA" not in os.environ, reason="MILLRACE_SHARED_DATA names no folder of real files"
)
def test_real_timelines_are_parsed():
    raw = Path(os.environ["MILLRACE_SHARED_DATA"]) / "keyframes"
    parsed, problems = parse.parse_folder(raw, Parse(), QUIET)
    assert {problem.path.name for problem in problems} == {
        "premiere_example_filter.xml",  # a filter alone
        "sample_just_track.xml",  # a sequence without a track
        "fcpx_clips.fcpxml",  # clips in an event, no project
    }
    rows = {row["video_id"]: row for file in parsed for row in file.report}
    assert rows["otio-fcp-adapter/premiere_example"]["clips"] == 9
    assert sum(row["animated"] for row in rows.values()) > 0
