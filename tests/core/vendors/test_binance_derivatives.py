from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.figures import (
    FUNDING,
    LONG_SHORT,
    MEASURES,
    OPEN_INTEREST,
    Figure,
    FigureQuery,
    Measure,
    ServedMeasure,
)
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.errors import (
    CapabilityError,
    QueryError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import BTC, recorded
from tests.reference import needs_reference

COIN = Instrument("BTCUSD", "crypto", quote="USD")
DAY = Span(NOW_MS - DAY_MS, NOW_MS)


def asked(
    measure: Measure, span: Span = DAY, instrument: Instrument = BTC, period: str = "1h"
) -> FigureQuery:
    label = "8h" if measure is FUNDING else period
    return FigureQuery(measure, instrument, Timeframe.parse(label), span, NOW_MS)


def binance(*answers: Any, **how: Any) -> tuple[BinanceDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return BinanceDataDownloader(sender=sender_over(transport), **how), transport


def rate(stamp: int, value: str = "0.0001", symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {"symbol": symbol, "fundingTime": stamp, "fundingRate": value}


def interest(stamp: int) -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "timestamp": stamp, "sumOpenInterest": "1.5",
            "sumOpenInterestValue": "2.25"}  # fmt: skip


@pytest.mark.parametrize(
    "measure, instrument, url, params",
    [
        (FUNDING, BTC, "https://fapi.binance.com/fapi/v1/fundingRate",
         {"symbol": "BTCUSDT", "limit": 1000}),
        (FUNDING, COIN, "https://dapi.binance.com/dapi/v1/fundingRate",
         {"symbol": "BTCUSD_PERP", "limit": 1000}),
        (OPEN_INTEREST, BTC, "https://fapi.binance.com/futures/data/openInterestHist",
         {"symbol": "BTCUSDT", "period": "1h", "limit": 500}),
        (OPEN_INTEREST, COIN, "https://dapi.binance.com/futures/data/openInterestHist",
         {"pair": "BTCUSD", "contractType": "PERPETUAL", "period": "1h", "limit": 500}),
        (LONG_SHORT, BTC, "https://fapi.binance.com/futures/data/globalLongShortAccountRatio",
         {"symbol": "BTCUSDT", "period": "1h", "limit": 500}),
        (LONG_SHORT, COIN, "https://dapi.binance.com/futures/data/globalLongShortAccountRatio",
         {"pair": "BTCUSD", "period": "1h", "limit": 500}),
    ],
)  # fmt: skip
def test_each_future_is_requested_at_its_own_address(
    measure: Measure, instrument: Instrument, url: str, params: dict[str, Any]
) -> None:
    vendor, transport = binance(answer([]))
    assert not vendor.fetch_figures(asked(measure, instrument=instrument)).rows
    late = 999 if measure is FUNDING else 0
    bounds = {"startTime": DAY.start, "endTime": DAY.end - 1 + late}
    assert (transport.asked[0].url, transport.asked[0].params) == (url, params | bounds)


def test_a_configured_host_also_serves_futures() -> None:
    vendor, transport = binance(answer([]), base_url="https://mirror.example/b")
    vendor.fetch_figures(asked(FUNDING))
    assert transport.asked[0].url == "https://mirror.example/b/fapi/v1/fundingRate"


@pytest.mark.parametrize("side", ["oldest", "newest"])
def test_all_pages_are_fetched_whichever_end_the_vendor_begins_with(side: str) -> None:
    # The last page has one row.
    stamps = [DAY.start + i * 5 * MINUTE_MS for i in range(17 * 500 + 1)]
    end = stamps[-1] + 1

    def serve(request: Any) -> Any:
        low, high = request.params["startTime"], request.params["endTime"]
        rows = [interest(s) for s in stamps if low <= s <= high]
        return answer(rows[:500] if side == "oldest" else rows[-500:])

    vendor, transport = binance(*[serve] * 60)
    query = FigureQuery(
        OPEN_INTEREST, BTC, Timeframe.parse("5m"), Span(stamps[0], end), stamps[-1] + MINUTE_MS
    )
    got = vendor.fetch_figures(query)
    assert [row.stamp_ms for row in got.rows] == stamps
    assert got.requests == len(transport.asked) == -(-len(stamps) // 500)


def test_one_more_request_confirms_that_there_is_nothing_before_a_listing() -> None:
    start, listed = parse_iso("2019-01-01"), parse_iso("2019-09-10T08:00:00")
    page = [rate(listed + i * 8 * HOUR_MS) for i in range(1000)]
    vendor, transport = binance(answer(page), answer([]), answer([]))
    got = vendor.fetch_figures(asked(FUNDING, Span(start, NOW_MS)))
    assert len(got.rows) == 1000
    spans = {(r.params["startTime"], r.params["endTime"]) for r in transport.asked[1:]}
    assert (start, listed - 1 + 999) in spans


def test_a_rate_is_stamped_with_its_full_second() -> None:
    at = DAY.start + 8 * HOUR_MS
    vendor, _ = binance(answer([rate(at + 2, "-0.00012359")]))
    assert vendor.fetch_figures(asked(FUNDING)).rows == [Figure(at, (-0.00012359,))]


@pytest.mark.parametrize("rows", [
    [rate(DAY.start, "NaN")], [rate(DAY.start, symbol="ETHUSDT")], [{"symbol": "BTCUSDT"}], {"a": 1},
    [3],
])  # fmt: skip
def test_rows_that_are_not_figures_of_the_future_are_refused(rows: Any) -> None:
    vendor, _ = binance(answer(rows))
    with pytest.raises(ResponseFormatError) as caught:
        vendor.fetch_figures(asked(FUNDING))
    assert (caught.value.provider, caught.value.symbol) == ("binance", "BTCUSDT")


def test_a_full_page_outside_of_the_range_ends_the_paging_with_an_error() -> None:
    vendor, _ = binance(answer([rate(i * HOUR_MS) for i in range(1000)]))
    with pytest.raises(ResponseFormatError, match="do not advance"):
        vendor.fetch_figures(asked(FUNDING))


@pytest.mark.parametrize(
    "query",
    [
        asked(OPEN_INTEREST, period="3m"),
        asked(OPEN_INTEREST, Span(NOW_MS - 31 * DAY_MS, NOW_MS)),
        asked(FUNDING, instrument=Instrument("AAPL", "stock")),
        asked(FUNDING, instrument=Instrument("BTCUSD_240628", "crypto")),
    ],
    ids=["period", "depth", "class", "dated"],
)
def test_figures_that_binance_does_not_serve_are_refused_without_a_request(
    query: FigureQuery,
) -> None:
    vendor, transport = binance()
    with pytest.raises(CapabilityError):
        vendor.fetch_figures(query)
    assert not transport.asked


def test_an_unknown_future_raises_symbol_not_found() -> None:
    vendor, _ = binance(answer({"code": -1121, "msg": "Invalid symbol."}, 400))
    with pytest.raises(SymbolNotFoundError):
        vendor.fetch_figures(asked(FUNDING))


def test_direct_calls_return_frames() -> None:
    at = parse_iso("2024-12-31T08:00:00")
    vendor, _ = binance(answer([rate(at)]), answer([interest(at)]), answer([]))
    rates = vendor.get_funding_rate("BTCUSDT", "2024-12-31", "2024-12-31")
    open_ = vendor.get_open_interest("BTCUSDT", "1h", "2024-12-31", "2024-12-31")
    none = vendor.get_long_short_ratio("BTCUSDT", "1h", "2024-12-31", "2024-12-31")
    assert rates["fundingRate"].tolist() == [0.0001]
    assert open_.columns.tolist() == ["sumOpenInterest", "sumOpenInterestValue"]
    assert none.columns.tolist() == ["longShortRatio", "longAccount", "shortAccount"]
    for frame in (rates, open_, none):
        assert (frame.index.name, str(frame.index.dtype)) == ("timestamp", "datetime64[ns]")
        assert frame.dtypes.tolist() == ["float64"] * frame.shape[1]
    with pytest.raises(QueryError):
        vendor.get_open_interest("BTCUSDT", "7x", "2024-12-31", "2024-12-31")


RECORDINGS = {
    "fundingRate-um-BTCUSDT-2020-01": ("funding_rate", "BTCUSDT", -0.00012359),
    "fundingRate-um-BTCUSDT-default-limit100": ("funding_rate", "BTCUSDT", None),
    "fundingRate-cm-BTCUSD_PERP-limit5": ("funding_rate", "BTCUSD_PERP", 0.0001),
    "openInterestHist-um-LTCUSDT-1d-limit10": ("open_interest", "LTCUSDT", 286060.674),
    "openInterestHist-cm-BTCUSD-CURRENT_QUARTER-5m": ("open_interest", "BTCUSD_PERP", 284391.0),
    "globalLongShortAccountRatio-um-BTCUSDT-4h": ("long_short_ratio", "BTCUSDT", 1.3781),
    "globalLongShortAccountRatio-um-BTCUSDT-5m-limit3": ("long_short_ratio", "BTCUSDT", 1.3804),
    "globalLongShortAccountRatio-cm-BTCUSD-5m": ("long_short_ratio", "BTCUSD_PERP", 1.613),
}


@needs_reference
@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_figures_are_parsed_completely(name: str) -> None:
    measure_name, symbol, first = RECORDINGS[name]
    recording, response = recorded("binance", name)
    measure, raw = MEASURES[measure_name], recording["body"]
    vendor, _ = binance()
    query = asked(measure, instrument=Instrument(symbol, "crypto"))
    found = vendor.parse_figures(response, query)
    assert len(found) == len(raw) > 0
    if first is not None:
        assert found[0].values[0] == first
    for row, reported in zip(found, raw, strict=True):
        assert row.values == tuple(float(reported[column]) for column in measure.columns)
        stamp = reported.get("fundingTime", reported.get("timestamp"))
        assert 0 <= stamp - row.stamp_ms < 1000
        assert row.stamp_ms % (5 * MINUTE_MS) == 0


@needs_reference
def test_recorded_rates_join_from_two_pages() -> None:
    recording, _ = recorded("binance", "fundingRate-um-BTCUSDT-2020-01")
    rows = recording["body"]
    start, end = rows[0]["fundingTime"], rows[-1]["fundingTime"] + 1

    class Short(BinanceDataDownloader):
        """The same vendor with a small page."""

        figures: Mapping[str, ServedMeasure] = {FUNDING.name: ServedMeasure(page_rows=3)}

    def serve(request: Any) -> Any:
        low, high = request.params["startTime"], request.params["endTime"]
        return answer(json.dumps([r for r in rows if low <= r["fundingTime"] <= high][:3]).encode())

    vendor = Short(sender=sender_over(ScriptedTransport(*[serve] * 4)))
    got = vendor.fetch_figures(asked(FUNDING, Span(start, end)))
    assert [row.values[0] for row in got.rows] == [float(r["fundingRate"]) for r in rows]
