"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# The same examples every time: a failure on one machine is a failure on each.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
# Else examples would also be made of the numbers in whatever modules other test files have loaded before.
providers.is_local_module_file = lambda path: False


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
