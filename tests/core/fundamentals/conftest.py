"""Fixtures for lookups over real sockets: two vendors, both played by one small server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.fundamentals import Snapshot
from src.data.core.registry import VENDORS
from src.data.core.vendors.fundamentals_request import VendorAnswers, read
from src.data.core.vendors.fundamentals_table import VendorTable
from src.data.data_manager import DataManager
from tests.core.net.scripted import Recorder, reply, serving

KEY = "CANARY-0123456789"
# Those whom a test asks unless it says otherwise: others are asked without a key, too.
USUAL = ("fmp", "alpha_vantage")


class Vendors:
    """What the vendors answer, by path (and ``function``); all of it made up unless a test says so.

    Attributes:
        bodies: place to what is answered: bytes as they are, anything else as JSON.
        status: place to HTTP status, where not 200.
        gate: set unless a test wants the places in ``slow`` to wait for it.
        slow: places that wait.
        server: who is asked.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, Any] = {}
        self.status: dict[str, int] = {}
        self.slow: set[str] = set()
        self.gate = threading.Event()
        self.server: Recorder | None = None

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request; what nobody has put down is empty."""
        place = place_of(handler.path)
        if place in self.slow:
            self.gate.wait(20)
        body = self.bodies.get(place, [] if place.startswith("/") else {})
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply(handler, raw, self.status.get(place, 200))

    @property
    def asked(self) -> list[str]:
        """The places asked so far, in order."""
        assert self.server is not None
        return [place_of(path) for path, _ in self.server.requests]


def answered(
    table: VendorTable, bodies: dict[str, Any], data_type: str = "profile", symbol: str = "AAPL"
) -> Snapshot:
    """Read what a vendor answers; each body goes to the one request whose text holds its name."""
    asks = list(dict.fromkeys(answer.ask for answer in table.types[data_type]))
    told = {}
    for name, body in bodies.items():
        [ask] = [ask for ask in asks if name in repr(ask)]
        told[ask] = body
    return read(table, VendorAnswers(symbol, symbol, data_type, 1_700_000_000_000, told))


def place_of(path: str) -> str:
    """Return the path of a request, or the function where that is what tells."""
    parts = urlsplit(path)
    functions = parse_qs(parts.query).get("function")
    return functions[0] if functions else parts.path


def asking(*names: str) -> dict[str, Any]:
    """Return a fundamentals file by which ``names`` are asked."""
    types = ("profile", "ratios", "statements")
    return {"provider_sequences": {data_type: list(names) for data_type in types}}


def fmp_profile(symbol: str = "AAPL", **changes: Any) -> list[dict[str, Any]]:
    """Make up a profile as FMP sends it today."""
    row = {
        "symbol": symbol, "price": 200.0, "marketCap": 3.0e12, "beta": 1.2, "lastDividend": 1.0,
        "companyName": "Apple Inc.", "currency": "USD", "exchange": "NASDAQ",
        "industry": "Consumer Electronics", "sector": "Technology", "country": "US",
        "averageVolume": 50_000_000,
    }  # fmt: skip
    return [row | changes]


def fmp_income(symbol: str = "AAPL", currency: str = "USD") -> list[dict[str, Any]]:
    """Make up two years of income statements, newest first."""
    years = [("2023-09-30", "2023-11-03", 380.0e9), ("2022-09-24", "2022-10-28", 390.0e9)]
    return [
        {"date": end, "symbol": symbol, "reportedCurrency": currency, "filingDate": filed,
         "period": "FY", "revenue": revenue, "netIncome": revenue / 4, "eps": 6.0}
        for end, filed, revenue in years
    ]  # fmt: skip


def av_overview(symbol: str = "AAPL", **changes: str) -> dict[str, str]:
    """Make up an overview as Alpha Vantage sends it: texts throughout."""
    row = {
        "Symbol": symbol, "Name": "Apple Inc", "Currency": "USD", "Country": "USA",
        "MarketCapitalization": "3050000000000", "PERatio": "31.5", "DividendYield": "0.005",
        "BookValue": "4.2", "SharesOutstanding": "15000000000", "EPS": "6.1", "Beta": "None",
        "ForwardPE": "-", "RevenueTTM": "385000000000", "LatestQuarter": "2024-03-31",
        "PercentInstitutions": "61.5",
    }  # fmt: skip
    return row | changes


def yahoo_chart(symbol: str = "AAPL", **changes: Any) -> dict[str, Any]:
    """Make up a chart of Yahoo's by its address; only what it tells of the company."""
    meta = {
        "symbol": symbol, "currency": "USD", "longName": "Apple Inc.", "instrumentType": "EQUITY",
        "fullExchangeName": "NasdaqGS", "regularMarketPrice": 200.0, "fiftyTwoWeekHigh": 220.0,
    }  # fmt: skip
    return {f"/v8/finance/chart/{symbol}": {"chart": {"result": [{"meta": meta | changes}]}}}


def yahoo_series(
    symbol: str, values: dict[str, float | None], day: str = "2024-03-31", currency: str = "USD"
) -> dict[str, Any]:
    """Make up a time series of Yahoo's by its address: of each type one point."""
    result = [
        {"meta": {"symbol": [symbol], "type": [name]}}
        | ({} if value is None else {name: [
            {"asOfDate": day, "currencyCode": currency, "reportedValue": {"raw": value}}
        ]})
        for name, value in values.items()
    ]  # fmt: skip
    path = f"/ws/fundamentals-timeseries/v1/finance/timeseries/{symbol}"
    return {path: {"timeseries": {"result": result, "error": None}}}


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    """Yield both vendors; they know Apple."""
    made = Vendors()
    made.bodies = {
        "/stable/profile": fmp_profile(), "/stable/income-statement": fmp_income(),
        "OVERVIEW": av_overview(),
    }  # fmt: skip
    with serving(made.handle) as server:
        made.server = server
        yield made
        made.gate.set()


@pytest.fixture
def rules(tmp_path: Path, vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a rules file that points vendors at the server; the usual two alone are asked."""
    assert vendors.server is not None
    for name in ("FMP_API_KEY", "ALPHA_VANTAGE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    (tmp_path / "fundamentals.json").write_text(json.dumps(asking(*USUAL)))
    limits = "rate_limits: {requests_per_minute: 60000, requests_per_day: 60000, burst_size: 1000}"
    path = tmp_path / "rules.yaml"
    path.write_text(
        "failover: {max_retries: 1}\nproviders:\n"
        + "".join(
            f"  {name}: {{base_url: '{vendors.server.base}', {limits}}}\n"
            for name, row in VENDORS.items()
            if row.fundamentals
        )
    )
    return path


@pytest.fixture
def say(rules: Path) -> Callable[[dict[str, Any]], None]:
    """Return a writer of the user's fundamentals file, beside the rules."""
    path = rules.parent / "fundamentals.json"
    return lambda plain: path.write_text(json.dumps(asking(*USUAL) | plain)) and None


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the cache folder."""
    return tmp_path / "cache"


@pytest.fixture
def make(cache: Path, rules: Path, clock: ManualClock) -> Callable[[], DataManager]:
    """Return a maker of managers on one and the same cache folder."""
    return lambda: DataManager(cache, rules, clock=clock)


@pytest.fixture
def manager(make: Callable[[], DataManager]) -> DataManager:
    """Return a manager on an empty cache."""
    return make()
