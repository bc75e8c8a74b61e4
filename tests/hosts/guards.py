"""Logs with one guard removed, so that a test can show what the guard prevents."""

from __future__ import annotations

import pytest

from src.data.hosts import log as log_module


def without(monkeypatch: pytest.MonkeyPatch, *guards: str) -> None:
    """Have the tables of new logs made with an append that lacks some conditions."""
    *before, append = log_module.MIGRATIONS
    for guard in guards:
        assert guard in append
        append = append.replace(guard, "")
    monkeypatch.setattr(log_module, "MIGRATIONS", (*before, append))
