"""A manager whose vendors are the scripted server, and a folder of bundles of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import make, manager, rules

__all__ = ["make", "manager", "rules"]


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of bundles; the user's is never touched."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "bundles"
