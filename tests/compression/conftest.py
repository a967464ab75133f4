"""Fixtures that several tests of this folder use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rate points q1, q2 and q3 of amplitude, untrained."""
    from mrz_models import write_models

    return write_models(tmp_path_factory.mktemp("models"))
