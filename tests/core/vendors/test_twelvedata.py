from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.paging import windows
from src.data.core.vendors.twelvedata.bars import TwelveDataDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    MissingCredentialsError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.cache.counts import FULL
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

KEY = "k3y-c4nary-2209"
IBM = Instrument("IBM", "stock", "XNYS", "America/New_York", quote="USD")
BARS = {"time_series-IBM-1day"}
ERRORS: dict[str, Any] = {
    "error-400-bad-interval": CapabilityError,
    "error-401-apikey": AuthenticationError,
    "error-429-in-body-http-200": RateLimitedError,
}
# Answers to questions that are never asked: several symbols at once, other addresses.
ELSEWHERE = {
    "api_usage", "exchange_schedule", "market_capitalization", "price-IBM", "quote-IBM",
    "splits_calendar", "statistics-TSM", "time_series-batch-one-symbol-not-found",
    "time_series-batch-two-symbols",
}  # fmt: skip


def twelve(*answers: Any) -> tuple[TwelveDataDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return TwelveDataDataDownloader(KEY, sender=sender_over(transport)), transport


def body(*labels: str, **meta: str) -> dict[str, Any]:
    row = {"open": "1.5", "high": "2", "low": "1", "close": "1.25", "volume": "10"}
    values = [{"datetime": label, **row} for label in labels]
    return {"meta": {"currency": "USD", **meta}, "values": values, "status": "ok"}


def refusal(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "status": "error"}


def test_minutes_are_requested_in_utc_and_days_with_one_more_day() -> None:
    vendor, transport = twelve(answer(body("2024-01-03 14:30:00")), answer(body("2024-01-03")))
    vendor.fetch(query("1m", "2024-01-03T14:30:00Z", "2024-01-03T15:00:00Z", IBM))
    vendor.fetch(query("1d", "2024-01-03T00:00:00Z", "2024-01-05T00:00:00Z", IBM))
    minutes, days = transport.asked
    assert minutes.url == days.url == "https://api.twelvedata.com/time_series"
    shared = {"symbol": "IBM", "country": "United States", "order": "ASC", "outputsize": 5000}
    assert minutes.params == shared | {
        "interval": "1min", "timezone": "UTC", "adjust": "none",
        "start_date": "2024-01-03 14:30:00", "end_date": "2024-01-03 14:59:59",
    }  # fmt: skip
    assert days.params == shared | {
        "interval": "1day", "start_date": "2024-01-03", "end_date": "2024-01-05",
        "adjust": "splits",
    }  # fmt: skip
    assert dict(days.secret_headers) == {"Authorization": f"apikey {KEY}"}
    assert KEY not in repr(days) + repr(vendor) + repr(vars(vendor))


@pytest.mark.parametrize("end", ["2024-01-04T00:00:00.001Z", "2024-01-05T00:00:00Z"])
def test_the_end_date_of_a_request_is_the_day_after_the_last_day(end: str) -> None:
    asked = query("1d", "2024-01-03T00:00:00Z", end, IBM)
    assert twelve()[0].bars_request(asked, None).params["end_date"] == "2024-01-05"


@pytest.mark.parametrize(
    "end, last",
    [
        ("2024-01-03T15:00:00Z", "2024-01-03 14:59:59"),
        ("2024-01-03T15:00:00.001Z", "2024-01-03 15:00:00"),
    ],
)
def test_the_end_of_a_request_is_the_last_second_of_the_range(end: str, last: str) -> None:
    asked = query("1m", "2024-01-03T14:30:00Z", end, IBM)
    assert twelve()[0].bars_request(asked, None).params["end_date"] == last


@pytest.mark.parametrize("label, name", TwelveDataDataDownloader.capabilities.timeframes.items())
def test_every_timeframe_is_sent_in_twelvedatas_spelling(label: str, name: str) -> None:
    vendor, transport = twelve(answer(body("2024-01-01")))
    vendor.fetch(query(label, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", IBM))
    assert transport.asked[0].params["interval"] == name


@pytest.mark.parametrize(
    "label, said, stamp",
    [
        ("1m", "2024-03-11 13:30:00", "2024-03-11T13:30:00Z"),
        ("1d", "2024-03-11", "2024-03-11T00:00:00Z"),
        ("1w", "2024-03-15", "2024-03-11T00:00:00Z"),
        ("1M", "2024-03-29", "2024-03-01T00:00:00Z"),
    ],
)
def test_times_of_values_become_stamps(label: str, said: str, stamp: str) -> None:
    vendor, _ = twelve()
    page = vendor.parse_bars(
        answer(body(said)), query(label, "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z", IBM)
    )
    assert [iso(b.stamp_ms) for b in page.bars] == [stamp]
    assert page.unit == "USD"
    assert vendor.is_dense(Timeframe.parse(label)) == (label != "1m")


@pytest.mark.parametrize(
    "instrument, named",
    [
        (Instrument("BRK-B", "stock", "XNYS"), {"symbol": "BRK.B", "country": "United States"}),
        (Instrument("SAP.DE", "stock", "XETR"), {"symbol": "SAP", "mic_code": "XETR"}),
        (Instrument("EURUSD=X", "forex", "FX", base="EUR", quote="USD"), {"symbol": "EUR/USD"}),
        (Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT"), {"symbol": "BTC/USDT"}),
        (Instrument("EUR/USD", "stock"), {"symbol": "EUR/USD"}),
        (Instrument("X", "crypto", base="X", quote="USD", spellings={"twelvedata": "XX/USD"}),
         {"symbol": "XX/USD"}),
    ],
    ids=lambda value: getattr(value, "symbol", ""),
)  # fmt: skip
def test_symbols_become_the_vendors_symbol_country_and_exchange(
    instrument: Instrument, named: dict[str, str]
) -> None:
    params = twelve()[0].bars_request(query("1d", 0, DAY_MS, instrument), None).params
    known = ("symbol", "country", "mic_code")
    assert {k: v for k, v in params.items() if k in known} == named


def test_an_unknown_listing_is_refused_without_a_request() -> None:
    vendor, transport = twelve()
    with pytest.raises(CapabilityError, match=r"\.BE"):
        vendor.fetch(query("1d", 0, DAY_MS, Instrument("SAP.BE", "stock", "XFRA")))
    assert not transport.asked


@settings(derandomize=True, max_examples=15 if FULL else 2, deadline=None)
@given(st.integers(1, 20_000), st.integers(0, 10_000))
@example(4999, 0)
@example(5000, 1)
@example(5001, 1440)
def test_windows_join_and_none_is_long_enough_to_be_truncated(count: int, offset: int) -> None:
    start = parse_iso("2024-01-01T00:00:00") + offset * MINUTE_MS
    end = start + count * MINUTE_MS

    def serve(request: HttpRequest) -> HttpResponse:
        first = parse_iso(str(request.params["start_date"]))
        last = parse_iso(str(request.params["end_date"]))
        stamps = range(-(-first // MINUTE_MS) * MINUTE_MS, last + 1, MINUTE_MS)
        assert len(stamps) < 5000
        return answer(body(*(iso(s)[:19].replace("T", " ") for s in stamps)))

    vendor, transport = twelve(*[serve] * 6)
    coin = Instrument("BTCUSD", "crypto", base="BTC", quote="USD")
    asked = query("1m", start, end, coin)
    got = vendor.fetch(asked)
    assert got.table.stamps.tolist() == list(range(start, end, MINUTE_MS))
    pages = vendor.capabilities.page_bars, vendor.capabilities.page_days["1m"]
    cut = windows(asked.span, asked.timeframe, bars=pages[0], days=pages[1])
    assert len(transport.asked) == len(cut)


def test_an_answer_that_may_be_truncated_is_refused() -> None:
    vendor, _ = twelve(answer(body(*["2024-01-01 00:00:00"] * 5000)))
    with pytest.raises(
        ResponseFormatError, match="5,000 rows, of at most 5,000, so it may be truncated"
    ):
        vendor.fetch(query("1m", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", IBM))


def test_a_window_without_bars_does_not_lose_the_others() -> None:
    nothing = refusal(400, "No data is available on the specified dates. Try setting different ...")
    vendor, transport = twelve(answer(body("2024-01-02 15:00:00")), answer(nothing, 400))
    got = vendor.fetch(query("1m", "2024-01-02T00:00:00Z", "2024-01-06T00:00:00Z", IBM))
    assert (len(got.table), len(transport.asked)) == (1, 2)
    vendor, _ = twelve(answer(refusal(404, "Data not found"), 404))
    with pytest.raises(NoDataError):
        vendor.fetch(query("1d", 0, DAY_MS, IBM))


@pytest.mark.parametrize("status", [200, None])
@pytest.mark.parametrize(
    "code, message, kind",
    [
        (400, "Invalid **interval** provided", CapabilityError),
        (401, "**apikey** parameter is incorrect", AuthenticationError),
        (403, "is available exclusively with grow or pro", EntitlementError),
        (404, "**symbol** or **figi** parameter is missing or invalid", SymbolNotFoundError),
        (404, "Nothing found", SymbolNotFoundError),
        (404, "Nothing was found with the specified parameters.", SymbolNotFoundError),
        (404, "This symbol is available starting with Grow plan.", EntitlementError),
        (400, "**symbol** not found: NOPE. Please specify it correctly", SymbolNotFoundError),
        (429, "You have run out of API credits for the current minute.", RateLimitedError),
        (500, "Internal error", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(
    status: int | None, code: int, message: str, kind: Any
) -> None:
    vendor, _ = twelve()
    error = vendor.classify(answer(refusal(code, message), status or code))
    assert type(error) is kind
    assert vendor.classify(answer(b"<html>", 502)).__class__ is UnavailableError
    assert vendor.classify(answer(body("2024-01-01"))) is None


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("said", [b"404 page not found", refusal(404, "Not found"), b"<html>404"])
def test_a_404_for_the_address_is_not_an_unknown_symbol(said: Any, status: int) -> None:
    vendor, _ = twelve(answer(said, status))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", 0, DAY_MS, IBM))


@pytest.mark.parametrize("of, wait", [("the current minute", 60), ("the day", 3600)])
def test_the_pause_after_a_rate_limit_depends_on_the_credits_used_up(of: str, wait: int) -> None:
    error = twelve()[0].classify(answer(refusal(429, f"You have run out of API credits for {of}.")))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == wait


@pytest.mark.parametrize(
    "wrong", [[1], {}, {"values": [{}], "meta": {}}, {"values": [{"datetime": "x"}], "meta": {}}]
)
def test_a_response_in_another_format_is_unreadable(wrong: Any) -> None:
    vendor, _ = twelve(answer(wrong))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", 0, DAY_MS, IBM))


def test_the_key_is_accepted_under_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWELVE_DATA_API_KEY", "TWELVEDATA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingCredentialsError, match="TWELVE_DATA_API_KEY or TWELVEDATA_API_KEY"):
        TwelveDataDataDownloader(sender=sender_over(None))
    monkeypatch.setenv("TWELVEDATA_API_KEY", "other")
    made = TwelveDataDataDownloader(sender=sender_over(None))
    assert made.secret("TWELVE_DATA_API_KEY") == "other"


@needs_reference
@pytest.mark.parametrize("name", sorted(BARS))
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    recording, response = recorded("twelvedata", name)
    vendor, _ = twelve()
    page = vendor.parse_bars(response, query("1d", 0, "2030-01-01T00:00:00Z", IBM))
    rows = recording["body"]["values"]
    assert len(page.bars) == len(rows) == 30
    assert page.unit == "USD"
    for bar, row in zip(page.bars, rows, strict=True):
        assert iso(bar.stamp_ms)[:10] == row["datetime"]
        assert bar[1:6] == tuple(float(row[k]) for k in ("open", "high", "low", "close", "volume"))


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    assert type(twelve()[0].classify(recorded("twelvedata", name)[1])) is ERRORS[name]


@needs_reference
def test_the_timeframes_equal_those_of_the_recorded_error() -> None:
    said = recorded("twelvedata", "error-400-bad-interval")[0]["body"]["message"]
    named = said.split("Supported intervals: ")[1].split(", ")
    assert list(TwelveDataDataDownloader.capabilities.timeframes.values()) == named


@needs_reference
@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_recorded_answers_of_other_endpoints_are_refused_as_bars(name: str) -> None:
    vendor, _ = twelve(recorded("twelvedata", name)[1])
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", 0, DAY_MS, IBM))


def test_bars_of_the_same_ticker_at_another_venue_are_refused() -> None:
    london = Instrument("VOD.L", "stock", "XLON", "Europe/London")
    vendor, _ = twelve(answer(body("2024-06-03", symbol="VOD", mic_code="XNAS")))
    with pytest.raises(ResponseFormatError, match="answered for 'XNAS', not 'XLON'"):
        vendor.fetch(query("1d", "2024-06-03", "2024-06-04", london))


@pytest.mark.parametrize("interval, is_ours", [("1day", True), ("1week", False), ("1min", False)])
def test_bars_of_another_timeframe_than_requested_are_unreadable(
    interval: str, is_ours: bool
) -> None:
    vendor, _ = twelve(answer(body("2024-03-04", symbol="IBM", interval=interval)))
    asked = query("1d", "2024-03-04", "2024-03-05", IBM)
    if is_ours:
        assert len(vendor.fetch(asked).table) == 1
    else:
        with pytest.raises(ResponseFormatError, match=f"bars of '{interval}', not '1d'"):
            vendor.fetch(asked)
