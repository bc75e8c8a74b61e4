"""Portals over sources: the vendor of a source answers, and no other."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.data_manager import DataManager
from src.data.errors import LookaheadError, QueryError
from src.data.polars import PolarsDataPortal
from src.data.research.sources.adapters import CSVAdapter
from src.data.research.sources.vendor_sources import OnetapeDataSource, VendorDataSource
from tests.research.portal.portal_stage import Fake, long_frame, sessions, stamp_of
from tests.vendor_server import VendorServer


def closes(source: Any, assets: list[str], **options: Any) -> list[float | None]:
    portal = PolarsDataPortal(data_source=source, **options)
    portal.set_simulation_time("2024-06-07")
    window = portal.get_history_window(assets, "2024-06-07", 3, "1d", "close", "daily")
    with pytest.raises(LookaheadError):
        portal.get_spot_value(assets, "close", "2024-06-10", "daily")
    return [None if one is None else float(one) for one in window[assets[0]]]


def test_the_vendor_of_a_source_answers_and_no_other(
    manager: DataManager, vendors: VendorServer
) -> None:
    """The rules ask Binance first; the source is of Yahoo."""
    source = VendorDataSource(manager, provider="yahoo")
    values = closes(source, ["BTCUSDT"])
    assert vendors.count("yahoo")
    assert not vendors.count("binance")
    asked = source.answer(["BTCUSDT"], "2024-06-05", "2024-06-07", "1d", refresh=False)
    assert values == [float(one) for one in asked.frame["close"]]
    assert closes(OnetapeDataSource(manager), ["BTCUSDT"]) != values
    assert vendors.count("binance")


def test_a_portal_over_a_source_reads_cached_bars_and_counts_hits(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = VendorDataSource(manager, provider="yahoo")
    portal = PolarsDataPortal(data_source=source)
    assert portal.get_spot_value(["AAPL"], "close", "2024-06-03", "daily").len() == 1
    count = vendors.count()
    for day in ("2024-06-05", "2024-06-06", "2024-06-04"):
        portal.get_spot_value(["AAPL"], "close", day, "daily")
    assert vendors.count() == count
    assert portal.cache_hit_rate == 75.0
    fresh = PolarsDataPortal(data_source=source, use_cache=False)
    fresh.get_spot_value(["AAPL"], "close", "2024-06-06", "daily")
    assert vendors.count() > count and fresh.cache_hit_rate == 0.0


def test_a_commit_to_a_series_drops_its_bars_from_the_portal(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = VendorDataSource(manager, provider="yahoo")
    portal = PolarsDataPortal(data_source=source)
    before = portal.get_spot_value(["AAPL"], "close", "2024-06-06", "daily")[0]
    assert portal.get_spot_value(["AAPL"], "close", "2024-06-06", "daily")[0] == before
    assert portal.cache_hit_rate == 50.0  # what it has fetched itself is kept
    stamp = stamp_of(date(2024, 6, 6))
    vendors.revise("AAPL", "1d", stamp, 1.01, stamp + 365 * DAY_MS)
    manager.get_ohlcv(
        "AAPL", "1d", "2024-06-03", "2024-06-07", provider="yahoo", force_refresh=True
    )
    assert portal.get_spot_value(["AAPL"], "close", "2024-06-06", "daily")[0] != before


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_own_files_and_programs_sources_answer_portals(tmp_path: Path, clock: ManualClock) -> None:
    manager = DataManager(tmp_path / "cache", clock=clock)
    lines = [f"2024-06-{day:02d},1,2,0.5,1.{day},100" for day in (3, 4, 5, 6, 7)]
    text = "\n".join(["date,open,high,low,close,volume", *lines])
    (tmp_path / "BTCUSDT.csv").write_text(text)
    assert closes(CSVAdapter(tmp_path / "BTCUSDT.csv", manager=manager), ["BTCUSDT"]) == [
        1.5,
        1.6,
        1.7,
    ]
    stamps = [stamp_of(day) for day in sessions("2024-06-03", "2024-06-07")]
    values = closes(Fake(long_frame({"AAPL": stamps})), ["AAPL"])
    assert len(values) == 3


def test_a_foreign_source_with_a_manager_attribute_is_read_directly(manager: DataManager) -> None:
    """Only what says which vendor it is of is read through its manager."""

    class Doubled(Fake):
        def __init__(self, frame: Any) -> None:
            super().__init__(frame)
            self.manager = manager

    stamps = [stamp_of(day) for day in sessions("2024-06-03", "2024-06-07")]
    source = Doubled(long_frame({"AAPL": stamps}))
    closes(source, ["AAPL"])
    assert source.asked


def test_a_source_of_ours_has_its_own_calendar(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="already has its own calendar"):
        PolarsDataPortal(data_source=OnetapeDataSource(manager), calendar="XNYS")
