"""``closed_by``: answers with only the bars that had closed by an instant."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data import describe, fingerprint
from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import DAY_MS
from src.data.core.vendors.yahoo.bars import YahooDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from tests.vendor_server import VendorServer

from .fresh import Fresh
from .oracle import ms
from .scripted_vendor import ScriptedVendor, gaps, provenance, route_to


def stamps(frame: pd.DataFrame) -> list[str]:
    return [t.isoformat()[:16] for t in frame.index]


def assert_known(
    frame: pd.DataFrame, vendors: VendorServer, symbol: str, timeframe: str, start: str, at: str
) -> None:
    """Assert that the frame equals the true bars visible at ``at``."""
    rows = vendors.truth.expected(symbol, timeframe, ms(start), ms(at), "raw", ms(at))
    got = [
        (int(stamp.value // 1_000_000), *(float(v) for v in values[:5]))
        for stamp, values in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    assert got == [tuple(row) for row in rows]


@pytest.mark.parametrize(
    "symbol, timeframe, start, at, rows",
    [
        ("BTCUSDT", "1h", "2024-06-10", "2024-06-11T11:59:59", 35),
        ("BTCUSDT", "1d", "2024-06-01", "2024-06-11T00:00:00", 10),
        ("AAPL", "1h", "2024-06-10", "2024-06-11T14:30:00", 8),
        ("AAPL", "1h", "2024-06-10", "2024-06-10T20:00:00", 7),
        ("AAPL", "1d", "2024-06-03", "2024-06-11T19:59:59", 6),
        ("AAPL", "1w", "2024-05-06", "2024-06-07T20:00:00", 5),
    ],
)
def test_closed_by_returns_the_bars_that_were_visible_then(
    manager: DataManager, vendors: VendorServer, symbol: str, timeframe: str, start: str, at: str,
    rows: int,
) -> None:  # fmt: skip
    for _ in range(2):  # asked of the vendor, then of the cache that holds more
        frame = manager.get_ohlcv(
            symbol, timeframe, start, closed_by=at, adjustment="raw", strict=True
        )
        assert len(frame) == rows
        assert_known(frame, vendors, symbol, timeframe, start, at)
        assert provenance(frame)["closed_by"] == f"{at}Z"
        manager.get_ohlcv(symbol, timeframe, start)


def test_closed_by_has_no_look_ahead_to_the_bar_that_formed_then(
    manager: DataManager, vendors: VendorServer
) -> None:
    whole = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
    assert stamps(whole)[-1] == "2024-06-12T14:00"
    vendors.clear_log()
    part = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", closed_by="2024-06-12T10:30")
    assert stamps(part)[-1] == "2024-06-12T09:00"
    assert vendors.count() == 0
    assert fingerprint(part) == fingerprint(whole.iloc[:10])
    assert provenance(part)["complete"] and gaps(part) == []
    assert "closed by    2024-06-12T10:30:00Z" in str(describe(part))


def test_closed_by_without_an_end_date_limits_the_last_bars(
    manager: DataManager, vendors: VendorServer
) -> None:
    three = manager.get_ohlcv("AAPL", "1d", bars=3, closed_by=date(2024, 6, 5))
    assert stamps(three) == ["2024-06-03T00:00", "2024-06-04T00:00", "2024-06-05T00:00"]
    ended = manager.get_ohlcv("AAPL", "1d", None, "2024-06-04", bars=2, closed_by="2024-06-05")
    assert stamps(ended) == ["2024-06-03T00:00", "2024-06-04T00:00"]
    usual = manager.get_ohlcv("BTCUSDT", "1h", closed_by="2024-06-05T00:00")
    assert len(usual) == 500
    assert stamps(usual)[-1] == "2024-06-04T23:00"


def test_a_start_after_closed_by_returns_an_empty_frame_without_a_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    for _ in range(2):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-03", closed_by="2024-05-20", strict=True)
        assert frame.empty
        assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
        assert provenance(frame)["complete"] and gaps(frame) == []
        assert vendors.count() == 0
        if not manager.cache.list_symbols():
            manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-05")
            vendors.clear_log()


def test_a_closed_by_in_the_future_means_now(manager: DataManager) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", closed_by="2030-01-01")
    assert stamps(frame)[-1] == "2024-06-12T14:00"
    assert provenance(frame)["closed_by"] == "2024-06-12T15:00:30Z"


def test_gaps_are_reported_up_to_closed_by_and_no_further(manager: DataManager) -> None:
    ask = ("HALTUSDT", "1h", "2024-03-04", "2024-03-06")
    with pytest.warns(UserWarning, match="1 gap, first"):
        manager.get_ohlcv(*ask)
    before = manager.get_ohlcv(*ask, closed_by="2024-03-05T02:00", strict=True)
    assert gaps(before) == []
    with pytest.warns(UserWarning, match="1 gap, first"):
        inside = manager.get_ohlcv(*ask, closed_by="2024-03-05T04:00")
    assert gaps(inside)[0][:2] == ("2024-03-05T02:00:00", "2024-03-05T04:00:00")


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_bar_outside_the_calendar_is_visible_after_its_own_length(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = ScriptedVendor(vendors, YahooDataDownloader)

    def later(rows: list[Bar]) -> list[Bar]:
        """Return the hours of a Friday, and as many of the Saturday."""
        return [*rows, *(row._replace(stamp_ms=row.stamp_ms + DAY_MS) for row in rows)]

    twin.spoil = later
    route_to(monkeypatch, manager, yahoo=twin)
    ask: tuple[str, ...] = ("AAPL", "1h", "2024-06-07", "2024-06-08")
    assert stamps(manager.get_ohlcv(*ask))[-1] == "2024-06-08T19:30"
    frame = manager.get_ohlcv(*ask, closed_by="2024-06-08T15:00")
    assert stamps(frame)[-1] == "2024-06-08T13:30", "14:30 closes at 15:30"
    for at, last in (
        ("2024-06-09T03:59", "2024-06-07T00:00"),
        ("2024-06-09T04:00", "2024-06-08T00:00"),
    ):
        frame = manager.get_ohlcv("AAPL", "1d", "2024-06-07", "2024-06-08", closed_by=at)
        assert stamps(frame)[-1] == last, "a day closes at midnight in New York"


def test_closed_by_limits_each_symbol_of_a_batch(manager: DataManager) -> None:
    frames = manager.get_ohlcv_batch(
        ["BTCUSDT", "AAPL"], "1d", "2024-06-01", closed_by="2024-06-11T20:00"
    )
    assert {name: stamps(frame)[-1][:10] for name, frame in frames.items()} == {
        "BTCUSDT": "2024-06-10", "AAPL": "2024-06-11",
    }  # fmt: skip


@pytest.mark.parametrize(
    "wishes, said",
    [
        ({"closed_by": "some day"}, "closed_by 'some day' is not a time"),
        ({"closed_by": "2024-06-01", "include_forming": True}, "include_forming and closed_by"),
    ],
)
def test_an_invalid_closed_by_is_refused_before_any_request(
    manager: DataManager, vendors: VendorServer, wishes: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        manager.get_ohlcv("AAPL", "1d", **wishes)
    with pytest.raises(QueryError, match=said):
        manager.get_ohlcv_batch(["AAPL"], "1d", "2024-06-01", **wishes)
    assert vendors.count() == 0


ASK = """
import json, sys
from src.data import DataManager
from src.data.core.clock import ManualClock
manager = DataManager({cache!r}, {rules!r}, clock=ManualClock({now}))
rows = [len(manager.get_ohlcv(*request, closed_by=at)) for *request, at in {requests!r}]
print(json.dumps([rows, "exchange_calendars" in sys.modules, "requests" in sys.modules]))
"""


def test_closed_by_is_answered_from_the_cache_without_loading_a_calendar(
    make: Callable[[], DataManager],
    rules: Path,
    clock: ManualClock,
    tmp_path: Path,
    fresh: Fresh,
) -> None:
    requests = [
        ("BTCUSDT", "1h", "2024-06-10", "2024-06-12", "2024-06-11T11:59"),
        ("AAPL", "1d", "2024-03-01", "2024-05-31", "2024-06-10"),
    ]
    for *request, _ in requests:
        make().get_ohlcv(*request)
    code = ASK.format(
        cache=str(tmp_path / "cache"), rules=str(rules), now=clock.now_ms(), requests=requests
    )
    assert json.loads(fresh.run(code)) == [[35, 64], False, False]
