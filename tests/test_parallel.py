"""Independent work in other processes."""

from __future__ import annotations

import time

import pytest

from millrace.parallel import parallel_map
from millrace.settings import Runtime


def late_first(value: int) -> int:
    time.sleep(0.2 if value == 0 else 0)
    return value * value


def fails(value: int) -> int:
    raise ValueError(f"item {value}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_keep_the_order_of_the_items(jobs):
    assert parallel_map(late_first, range(6), Runtime(jobs=jobs, progress=False), "x") == [0, 1, 4, 9, 16, 25]


def test_an_error_reaches_the_caller():
    with pytest.raises(ValueError, match="item"):
        parallel_map(fails, [1], Runtime(jobs=2, progress=False), "x")


@pytest.mark.slow
def test_a_dask_scheduler_takes_the_work(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path) as cluster:
        runtime = Runtime(dask_scheduler=cluster.scheduler_address, progress=False)
        assert parallel_map(abs, [-3, 2, -1], runtime, "x") == [3, 2, 1]
