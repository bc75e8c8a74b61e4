"""Fields beside the bars that prove that a response is not the requested one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpResponse
from src.data.core.registry import SERVED, key_names
from src.data.core.vendors.factory import downloader_class
from src.data.core.vendors.paging import read_page
from src.data.errors import ResponseFormatError
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.core.vendors.acme import query

AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
EUR = Instrument("EURUSD", "forex", "FX", "Europe/London", "", "EUR", "USD",
                 {"yahoo": "EURUSD=X", "alpha_vantage": "EUR-USD"})  # fmt: skip
TEVA = Instrument("TEVA.TA", "stock", "XTAE", "Asia/Tel_Aviv", quote="ILS")
VOD = Instrument("VOD.L", "stock", "XLON", "Europe/London", quote="GBP",
                 spellings={"alpha_vantage": "VOD.LON"})  # fmt: skip
DAY = 1709303400  # 2024-03-01, the open in New York
YAHOO: dict[str, Any] = {"chart": {"error": None, "result": [{
    "meta": {"currency": "USD", "exchangeTimezoneName": "America/New_York", "instrumentType": "EQUITY"},
    "timestamp": [DAY],
    "indicators": {"quote": [{key: [1.0] for key in ("open", "high", "low", "close", "volume")}]},
}]}}  # fmt: skip
POLYGON = {
    "status": "OK", "adjusted": False, "ticker": "AAPL", "resultsCount": 1,
    "results": [dict.fromkeys("ohlcv", 1.0) | {"t": 1709269200000}],
}  # fmt: skip
TWELVE: dict[str, Any] = {
    "meta": {"symbol": "AAPL", "interval": "1day", "currency": "USD", "exchange": "NASDAQ",
             "exchange_timezone": "America/New_York"},
    "values": [dict.fromkeys(("open", "high", "low", "close", "volume"), "1") | {"datetime": "2024-03-01"}],
    "status": "ok",
}  # fmt: skip
ALPHA: dict[str, Any] = {
    "Meta Data": {"1. Information": "Daily Prices (open, high, low, close) and Volumes",
                  "2. Symbol": "AAPL", "5. Time Zone": "US/Eastern"},
    "Time Series (Daily)": {"2024-03-01": {
        "1. open": "1", "2. high": "1", "3. low": "1", "4. close": "1", "5. volume": "1",
    }},
}  # fmt: skip
ANSWERS = {"yahoo": YAHOO, "polygon": POLYGON, "twelvedata": TWELVE, "alpha_vantage": ALPHA}
META = "chart/result/0/meta/"

# Vendor, field, wrong values for a day of AAPL, a part of the text that names the accepted values.
WRONG: list[tuple[str, str, list[Any], str]] = [
    ("yahoo", "chart/error", [{"code": "Not Found"}, "busy"], "null"),
    ("yahoo", "chart/result/1", [YAHOO["chart"]["result"][0], {}], "a single result"),
    ("yahoo", f"{META}instrumentType",
     ["CRYPTOCURRENCY", "CURRENCY", "FUTURE", "OPTION"], "EQUITY, ETF, MUTUALFUND, INDEX"),
    ("yahoo", f"{META}exchangeTimezoneName",
     ["Europe/London", "America/Chicago", "UTC", "America/Phoenix"], "America/New_York"),
    ("polygon", "resultsCount", [0, 2, 50_000, "1"], "1, the number of its results"),
    ("twelvedata", "meta/exchange", ["XETR", "LSE", "NSE", "Bolsa NYSE"], "NASDAQ or NYSE"),
    ("twelvedata", "meta/exchange_timezone", ["Europe/Berlin", "America/Toronto"], "America/New_York"),
    ("twelvedata", "meta/currency", ["EUR", "CAD", "usd "], "USD"),
    ("alpha_vantage", "Meta Data/*. Information",
     ["Weekly Prices (open, high, low, close) and Volumes", "Monthly Adjusted Prices and Volumes",
      "Intraday (5min) open, high, low, close prices and volume"], "bars of 1d"),
    ("alpha_vantage", "Meta Data/*. Time Zone", ["UTC", "Europe/London", "Asia/Tokyo"],
     "America/New_York"),
]  # fmt: skip
# Vendor, instrument, field, value: refused where the instrument is another one.
WRONG_FOR = [
    ("yahoo", EUR, f"{META}instrumentType", "EQUITY"), ("yahoo", EUR, f"{META}instrumentType", "ETF"),
    ("yahoo", VOD, f"{META}exchangeTimezoneName", "America/New_York"),
    ("alpha_vantage", EUR, "Meta Data/*. Time Zone", "US/Eastern"),
]  # fmt: skip
RIGHT: list[tuple[str, Instrument, str, Any]] = [
    *[("yahoo", AAPL, f"{META}instrumentType", name)
      for name in ("ETF", "MUTUALFUND", "INDEX", "a type of the future", None)],
    ("yahoo", EUR, f"{META}instrumentType", "CURRENCY"),
    ("yahoo", EUR, f"{META}exchangeTimezoneName", "America/New_York"),
    ("yahoo", TEVA, f"{META}exchangeTimezoneName", "Asia/Jerusalem"),
    ("yahoo", AAPL, f"{META}exchangeTimezoneName", "US/Eastern"),
    *[("twelvedata", AAPL, "meta/exchange", name) for name in ("NYSE", "NYSE ARCA", "CBOE", "OTC", None)],
    ("twelvedata", VOD, "meta/currency", "GBp"), ("twelvedata", VOD, "meta/exchange", "LSE"),
    ("twelvedata", VOD, "meta/exchange_timezone", "Europe/London"),
    *[("alpha_vantage", VOD, "Meta Data/*. Time Zone", name) for name in ("US/Eastern", "Europe/London")],
    ("alpha_vantage", AAPL, "Meta Data/*. Information", "a title of the future"),
    ("alpha_vantage", EUR, "Meta Data/*. Time Zone", "UTC"),
]  # fmt: skip


def read(vendor: str, body: Any, instrument: Instrument = AAPL) -> int:
    """Return the number of bars that a vendor's parser finds in a response to a query for a day."""
    body = deepcopy(body)
    if vendor == "yahoo":
        body["chart"]["result"][0]["meta"]["symbol"] = instrument.spelling(vendor)
    if vendor == "twelvedata" and instrument is VOD:
        body["meta"]["symbol"] = "VOD"
    if vendor == "alpha_vantage":
        names = {"2. Symbol": instrument.spelling(vendor)}
        if instrument is EUR:
            names = {"2. From Symbol": "EUR", "3. To Symbol": "USD"}
        body["Meta Data"] = {
            k: v for k, v in body["Meta Data"].items() if "Symbol" not in k
        } | names
    cls = downloader_class(vendor)
    keys = dict.fromkeys(key_names(vendor), "k")
    downloader = cls(credentials=keys, sender=sender_over(ScriptedTransport()))
    asked = query("1d", "2024-03-01", "2024-03-02", instrument, NOW_MS)
    response = HttpResponse(200, body=json.dumps(body).encode())
    return len(read_page(downloader, response, asked)[1])


