"""Finnhub's face against recorded answers and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onetape.data.core.model.time.instant import DAY_MS, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .keyed import KEY
from .server import VendorServer

AT = parse_iso
TOKEN = {"X-Finnhub-Token": KEY}


@pytest.fixture
def finnhub(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "finnhub")
    yield client
    client.close()


def bars(client: Client, symbol: str, resolution: str, start: str, end: str) -> Any:
    """Return columns; both bounds are inclusive."""
    kind = "crypto" if ":" in symbol else "stock"
    ask = {"from": AT(start) // 1000, "to": AT(end) // 1000, "resolution": resolution}
    answer = client.get(f"/api/v1/{kind}/candle", TOKEN, symbol=symbol, **ask)
    assert answer.status == 200, answer.body
    return answer.json()


@needs_reference
def test_columns_have_the_recorded_shape(finnhub: Client) -> None:
    real = recorded("finnhub/candle-ok-shape-sample.json")
    assert shape(bars(finnhub, "AAPL", "D", "2024-06-03", "2024-06-07")) == shape(real)
    nothing = recorded("finnhub/candle-no_data.json")
    assert bars(finnhub, "AAPL", "D", "2030-06-03", "2030-06-07") == nothing
    assert bars(finnhub, "NOPE", "D", "2024-06-03", "2024-06-07") == nothing
    assert bars(finnhub, "GONE", "D", "2024-06-03", "2024-06-07") == nothing


@needs_reference
@pytest.mark.parametrize(
    "reason, name",
    [("forbidden", "error-403-candle-AAPL-premium"), ("throttled", "error-429-limit")],
)
def test_errors_are_the_recorded_ones(vendors: VendorServer, reason: Any, name: str) -> None:
    reply = vendors.face("finnhub").refusal(reason, 0)
    assert reply == type(reply).json(recorded(f"finnhub/{name}.json"), reply.status)


def test_days_are_adjusted_for_splits_and_end_at_the_requested_day(
    vendors: VendorServer, finnhub: Client
) -> None:
    told = bars(finnhub, "NVDA", "D", "2024-06-05", "2024-06-07")
    wanted = vendors.truth.expected(
        "NVDA", "1d", AT("2024-06-05"), AT("2024-06-08"), "split", vendors.clock.now_ms()
    )
    rows = zip(*(told[name] for name in "tohlcv"), strict=True)
    assert [(at * 1000, *values) for at, *values in rows] == wanted


def test_coins_of_one_exchange_and_a_month_at_most(vendors: VendorServer, finnhub: Client) -> None:
    told = bars(finnhub, "BINANCE:BTCUSDT", "60", "2024-03-01", "2024-06-01")
    assert told["t"][-1] == AT("2024-06-01") // 1000
    assert told["t"][-1] - told["t"][0] == 31 * DAY_MS // 1000
    wanted = vendors.truth.bar("BTCUSDT", "1h", AT("2024-06-01"))
    assert wanted and (told["c"][-1], told["v"][-1]) == (wanted[4], wanted[5])


def test_finnhub_needs_a_token_and_refuses_other_paths(finnhub: Client) -> None:
    ask = {"symbol": "AAPL", "resolution": "D", "from": 0, "to": 1}
    assert finnhub.get("/api/v1/stock/candle", **ask).status == 401
    assert finnhub.get("/api/v1/stock/candle", TOKEN, **ask | {"resolution": "X"}).status == 422
    assert finnhub.get("/api/v1/quote", TOKEN).status == 404


def test_finnhub_serves_splits_and_dividends(finnhub: Client) -> None:
    ask = {"symbol": "AAPL", "from": "2020-01-01", "to": "2020-12-31"}
    splits = finnhub.get("/api/v1/stock/split", TOKEN, **ask).json()
    assert [(s["date"], s["fromFactor"], s["toFactor"]) for s in splits] == [("2020-08-31", 1, 4)]
    paid = finnhub.get("/api/v1/stock/dividend", TOKEN, **ask).json()
    assert [(p["amount"], p["adjustedAmount"]) for p in paid] == [(0.205, 0.205), (0.82, 0.205)]
