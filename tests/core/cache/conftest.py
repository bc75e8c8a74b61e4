"""Fixtures for the tests of the cache."""

from __future__ import annotations

import pytest

from src.data.core.cache.read import columnar_reader

from .bars import MAP_BYTES, OWN_BYTES


@pytest.fixture
def small_files_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Map files of columns from a size that tests can make quickly; larger files cost only time."""
    monkeypatch.setattr(columnar_reader, "MOST_READ", MAP_BYTES)
    monkeypatch.setattr(columnar_reader, "MOST_COPIED", OWN_BYTES)
