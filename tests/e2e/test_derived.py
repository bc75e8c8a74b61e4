"""Derived bars, computed from shorter ones: timeframes that no vendor serves, and weeks over splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, date_of, day_ms
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataError, IncompleteDataWarning
from src.data.jobs.fill.populate import populate_cache
from tests.conformance.sheet import sheet_of
from tests.vendor_server import Fault, VendorServer

from .fresh import Fresh
from .oracle import ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to

Row = tuple[float, ...]


def folded(rows: list[Row], stamp_of: Callable[[int], int]) -> list[Row]:
    """Put bars together by a plain loop."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(stamp_of(int(row[0])), []).append(row)
    return [
        (stamp, parts[0][1], max(p[2] for p in parts), min(p[3] for p in parts), parts[-1][4],
         sum(p[5] for p in parts))
        for stamp, parts in found.items()
    ]  # fmt: skip


def monday(stamp: int) -> int:
    day = date_of(stamp)
    return day_ms(day - timedelta(days=day.weekday()))


def first(stamp: int) -> int:
    day = date_of(stamp)
    return day_ms(date(day.year, day.month, 1))


def plain(frame: pd.DataFrame) -> list[Row]:
    values = frame[["open", "high", "low", "close", "volume"]].to_numpy()
    return [(int(stamp.value) // 1_000_000, *map(float, line))
            for stamp, line in zip(frame.index, values, strict=True)]  # fmt: skip


@pytest.mark.parametrize("adjustment", ["raw", "split", "all"])
@pytest.mark.parametrize("label, stamp_of", [("1w", monday), ("1M", first)])
@pytest.mark.parametrize("start, end", [("2014-05-01", "2014-08-01"), ("2020-08-01", "2020-12-01")])
def test_weeks_and_months_over_a_split_and_dividends_equal_the_true_ones(
    manager: DataManager, vendors: VendorServer, clock: ManualClock,
    adjustment: str, label: str, stamp_of: Callable[[int], int], start: str, end: str,
) -> None:  # fmt: skip
    """The vendor's own ones break there: their parts are of two bases."""
    frame = manager.get_ohlcv("AAPL", label, start, end, adjustment=adjustment, strict=True)
    days = vendors.truth.expected(
        "AAPL", "1d", ms(start) - 7 * 24 * HOUR_MS, ms(end) + 31 * 24 * HOUR_MS, adjustment,  # type: ignore[arg-type]
        clock.now_ms(),
    )  # fmt: skip
    expected = [row for row in folded(days, stamp_of) if ms(start) <= row[0] <= ms(end)]
    assert len(expected) >= 4
    for mine, theirs in zip(plain(frame), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)
    assert all(request.params["interval"] == "1d" for request in vendors.log("yahoo", "/v8/"))


@pytest.mark.parametrize("label, stamp_of", [("1w", monday), ("1M", first)])
@pytest.mark.parametrize(
    ("daily", "weekly", "is_built"),
    [
        ("fmp, tiingo", "fmp, tiingo", True),
        ("tiingo, fmp", "fmp, tiingo", True),
        ("tiingo, fmp", "tiingo, fmp", True),
        ("fmp, tiingo", "tiingo, fmp", False),
        ("fmp", "tiingo", False),
    ],
)
def test_a_second_vendor_does_not_replace_weeks_built_from_the_days_of_the_first(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    daily: str, weekly: str, is_built: bool, label: str, stamp_of: Callable[[int], int],
) -> None:  # fmt: skip
    """The first vendor has no weeks; those of the second one have a gap at every split."""
    fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    lines = []
    for rule, names in (("stock_daily", daily), ("stock_weekly_monthly", weekly)):
        first_one, _, others = names.partition(", ")
        lines.append(f"{rule}: {{primary: {first_one}, backup: [{others}]}}")
    lines.append("providers:")
    for name in ("fmp", "tiingo"):
        for key, value in sheet_of(name).keys.items():
            monkeypatch.setenv(key, value)
        lines.append(f"  {name}: {{base_url: '{vendors.base_url(name)}', rate_limits: {fast}}}")
    rules = tmp_path / "two.yaml"
    rules.write_text("\n".join(lines) + "\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    start, end = "2024-05-01", "2024-06-30"
    clock.set(ms("2024-07-12T22:30"))
    if not is_built:
        with pytest.warns(IncompleteDataWarning):
            frame = manager.get_ohlcv("NVDA", label, start, end)
        assert gaps(frame)
        return
    frame = manager.get_ohlcv("NVDA", label, start, end, strict=True)
    reach = ms(start), ms(end) + 7 * 24 * HOUR_MS
    days = vendors.truth.expected("NVDA", "1d", *reach, "split", clock.now_ms())
    expected = [row for row in folded(days, stamp_of) if ms(start) <= row[0] <= ms(end)]
    for mine, theirs in zip(plain(frame), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    sent = vendors.count()
    again = manager.get_ohlcv("NVDA", label, start, end, strict=True, offline=True)
    pd.testing.assert_frame_equal(again, frame)
    assert vendors.count() == sent


def test_derived_weeks_are_adjusted_as_soon_as_a_split_is_reported(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-07T15:00"))
    before = make().get_ohlcv("NVDA", "1w", "2024-05-06", "2024-05-31")
    clock.set(ms("2024-06-20T15:00"))
    make().get_ohlcv("NVDA", "1d", "2024-06-03")
    after = make().get_ohlcv("NVDA", "1w", "2024-05-06", "2024-05-31")
    assert after["close"].tolist() == pytest.approx((before["close"] / 10).tolist())
    assert after["volume"].tolist() == pytest.approx((before["volume"] * 10).tolist())


@pytest.mark.parametrize(
    "symbol, label, source, minutes",
    [("BTCUSDT", "45m", "15m", 45), ("ETHUSDT", "10m", "5m", 10), ("BTCUSDT", "3h", "1h", 180)],
)
def test_timeframes_that_a_coin_venue_does_not_serve_are_derived_from_shorter_bars(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    symbol: str, label: str, source: str, minutes: int,
) -> None:  # fmt: skip
    frame = manager.get_ohlcv(symbol, label, "2024-06-10", strict=True)
    parts = vendors.truth.expected(symbol, source, ms("2024-06-10"), clock.now_ms() + 1, "raw",
                                   clock.now_ms())  # fmt: skip
    step = minutes * 60_000
    expected = [bar for bar in folded(parts, lambda stamp: stamp - stamp % step)
                if bar[0] + step <= clock.now_ms()]  # fmt: skip
    for mine, theirs in zip(plain(frame), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-12)
    stored = [
        lane.name for lane in (tmp_path / "cache" / "ohlcv" / symbol).iterdir() if lane.is_dir()
    ]
    assert stored == [source]
    asked = vendors.count()
    for again in (manager.get_ohlcv(symbol, label, "2024-06-10", strict=True),
                  manager.get_ohlcv(symbol, label, "2024-06-10", offline=True, strict=True)):  # fmt: skip
        pd.testing.assert_frame_equal(again, frame)
    assert vendors.count() == asked


def test_a_gap_in_shorter_bars_removes_each_derived_bar_that_overlaps_the_gap(
    manager: DataManager,
) -> None:
    with pytest.warns(IncompleteDataWarning, match="15m bars"):
        frame = manager.get_ohlcv("HALTUSDT", "45m", "2024-03-05", "2024-03-05")
    # Out from 02:00 to 05:30: the bars from 01:30 to 06:00 lack something.
    assert gaps(frame) == [
        ("2024-03-05T01:30:00", "2024-03-05T06:00:00", "14 of 18 15m bars: the vendor has no bar")
    ]
    assert len(frame) == 32 - 6
    with pytest.raises(IncompleteDataError, match="14 of 18 15m bars"):
        manager.get_ohlcv("HALTUSDT", "45m", "2024-03-05", "2024-03-05", strict=True)


def test_bars_derived_from_a_substitute_are_a_substitute(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv("BTCUSDT", "45m", "2024-06-01", "2024-06-01")
    assert "yahoo" in provenance(frame)["substitute"]
    assert provenance(frame)["derived_from"]["lane"] == "15m@aggregate"


@pytest.mark.parametrize(("symbol", "fault"), [("BTCUSDT", Fault.status(503)), ("BTC-USD", None)])
def test_bars_are_derived_from_shorter_ones_of_a_vendor_that_can_have_them(
    manager: DataManager, vendors: VendorServer, symbol: str, fault: Fault | None
) -> None:
    if fault is not None:
        vendors.fault("binance", fault)
    for label, hours in (("4h", 4), ("12h", 12)):
        with pytest.warns(IncompleteDataWarning, match="substitute"):
            frame = manager.get_ohlcv(symbol, label, "2024-06-01", "2024-06-02")
        assert len(frame) == 48 // hours
        assert provenance(frame)["derived_from"]["lane"] == "1h@aggregate"


def test_a_pause_for_bars_that_the_plan_lacks_does_not_stop_shorter_ones(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.refuse("forbidden"), times=1)
    for day, requests in (("2024-06-01", 3), ("2024-06-02", 1), ("2024-06-01", 0)):
        plan, sent = manager.plan("BTC-USD", "15m", day, day), vendors.count()
        with pytest.warns(IncompleteDataWarning, match="substitute"):
            frame = manager.get_ohlcv("BTC-USD", "15m", day, day)
        assert len(frame) == 96
        assert provenance(frame)["derived_from"]["lane"] == "5m@aggregate"
        assert vendors.count() - sent == requests
        assert day == "2024-06-01" or plan.requests == requests


def test_bars_that_an_outage_cut_off_are_derived_from_shorter_ones_of_another_vendor(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "4h", "2024-06-01", "2024-06-02", strict=True)
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv("BTCUSDT", "4h", "2024-06-01", "2024-06-05")
    assert len(frame) == 30 and not gaps(frame)
    assert provenance(frame)["derived_from"]["lane"] == "1h@aggregate"


def test_derived_bars_come_from_the_vendor_of_their_shorter_bars(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = ScriptedVendor(vendors)
    route_to(monkeypatch, manager, twin=twin)
    frame = manager.get_ohlcv("BTCUSDT", "45m", "2024-06-01", "2024-06-01", strict=True)
    assert list(provenance(frame)["vendors"]) == ["twin"]
    assert vendors.count() == 0


def test_a_batch_and_a_job_derive_bars_from_the_same_stored_series(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path, rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    cache = tmp_path / "cache"
    result = populate_cache(["AAPL", "BTCUSDT"], ["1w", "3M", "45m"], "2024-05-27", "2024-06-09",
                            cache_dir=cache, config_path=rules)  # fmt: skip
    assert result["failed"] == []
    stored = {
        f"{lane.parent.name} {lane.name}" for lane in cache.glob("ohlcv/*/*") if lane.is_dir()
    }
    assert stored == {"AAPL 1d", "AAPL 15m", "BTCUSDT 1w", "BTCUSDT 15m", "BTCUSDT 1mo"}
    asked = vendors.count()
    frames = manager.get_ohlcv_batch(["AAPL", "BTCUSDT"], "45m", "2024-05-27", "2024-06-09")
    assert {symbol: len(frame) for symbol, frame in frames.items()} == {
        "AAPL": 9 * 9, "BTCUSDT": 14 * 32,
    }  # fmt: skip
    assert vendors.count() == asked


def test_offline_derived_bars_without_cached_ones_are_an_error(manager: DataManager) -> None:
    with pytest.raises(AllProvidersFailedError, match="is not cached"):
        manager.get_ohlcv("AAPL", "2h", "2024-06-03", "2024-06-07", offline=True)
    with pytest.raises(AllProvidersFailedError, match="is not cached"):
        manager.get_ohlcv("AAPL", "1w", "2024-06-03", "2024-06-07", offline=True)


def test_a_derived_timeframe_of_an_unknown_symbol_is_an_unknown_symbol_error(
    manager: DataManager,
) -> None:
    for label in ("2h", "1w"):
        with pytest.raises(AllProvidersFailedError, match=r"^unknown symbol 'ZZZZ'"):
            manager.get_ohlcv("ZZZZ", label, "2024-06-03", "2024-06-07")


def test_extra_columns_of_a_derived_bar_are_those_of_its_shorter_bars(manager: DataManager) -> None:
    frame = manager.get_ohlcv("AAPL", "2h", "2024-06-12", columns=("source", "state"),
                              include_forming=True)  # fmt: skip
    assert frame["source"].tolist() == ["yahoo"]
    assert frame["state"].tolist() == ["forming"] or frame["state"].tolist() == ["provisional"]


HIT = """
import json, sys
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
manager = DataManager({cache!r}, {rules!r}, clock=ManualClock({now}))
frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
loaded = [m for m in ("exchange_calendars", "requests") if m in sys.modules]
print(json.dumps([len(frame), loaded]))
"""


def test_cached_bars_of_a_served_timeframe_load_no_module_for_derived_bars(
    manager: DataManager, clock: ManualClock, tmp_path: Path, rules: Path, fresh: Fresh
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    code = HIT.format(cache=str(tmp_path / "cache"), rules=str(rules), now=clock.now_ms())
    assert json.loads(fresh.run(code)) == [48, []]
