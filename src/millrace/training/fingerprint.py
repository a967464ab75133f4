"""What a training depends on, as hashes: an interrupted run goes on only where all of them are unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from millrace.sources import ROOT, import_closure

LIBRARIES = ("torch", "torchvision", "lightning", "segmentation-models-pytorch", "timm", "numpy", "scipy")


def _hash_files(files: list[Path], base: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(base).as_posix().encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _built(name: str) -> str:
    """Version of a library, and a hash of what is installed: builds of several commits may have one version."""
    record = distribution(name).read_text("RECORD") or ""
    return f"{name}-{version(name)}-{hashlib.sha256(record.encode()).hexdigest()[:16]}"


def fingerprint(
    data: Path, parameters: dict[str, Any], module: str, weights: Sequence[Path] = (), libraries: Sequence[str] = ()
) -> dict[str, str]:
    """Hashes of the four things that decide a trained model.

    Args:
        data: Folder of prepared data; every file in it counts.
        parameters: JSON-like settings of the training.
        module: Name of the stage's module; it and all that it imports of this package count.
        weights: Files of initial weights.
        libraries: Distributions that decide this model beside `LIBRARIES`, and may be built from source.
    """
    initial = {f"weights {path.name}": _hash_files([path], path.parent) for path in weights}
    return initial | {
        "data": _hash_files(sorted(path for path in data.rglob("*") if path.is_file()), data),
        "parameters": hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest(),
        "code": _hash_files(import_closure(module), ROOT),
        "libraries": " ".join([*(f"{name}-{version(name)}" for name in LIBRARIES), *map(_built, libraries)]),
    }
