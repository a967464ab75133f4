"""Findings are told in groups, with what to do, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from millrace.detection.findings import DONE, KINDS, SHOWN, Finding, FindingsError, printable, stops, table, told
from millrace.detection.params import Policy, Prepare
from millrace.errors import DataError


def outside(number: int, done: str = "clipped") -> Finding:
    return Finding("box_outside", "a.json", 7, "images/x.jpg", number, "reaches 3 px beyond the right edge", done)


MISSING = Finding("image_missing", "a.json", 3, "images/gone.jpg", None, "there is no gone.jpg", "stopped")


def test_kinds_are_told_with_counts_places_and_remedies():
    lines = told([*(outside(number) for number in range(1, 9)), outside(9, "dropped"), MISSING])
    assert lines == [
        "stopped: 1 image that is not there (image_missing)",
        "    a.json: image 3 (images/gone.jpg): there is no gone.jpg",
        f"  {KINDS['image_missing'].remedy}",
        "clipped: 8 boxes that leave their image (box_outside)",
        *(
            f"    a.json: annotation {number}, image 7 (images/x.jpg): reaches 3 px beyond the right edge"
            for number in range(1, SHOWN + 1)
        ),
        "    and 3 more, see findings.csv",
        f"  {KINDS['box_outside'].remedy}",
        "dropped: 1 box that leaves its image (box_outside)",
        "    a.json: annotation 9, image 7 (images/x.jpg): reaches 3 px beyond the right edge",
        f"  {KINDS['box_outside'].remedy}",
    ]


def test_what_stops_is_told_first():
    leak = Finding("leakage", "a.json", 3, "x.jpg", None, "is for train, and it for test", "stopped")
    assert [line.split(":")[0] for line in told([outside(1), leak]) if not line.startswith(" ")] == [
        "stopped",
        "clipped",
    ]


def test_every_policy_is_named_by_the_remedy_of_its_kind():
    for name in Policy.model_fields:
        assert f"detection.prepare.policy.{name}" in KINDS[name].remedy
    for name in ("crowds", "difficult", "repeated_iou", "images"):
        assert name in Prepare.model_fields
        assert any(f"detection.prepare.{name}" in kind.remedy for kind in KINDS.values())
    words = {word for field in Policy.model_fields.values() for word in field.annotation.__args__}
    assert words == set(DONE)


def test_the_table_has_all_findings_and_whole_numbers():
    rows = table([outside(5), MISSING, outside(6)])
    assert rows["kind"].tolist() == ["image_missing", "box_outside", "box_outside"]
    assert rows.to_csv(index=False).splitlines()[1:3] == [
        "image_missing,a.json,3,images/gone.jpg,,there is no gone.jpg,stopped",
        "box_outside,a.json,7,images/x.jpg,5,reaches 3 px beyond the right edge,clipped",
    ]
    assert list(table([]).columns) == list(rows.columns)
    assert isinstance(table([]), pd.DataFrame)


def test_an_error_holds_what_stops_and_tells_all():
    error = FindingsError(Path("raw"), [outside(1), MISSING])
    assert isinstance(error, DataError)
    assert [(str(each.path), each.reason) for each in error.problems] == [("images/gone.jpg", "there is no gone.jpg")]
    assert len(error.findings) == 2
    text = str(error)
    assert text.startswith("raw: 1 finding(s) that must not be; nothing was written.\nstopped: 1 image")
    assert "clipped: 1 box that leaves its image" in text
    assert stops(error.findings) == [MISSING]


def test_a_terminal_gets_no_control_characters():
    assert printable("Küken 鶏/“a”") == "Küken 鶏/“a”"
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    hostile = Finding("image_missing", "a.json", 3, "\x1b]0;x\x07.jpg", None, "gone", "stopped")
    assert "\x1b" not in "\n".join(told([hostile]))
