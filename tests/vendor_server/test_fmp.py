"""Financial Modeling Prep's face against recorded answers and the truth."""

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
DAYS, MINUTES = "/stable/historical-price-eod/full", "/stable/historical-chart/5min"


@pytest.fixture
def fmp(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "fmp")
    yield client
    client.close()


def ask(client: Client, path: str, symbol: str = "AAPL", **params: Any) -> Any:
    """Return an answer that must come."""
    answer = client.get(path, symbol=symbol, apikey=KEY, **params)
    assert answer.status == 200, answer.body
    return answer.json()


@needs_reference
def test_rows_have_the_recorded_shape(fmp: Client) -> None:
    (real,) = recorded("fmp/doc-historical-chart-5min.json")
    ours = ask(fmp, MINUTES, **{"from": "2024-06-03", "to": "2024-06-03"})
    assert shape(ours[0]) == shape(real)
    day = ask(fmp, DAYS, **{"from": "2024-06-03", "to": "2024-06-03"})[0]
    real = shape(recorded("fmp/historical-price-full-AAPL-2023-01.json")["historical"][0])
    assert shape(day) | real == real | {"symbol": "str"}
    (split,) = recorded("fmp/doc-stock_split-AAPL.json")["historical"]
    ours = ask(fmp, "/stable/splits")[0]
    assert (ours | split) == split | {"symbol": "AAPL"}


@needs_reference
@pytest.mark.parametrize(
    "reason, name", [("unauthorized", "error-401-invalid-key"), ("throttled", "error-429-limit-reach")]
)  # fmt: skip
def test_errors_are_the_recorded_ones(vendors: VendorServer, reason: Any, name: str) -> None:
    reply = vendors.face("fmp").refusal(reason, 0)
    assert reply == type(reply).json(recorded(f"fmp/{name}.json"), reply.status)


def test_days_are_adjusted_for_splits_and_come_newest_first_with_both_ends(
    vendors: VendorServer, fmp: Client
) -> None:
    rows = ask(fmp, DAYS, "NVDA", **{"from": "2024-06-05", "to": "2024-06-07"})
    assert [r["date"] for r in rows] == ["2024-06-07", "2024-06-06", "2024-06-05"]
    now = vendors.clock.now_ms()
    wanted = vendors.truth.expected(
        "NVDA", "1d", AT("2024-06-05"), AT("2024-06-08"), "split", now
    )  # fmt: skip
    told = [(AT(r["date"]), r["open"], r["high"], r["low"], r["close"], r["volume"]) for r in rows]
    assert told[::-1] == wanted


def test_minutes_are_labelled_with_the_clock_of_the_venue(fmp: Client) -> None:
    rows = ask(fmp, MINUTES, **{"from": "2024-03-08", "to": "2024-03-11"})
    assert (rows[0]["date"], rows[-1]["date"]) == ("2024-03-11 15:55:00", "2024-03-08 09:30:00")
    assert ask(fmp, MINUTES, "VOD.L", **{"from": "2024-06-03", "to": "2024-06-03"})[-1][
        "date"
    ].endswith("08:00:00")


def test_a_range_over_the_limit_returns_the_newest_part(fmp: Client) -> None:
    rows = ask(fmp, DAYS, **{"from": "2010-01-04", "to": "2024-01-05"})
    assert rows[0]["date"] == "2024-01-05"
    assert AT("2024-01-06") - AT(rows[-1]["date"]) <= 1826 * DAY_MS


def test_the_closing_auction_is_a_row_after_the_session(vendors: VendorServer, fmp: Client) -> None:
    vendors.face("fmp").closing_auction = True  # type: ignore[attr-defined]
    rows = ask(fmp, MINUTES, **{"from": "2024-06-03", "to": "2024-06-04"})
    assert next(r["date"] for r in rows if r["date"] < "2024-06-04") == "2024-06-03 16:00:00"


def test_symbols_and_days_that_fmp_lacks_are_an_empty_list(fmp: Client) -> None:
    assert ask(fmp, DAYS, "NOPE") == []
    assert ask(fmp, DAYS, **{"from": "2030-01-01", "to": "2030-02-01"}) == []
    assert ask(fmp, DAYS, "GONE", **{"from": "2024-01-01"}) == []
    assert fmp.get(DAYS, symbol="AAPL", apikey="another").status == 401
    assert fmp.get("/api/v3/quote/AAPL", apikey=KEY).status == 404


def test_dividends_are_returned_as_paid_and_adjusted(fmp: Client) -> None:
    paid = {r["date"]: (r["dividend"], r["adjDividend"]) for r in ask(fmp, "/stable/dividends")}
    assert paid["2020-08-07"] == (0.82, 0.205)
    assert paid["2024-05-10"] == (0.25, 0.25)
