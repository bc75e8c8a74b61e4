"""Faults of one vendor over real sockets: the other vendor answers. All values are made up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.observability.events import AttemptFailed, CallFailed, Event
from src.data.core.observability.logs import ContextFilter
from src.data.data_manager import DataManager
from tests.core.fundamentals.conftest import KEY, Vendors, asking, yahoo_chart

# Vendor to where it is asked first, and what it answers about a company of that symbol.
FIRST: dict[str, tuple[str, Callable[[str], Any]]] = {
    "yahoo": ("/v8/finance/chart/AAPL", lambda symbol: next(iter(yahoo_chart(symbol).values()))),
    "finnhub": ("/api/v1/stock/profile2", lambda symbol: {"ticker": symbol, "name": "Apple Inc"}),
    "polygon": (
        "/v3/reference/tickers/AAPL", lambda symbol: {"results": {"ticker": symbol, "name": "Apple"}}
    ),
    "tiingo": ("/tiingo/daily/AAPL", lambda symbol: {"ticker": symbol, "name": "Apple Inc"}),
}  # fmt: skip
NOT_FOUND = b'{"chart": {"result": null, "error": {"code": "Not Found", "description": "No data"}}}'
UNKNOWN: dict[str, tuple[Any, int]] = {
    "yahoo": (NOT_FOUND, 404),
    "finnhub": ({}, 200),
    "polygon": ({"status": "NOT_FOUND", "message": "Ticker not found."}, 404),
    "tiingo": ({"detail": "Error: Ticker 'AAPL' not found"}, 404),
}
THROTTLED: dict[str, tuple[Any, int]] = {
    "yahoo": (b"Edge: Too Many Requests", 429),
    "finnhub": ({"error": "API limit reached. Please try again later. Remaining Limit: 0"}, 200),
    "polygon": ({"status": "ERROR", "error": "You've exceeded the maximum requests"}, 429),
    "tiingo": (b"You have run over your 500 symbol look up for this month.", 200),
}
# What it is asked then, and may refuse.
MORE = {
    "yahoo": "/ws/fundamentals-timeseries/v1/finance/timeseries/AAPL",
    "finnhub": "/api/v1/stock/metric",
    "tiingo": "/tiingo/fundamentals/AAPL/daily",
}
# What is answered, its status, and what it is taken for.
FAULTS: dict[str, Callable[[str], tuple[Any, int, str]]] = {
    "html": lambda _: (b"<html>come back later</html>", 200, "ResponseFormatError"),
    "empty": lambda _: ({}, 200, "SymbolNotFoundError"),
    "unknown": lambda name: (*UNKNOWN[name], "SymbolNotFoundError"),
    "throttled": lambda name: (*THROTTLED[name], "RateLimitedError"),
    "wrong company": lambda name: (FIRST[name][1]("MSFT"), 200, "ResponseFormatError"),
}


@pytest.fixture
def ask(
    vendors: Vendors, say: Callable[[dict[str, Any]], None], make: Callable[[], DataManager],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[str, Any]]:  # fmt: skip
    """Return a lookup of Apple by FMP and another vendor."""
    for name in ("FINNHUB_API_KEY", "POLYGON_API_KEY", "TIINGO_API_KEY"):
        monkeypatch.setenv(name, KEY)

    def lookup(name: str, **bounds: float) -> dict[str, Any]:
        say(asking("fmp", name) | ({"error_handling": bounds} if bounds else {}))
        return make().get_fundamentals("AAPL")

    return lookup


@pytest.mark.parametrize("name", FIRST)
def test_a_correct_answer_of_each_vendor_is_used(
    ask: Callable[..., dict[str, Any]], vendors: Vendors, name: str
) -> None:
    place, said = FIRST[name]
    vendors.bodies[place] = said("AAPL")
    told = ask(name)["_metadata"]
    assert told["providers_used"] == ["fmp", name]
    assert told["providers_failed"] == {}
    assert vendors.server is not None
    asked = [entry for entry in vendors.server.requests if "/stable/" not in entry[0]]
    assert not [path for path, _ in asked if KEY in path]
    for _, headers in asked:
        assert any(value.endswith(KEY) for value in headers.values()) is (name != "yahoo")


def test_series_of_yahoo_are_asked_for_up_to_now(
    ask: Callable[..., dict[str, Any]], vendors: Vendors, clock: ManualClock
) -> None:
    vendors.bodies |= yahoo_chart()
    ask("yahoo")
    assert vendors.server is not None
    [series] = [path for path, _ in vendors.server.requests if "timeseries" in path]
    assert f"period2={clock.now_ms() // 1000}" in series


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_bad_vendor_does_not_spoil_the_other(
    ask: Callable[..., dict[str, Any]], vendors: Vendors, name: str, fault: str
) -> None:
    place, _ = FIRST[name]
    vendors.bodies[place], vendors.status[place], kind = FAULTS[fault](name)
    record = ask(name)
    assert record["market_cap"] == 3.0e12
    assert record["_metadata"]["providers_used"] == ["fmp"]
    assert record["_metadata"]["providers_failed"][name].startswith(f"{kind}: ")


@pytest.mark.parametrize("name", MORE)
def test_what_a_plan_lacks_does_not_spoil_the_rest(
    ask: Callable[..., dict[str, Any]], vendors: Vendors, name: str
) -> None:
    place, said = FIRST[name]
    vendors.bodies[place], vendors.status[MORE[name]] = said("AAPL"), 403
    told = ask(name)["_metadata"]
    assert told["providers_used"] == ["fmp", name]
    assert vendors.asked.count(MORE[name]) == 1


@pytest.mark.parametrize("name", FIRST)
def test_a_slow_vendor_costs_the_budget_and_no_more(
    ask: Callable[..., dict[str, Any]], vendors: Vendors, make: Callable[[], DataManager], name: str
) -> None:
    make().get_fundamentals("AAPL", providers=["fmp"])
    vendors.slow.add(FIRST[name][0])
    record = ask(name, time_budget_seconds=0.1)
    assert not vendors.gate.is_set()
    assert record["market_cap"] == 3.0e12
    assert "did not answer in time" in record["_metadata"]["providers_failed"][name]
    vendors.gate.set()
    for thread in threading.enumerate():
        if thread.name == f"onetape-fundamentals-{name}":
            thread.join(60)


@pytest.mark.parametrize("symbol", ["AAPL", "?!", "ZZZZ", None])
def test_a_lookup_that_gives_nothing_is_told_and_joined_in_the_log(
    manager: DataManager, vendors: Vendors, caplog: pytest.LogCaptureFixture, symbol: Any
) -> None:
    vendors.bodies = {}
    vendors.status = {"/stable/profile": 503, "OVERVIEW": 503}
    heard: list[Event] = []
    manager.on_event(heard.append)
    context = ContextFilter()
    caplog.handler.addFilter(context)
    with caplog.at_level(logging.DEBUG, "onetape.data"):
        assert manager.get_fundamentals(symbol) == {}
    caplog.handler.removeFilter(context)
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert failed.request
    assert failed.symbol == (symbol or "")
    assert manager.metrics()["calls"]["failed"] == {failed.error: 1}
    attempts = [event for event in heard if isinstance(event, AttemptFailed)]
    assert {(e.request, e.symbol) for e in attempts} <= {(failed.request, symbol)}
    assert bool(attempts) == (symbol in ("AAPL", "ZZZZ"))
    lines = [vars(r) for r in caplog.records if not r.name.startswith("onetape.data.downloader")]
    assert {(line["request"], line["symbol"]) for line in lines} == {
        (failed.request, failed.symbol)
    }


def test_a_lookup_that_gives_something_is_no_failure(manager: DataManager) -> None:
    heard: list[Event] = []
    manager.on_event(heard.append)
    assert manager.get_fundamentals("AAPL")
    assert [event for event in heard if isinstance(event, CallFailed)] == []
    assert manager.metrics()["calls"]["failed"] == {}


def test_an_unreadable_answer_is_no_success(manager: DataManager, vendors: Vendors) -> None:
    vendors.bodies["/stable/profile"] = b"<html>come back later</html>"
    assert manager.get_fundamentals("AAPL"), "the other vendor answers"
    counted = manager.metrics()["vendors"]
    assert counted["fmp"]["outcomes"] == {"ResponseFormatError": 1}
    assert counted["fmp"]["success_rate"] == 0.0
    assert counted["alpha_vantage"]["success_rate"] == 1.0
