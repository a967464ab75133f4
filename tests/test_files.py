"""Whole, deterministic outputs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from millrace.files import whole_folder, write_csv, write_json, write_text


def test_json_is_sorted_rounded_and_never_nan(tmp_path):
    path = tmp_path / "new/a.json"
    write_json(
        path,
        {
            "b": np.float32(0.1),
            "a": [np.int64(3), float("nan"), (1.00000049,)],
            "c": {"z": True, 1: "é"},
            "d": 1.23456789e-7,
        },
    )
    text = path.read_text()
    assert json.loads(text) == {"a": [3, None, [1.0]], "b": 0.1, "c": {"1": "é", "z": True}, "d": 1.23457e-7}
    assert text.index('"a"') < text.index('"b"') < text.index('"c"')
    assert text.endswith("}\n")


def test_tables_are_rounded(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"x": [1 / 3], "name": ["n"]}))
    assert (tmp_path / "a.csv").read_text() == "x,name\n0.333333333,n\n"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(stream):
        stream.write("half")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_text(path, fail)
    assert path.read_text() == "old"


def test_a_folder_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out"
    with whole_folder(path) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(IsADirectoryError), whole_folder(path) as folder:
        folder.write_text("a folder is no file")
    assert [file.name for file in path.iterdir()] == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    with whole_folder(path) as folder:
        (folder / "c").write_text("3")
    assert [file.name for file in path.iterdir()] == ["c"]


def test_a_text_that_fails_leaves_nothing_behind(tmp_path):
    def fail(stream):
        stream.write("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "a.json", fail)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, lambda stream: stream.write("a"))
    assert path.read_text() == "a"