def changed(body: Mapping[str, Any], path: str, value: Any) -> Any:
    """Return a copy of a response with another value at the path of a field."""
    body = deepcopy(dict(body))
    place: Any = body
    *folders, last = path.split("/")
    for name in folders:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if isinstance(place, list):
        place.insert(int(last), value)
    else:
        place[next((key for key in place if fnmatchcase(key, last)), last)] = value
    return body


def right_for(vendor: str, instrument: Instrument) -> Any:
    """Return a response for an instrument, without fields that hold only for AAPL."""
    body = deepcopy(ANSWERS[vendor])
    if instrument is AAPL:
        return body
    if vendor == "yahoo":
        body["chart"]["result"][0]["meta"] |= {
            "exchangeTimezoneName": instrument.timezone, "instrumentType": None,
        }  # fmt: skip
    if vendor == "twelvedata":
        body["meta"] = {"interval": "1day", "currency": "GBP"}
    if instrument is EUR and vendor == "alpha_vantage":
        body["Meta Data"]["5. Time Zone"] = "UTC"
    return body


@pytest.mark.parametrize("vendor, path, values, accepted", WRONG, ids=lambda v: str(v)[-24:])
def test_a_field_that_proves_that_an_answer_is_another_one_refuses_it(
    vendor: str, path: str, values: list[Any], accepted: str
) -> None:
    assert read(vendor, ANSWERS[vendor]) == 1
    for value in values:
        with pytest.raises(ResponseFormatError) as caught:
            read(vendor, changed(ANSWERS[vendor], path, value))
        text = str(caught.value)
        assert text.startswith(f"{vendor} returned {str(value)[:60]!r} as {path}, not ")
        assert accepted in text


@pytest.mark.parametrize("vendor, instrument, path, value", WRONG_FOR)
def test_a_field_is_compared_with_the_instrument(
    vendor: str, instrument: Instrument, path: str, value: str
) -> None:
    with pytest.raises(ResponseFormatError, match=f"as {path}, not".replace("*", r"\*")):
        read(vendor, changed(right_for(vendor, instrument), path, value), instrument)


@pytest.mark.parametrize("vendor, instrument, path, value", RIGHT)
def test_a_field_that_may_have_another_value_is_accepted(
    vendor: str, instrument: Instrument, path: str, value: Any
) -> None:
    assert read(vendor, changed(right_for(vendor, instrument), path, value), instrument) == 1


def test_the_table_has_each_field_of_each_vendor() -> None:
    declared = {(v, path) for v in SERVED for path in downloader_class(v).second_facts}
    assert declared == {(vendor, path) for vendor, path, _, _ in WRONG}
