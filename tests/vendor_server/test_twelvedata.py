"""Twelve Data's face against recorded answers and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onetape.data.core.model.time.instant import parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .keyed import KEY
from .server import VendorServer

AT = parse_iso
SIGNED = {"Authorization": f"apikey {KEY}"}


@pytest.fixture
def twelve(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "twelvedata")
    yield client
    client.close()


def ask(client: Client, symbol: str = "AAPL", interval: str = "1day", **params: Any) -> Any:
    """Return whatever comes."""
    return client.get("/time_series", SIGNED, symbol=symbol, interval=interval, **params).json()


@needs_reference
def test_series_have_the_recorded_shape(twelve: Client) -> None:
    real, ours = recorded("twelvedata/time_series-IBM-1day.json"), ask(twelve)
    assert shape(ours) == shape(real) | {"status": "str"}
    assert len(ours["values"]) == len(real["values"]) == 30
    assert list(ours["values"][0]) == list(real["values"][0])
    assert all(len(v["close"].partition(".")[2]) == 5 for v in ours["values"])


@needs_reference
@pytest.mark.parametrize(
    "reason, name",
    [("throttled", "error-429-in-body-http-200"), ("unauthorized", "error-401-apikey")],
)
def test_errors_are_the_recorded_ones(vendors: VendorServer, reason: Any, name: str) -> None:
    face = vendors.face("twelvedata")
    real = recorded(f"twelvedata/{name}.json")
    for by_status in (True, False):
        face.tells_by_status = by_status  # type: ignore[attr-defined]
        reply = face.refusal(reason, 0)
        assert reply.status == (real["code"] if by_status else 200)
        told = reply.body.decode()
        assert f'"code":{real["code"]}' in told and real["message"][:60] in told


@needs_reference
def test_a_strange_interval_is_refused_as_recorded(twelve: Client) -> None:
    real = recorded("twelvedata/error-400-bad-interval.json")
    assert ask(twelve, interval="1ms")["message"] == real["message"]


def test_days_are_adjusted_for_splits_and_minutes_are_not(
    vendors: VendorServer, twelve: Client
) -> None:
    window = {"start_date": "2024-06-06", "end_date": "2024-06-11", "order": "ASC"}
    for interval, label, how in (("1day", "1d", "split"), ("1h", "1h", "raw")):
        values = ask(twelve, "NVDA", interval, timezone="UTC", **window)["values"]
        wanted = vendors.truth.expected(
            "NVDA", label, AT("2024-06-06"), AT("2024-06-11"), how,  # type: ignore[arg-type]
            vendors.clock.now_ms(),
        )  # fmt: skip
        told = [(AT(v["datetime"]), *(float(t) for t in list(v.values())[1:])) for v in values]
        assert told == wanted, interval


def test_the_last_minute_is_there_and_the_last_date_is_not(twelve: Client) -> None:
    days = ask(twelve, start_date="2024-06-03", end_date="2024-06-06")["values"]
    assert [v["datetime"] for v in days] == ["2024-06-05", "2024-06-04", "2024-06-03"]
    ends = {"start_date": "2024-06-03 09:30:00", "end_date": "2024-06-03 09:40:00"}
    local = ask(twelve, interval="5min", **ends)["values"]
    assert [v["datetime"][11:] for v in local] == ["09:40:00", "09:35:00", "09:30:00"]


def test_a_range_over_the_limit_returns_the_newest_rows(twelve: Client) -> None:
    ends = {"start_date": "2010-01-04", "end_date": "2024-06-01", "order": "ASC"}
    few = ask(twelve, outputsize=3, **ends)["values"]
    assert [v["datetime"] for v in few] == ["2024-05-29", "2024-05-30", "2024-05-31"]
    ends = {"start_date": "2024-01-02 09:30:00", "end_date": "2024-06-11 16:00:00"}
    assert len(ask(twelve, interval="5min", **ends)["values"]) == 5000


def test_twelve_data_serves_london_by_its_mic_code_and_coins_without_volume(twelve: Client) -> None:
    assert ask(twelve, "VOD", mic_code="XLON")["meta"]["currency"] == "GBp"
    assert ask(twelve, "VOD")["code"] == 404
    coin = ask(twelve, "BTC/USD")
    assert coin["meta"]["currency_quote"] == "USD" and "volume" not in coin["values"][0]


def test_symbols_and_days_that_twelvedata_lacks_are_errors(twelve: Client) -> None:
    future = ask(twelve, start_date="2030-01-01", end_date="2030-02-01")
    assert future["code"] == 400 and future["message"].startswith("No data is available")
    assert ask(twelve, "GONE", start_date="2024-01-01")["code"] == 400
    assert twelve.get("/time_series", symbol="AAPL", interval="1day").status == 401
