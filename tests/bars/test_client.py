"""The one interface for bars, on a store that holds a day of hours; its vendor counts questions."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.bars.client import BarsClient, Wishes
from src.data.cache.store import BarStore, Commit, CommitPiece
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import BadRangeError, BadTimeframeError
from src.data.model.bars import BarTable
from src.data.model.coverage import Covered
from src.data.model.instant import HOUR_MS, parse_iso
from src.data.model.kind import Basis, Kind
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from src.data.wiring import Services, build
from tests.e2e.shelf import Shelf

KIND = Kind("24h", "clock", "binance", "USDT", "base")
HOURS = SeriesKey("BTCUSDT", Timeframe.parse("1h"))
DAY = Span(parse_iso("2024-06-01"), parse_iso("2024-06-02"))
NOW = parse_iso("2024-06-12T15:00:30")


def piece(span: Span, price: float = 100.0, state: Any = "final") -> CommitPiece:
    stamps = np.arange(*span, HOUR_MS, dtype=np.int64)
    close = np.full(len(stamps), price)
    table = BarTable.of_columns(stamps, [close, close, close, close, close])
    return CommitPiece(table, span, "binance", NOW, KIND, Basis("raw"), state)


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock) -> Services:
    return build(tmp_path / "cache", clock=clock)


@pytest.fixture
def store(services: Services) -> BarStore:
    services.cache.store.commit(HOURS, Commit((piece(DAY),), kind=KIND))
    return services.cache.store


@pytest.fixture
def client(services: Services, store: BarStore) -> BarsClient:
    return services.client


@pytest.fixture
def manager(services: Services, clock: ManualClock) -> DataManager:
    return DataManager(services.settings.cache_dir, clock=clock)


@pytest.fixture
def vendor(services: Services, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf(clock, range(DAY.start, DAY.end + 24 * HOUR_MS, HOUR_MS), "binance")
    monkeypatch.setattr(services.selector, "get_provider_with_failover", lambda *_: ["binance"])
    monkeypatch.setitem(services.selector.downloaders, "binance", shelf)
    return shelf


# --- bars ----------------------------------------------------------------------------------


def test_a_lookup_answers_what_is_stored_as_get_does(client: BarsClient, vendor: Shelf) -> None:
    query = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    found = client.lookup(query)
    assert found.is_hit and found.missing == ()
    assert found.frame is not None
    pd.testing.assert_frame_equal(found.frame, client.get(query))
    assert not vendor.asked


def test_a_lookup_says_what_is_missing_and_asks_no_vendor(
    client: BarsClient, vendor: Shelf
) -> None:
    found = client.lookup(client.query("BTCUSDT", "1h", "2024-05-31", "2024-06-02"))
    lacking = (Span(parse_iso("2024-05-31"), DAY.start), Span(DAY.end, parse_iso("2024-06-03")))
    assert found == (None, lacking)
    # Of what is counted, refreshed or made of others the whole is missing: more must be looked at.
    assert [
        client.lookup(client.query("BTCUSDT", *asked)).missing
        for asked in [
            ("1h", "2024-06-01", "2024-06-01", None, Wishes(refresh=True)),
            ("2h", "2024-06-01", "2024-06-01"),
        ]
    ] == [(DAY,), (DAY,)]
    assert client.lookup(client.query("BTCUSDT", "1h", bars=3)).frame is None
    assert not vendor.asked


def test_a_batch_has_a_frame_for_each_question_in_order(client: BarsClient, vendor: Shelf) -> None:
    held = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    unknown = client.query("ETHUSDT", "1h", "2024-06-01", wishes=Wishes(offline=True))
    late = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
    frames = client.get_batch([late, unknown, held, held])
    assert [len(frame) for frame in frames] == [48, 0, 24, 24]
    error = frames[1].attrs["onetape"]["error"]
    assert error["type"] == "AllProvidersFailedError"
    assert frames[2] is not frames[3]
    assert vendor.asked


def test_plans_and_reasons_ask_no_vendor(client: BarsClient, vendor: Shelf) -> None:
    query = client.query("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert client.plan(query).is_hit
    assert client.explain(query).is_served
    assert not vendor.asked


# --- coverage ------------------------------------------------------------------------------


def test_coverage_tells_each_stretch_with_its_reason_and_when_it_is_due(
    client: BarsClient, store: BarStore, manager: DataManager
) -> None:
    soon = NOW + 5 * HOUR_MS
    running = Span(parse_iso("2024-06-12T14:00"), parse_iso("2024-06-12T15:00"))
    hole = Covered(
        Span(DAY.end, DAY.end + HOUR_MS), "empty", "binance", reason="no bar", expires=soon
    )
    due = NOW + HOUR_MS // 30
    parts = (piece(running, state="provisional"),)
    store.commit(HOURS, Commit(parts, (hole,), kind=KIND, next_due=due))
    raw = SeriesKey("BTCUSDT", HOURS.timeframe, ("yahoo",))
    store.commit(raw, Commit((piece(DAY),), kind=KIND))
    found = client.coverage(HOURS)
    assert [(p.span, p.state, p.vendor, p.reason, p.next_due) for p in found] == [
        (DAY, "final", "binance", "", None),
        (hole.span, "empty", "binance", "no bar", soon),
        (running, "provisional", "binance", "", due),
    ]
    frame = manager.coverage("BTC/USDT", "1h")
    assert list(frame.columns) == "lane start end state vendor reason next_due".split()
    assert frame["lane"].tolist() == ["", "", "", "yahoo"]
    assert frame["start"].dtype == frame["next_due"].dtype == "datetime64[ns]"
    assert frame["end"][0] == pd.Timestamp("2024-06-02")
    assert frame["next_due"].isna().tolist() == [True, False, False, True]


def test_of_what_is_not_stored_nothing_is_known(manager: DataManager) -> None:
    frame = manager.coverage("ETHUSDT", "1d")
    assert len(frame) == 0 and frame["next_due"].dtype == "datetime64[ns]"
    with pytest.raises(BadTimeframeError):
        manager.coverage("ETHUSDT", "1x")
    assert not list((manager.cache.cache_dir / "ohlcv").glob("ETH*")), "who looks makes no folder"


# --- sessions ------------------------------------------------------------------------------


def test_sessions_are_those_of_the_venue(manager: DataManager) -> None:
    frame = manager.sessions("AAPL", "2024-07-02", "2024-07-05")
    assert frame.index.strftime("%Y-%m-%d").tolist() == ["2024-07-02", "2024-07-03", "2024-07-05"]
    assert frame["open"].dt.strftime("%H:%M").tolist() == ["13:30"] * 3
    assert frame["close"].dt.strftime("%H:%M").tolist() == ["20:00", "17:00", "20:00"]
    assert frame["early_close"].tolist() == [False, True, False]
    # A day is final when the next session opens: the third's bar on the fifth, that one's on Monday.
    due = frame["next_due"].dt.strftime("%m-%d %H:%M").tolist()
    assert due == ["07-03 13:30", "07-05 13:30", "07-08 13:30"]


@pytest.mark.parametrize(
    "symbol, bounds, days",
    [
        ("BTCUSDT", ("2030-01-05", "2030-01-06"), ["2030-01-05", "2030-01-06"]),  # to come
        ("EURUSD=X", ("2024-06-07", "2024-06-10"), ["2024-06-07", "2024-06-10"]),
        ("EURUSD=X", ("2024-06-09T21:00", "2024-06-09T21:00"), ["2024-06-10"]),  # Sunday's open
        ("AAPL", ("2024-06-12T20:00", "2024-06-13T13:29"), []),  # the close is no part of it
        ("AAPL", ("2024-06-12T19:59:59", "2024-06-13T13:30"), ["2024-06-12", "2024-06-13"]),
    ],
)
def test_both_ends_of_a_range_are_included(
    manager: DataManager, symbol: str, bounds: tuple[str, str], days: list[str]
) -> None:
    assert manager.sessions(symbol, *bounds).index.strftime("%Y-%m-%d").tolist() == days


@pytest.mark.parametrize(
    "bounds, said",
    [
        (("2024-06-02", "2024-06-01"), "end '2024-06-01' lies before start"),
        (("2024-06-02", None), "end None is not a time"),
        (("soon", "2024-06-02"), "start 'soon' is not a time"),
    ],
)
def test_bounds_that_are_none_are_refused(
    manager: DataManager, bounds: tuple[Any, Any], said: str
) -> None:
    with pytest.raises(BadRangeError, match=said):
        manager.sessions("AAPL", *bounds)


def test_sessions_of_an_instrument_by_instants(client: BarsClient, manager: DataManager) -> None:
    who = manager.provider_selector.instrument("0700.HK")
    noon = parse_iso("2024-06-13T04:30")  # the market of Hong Kong pauses for lunch
    (session,) = client.sessions(who, Span(noon, noon + 1))
    assert session.day == date(2024, 6, 13)
    assert session.breaks and noon in session.breaks[0]
