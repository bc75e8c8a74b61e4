"""Whether each script of the benchmarks still runs: the shortest at their smallest size, all in full runs."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks import harness
from benchmarks.__main__ import SCRIPTS
from benchmarks.stage import YEAR
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span

FULL = bool(os.environ.get("ONETAPE_FULL"))
FILES = sorted(path.stem for path in Path(benchmarks.__path__[0]).glob("[!_]*.py"))
# Not scripts that make a table: what others import, and what needs a program or a library of its own.
PARTS = {"arctic", "feed_waits", "harness", "page", "peers", "stage"}
SHORTEST: dict[str, dict[str, Any]] = {
    "size": {"YEAR": Span(YEAR.start, YEAR.start + DAY_MS), "_MEMBERS": 2, "_SMALL": ""},
    "feed": {"_FRAMES": 50, "_BARS": 50, "_SENT": 5},
}
# Of the others, one whose folder alone takes minutes.
LONGER: dict[str, dict[str, Any]] = {"thousands": {"SERIES": 60}}


def test_each_script_can_be_imported_and_is_run_by_name() -> None:
    for name in FILES:
        import_module(f"benchmarks.{name}")
    assert set(FILES) - PARTS == set(SCRIPTS)


def run(name: str, monkeypatch: pytest.MonkeyPatch, smaller: dict[str, Any]) -> None:
    """Run a script with one round of everything."""
    monkeypatch.setattr(harness.race, "__defaults__", (1,))
    monkeypatch.setattr(harness.Inside.measure, "__defaults__", (1,))
    monkeypatch.setattr(harness, "_repeats", lambda _: 1)
    module = import_module(f"benchmarks.{name}")
    if hasattr(module, "_ROUNDS"):
        monkeypatch.setattr(module, "_ROUNDS", 1)
    for constant, value in smaller.items():
        monkeypatch.setattr(module, constant, value)
    report = SCRIPTS[name]()
    assert report.rows
    assert all(row.figures for row in report.rows)


@pytest.mark.parametrize("name", SHORTEST)
def test_a_short_script_runs_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(name, monkeypatch, SHORTEST[name])


@pytest.mark.timeout(900)
@pytest.mark.skipif(not FULL, reason="ONETAPE_FULL is not set")
@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - set(SHORTEST)))
def test_a_long_script_runs_to_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(name, monkeypatch, LONGER.get(name, {}))
