"""EODHD's face against recorded answers and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .keyed import KEY
from .server import VendorServer

AT = parse_iso
JUNE_3 = AT("2024-06-03") // 1000


@pytest.fixture
def eodhd(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "eodhd")
    yield client
    client.close()


def ask(client: Client, path: str, **params: Any) -> Any:
    """Return an answer that must come."""
    answer = client.get(f"/api/{path}", api_token=KEY, **{"fmt": "json"} | params)
    assert answer.status == 200, answer.body
    return answer.json() if "fmt" not in params else answer.body.decode()


@needs_reference
def test_rows_have_the_recorded_shape(eodhd: Client) -> None:
    real = recorded("eodhd/eod-BHP.AU-daily-json.json")
    assert shape(ask(eodhd, "eod/AAPL.US", **{"from": "2024-06-03"})) == shape(real)
    real = recorded("eodhd/intraday-AAPL.US-5m-json.json")
    ours = ask(eodhd, "intraday/AAPL.US", interval="5m", **{"from": JUNE_3, "to": JUNE_3 + 86_400})
    assert shape(ours) == shape(real)
    assert [r for r in real if r["volume"] is None], "official closes"
    assert (ours[-1]["datetime"], ours[-1]["volume"]) == ("2024-06-03 20:00:00", None)


@needs_reference
@pytest.mark.parametrize(
    "path, name",
    [("eod", "eod-AAPL.US-daily-csv-2018-2019"), ("div", "div-AAPL.US-csv"),
     ("splits", "splits-AAPL.US-csv")],
)  # fmt: skip
def test_tables_have_the_recorded_shape(eodhd: Client, path: str, name: str) -> None:
    real = recorded(f"eodhd/{name}.json").splitlines()
    ours = ask(eodhd, f"{path}/AAPL.US", fmt="csv").splitlines()
    assert ours[0].split(",")[0] == real[0].split(",")[0] == "Date"
    if path == "eod":
        assert ours[0] == real[0]
        assert real[-1].count(",") in (0, 6)
    if path == "splits":
        assert [ours[1].split(",")[-1]] == [real[3].split(",")[-1]]


@needs_reference
def test_a_wrong_eodhd_key_returns_the_recorded_error(eodhd: Client) -> None:
    refused = eodhd.get("/api/eod/AAPL.US", api_token="another")
    assert (refused.status, refused.body.decode()) == (
        401, recorded("eodhd/error-401-eod-unauthenticated.json"),
    )  # fmt: skip


def test_prices_are_as_traded_and_volumes_in_the_shares_of_today(
    vendors: VendorServer, eodhd: Client
) -> None:
    rows = ask(eodhd, "eod/NVDA.US", **{"from": "2024-06-06", "to": "2024-06-10"})
    raw = vendors.truth.raw("NVDA", "1d", AT("2024-06-06"), AT("2024-06-11"))
    assert [AT(r["date"]) for r in rows] == [bar[0] for bar in raw]
    assert [r["close"] for r in rows] == [bar[4] for bar in raw]
    assert [r["volume"] for r in rows] == [raw[0][5] * 10, raw[1][5] * 10, raw[2][5]]


def test_sessions_come_hours_after_their_close(eodhd: Client, clock: ManualClock) -> None:
    for moment, last in (("2024-06-12T22:59", "2024-06-11"), ("2024-06-12T23:00", "2024-06-12")):
        clock.set(AT(moment))
        assert ask(eodhd, "eod/AAPL.US", **{"from": "2024-06-03"})[-1]["date"] == last
    assert ask(eodhd, "eod/AAPL.US", order="d")[0]["date"] == "2024-06-12"


def test_minutes_by_seconds_with_both_ends_and_a_longest_range(eodhd: Client) -> None:
    at = AT("2024-06-03T14:00") // 1000
    rows = ask(eodhd, "intraday/AAPL.US", interval="5m", **{"from": at, "to": at + 300})
    assert [r["timestamp"] for r in rows] == [at, at + 300]
    long = {"from": at - 121 * 86_400, "to": at, "interval": "1m", "api_token": KEY}
    refused = eodhd.get("/api/intraday/AAPL.US", **long)
    assert refused.status == 422
    assert refused.json()["errors"]["to"] == ["Max period length is 120 days"]
    coins = ask(eodhd, "intraday/BTC-USD.CC", interval="1h", **{"from": at, "to": at + 7200})
    assert len(coins) == 3 and all(r["volume"] is not None for r in coins)


def test_symbols_and_days_that_eodhd_lacks_are_404_or_empty(eodhd: Client) -> None:
    assert eodhd.get("/api/eod/NOPE.US", api_token=KEY).status == 404
    assert eodhd.get("/api/eod/AAPL", api_token=KEY).status == 404
    assert ask(eodhd, "eod/GONE.US", **{"from": "2024-01-01"}) == []


def test_actions_by_date_with_dividends_in_the_shares_of_today(eodhd: Client) -> None:
    window = {"from": "2020-01-01", "to": "2020-12-31"}
    assert ask(eodhd, "splits/AAPL.US", **window) == [
        {"date": "2020-08-31", "split": "4.000000/1.000000"}
    ]
    paid = ask(eodhd, "div/AAPL.US", **window)
    assert [(r["value"], r["unadjustedValue"]) for r in paid] == [(0.205, 0.82), (0.205, 0.205)]
