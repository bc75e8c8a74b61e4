"""Bars and figures that will soon be older than a vendor's history are reported and fetched first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.beside.tables import TableStore
from src.data.core.cache.format.lane_entry import LaneEntry
from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.figures import MEASURES, Figure, figures_frame
from src.data.core.model.request.capabilities import Supply
from src.data.core.model.time.instant import iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.observability.events import Event, HistoryPerishes
from src.data.core.provider_selector import ProviderSelector
from src.data.jobs.doctor.health import checkup
from src.data.jobs.fill.perishable import PerishableSeries, perishable
from src.data.jobs.fill.populate import populate_cache, sync_cache
from tests.core.cache.bars import write_older_year
from tests.vendor_server import VendorServer

pytestmark = pytest.mark.usefixtures("rules")
DAY_S = 86_400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache with minutes of a vendor that goes back 59 days, and of one without such an end."""
    folder = tmp_path / "cache"
    reported = populate_cache(["AAPL", "BTCUSDT"], ["5m"], "2024-06-10", "2024-06-11", folder)
    assert (reported["failed"], reported["perishable"]) == ([], [])
    return folder


def test_bars_soon_beyond_a_vendors_history_are_reported(
    cache: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    clock.advance(40 * DAY_S)
    assert sync_cache("NONE*", cache)["perishable"] == [], "two thirds are not over"
    clock.advance(5 * DAY_S)
    heard: list[Event] = []
    (soon,) = sync_cache("NONE*", cache, on_event=heard.append)["perishable"]
    assert (soon["symbol"], soon["vendor"], soon["depth_days"]) == ("AAPL", "yahoo", 59)
    assert soon["last"] == "2024-06-11T19:55:00Z"
    assert soon["lost"] == "2024-08-09T20:00:00Z"
    (event,) = (one for one in heard if isinstance(one, HistoryPerishes))
    assert (event.symbol, event.timeframe, event.lost) == ("AAPL", "5m", soon["lost"])
    assert sync_cache("AAPL 5m", cache)["perishable"] == []


def test_a_series_beside_files_of_an_older_tool_is_reported_as_perishable(
    cache: Path, clock: ManualClock
) -> None:
    write_older_year(cache / "AAPL" / "1d")
    clock.advance(45 * DAY_S)
    (soon,) = sync_cache("NONE*", cache)["perishable"]
    assert (soon["symbol"], soon["timeframe"]) == ("AAPL", "5m")
    assert soon["last"] == "2024-06-11T19:55:00Z"


def test_bars_are_perishable_when_a_third_of_the_history_is_left_in_answering_lanes(
    tmp_path: Path,
) -> None:
    class Selector(ProviderSelector):
        def __init__(self) -> None:
            """Know one vendor."""

        def instrument(self, symbol: Any) -> Instrument:
            return Instrument(symbol, "crypto")

        def supply(self, *_: Any) -> Supply:
            return Supply("v", 30)

    store = BarStore(tmp_path, Disk(root=tmp_path))

    def soon(at_ms: int, *answering: SeriesKey) -> list[PerishableSeries]:
        return perishable([(key, LaneEntry({}, last=0))], lambda _: answering, Selector(), at_ms,
                          store)  # fmt: skip

    key = SeriesKey("A", Timeframe.parse("5m"))

    lost_ms = 300_000 + 30 * DAY_S * 1000
    later = lost_ms - 10 * DAY_S * 1000
    assert soon(later, key) == []
    (one,) = soon(later + 1, key)
    assert one.lost_ms == lost_ms
    assert soon(later + 1) == []


@pytest.mark.parametrize(
    "name, what, option",
    [
        ("open_interest", "open interest", "open-interest"),
        ("long_short_ratio", "long/short ratios", "long-short"),
    ],
)
def test_figures_soon_beyond_a_vendors_history_are_reported(
    cache: Path, clock: ManualClock, name: str, what: str, option: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    step, now = Timeframe.parse("5m"), clock.now_ms()
    for stored in (name, "funding_rate"):  # the latter goes back to the listing
        span = Span(now - 10 * DAY_S * 1000, now)
        rows = [Figure(span.start, (1.0,) * len(MEASURES[stored].columns))]
        frame = figures_frame(MEASURES[stored], rows)
        TableStore(cache, stored, clock=clock).put(
            SeriesKey("BTCUSDT", step), frame, span, "binance"
        )
    clock.advance(20 * DAY_S)
    assert sync_cache("NONE*", cache)["perishable"] == [], "ten days are left"
    clock.advance(1)
    heard: list[Event] = []
    (soon,) = sync_cache("NONE*", cache, on_event=heard.append)["perishable"]
    assert (soon["symbol"], soon["timeframe"], soon["what"]) == ("BTCUSDT", "5m", what)
    assert (soon["depth_days"], soon["lost"]) == (30, iso(now + 30 * DAY_S * 1000))
    (event,) = (one for one in heard if isinstance(one, HistoryPerishes))
    assert (event.what, event.lost) == (what, soon["lost"])
    (check,) = (one for one in checkup(cache, network=False) if one.topic == "perishable")
    assert f"BTCUSDT 5m {what}: the history at binance goes back 30 days" in check.sentence
    assert f"`onetape fundamentals BTCUSDT 5m --type {option}`" in check.remedy


def test_bars_that_are_lost_soonest_are_fetched_first(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.jobs.run.runner.AT_WORK", 1)
    for symbols, day in ((["AAPL", "KO"], "2024-06-11"), (["MSFT"], "2024-06-04")):
        populate_cache(symbols, ["5m"], day, day, tmp_path)
    clock.advance(45 * DAY_S)
    vendors.clear_log()
    sync_cache(cache_dir=tmp_path)
    asked = [entry for entry in vendors.log("yahoo") if "/chart/" in entry.path]
    assert "MSFT" in asked[0].path
