"""Transactions of a miss on the state that all processes share, counted in SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.limits import state
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer

# Take the lease, enter the call, settle its request, leave it, give the lease back.
OF_A_CALL = 5


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is executed; no transaction is open while a request is on its way."""
    seen: list[str] = []
    connect, send = state.connect, HttpTransport.send

    def traced(path: str, *args: Any) -> Any:
        connection = connect(path, *args)
        connection.set_trace_callback(seen.append)
        return connection

    def checked(transport: HttpTransport, request: HttpRequest) -> HttpResponse:
        assert begun(seen) == sum(text in ("COMMIT", "ROLLBACK") for text in seen)
        return send(transport, request)

    monkeypatch.setattr(state, "connect", traced)
    monkeypatch.setattr(HttpTransport, "send", checked)
    return seen


def begun(statements: list[str]) -> int:
    """Return how many transactions were begun."""
    return sum(text.startswith("BEGIN") for text in statements)


@pytest.mark.parametrize(
    ("symbol", "timeframe", "vendor"), [("BTCUSDT", "1h", "binance"), ("AAPL", "1d", "yahoo")]
)
def test_a_miss_with_one_request_takes_five_transactions(
    symbol: str, timeframe: str, vendor: str, manager: DataManager, vendors: VendorServer,
    statements: list[str],
) -> None:  # fmt: skip
    manager.get_ohlcv(symbol, timeframe, "2024-05-01", "2024-05-02")
    requests = vendors.count(vendor)
    statements.clear()
    manager.get_ohlcv(symbol, timeframe, "2024-06-04", "2024-06-05")
    assert vendors.count(vendor) == requests + 1
    assert begun(statements) == OF_A_CALL


def test_a_further_page_takes_two_more_transactions_and_a_commit_one(
    make: Callable[[], DataManager], vendors: VendorServer, statements: list[str]
) -> None:
    manager = make()
    manager.get_ohlcv("BTCUSDT", "1m", "2024-05-01", "2024-05-01")
    statements.clear()
    requests = vendors.count("binance")
    manager.get_ohlcv("BTCUSDT", "1m", "2024-05-03", "2024-05-05")
    pages = vendors.count("binance") - requests
    assert pages == 5, "in two commits"
    assert begun(statements) <= OF_A_CALL + 2 * (pages - 1) + 1
    statements.clear()
    vendors.fault("binance", Fault.status(503), times=1)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-03", "2024-05-03")
    # The failure is settled at once, the repeat has its own turn, and a second later the page is
    # written beside the lease.
    assert begun(statements) == OF_A_CALL + 4


def test_a_hit_runs_no_sql_statement(manager: DataManager, statements: list[str]) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    statements.clear()
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    assert statements == []
