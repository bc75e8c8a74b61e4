"""Observability of a call: events, counters, and log records with their request."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.observability.events import (
    AnswerIncomplete,
    AttemptFailed,
    CallFailed,
    CircuitClosed,
    CircuitOpened,
    Event,
    FellBack,
    ShapeChanged,
    SplitFound,
    VendorPaused,
)
from src.data.core.observability.logs import LOGGERS, configure_logging
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning, QueryError
from tests.vendor_server import Fault, VendorServer, split

from .oracle import ms
from .scripted_vendor import ScriptedVendor, route_to

DAY = ("BTCUSDT", "1h", "2024-06-11", "2024-06-11")


@pytest.fixture
def heard(manager: DataManager) -> list[Event]:
    """Return the list to which each event of ``manager`` is added."""
    events: list[Event] = []
    manager.on_event(events.append)
    return events


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return what reads all that was logged, as JSON."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    stream = io.StringIO()
    configure_logging("json", "debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_every_retry_is_logged_with_its_wait(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, heard: list[Event]
) -> None:
    vendors.fault("binance", Fault.status(503), times=2)
    frame = manager.get_ohlcv(*DAY)
    assert len(frame) == 24
    failed = of(heard, AttemptFailed)
    assert heard == failed
    assert [event.attempt for event in failed] == [1, 2]
    waits = [event.wait_s for event in failed]
    assert waits == clock.slept, "the reported wait is the real one"
    assert 0 < waits[0] < waits[1]
    assert {(e.vendor, e.outcome, e.status) for e in failed} == {
        ("binance", "UnavailableError", 503)
    }  # fmt: skip
    assert {(e.symbol, e.timeframe) for e in failed} == {("BTCUSDT", "1h")}
    assert len({event.request for event in failed} - {""}) == 1
    vendor = manager.metrics()["vendors"]["binance"]
    assert (vendor["requests"], vendor["ok"]) == (3, 1)
    assert vendor["waits"]["retry"] == {"count": 2, "seconds": sum(waits)}


def test_a_throttling_vendor_sends_an_event_with_the_pause(
    manager: DataManager, vendors: VendorServer, heard: list[Event]
) -> None:
    vendors.fault("binance", Fault.throttle(7200))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv(*DAY, provider="binance")
    assert [(e.vendor, e.seconds) for e in of(heard, VendorPaused)] == [("binance", 7200.0)]
    assert of(heard, AttemptFailed)[-1].wait_s is None, "the call does not wait for two hours"
    (failed,) = of(heard, CallFailed)
    assert failed.error == "AllProvidersFailedError"
    found = manager.metrics()
    assert found["vendors"]["binance"]["pauses"] == 1
    assert found["calls"]["failed"] == {"AllProvidersFailedError": 1}


def test_a_fallback_sends_an_event_with_vendors_and_rows(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
    heard: list[Event],
) -> None:  # fmt: skip
    one, two = ScriptedVendor(vendors), ScriptedVendor(vendors)
    two.name = "second"
    one.spoil = lambda rows: [r for r in rows if not 5 <= r.stamp_ms // 3_600_000 % 24 <= 7]
    route_to(monkeypatch, manager, twin=one, second=two)
    manager.get_ohlcv(*DAY)
    (reported,) = of(heard, FellBack)
    assert (reported.vendor, reported.others, reported.rows) == ("second", ("twin",), 3)
    heard.clear()
    manager.get_ohlcv(*DAY)
    assert heard == [], "the second answer is a hit"
    calls = manager.metrics()["calls"]
    assert (calls["answers"], calls["hits"], calls["rows"]) == (2, 1, 48)


def test_an_event_is_sent_when_a_circuit_opens_and_closes(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, heard: list[Event]
) -> None:
    vendors.fault("binance", Fault.status(451))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv(*DAY, provider="binance")
    (opened,) = [e for e in of(heard, CircuitOpened) if e.door.startswith("bars/1h at 127.0.0.1")]
    assert opened.vendor == "binance"
    assert "RegionError" in opened.reason
    assert opened.symbol == "BTCUSDT"
    vendors.heal()
    clock.advance(opened.seconds + 1)
    assert of(heard, CircuitClosed) == []
    manager.get_ohlcv(*DAY, provider="binance")
    (closed,) = of(heard, CircuitClosed)
    assert (closed.vendor, closed.door) == (opened.vendor, opened.door)


def test_a_response_of_a_changed_shape_sends_one_event_and_gives_the_same_bars(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, heard: list[Event],
    lines: Callable[[], list[dict[str, Any]]],
) -> None:  # fmt: skip
    usual = manager.get_ohlcv(*DAY, force_refresh=True)
    assert of(heard, ShapeChanged) == []
    row = ("number", "number", *["text"] * 4, "number", "text", "number", "text", "text")
    monkeypatch.setattr(BinanceDataDownloader, "shapes", (("api/v3/klines", [row]),))
    for _ in range(2):
        answer = manager.get_ohlcv(*DAY, force_refresh=True)
    assert answer.equals(usual)
    (event,) = of(heard, ShapeChanged)
    assert (event.vendor, event.endpoint, event.symbol) == ("binance", "api/v3/klines", "BTCUSDT")
    assert list(map(str, event.differences)) == [
        "[][1] is text, not number",
        "[][11] is new (text)",
    ]
    counts = manager.metrics()["vendors"]["binance"]
    assert counts["shape_changes"] == {"new": 2, "missing": 0, "retyped": 2}
    assert (counts["requests"], counts["ok"]) == (3, 3)
    (line,) = [one for one in lines() if "as its parser expects" in one["message"]]
    assert (line["level"], line["provider"], line["symbol"]) == ("WARNING", "binance", "BTCUSDT")
    assert line["differences"][0]["expected"] == "number"
    assert manager.get_ohlcv(*DAY).equals(usual), "a hit compares nothing"


def test_an_incomplete_answer_sends_an_event(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch,
    heard: list[Event],
) -> None:  # fmt: skip
    one = ScriptedVendor(vendors)
    one.spoil = lambda rows: rows[:10] + rows[12:]
    route_to(monkeypatch, manager, twin=one)
    with pytest.warns(IncompleteDataWarning):
        manager.get_ohlcv(*DAY)
    (reported,) = of(heard, AnswerIncomplete)
    assert "1 gap, first" in reported.trouble[0]
    assert manager.metrics()["quality"]["incomplete"] == 1


def test_a_split_of_a_cached_series_sends_one_event(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, heard: list[Event]
) -> None:
    vendors.truth.act("AAPL", split("2024-06-12", 4))
    clock.set(ms("2024-06-11T22:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert of(heard, SplitFound) == []
    clock.set(ms("2024-06-12T22:00:00"))
    for _ in range(2):
        manager.get_ohlcv("AAPL", "1d", "2024-05-01")
    assert [(e.symbol, e.day, e.ratio) for e in of(heard, SplitFound)] == [
        ("AAPL", "2024-06-12", 4.0)
    ]  # fmt: skip


def test_a_listener_that_raises_does_not_affect_the_answer(
    manager: DataManager, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(event: Event) -> None:
        raise OSError("the pager is full")

    manager.on_event(raising)
    vendors.fault("binance", Fault.status(503), times=2)
    assert len(manager.get_ohlcv(*DAY)) == 24
    assert len([r for r in caplog.records if r.name == "onetape.events"]) == 1


def test_all_attempts_of_a_call_have_one_request_id_in_the_log(
    manager: DataManager, vendors: VendorServer, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    vendors.fault("binance", Fault.status(503), times=1)
    manager.get_ohlcv(*DAY)
    manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-05")
    sent = [line for line in lines() if "outcome" in line]
    assert [(x["symbol"], x["provider"], x["outcome"]) for x in sent] == [
        ("BTCUSDT", "binance", "UnavailableError"), ("BTCUSDT", "binance", "ok"),
        ("AAPL", "yahoo", "ok"),
    ]  # fmt: skip
    assert sent[0]["wait_s"] > 0
    assert sent[0]["request"] == sent[1]["request"] != sent[2]["request"]


def test_log_records_of_batch_threads_share_its_request_id_and_name_their_symbols(
    manager: DataManager, vendors: VendorServer, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    vendors.fault("yahoo", Fault.status(403))
    symbols = ["BTCUSDT", "ETHUSDT", "AAPL", "?!"]
    manager.get_ohlcv_batch(symbols, "1d", "2024-06-03", "2024-06-05")
    reported = [line for line in lines() if "request" in line]
    assert len({line["request"] for line in reported}) == 1
    assert {line["symbol"] for line in reported} == set(symbols)
    assert all(line["symbol"] for line in reported)
    warned = {line["symbol"] for line in reported if line["level"] == "WARNING"}
    assert warned >= {"AAPL", "?!"}


def test_each_manager_has_its_own_counters(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    one, two = make(), make()
    one.get_ohlcv(*DAY)
    assert one.metrics()["calls"]["answers"] == 1
    assert two.metrics()["calls"]["answers"] == 0
    two.get_ohlcv(*DAY)
    assert two.metrics()["calls"]["hit_rate"] == 1.0


def test_a_metrics_snapshot_is_plain_json_with_sizes(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv(*DAY)
    found = manager.metrics()
    assert json.loads(json.dumps(found)) == found
    parts = {"vendors", "calls", "quality", "events", "cache", "process", "vendor_days"}
    parts |= {"checks"}
    assert set(found) == parts
    assert found["cache"]["data_files"] == 1
    assert found["cache"]["compression_ratio"] > 1
    assert found["vendors"]["binance"]["quality_score"] == 1.0


FIGURES = {
    "funding": lambda m: m.get_funding_rate("BTCUSDT", "2024-06-01", "2024-06-02"),
    "interest": lambda m: m.get_open_interest("BTCUSDT", "1h", "2024-06-10", "2024-06-11"),
    "ratio": lambda m: m.get_long_short_ratio("BTCUSDT", "1h", "2024-06-10", "2024-06-11"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_failed_call_for_figures_sends_an_event_with_the_request_id_of_its_attempts(
    manager: DataManager, vendors: VendorServer, heard: list[Event], name: str,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:  # fmt: skip
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(AllProvidersFailedError):
        FIGURES[name](manager)
    (failed,) = of(heard, CallFailed)
    timeframe = "8h" if name == "funding" else "1h"
    assert (failed.error, failed.symbol, failed.timeframe) == (
        "AllProvidersFailedError", "BTCUSDT", timeframe,
    )  # fmt: skip
    assert failed.request
    assert {event.request for event in heard} == {failed.request}
    assert {(e.symbol, e.timeframe) for e in of(heard, AttemptFailed)} == {("BTCUSDT", timeframe)}
    assert manager.metrics()["calls"]["failed"] == {"AllProvidersFailedError": 1}
    reported = [line for line in lines() if line["logger"].startswith(LOGGERS)]
    assert any("outcome" in line for line in reported)
    assert {(x.get("request"), x.get("symbol"), x.get("timeframe")) for x in reported} == {
        (failed.request, "BTCUSDT", timeframe)
    }


def test_an_invalid_call_for_figures_sends_an_event(
    manager: DataManager, vendors: VendorServer, heard: list[Event]
) -> None:
    with pytest.raises(QueryError):
        manager.get_funding_rate("AAPL", "2024-06-01", "2024-06-02")
    assert [(e.error, e.symbol) for e in of(heard, CallFailed)] == [("QueryError", "AAPL")]
