"""Alpaca's face against recorded answers and the truth, in the ways that bite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import iso, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .server import VendorServer

KEYS = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
STOCKS, COINS = "/v2/stocks/bars", "/v1beta3/crypto/us/bars"
DAYS = {"timeframe": "1Day", "start": "2024-06-03", "end": "2024-06-07"}


@pytest.fixture
def alpaca(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "alpaca")
    yield client
    client.close()


def bars(client: Client, symbol: str = "AAPL", /, **ask: Any) -> list[dict[str, Any]]:
    """Ask for bars that must come."""
    path = COINS if "/" in symbol else STOCKS
    answer = client.get(path, KEYS, symbols=symbol, **DAYS | ask)
    assert answer.status == 200, answer.body
    return list(answer.json()["bars"].get(symbol, []))


@needs_reference
def test_pages_have_the_recorded_shape(alpaca: Client) -> None:
    ours = alpaca.get(STOCKS, KEYS, symbols="AAPL", **DAYS, limit=2).json()
    name = "alpaca/stocks-bars-AAPL-1Day-limit2-next_page_token.json"
    assert shape(ours) == shape(recorded(name))
    weekend = DAYS | {"start": "2024-06-08", "end": "2024-06-09T12:00:00Z"}
    empty = alpaca.get(STOCKS, KEYS, symbols="AAPL", **weekend).json()
    assert empty == recorded("alpaca/stocks-bars-empty.json")


@needs_reference
def test_the_newest_minutes_are_refused_in_the_recorded_words(
    vendors: VendorServer, alpaca: Client, clock: ManualClock
) -> None:
    ask = {"timeframe": "1Min", "start": "2024-06-12T14:00:00Z", "end": iso(clock.now_ms())}
    refused = alpaca.get(STOCKS, KEYS, symbols="SPY", **ask)
    assert (refused.status, refused.json()) == (403, recorded("alpaca/error-403-recent-sip.json"))
    vendors.face("alpaca").recent_tape = True  # type: ignore[attr-defined]
    assert bars(alpaca, "SPY", **ask)[-1]["t"] == "2024-06-12T15:00:00Z", "the minute that forms"


def test_days_begin_at_midnight_in_new_york(vendors: VendorServer, alpaca: Client) -> None:
    rows = bars(alpaca, "NVDA", start="2024-03-08T05:00:00Z", end="2024-03-11T04:00:00Z")
    assert [row["t"] for row in rows] == ["2024-03-08T05:00:00Z", "2024-03-11T04:00:00Z"]
    raw = vendors.truth.raw("NVDA", "1d", parse_iso("2024-03-08"), parse_iso("2024-03-12"))
    assert [row["c"] for row in rows] == [bar[4] for bar in raw]
    split = bars(alpaca, "NVDA", start="2024-03-08", end="2024-03-12", adjustment="split")
    assert [row["c"] for row in split] == [bar[4] / 10 for bar in raw]


def test_both_ends_are_inclusive_and_hours_are_full(alpaca: Client) -> None:
    ask = {"timeframe": "1Hour", "start": "2024-06-07T13:00:00Z", "end": "2024-06-07T15:00:00Z"}
    assert [row["t"][11:16] for row in bars(alpaca, **ask)] == ["13:00", "14:00", "15:00"]
    coins = bars(alpaca, "BTC/USD", **ask)
    assert [row["t"][11:16] for row in coins] == ["13:00", "14:00", "15:00"]


def test_tokens_lead_through_all_pages(alpaca: Client) -> None:
    seen: list[str] = []
    more: dict[str, Any] = {"limit": 2}
    while True:
        body = alpaca.get(STOCKS, KEYS, symbols="BRK.B", **DAYS, **more).json()
        seen += [row["t"][:10] for row in body["bars"]["BRK.B"]]
        if body["next_page_token"] is None:
            break
        more["page_token"] = body["next_page_token"]
    assert seen == ["2024-06-03", "2024-06-04", "2024-06-05", "2024-06-06"]


@pytest.mark.parametrize(
    ("headers", "ask", "status"),
    [
        ({}, {}, 403),
        (KEYS, {"symbols": "ZZZZ"}, 400),
        (KEYS, {"timeframe": "1d"}, 400),
        (KEYS, {"limit": "10001"}, 400),
        (KEYS, {"adjustment": "splits"}, 400),
    ],
)
def test_a_wrong_request_to_alpaca_gets_a_message(
    alpaca: Client, headers: dict[str, str], ask: dict[str, str], status: int
) -> None:
    answer = alpaca.get(STOCKS, headers, **{"symbols": "AAPL", **DAYS, **ask})
    assert answer.status == status and answer.json()["message"]


def test_alpaca_lists_actions_by_type_from_their_ex_date_on(
    alpaca: Client, clock: ManualClock
) -> None:
    ask = {"symbols": "NVDA", "start": "2024-06-01", "end": "2024-12-31"}
    told = alpaca.get("/v1/corporate-actions", KEYS, **ask).json()["corporate_actions"]
    assert told["forward_splits"][0] | {"new_rate": 10, "old_rate": 1} == told["forward_splits"][0]
    assert told["cash_dividends"][0]["rate"] == 0.01
    clock.set(parse_iso("2024-06-10T13:29:59"))
    assert alpaca.get("/v1/corporate-actions", KEYS, **ask).json()["corporate_actions"] == {}
