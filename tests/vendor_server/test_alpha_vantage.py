"""Alpha Vantage's face against recorded answers and the truth."""

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
MINUTES = {"function": "TIME_SERIES_INTRADAY", "interval": "15min", "outputsize": "full",
           "adjusted": "false", "extended_hours": "false"}  # fmt: skip


@pytest.fixture
def alpha(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "alpha_vantage")
    yield client
    client.close()


def ask(client: Client, symbol: str = "AAPL", **params: Any) -> Any:
    """Return an answer; this vendor refuses with status 200."""
    answer = client.get("/query", symbol=symbol, apikey=KEY, **params)
    assert answer.status == 200, answer.body
    return answer.json()


def series(body: Any) -> Any:
    """Return the rows by their labels."""
    return next(rows for name, rows in body.items() if "Time Series" in name)


@needs_reference
def test_answers_have_the_recorded_shape(alpha: Client) -> None:
    real = recorded("alpha_vantage/daily-MSFT-2018-05.json")
    ours = ask(alpha, "MSFT", function="TIME_SERIES_DAILY")
    assert (list(ours), list(ours["Meta Data"])) == (list(real), list(real["Meta Data"]))
    assert [shape(next(iter(series(b).values()))) for b in (ours, real)] == [
        dict.fromkeys(("1. open", "2. high", "3. low", "4. close", "5. volume"), "str")
    ] * 2
    real = recorded("alpha_vantage/intraday-MSFT-1min-compact.json")
    ours = ask(alpha, "MSFT", function="TIME_SERIES_INTRADAY", interval="1min")
    assert list(ours["Meta Data"]) == list(real["Meta Data"])
    assert ours["Meta Data"]["6. Time Zone"] == real["Meta Data"]["6. Time Zone"]
    assert len(series(ours)) == 100


@needs_reference
@pytest.mark.parametrize(
    "reason, name",
    [
        ("unknown_symbol", "error-message-invalid-symbol"),
        ("throttled", "error-information-25-per-day"),
    ],
)
def test_errors_are_the_recorded_ones(vendors: VendorServer, reason: Any, name: str) -> None:
    reply = vendors.face("alpha_vantage").refusal(reason, 0)
    assert reply == type(reply).json(recorded(f"alpha_vantage/{name}.json"))


def test_days_are_as_traded_and_newest_first(vendors: VendorServer, alpha: Client) -> None:
    rows = series(ask(alpha, "NVDA", function="TIME_SERIES_DAILY", outputsize="full"))
    assert list(rows) == sorted(rows, reverse=True)
    wanted = vendors.truth.raw("NVDA", "1d", AT("2024-06-05"), AT("2024-06-12"))
    told = [
        (AT(day), *(float(text) for text in row.values()))
        for day, row in rows.items() if "2024-06-05" <= day < "2024-06-12"
    ]  # fmt: skip
    assert told[::-1] == wanted
    assert len(series(ask(alpha, "NVDA", function="TIME_SERIES_DAILY"))) == 100


def test_a_month_of_minutes_by_the_clock_of_new_york(alpha: Client) -> None:
    rows = list(series(ask(alpha, month="2023-01", **MINUTES)))
    assert (rows[0], rows[-1]) == ("2023-01-31 15:45:00", "2023-01-03 09:30:00")
    assert "Error Message" in ask(alpha, month="1999-12", **MINUTES)
    assert "Error Message" in ask(alpha, "YOUNG", month="2024-03", **MINUTES)


def test_weeks_and_months_are_labelled_with_their_last_day(alpha: Client) -> None:
    weeks = list(series(ask(alpha, function="TIME_SERIES_WEEKLY")))
    assert weeks[:2] == ["2024-06-12", "2024-06-07"]
    assert list(series(ask(alpha, function="TIME_SERIES_MONTHLY")))[1] == "2024-05-31"


def test_alpha_vantage_serves_daily_coins_in_dollars(vendors: VendorServer, alpha: Client) -> None:
    body = ask(alpha, "BTC", function="DIGITAL_CURRENCY_DAILY", market="USD")
    assert body["Meta Data"]["3. Market Code"] == "USD"
    row = series(body)["2024-06-10"]
    wanted = vendors.truth.bar("BTC-USD", "1d", AT("2024-06-10"))
    assert wanted and float(row["4. close"]) == wanted[4]


def test_answers_of_alpha_vantage_depend_on_key_and_plan(
    vendors: VendorServer, alpha: Client
) -> None:
    assert "apikey" in alpha.get("/query", symbol="AAPL").json()["Error Message"]
    assert "Invalid API call" in ask(alpha, "NOPE", function="TIME_SERIES_DAILY")["Error Message"]
    vendors.face("alpha_vantage").premium = False  # type: ignore[attr-defined]
    full = ask(alpha, function="TIME_SERIES_DAILY", outputsize="full")
    assert "outputsize=full" in full["Information"]
    assert series(ask(alpha, function="TIME_SERIES_DAILY", outputsize="compact"))


def test_alpha_vantage_serves_splits_and_dividends(alpha: Client) -> None:
    splits, paid = (ask(alpha, function=name)["data"] for name in ("SPLITS", "DIVIDENDS"))
    assert splits[0] == {"effective_date": "2020-08-31", "split_factor": "4.0000"}
    assert (paid[-1]["ex_dividend_date"], paid[-1]["amount"]) == ("2020-08-07", "0.82")
