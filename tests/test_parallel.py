"""Independent work in other processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from millrace.parallel import parallel_map
from millrace.settings import Runtime


def late_first(value: int) -> int:
    time.sleep(0.2 if value == 0 else 0)
    return value * value


def touch(name: str) -> None:
    Path(name).touch()


def fails(value: int) -> int:
    raise ValueError(f"item {value}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_keep_the_order_of_the_items(jobs):
    assert parallel_map(late_first, range(6), Runtime(jobs=jobs, progress=False), "x") == [0, 1, 4, 9, 16, 25]


def test_an_error_reaches_the_caller():
    with pytest.raises(ValueError, match="item"):
        parallel_map(fails, [1], Runtime(jobs=2, progress=False), "x")


def test_relative_paths_are_those_of_the_caller_wherever_it_went_since_the_last_call(tmp_path, monkeypatch):
    runtime = Runtime(jobs=2, progress=False)
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        parallel_map(touch, ["a", "b"], runtime, "x")
        assert {path.name for path in folder.iterdir()} == {"a", "b"}


@pytest.mark.slow
def test_a_dask_scheduler_takes_the_work(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster:
        runtime = Runtime(dask_scheduler=cluster.scheduler_address, progress=False)
        assert parallel_map(abs, [-3, 2, -1], runtime, "x") == [3, 2, 1]
