"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_spheroid() -> Path:
    """Real microscopy files; they are no part of the repository."""
    folder = os.environ.get("MILLRACE_SHARED_DATA")
    if not folder:
        pytest.skip("MILLRACE_SHARED_DATA does not name a folder with real files")
    return Path(folder) / "spheroid"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
