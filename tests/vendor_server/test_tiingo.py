"""Tiingo's face against recorded answers and the truth, in the ways that bite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .server import VendorServer

KEY = {"Authorization": "Token k"}


@pytest.fixture
def tiingo(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "tiingo")
    yield client
    client.close()


def prices(
    client: Client, ticker: str, first: str, last: str, /, freq: str = "daily", **ask: Any
) -> list[dict[str, Any]]:
    """Ask for prices that must come."""
    where = f"/iex/{ticker}/prices" if "in" in freq else f"/tiingo/daily/{ticker}/prices"
    answer = client.get(where, KEY, startDate=first, endDate=last, resampleFreq=freq, **ask)
    assert answer.status == 200, answer.body
    rows: list[dict[str, Any]] = answer.json()
    return rows


@needs_reference
def test_rows_have_the_recorded_shape(tiingo: Client) -> None:
    days = prices(tiingo, "AAPL", "2024-06-03", "2024-06-05")
    assert shape(days) == shape(recorded("tiingo/daily-GOOGL-2015-01.json"))
    minutes = prices(tiingo, "AAPL", "2024-06-03", "2024-06-03", "30Min")
    real = recorded("tiingo/iex-GOOGL-30Min.json")
    assert shape(minutes) == shape(real)
    assert len(minutes) == len(real) == 13
    ask = {"tickers": "btcusd", "startDate": "2024-06-01", "endDate": "2024-06-02"}
    (coin,) = tiingo.get("/tiingo/crypto/prices", KEY, **ask, resampleFreq="1day").json()
    known = recorded("tiingo/crypto-btcusd-fldcbtc-1day.json")[0]
    del known["exchangeData"]
    assert shape(coin) == shape(known)
    assert len(coin["priceData"]) == 2


@needs_reference
def test_labels_of_weeks_are_the_recorded_ones(tiingo: Client) -> None:
    real = recorded("tiingo/daily-GOOGL-weekly.json")
    ours = prices(tiingo, "AAPL", "2018-01-05", "2018-01-19", "weekly")
    assert [row["date"] for row in ours] == [row["date"] for row in real]


@needs_reference
def test_refusals_are_the_recorded_ones(tiingo: Client, vendors: VendorServer) -> None:
    unknown = tiingo.get("/tiingo/daily/INVALID/prices", KEY)
    assert (unknown.status, unknown.json()) == (
        404, recorded("tiingo/error-404-ticker-not-found.json"),
    )  # fmt: skip
    said = vendors.face("tiingo").refusal("throttled", 0).body.decode()
    real = recorded("tiingo/error-200-symbol-lookup-limit.json")
    assert (said[:21], said[-60:]) == (real[:21], real[-60:])


def test_rows_contain_raw_and_adjusted_prices(vendors: VendorServer, tiingo: Client) -> None:
    before, day = prices(tiingo, "NVDA", "2024-06-07", "2024-06-10")
    raw = vendors.truth.raw("NVDA", "1d", parse_iso("2024-06-07"), parse_iso("2024-06-11"))
    assert [before["close"], day["close"]] == [bar[4] for bar in raw]
    assert before["adjClose"] == pytest.approx(before["close"] / 10, rel=1e-3)
    assert (before["splitFactor"], day["splitFactor"], day["divCash"]) == (1.0, 10.0, 0.0)
    assert before["adjVolume"] == before["volume"] * 10


def test_the_running_day_week_and_month_are_not_there(tiingo: Client, clock: ManualClock) -> None:
    assert prices(tiingo, "AAPL", "2024-06-11", "2024-06-12")[-1]["date"][:10] == "2024-06-11"
    assert (
        prices(tiingo, "AAPL", "2024-06-01", "2024-06-30", "weekly")[-1]["date"][:10]
        == "2024-06-07"
    )
    months = prices(tiingo, "AAPL", "2024-04-01", "2024-06-30", "monthly")
    assert [row["date"][:10] for row in months] == ["2024-04-30", "2024-05-31"]
    clock.set(parse_iso("2024-06-12T20:00"))
    assert prices(tiingo, "AAPL", "2024-06-11", "2024-06-12")[-1]["date"][:10] == "2024-06-12"


def test_a_month_comes_only_with_its_last_day(tiingo: Client) -> None:
    assert prices(tiingo, "AAPL", "2024-04-01", "2024-04-29", "monthly") == []


def test_minutes_beyond_the_newest_are_left_out_in_silence(
    vendors: VendorServer, tiingo: Client
) -> None:
    vendors.face("tiingo").newest_rows = 20  # type: ignore[attr-defined]
    rows = prices(tiingo, "AAPL", "2024-06-03", "2024-06-04", "30min", columns="close,volume")
    assert len(rows) == 20 and rows[-1]["date"] == "2024-06-04T19:30:00.000Z"
    assert rows[0].keys() == {"date", "close", "volume"}


def test_tiingo_needs_a_key_and_returns_an_empty_list_for_unknown_coins(tiingo: Client) -> None:
    assert tiingo.get("/tiingo/daily/AAPL/prices", {}).status == 403
    assert tiingo.get("/tiingo/daily/AAPL/prices", {}, token="k").status == 200
    assert (
        tiingo.get("/tiingo/crypto/prices", KEY, tickers="zzzusd", resampleFreq="1day").json() == []
    )
