"""Yahoo's face against recorded answers and the truth, in the ways that bite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import iso, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .server import VendorServer

AT = parse_iso
JUNE = AT("2024-06-01")


@pytest.fixture
def yahoo(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "yahoo")
    yield client
    client.close()


def seconds(text: str) -> int:
    return AT(text) // 1000


@needs_reference
@pytest.mark.parametrize(
    ("name", "symbol", "ask"),
    [
        (
            "AAPL-1d-2020-08-31-split-4for1-dividend",
            "AAPL",
            {"period1": 1598832000, "period2": 1604707200},
        ),
        ("AAPL-1d-no-range", "AAPL", {"period1": 1645488000, "period2": 1645574400}),
        ("BTC-USD-1d-2020-01", "BTC-USD", {"period1": 1577836800, "period2": 1578009600}),
        (
            "AAPL-1m-weekend-empty",
            "AAPL",
            {"period1": 1717804800, "period2": 1717891200, "interval": "1m"},
        ),
    ],
)
def test_charts_have_the_recorded_shape(
    yahoo: Client, name: str, symbol: str, ask: dict[str, object]
) -> None:
    real = shape(recorded(f"yahoo/chart-{name}.json")["chart"]["result"][0])
    ours = shape(yahoo.chart(symbol, **ask))
    for block in ("dividends", "splits"):  # keyed by their own second
        for one in (real, ours):
            if block in one.get("events", {}):
                one["events"][block] = list(one["events"][block].values())[:1]
    assert ours == real


@needs_reference
def test_stamps_and_events_are_the_recorded_ones(yahoo: Client) -> None:
    real = recorded("yahoo/chart-AAPL-1d-2020-08-31-split-4for1-dividend.json")["chart"]["result"][
        0
    ]
    ours = yahoo.chart(period1=1598832000, period2=1604707200)
    assert ours["timestamp"] == real["timestamp"]
    assert ours["events"] == real["events"]
    coin = recorded("yahoo/chart-BTC-USD-1d-2020-01.json")["chart"]["result"][0]
    assert (
        yahoo.chart("BTC-USD", period1=1577836800, period2=1578009600)["timestamp"]
        == coin["timestamp"]
    )


@needs_reference
def test_yahoo_errors_are_the_recorded_ones(yahoo: Client) -> None:
    unknown = yahoo.get("/v8/finance/chart/NOPE", interval="1d", range="1d")
    assert (unknown.status, unknown.json()) == (
        404,
        recorded("yahoo/chart-error-404-not-found-delisted.json"),
    )
    deep = yahoo.get(
        "/v8/finance/chart/AAPL", interval="1m", period1=1664596800, period2=1664683200
    )
    assert (deep.status, deep.json()) == (
        422,
        recorded("yahoo/error-422-1m-range-over-30-days-old.json"),
    )


def test_depths_and_long_requests_are_refused(yahoo: Client, clock: ManualClock) -> None:
    now = clock.now_ms() // 1000
    for interval, days, said in [
        ("1m", 9, "Only 8 days"),
        ("5m", 61, "last 60 days"),
        ("1h", 731, "last 730 days"),
        ("1d", 36_700, "Only 100 years"),
    ]:
        answer = yahoo.get(
            "/v8/finance/chart/AAPL", interval=interval, period1=now - days * 86400, period2=now
        )
        assert answer.status == 422 and said in answer.json()["chart"]["error"]["description"]
    swapped = yahoo.get("/v8/finance/chart/AAPL", interval="1d", period1=now, period2=now - 1)
    assert swapped.status == 400


def test_yahoo_days_are_adjusted_for_splits_reported_so_far(
    vendors: VendorServer, yahoo: Client, clock: ManualClock
) -> None:
    clock.set(AT("2024-06-10T13:29:59"))
    ask = {"period1": seconds("2024-06-03"), "period2": seconds("2024-06-08")}
    for moment, ratio in ((clock.now_ms(), 1), (AT("2024-06-10T13:30:00"), 10)):
        clock.set(moment)
        quote = yahoo.chart("NVDA", **ask)["indicators"]["quote"][0]
        truth = vendors.truth.expected(
            "NVDA", "1d", AT("2024-06-03"), AT("2024-06-08"), "split", moment
        )
        assert quote["close"] == [b[4] for b in truth] and quote["volume"] == [b[5] for b in truth]
        raw = vendors.truth.raw("NVDA", "1d", AT("2024-06-03"), AT("2024-06-08"))
        assert quote["close"] == pytest.approx([b[4] / ratio for b in raw], rel=1e-14)


def test_yahoo_returns_adjclose_and_only_the_events_in_the_requested_range(
    vendors: VendorServer, yahoo: Client
) -> None:
    ask = {"period1": seconds("2024-05-06"), "period2": seconds("2024-05-18")}
    chart = yahoo.chart("AAPL", **ask)
    truth = vendors.truth.expected(
        "AAPL", "1d", AT("2024-05-06"), AT("2024-05-18"), "all", vendors.clock.now_ms()
    )
    assert chart["indicators"]["adjclose"][0]["adjclose"] == [b[4] for b in truth]
    assert chart["events"] == {"dividends": {"1715347800": {"amount": 0.25, "date": 1715347800}}}
    assert "events" not in yahoo.chart("AAPL", **ask | {"period2": seconds("2024-05-10")})
    assert "events" not in yahoo.chart("AAPL", **ask, events="split")


def test_the_live_day_is_stamped_by_its_last_trade(yahoo: Client, clock: ManualClock) -> None:
    ask = {"period1": seconds("2024-06-10"), "period2": seconds("2024-06-15")}
    assert yahoo.chart(**ask)["timestamp"][-1] == clock.now_ms() // 1000 - 1
    clock.set(AT("2024-06-12T22:00"))  # after the close, the same evening in New York
    assert iso(yahoo.chart(**ask)["timestamp"][-1] * 1000) == "2024-06-12T20:00:01Z"
    clock.set(AT("2024-06-13T04:00"))  # midnight there
    assert iso(yahoo.chart(**ask)["timestamp"][-1] * 1000) == "2024-06-12T13:30:00Z"


def test_yahoo_returns_the_last_day_twice_after_the_close(
    vendors: VendorServer, yahoo: Client, clock: ManualClock
) -> None:
    clock.set(AT("2024-06-12T22:00"))
    vendors.face("yahoo").twin_after_close = True  # type: ignore[attr-defined]
    chart = yahoo.chart(period1=seconds("2024-06-12"), period2=seconds("2024-06-13"))
    quote = chart["indicators"]["quote"][0]
    assert len(chart["timestamp"]) == 2 and quote["close"][0] == quote["close"][1]
    assert quote["volume"][0] < quote["volume"][1]


def test_the_live_minute_comes_after_a_row_of_nulls(yahoo: Client, clock: ManualClock) -> None:
    chart = yahoo.chart(interval="5m", range="1d")
    quote = chart["indicators"]["quote"][0]
    assert [iso(t * 1000)[11:19] for t in chart["timestamp"][-3:]] == [
        "14:55:00",
        "15:00:00",
        "15:00:29",
    ]
    assert quote["close"][-2] is None and quote["close"][-1] and quote["volume"][-1] == 0
    assert "adjclose" not in chart["indicators"] and chart["meta"]["tradingPeriods"]


def test_the_live_week_is_in_two_rows(vendors: VendorServer, yahoo: Client) -> None:
    chart = yahoo.chart(interval="1wk", range="1mo")
    assert [iso(t * 1000) for t in chart["timestamp"][-3:]] == [
        "2024-06-03T04:00:00Z",
        "2024-06-10T04:00:00Z",
        "2024-06-12T15:00:29Z",
    ]
    days = vendors.truth.expected("AAPL", "1d", AT("2024-06-10"), AT("2024-06-12"), "split")
    assert chart["indicators"]["quote"][0]["volume"][-2] == sum(d[5] for d in days)


def test_pence_london_and_browsers(vendors: VendorServer, yahoo: Client) -> None:
    meta = yahoo.chart("VOD.L", range="5d")["meta"]
    assert (meta["currency"], meta["exchangeTimezoneName"]) == ("GBp", "Europe/London")
    bare = yahoo.get(
        "/v8/finance/chart/AAPL", {"User-Agent": "python-requests/2"}, interval="1d", range="5d"
    )
    assert (bare.status, bare.body) == (429, b"Edge: Too Many Requests")
