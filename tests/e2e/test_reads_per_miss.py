"""Counts how often a miss reads the state of a series, and tests that it reads again after another writer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from src.data.core.bars.turns import Turns
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk, FileState
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.http import HttpTransport
from src.data.data_manager import DataManager
from tests.vendor_server import VendorServer

# The lookup; the plan, once the series is ours in this process; before the first question, once it is
# ours among all processes; what is stored, behind the read that an answer is compared with; what is
# stored after the commit; behind the read of the answer; and whose bars are stored, before a question.
LOOKS = 7
# The commit makes or finds the folder, and lists it under its lock.
BESIDE = 2
Make = Callable[[], DataManager]
KEY = SeriesKey("BTCUSDT", Timeframe.parse("1h"))
DAY = Span(parse_iso("2024-06-04"), parse_iso("2024-06-05"))
COIN = Kind("24h", "clock", "binance", "USDT", "base")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, young_files: None) -> list[str]:
    """Return the folders of series looked at, one entry for each look."""
    seen: list[str] = []
    stat = Disk.stat

    def counted(disk: Disk, path: Path | str) -> FileState | None:
        # Each look begins with the state of the folder.
        if os.fspath(path).endswith(("/BTCUSDT/1h", "/AAPL/1d")):
            seen.append(os.fspath(path))
        return stat(disk, path)

    monkeypatch.setattr(Disk, "stat", counted)
    return seen


@pytest.mark.parametrize(("symbol", "timeframe"), [("BTCUSDT", "1h"), ("AAPL", "1d")])
def test_a_miss_reads_the_index_of_a_series_once_per_phase(
    symbol: str, timeframe: str, manager: DataManager, vendors: VendorServer, looks: list[str]
) -> None:
    for day, spared in (("2024-06-04", 1), ("2024-05-01", 0)):
        looks.clear()
        requests = vendors.count()
        manager.get_ohlcv(symbol, timeframe, day, day)
        assert vendors.count() > requests
        # That a folder does not exist is certain at once, that it is unchanged is not.
        assert len(looks) == LOOKS + BESIDE - spared


def test_a_hit_reads_the_index_of_a_series_twice(make: Make, looks: list[str]) -> None:
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-05")
    looks.clear()
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-05")
    assert len(looks) == 2, "before the decision, and after the read"


# --- other writers ---------------------------------------------------------------------------


def bars_of(span: Span, close: float, kind: Kind = COIN, vendor: str = "binance") -> Commit:
    """Return a commit of hours that are all alike."""
    stamps = np.arange(*span, HOUR_MS, dtype=np.int64)
    values = np.full(len(stamps), close)
    table = BarTable.of_columns(stamps, [values] * 5)
    piece = CommitPiece(table, span, vendor, span.end, kind, Basis("raw"), "final")
    return Commit((piece,), kind=kind)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return what is done, once each, while a request is on its way to a vendor."""
    actions: list[Callable[[], object]] = []
    send = HttpTransport.send

    def sent(transport: HttpTransport, request: HttpRequest) -> HttpResponse:
        while actions:
            actions.pop()()
        return send(transport, request)

    monkeypatch.setattr(HttpTransport, "send", sent)
    return actions


def test_bars_that_another_process_stored_during_a_request_are_kept(
    make: Make, vendors: VendorServer, meanwhile: list[Callable[[], object]]
) -> None:
    manager, other = make(), make()
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    behind = Span(DAY.end, DAY.end + 5 * HOUR_MS)
    meanwhile.append(lambda: other.cache.store.commit(KEY, bars_of(behind, 7.0)))
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04T00:00", "2024-06-05T04:00")
    assert len(frame) == 29
    assert not (frame["close"] == 7.0).any(), "the vendor has just returned other bars"
    count = vendors.count("binance")
    before = Span(DAY.start - 5 * HOUR_MS, DAY.start)
    meanwhile.append(lambda: other.cache.store.commit(KEY, bars_of(before, 8.0)))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-07", "2024-06-07")
    assert vendors.count("binance") == count + 1
    kept = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-03T19:00", "2024-06-03T23:00", offline=True)
    assert (kept["close"] == 8.0).all() and len(kept) == 5


def test_bars_of_another_kind_stored_during_a_request_are_not_joined(
    make: Make, meanwhile: list[Callable[[], object]]
) -> None:
    manager, other = make(), make()
    kind = Kind("24h", "clock", "elsewhere", "USDT", "base")
    theirs = bars_of(Span(DAY.start - 5 * HOUR_MS, DAY.start), 7.0, kind, "elsewhere")
    meanwhile.append(lambda: other.cache.store.commit(KEY, theirs))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    assert manager.cache.store.view(KEY).kind == kind
    table, _ = manager.cache.store.read(KEY, Span(0, 1 << 50))
    assert (table.close == 7.0).all() and len(table) == 5


def test_bars_that_another_process_fetched_before_we_got_the_lease_are_not_fetched_again(
    make: Make, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, others, hold = make(), [make()], Turns.hold

    @contextmanager
    def late(turns: Turns, key: SeriesKey) -> Iterator[bool]:
        if others:
            others.pop().get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
        with hold(turns, key) as has_waited:
            assert not has_waited
            yield has_waited

    monkeypatch.setattr(Turns, "hold", late)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    assert len(frame) == 24
    assert vendors.count("binance") == 1


def test_fetched_bars_are_judged_by_the_time_after_the_request(
    manager: DataManager, clock: ManualClock, meanwhile: list[Callable[[], object]]
) -> None:
    meanwhile.append(lambda: clock.advance(60))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-04", "2024-06-04")
    assert manager.cache.store.view(KEY).compared_at == clock.now_ms()
