"""The matrix of vendors and timeframes, and the generated page that shows it."""

from __future__ import annotations

import runpy
from dataclasses import asdict
from pathlib import Path

from src.data.core.config.settings import load_settings
from src.data.core.model.identity.kind import Kind
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.registry import SERVED
from src.data.core.vendors.factory import downloader_class
from src.data.jobs.vendors.matrix import (
    bounds_table,
    kinds_table,
    matrix,
    served,
)
from src.data.jobs.vendors.vendors import selector_of

ROOT = Path(__file__).resolve().parents[2]
CAPS = Capabilities(
    asset_classes=frozenset({"crypto", "stock"}),
    timeframes={"1m": "a", "5m": "b", "1h": "c", "1d": "d"},
    page_bars=50,
    page_days={"1m": 7},
    depth_days={"1m": 30},
    kinds={"crypto": Kind("24h", "clock", "acme", volume="base"), "stock": Kind(volume="shares")},
    adjustment="split",
    settle_ms=90_000,
    has_forming=False,
)


def test_generated_files_are_up_to_date() -> None:
    pages = runpy.run_path(str(ROOT / ".ci" / "pages.py"))["generated"]()
    assert {path.name for path in pages} >= {"providers.md", "reference.md", "llms.txt"}
    for path, text in pages.items():
        assert path.read_text("utf-8") == text, f"{path.name}: run `make docs`"


def test_the_matrix_contains_every_vendor_and_timeframe() -> None:
    entries = [e for n in SERVED for e in served(n, downloader_class(n).capabilities)]
    rows = bounds_table(entries)
    for name in SERVED:
        said = [label for row in rows if row[0] == name for label in row[1].split()]
        assert sorted(said) == sorted(downloader_class(name).capabilities.timeframes)


def test_timeframes_with_equal_entries_share_a_line() -> None:
    entries = served("acme", CAPS)
    assert bounds_table(entries) == [
        ["acme", "1m", "50 bars, 7 days", "30 days", "1.5 min", "split", "not sent", "-"],
        ["acme", "5m 1h", "50 bars", "all", "1.5 min", "split", "not sent", "-"],
        ["acme", "1d", "50 bars", "all", "crypto: 1.5 min; stock: the next open", "split",
         "not sent", "-"],
    ]  # fmt: skip
    assert kinds_table(entries) == [
        ["acme", "crypto", "24h", "on the clock", "acme", "base"],
        ["acme", "stock", "regular", "with the open", "-", "shares"],
    ]


def test_the_matrix_as_json_contains_every_field() -> None:
    day = asdict(served("acme", CAPS)[-1])
    assert day["settles"] == {"crypto": 1.5, "stock": None}
    assert (day["depth_days"], day["page_days"], day["has_forming"]) == (None, 0, False)
    assert day["kinds"]["crypto"]["anchor"] == "session", "days are counted by sessions"


def test_the_matrix_follows_the_rules_of_an_installation(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "providers:\n  binance: {settle_minutes: 9}\n"
        "  local: {folder: bars, timeframes: {5m: five}, adjustment: all}\n"
    )
    entries = matrix(selector_of(load_settings(tmp_path / "cache", path)))
    binance = next(e for e in entries if e.vendor == "binance")
    assert set(binance.settles.values()) == {9.0}
    local = [e for e in entries if e.vendor == "local"]
    assert {e.adjustment for e in local} == {"all"}
    assert "5m" in [e.timeframe for e in local]
