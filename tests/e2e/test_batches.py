"""Tests requests for many symbols: stored bars are read in the caller's thread, the rest in others."""

from __future__ import annotations

import threading
from datetime import datetime
from itertools import islice, product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data import describe, fingerprint
from src.data.core.bars import batch
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.data_manager import DataManager
from src.data.errors import (
    BadRangeError,
    IncompleteDataWarning,
    QueryError,
    UnknownProviderError,
)
from tests.vendor_server import Fault, VendorServer

from .scripted_vendor import provenance

DAYS = ("1d", "2024-06-03", "2024-06-07")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of all threads started from now on by a batch."""
    started: list[str] = []
    start = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        if self.name.startswith("onetape-batch"):
            started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return started


def copied(manager: DataManager, count: int) -> list[str]:
    """Store the days of BTCUSDT under many names; each is read once, so that columns are kept."""
    days = manager.get_ohlcv("BTCUSDT", *DAYS)
    names = [f"A{number:03d}USDT" for number in range(count)]
    for name in names:
        manager.cache.put(days, name, "1d", provider="binance")
        manager.cache.get(name, "1d")
    return names


def spellings(symbol: str, count: int) -> list[str]:
    """Return so many ways to write a symbol in small and capital letters."""
    ways = product(*((letter, letter.lower()) for letter in symbol))
    return ["".join(way) for way in islice(ways, count)]


def test_a_batch_of_a_hundred_hits_starts_no_thread(
    manager: DataManager, vendors: VendorServer, threads: list[str]
) -> None:
    names = [name for pair in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ETHBTC")
             for name in spellings(pair, 25)]  # fmt: skip
    manager.get_ohlcv_batch(names[::25], *DAYS)
    assert threads
    threads.clear()
    vendors.clear_log()
    frames = manager.get_ohlcv_batch([*names[::-1], names[3]], *DAYS)
    assert not threads
    assert list(frames) == names[::-1]
    assert len(names) == 100
    assert {len(frame) for frame in frames.values()} == {5}
    assert vendors.count() == 0


def test_misses_of_a_batch_use_few_threads_and_keep_the_order_of_the_symbols(
    manager: DataManager, vendors: VendorServer, threads: list[str]
) -> None:
    held = copied(manager, 3)
    asked = [held[0], "ETHUSDT", held[1], "AAPL", "no such", "MSFT", held[2], "SOLUSDT"]
    frames = manager.get_ohlcv_batch(asked, *DAYS)
    assert list(frames) == asked
    assert 0 < len(threads) <= batch.WORKERS
    assert frames["no such"].empty
    assert len(frames["ETHUSDT"]) == len(frames["AAPL"]) == 5
    pd.testing.assert_frame_equal(frames["AAPL"], manager.get_ohlcv("AAPL", *DAYS))


def test_stored_series_without_columns_start_no_thread(
    manager: DataManager, threads: list[str]
) -> None:
    names = copied(manager, 3)
    for name in names[:2]:
        manager.cache.store.parts.sidecars.drop(_key(name))
    frames = manager.get_ohlcv_batch(names, *DAYS)
    assert [len(frame) for frame in frames.values()] == [5, 5, 5]
    assert not threads


def test_an_invalid_symbol_in_a_batch_starts_no_thread(
    manager: DataManager, threads: list[str]
) -> None:
    frames = manager.get_ohlcv_batch(["no such", "EURUSD?"], *DAYS)
    assert all(frame.attrs["onetape"]["error"] for frame in frames.values())
    assert not threads


def test_a_hit_of_a_batch_is_counted_once(manager: DataManager, threads: list[str]) -> None:
    names = copied(manager, 2)
    before: dict[str, Any] = manager.metrics()
    manager.get_ohlcv_batch(names, *DAYS)
    after = manager.metrics()
    assert after["calls"]["hits"] - before["calls"]["hits"] == 2


def _key(symbol: str) -> Any:
    from src.data.core.model.identity.series import SeriesKey
    from src.data.core.model.time.timeframe import Timeframe

    return SeriesKey(symbol, Timeframe.parse("1d"))


def test_a_warning_from_a_batch_thread_points_at_the_calling_line(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.drop(1, 2))
    with pytest.warns(IncompleteDataWarning) as caught:
        manager.get_ohlcv_batch(["BTCUSDT", "ETHUSDT"], *DAYS)
    assert {warning.filename for warning in caught} == {__file__}


def test_a_failed_frame_of_a_batch_has_the_provenance_keys_of_a_good_one_and_its_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(500))
    frames = manager.get_ohlcv_batch(["BTCUSDT", "AAPL", "A A"], *DAYS, columns=["source"])
    good, down, none = (provenance(frame) for frame in frames.values())
    assert set(good) <= set(down) == set(none)
    assert [type(down[name]) for name in good if name in ("rows", "spans", "quality", "kind")] == [
        type(good[name]) for name in good if name in ("rows", "spans", "quality", "kind")
    ]
    assert down["error"]["type"] == "AllProvidersFailedError"
    assert (down["error"]["reason"], none["error"]["reason"]) == ("outage", "question")
    assert down["error"]["brief"].startswith("The data source for AAPL cannot be reached")
    assert down["attempts"][0]["provider"] == "yahoo"
    (gap,) = down["gaps"]
    assert (gap["start"], down["unanswered"]) == ("2024-06-03T00:00:00Z", down["error"]["message"])
    assert (none["symbol"], none["timeframe"], list(none["gaps"])) == ("A A", "1d", [])
    assert f"error        {down['error']['type']}: " in str(describe(frames["AAPL"]))
    assert "BadSymbolError" in str(describe(frames["A A"]))
    assert list(frames["A A"].columns) == list(frames["BTCUSDT"].columns)


# --- the wide layout -------------------------------------------------------------------------


def test_a_wide_batch_has_the_values_of_the_frames(
    manager: DataManager, vendors: VendorServer
) -> None:
    symbols = ["BTCUSDT", "AAPL", "NOPE1", "btcusdt"]
    frames = manager.get_ohlcv_batch(symbols, *DAYS)
    with pytest.warns(
        IncompleteDataWarning, match="1 of 4 symbols have no bars: NOPE1"
    ) as provenance:
        wide = manager.get_ohlcv_batch(symbols, *DAYS, layout="wide")
    assert [record.filename for record in provenance] == [__file__]
    for symbol, frame in frames.items():
        for field in ("open", "high", "low", "close", "volume"):
            assert wide[field, symbol].dropna().tolist() == frame[field].tolist()
    facts = wide.attrs["onetape"]
    assert list(facts["symbols"]) == symbols
    assert facts["failed"] == ["NOPE1"]
    assert facts["symbols"]["AAPL"]["vendors"] == frames["AAPL"].attrs["onetape"]["vendors"]


def test_an_unknown_layout_is_refused_before_any_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError, match="unknown layout 'long'; use one of dict, wide"):
        manager.get_ohlcv_batch(["BTCUSDT"], *DAYS, layout="long")  # type: ignore[call-overload]
    assert vendors.count() == 0


def test_symbols_that_are_no_strings_are_displayed_and_described_with_their_errors(
    manager: DataManager,
) -> None:
    symbols: Any = [None, 5, "AAPL", float("nan")]
    frames = manager.get_ohlcv_batch(symbols, "1d", "2024-06-03", "2024-06-05")
    with pytest.warns(IncompleteDataWarning, match="3 of 4 quotes failed"):
        quotes = manager.get_quotes(symbols)
    for shown in (repr(frames), frames._repr_html_(), str(describe(frames)), str(quotes)):
        assert "a symbol must be a string, not NoneType" in shown
        assert "a symbol must be a string, not float" in shown
    assert fingerprint(frames) == fingerprint(dict(reversed(frames.items())))


@pytest.mark.parametrize("symbols", [None, 5, float("nan"), b"T", [None], ["AAPL", 5], [["AAPL"]]])
def test_no_plan_or_explanation_is_made_for_something_other_than_a_symbol_or_a_list_of_them(
    manager: DataManager, vendors: VendorServer, symbols: Any
) -> None:
    for call in (manager.plan, manager.explain):
        with pytest.raises(QueryError, match="must be a list of strings, not "):
            call(symbols, "1d")
    if not isinstance(symbols, list):
        with pytest.raises(QueryError, match="must be a list of strings, not "):
            manager.plot(symbols, "1d")
    assert vendors.count() == 0


def test_plans_and_explanations_for_no_symbol_check_their_arguments(manager: DataManager) -> None:
    for call in (manager.plan, manager.explain):
        assert call([], "1d", "2024-06-03", "2024-06-07") == {}
        options: Any
        for label, *bounds, options in (
            ("bogus", {}),
            ("1d", {"adjustment": "some"}),
            ("1d", {"provider": "nobody"}),
            ("1d", {"session": "night"}),
            ("1d", "2024-06-07", "2024-06-03", {}),
            ("1d", "never", {}),
        ):
            with pytest.raises((QueryError, UnknownProviderError)):
                call([], label, *bounds, **options)
    with pytest.raises(QueryError):
        manager.plan([], "1d", "2024-06-03", period="7d")


def test_an_unknown_timeframe_is_an_error_even_if_no_bars_are_stored(manager: DataManager) -> None:
    manager.clear_cache(None, "1d")
    with pytest.raises(QueryError, match="bogus"):
        manager.clear_cache(None, "bogus")


def test_a_chart_of_a_set_or_an_iterator_with_one_symbol_is_a_chart_of_that_symbol(
    manager: DataManager,
) -> None:
    for symbols in ({"AAPL"}, iter(["AAPL"]), {"AAPL": 1}):
        assert "AAPL 1d: 5 bars" in repr(manager.plot(symbols, "1d", bars=5))


@pytest.mark.parametrize("value", ["False", "no", "yahoo", 1.5, float("nan"), [], {}])
def test_an_option_that_is_no_switch_is_refused_before_any_request(
    manager: DataManager, vendors: VendorServer, value: Any
) -> None:
    for name in ("force_refresh", "include_forming", "offline", "strict"):
        options = {name: value}
        for call in (manager.get_ohlcv, manager.plan, manager.plot):
            if (call, name) != (manager.plan, "strict"):
                with pytest.raises(QueryError, match=f"{name} must be True or False, not "):
                    call("BTCUSDT", "1d", bars=2, **options)
        with pytest.raises(QueryError, match=f"{name} must be True or False, not "):
            manager.get_ohlcv_batch(["BTCUSDT"], "1d", bars=2, **options)
    with pytest.raises(QueryError, match="force_refresh must be True or False"):
        manager.get_ohlcv("BTCUSDT", "1d", "2024-06-03", "2024-06-05", value)
    for figures in (manager.get_open_interest, manager.get_long_short_ratio):
        with pytest.raises(QueryError, match="force_refresh must be True or False"):
            figures("BTCUSDT", "1h", force_refresh=value)
    with pytest.raises(QueryError, match="force_refresh must be True or False"):
        manager.get_funding_rate("BTCUSDT", force_refresh=value)
    with pytest.raises(QueryError, match="offline must be True or False"):
        manager.search("apple", offline=value)
    with pytest.raises(QueryError, match="mark must be True or False"):
        manager.validate("BTCUSDT", "1d", mark=value)
    with pytest.warns(IncompleteDataWarning, match="force_refresh must be True or False"):
        assert manager.get_fundamentals("AAPL", force_refresh=value) == {}
    assert vendors.count() == 0


@pytest.mark.parametrize("value", [None, 0, 1, np.bool_(True), np.False_, np.int64(1), np.int64(0)])
def test_numbers_and_booleans_of_numpy_are_switches(manager: DataManager, value: Any) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1d", bars=2, include_forming=value)
    assert len(frame) == (3 if value else 2)


@pytest.mark.parametrize("timeframe", ["1d", "5m"])
def test_a_date_that_has_begun_at_a_venue_is_no_date_in_the_future(
    manager: DataManager, clock: ManualClock, timeframe: str
) -> None:
    clock.advance(to_ms(datetime(2024, 6, 12, 23, 30)) / 1000 - clock.now_ms() / 1000)
    frames = manager.get_ohlcv_batch(["CBA.AX", "AAPL", "SOL"], timeframe, "2024-06-13")
    found = provenance(frames["CBA.AX"]).get("error")
    assert found is None if timeframe == "1d" else found["type"] == "UnknownSymbolError"
    assert [provenance(frames[s])["error"]["type"] for s in ("AAPL", "SOL")] == [
        "BadRangeError", "BadSymbolError",
    ]  # fmt: skip
    for symbols in (["AAPL", "BTCUSDT"], ["SOL"], []):
        with pytest.raises(BadRangeError, match=r"^a batch: start '2024-06-13' is in the future"):
            manager.get_ohlcv_batch(symbols, timeframe, "2024-06-13")
