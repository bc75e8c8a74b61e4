"""Vendor-specific behaviour that no check for all vendors covers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.span import Span
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    IncompleteDataWarning,
    NoDataError,
    QualityError,
    RateLimitedError,
    SymbolNotFoundError,
)
from tests.reference import needs_reference, reference
from tests.vendor_server import Fault
from tests.vendor_server.face import Reply

from .bench import Bench
from .sheet import Series

BenchOf = Callable[[str], Bench]
RECORDED: dict[str, type[DataError]] = {
    "fmp/error-401-invalid-key": AuthenticationError,
    "fmp/error-429-limit-reach": RateLimitedError,
    "alpha_vantage/error-information-25-per-day": RateLimitedError,
    "alpha_vantage/error-note-5-per-minute": RateLimitedError,
    "alpha_vantage/error-message-invalid-symbol": SymbolNotFoundError,
    "alpha_vantage/global-quote-empty-unknown-symbol": SymbolNotFoundError,
    "eodhd/error-401-eod-unauthenticated": AuthenticationError,
    "finnhub/candle-no_data": NoDataError,
    "finnhub/error-403-candle-AAPL-premium": EntitlementError,
    "finnhub/error-429-limit": RateLimitedError,
    "twelvedata/error-400-bad-interval": CapabilityError,
    "twelvedata/error-401-apikey": AuthenticationError,
    "twelvedata/error-429-in-body-http-200": RateLimitedError,
    "coingecko/error-404-coin-not-found": SymbolNotFoundError,
    "coingecko/error-429-rate-limit": RateLimitedError,
}
# Made up of what vendors are known to say; status, words, meaning.
SAID: list[tuple[str, int, str, type[DataError]]] = [
    ("fmp", 200, '{"Error Message": "Limit Reach . Please upgrade your plan"}', RateLimitedError),
    ("fmp", 402, "Premium Query Parameter: 'Special Endpoint", EntitlementError),
    ("fmp", 403, '{"Error Message": "Exclusive Endpoint : upgrade"}', EntitlementError),
    ("alpha_vantage", 200, '{"Information": "please spread out your free API requests more '
     'sparingly (1 request per second)"}', RateLimitedError),
    ("eodhd", 402, "You exceeded your daily API requests limit.", RateLimitedError),
    ("finnhub", 200, "API limit reached. Please try again later. Remaining Limit: 0",
     RateLimitedError),
    ("finnhub", 429, "API limit reached. Please try again later. Remaining Limit: 0",
     RateLimitedError),
    ("twelvedata", 429, '{"code": 429, "message": "You have run out of API credits for the '
     'day.", "status": "error"}', RateLimitedError),
    ("twelvedata", 404, '{"code": 404, "message": "This symbol is available starting with Grow '
     'plan.", "status": "error"}', EntitlementError),
]  # fmt: skip


def refused(bench: Bench, reply: Reply) -> DataError:
    """Return the error that an answer comes out as."""
    bench.fault(Fault("said", instead=lambda *_: reply))
    with pytest.raises(DataError) as caught:
        bench.fetch(bench.sheet.main)
    assert caught.value.provider == bench.name
    return caught.value


@needs_reference
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_refusals_over_the_wire(bench_of: BenchOf, name: str) -> None:
    vendor, _, file = name.partition("/")
    recorded: dict[str, Any] = json.loads(
        reference("recordings", "http", vendor, f"{file}.json").read_text()
    )
    body, status = recorded["body"], recorded["status"]
    reply = Reply.text(body, status) if isinstance(body, str) else Reply.json(body, status)
    assert type(refused(bench_of(vendor), reply)) is RECORDED[name]


@pytest.mark.parametrize("vendor, status, words, kind", SAID)
def test_other_words_of_refusal(
    bench_of: BenchOf, vendor: str, status: int, words: str, kind: type[DataError]
) -> None:
    assert type(refused(bench_of(vendor), Reply.text(words, status))) is kind


@pytest.mark.parametrize(
    "vendor, series",
    [
        ("fmp", Series("AAPL", "5m", "2024-05-06", "2024-06-08")),
        ("fmp", Series("AAPL", "1d", "2016-01-04", "2024-06-08")),
        ("finnhub", Series("BTCUSDT", "1h", "2024-02-01", "2024-06-01")),
        ("twelvedata", Series("AAPL", "1m", "2024-05-06", "2024-06-08")),
    ],
    ids=["fmp-5m", "fmp-1d", "finnhub-1h", "twelvedata-1m"],
)
def test_bars_are_complete_if_the_span_needs_several_requests(
    bench_of: BenchOf, vendor: str, series: Series
) -> None:
    bench = bench_of(vendor)
    assert bench.bars(series) == bench.truth(series)


def test_twelve_data_used_to_refuse_with_status_200(bench_of: BenchOf) -> None:
    bench = bench_of("twelvedata")
    bench.vendors.face("twelvedata").tells_by_status = False  # type: ignore[attr-defined]
    bench.refuses("unknown_symbol", Series("ZZZZ", "1d", "2024-06-03", "2024-06-05"))
    bench.refuses("future", bench.sheet.main, Span(bench.clock.now_ms() + DAY_MS, 1 << 41))


def test_minutes_of_twelve_data_are_as_traded_and_its_days_are_not(bench_of: BenchOf) -> None:
    bench = bench_of("twelvedata")
    for label, basis in (("1h", "raw"), ("1d", "split")):
        series = Series("NVDA", label, "2024-06-06", "2024-06-12")
        found = bench.fetch(series)
        wanted = bench.vendors.truth.expected(
            "NVDA",
            label,
            *series.span,
            basis,
            bench.clock.now_ms(),  # type: ignore[arg-type]
        )
        assert found.basis.adjustment == basis
        assert bench.told(found.table) == wanted
    with pytest.warns(IncompleteDataWarning, match="raw prices"):
        frame = bench.manager().get_ohlcv("NVDA", "1h", "2024-06-06", "2024-06-11")
    assert frame.attrs["onetape"]["adjustment"] == "raw"


def test_a_free_key_of_alpha_vantage_has_the_last_days_alone(bench_of: BenchOf) -> None:
    bench = bench_of("alpha_vantage")
    bench.vendors.face("alpha_vantage").premium = False  # type: ignore[attr-defined]
    recent = Series("AAPL", "1d", "2024-05-28", "2024-06-08")
    assert bench.bars(recent) == bench.truth(recent)
    with pytest.raises(CapabilityError, match="last 100"):
        bench.fetch(Series("AAPL", "1d", "2023-05-28", "2023-06-08"))


def test_compact_days_of_alpha_vantage_reach_as_far_back_as_they_are_asked_for(
    bench_of: BenchOf,
) -> None:
    bench = bench_of("alpha_vantage")
    first = bench.clock.now_ms() // DAY_MS * DAY_MS - 109 * DAY_MS
    series = Series("AAPL", "1d", iso(first), "2024-06-12")
    assert bench.bars(series) == bench.truth(series)
    (entry,) = bench.vendors.log("alpha_vantage")
    assert entry.params["outputsize"] == "compact"


def test_stamps_of_minutes_of_eodhd_in_another_unit_are_no_bars_of_another_time(
    bench_of: BenchOf,
) -> None:
    bench = bench_of("eodhd")
    minutes = Series("AAPL", "5m", "2024-06-06T18:00", "2024-06-06T20:00")
    for unit in ("ms", "us"):
        bench.fault(Fault.stamps_in(unit), times=1)
        with pytest.raises(QualityError):
            bench.bars(minutes)


def test_the_closing_auction_of_fmp_is_told(bench_of: BenchOf) -> None:
    bench = bench_of("fmp")
    bench.vendors.face("fmp").closing_auction = True  # type: ignore[attr-defined]
    got = bench.manager().get_ohlcv("AAPL", "5m", "2024-06-04", "2024-06-05")
    wanted = bench.truth(Series("AAPL", "5m", "2024-06-04", "2024-06-06"))
    assert {bar[0] for bar in wanted} < {at.value // 1_000_000 for at in got.index}
    assert any("2 bars are where the calendar" in p for p in got.attrs["onetape"]["problems"])
