"""Fixtures: a manager whose vendors are the scripted server, and a bundles folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.data.bundles.metadata import BundleMetadata
from tests.e2e.conftest import make, manager, rules

__all__ = ["make", "manager", "rules"]


@pytest.fixture
def of_a_folder() -> Iterator[type[BundleMetadata]]:
    """Return the class whose methods by name have no folder before and after a test."""
    yield BundleMetadata
    BundleMetadata.set_db_path(None)


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of bundles; the user's is never touched."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "bundles"
