"""One `map` over independent files: local processes, or a Dask cluster when `runtime` names one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from millrace.settings import Runtime

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], runtime: Runtime, description: str
) -> list[Result]:
    """Results of `function` over `items`, in the order of `items` whichever process finishes first.

    Args:
        function: A top-level function; it and its arguments travel to other processes.
        items: Independent inputs.
        runtime: `jobs`, `dask_scheduler` and `progress` are used.
        description: Label of the progress bar.
    """
    import joblib

    # Local processes outlive a call, and would keep the folder in which they began.
    options: dict[str, Any] = {"initializer": os.chdir, "initargs": (Path.cwd(),)}
    with ExitStack() as stack:
        if runtime.dask_scheduler is not None:
            from distributed import Client

            stack.enter_context(Client(runtime.dask_scheduler))
            stack.enter_context(joblib.parallel_config(backend="dask"))
            options = {}
        calls = (joblib.delayed(function)(item) for item in items)
        results = joblib.Parallel(n_jobs=runtime.jobs or -1, return_as="generator", **options)(calls)
        return list(tqdm(results, total=len(items), desc=description, disable=not runtime.progress))
