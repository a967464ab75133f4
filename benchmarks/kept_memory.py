"""Training with glibc's settings of the Makefile, which keep freed memory, against training without them.

    python benchmarks/kept_memory.py [--task detection] [--rounds 3]

Trains one epoch on the task's prepared data (`dvc repro` first) in a temporary folder, by turns with and without
`GLIBC_TUNABLES`, and prints the median of each way's times, imports included.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MILLRACE = [sys.executable, str(ROOT / "src/millrace")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="detection")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = re.search(r"^export GLIBC_TUNABLES \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise SystemExit("the Makefile does not set GLIBC_TUNABLES")
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    ways = {"as it is": plain, "kept memory": plain | {"GLIBC_TUNABLES": found[1]}}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "params.yaml", folder)
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data/prepared").symlink_to(ROOT / "data/prepared")
        change = ["--set", f"{options.task}.train.epochs=1", "--set", "runtime.progress=false"]
        subprocess.run([*MILLRACE, "params", *change], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.rounds):
            for name, environment in ways.items():
                shutil.rmtree(Path(folder) / "runs", ignore_errors=True)
                start, before = time.perf_counter(), _cpu_s()
                subprocess.run([*MILLRACE, "train", options.task], cwd=folder, env=environment, check=True)
                times[name].append((time.perf_counter() - start, _cpu_s() - before))
    for name, own in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*own, strict=True))
        print(f"{name:12} {wall:6.1f} s, {cpu:6.1f} s of CPU")


def _cpu_s() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
