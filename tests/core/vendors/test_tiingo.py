from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check
from src.data.core.vendors.tiingo.bars import TiingoDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    MissingCredentialsError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

KEYS = {"TIINGO_API_KEY": "c4nary-key"}
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
GOOGL = Instrument("GOOGL", "stock", "XNYS", "America/New_York", quote="USD")
BTC = Instrument("BTC-USD", "crypto", base="BTC", quote="USD")
ROW = {
    "date": "2024-01-02T00:00:00.000Z", "open": 1.5, "high": 2, "low": 1, "close": 1.25,
    "volume": 10, "adjClose": 0.5, "divCash": 0.0, "splitFactor": 1.0,
}  # fmt: skip

BARS: dict[str, tuple[str, Instrument, int, str, str]] = {
    # recording: timeframe, instrument, rows, first and last stamp
    "crypto-btcusd-fldcbtc-1day": ("1d", BTC, 2, "2019-05-01", "2019-05-02"),
    "daily-AAPL-2023-02-dividend": ("1d", AAPL, 5, "2023-02-08", "2023-02-14"),
    "daily-GOOGL-2015-01": ("1d", GOOGL, 2, "2015-01-02", "2015-01-05"),
    "daily-GOOGL-columns-several": ("1d", GOOGL, 1, "2024-10-22", "2024-10-22"),
    "daily-GOOGL-latest": ("1d", GOOGL, 1, "2018-04-12", "2018-04-12"),
    "daily-GOOGL-weekly": ("1w", GOOGL, 3, "2018-01-01", "2018-01-15"),
    "iex-GOOGL-30Min": ("30m", GOOGL, 13, "2018-01-02T14:30:00", "2018-01-02T20:30:00"),
}
ERRORS: dict[str, Any] = {
    "error-200-symbol-lookup-limit": RateLimitedError,
    "error-404-ticker-not-found": SymbolNotFoundError,
}
# Another format than the one that is asked for.
UNREADABLE = {"daily-GOOGL-csv-2018-01"}


def tiingo(*answers: Any) -> tuple[TiingoDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return TiingoDataDownloader(credentials=KEYS, sender=sender_over(transport)), transport


@pytest.mark.parametrize(
    "label, start, end, first, last, freq",
    [
        ("1d", "2024-01-02", "2024-01-04", "2024-01-02", "2024-01-03", "daily"),
        ("1d", "2024-01-02T10:00", "2024-01-04T10:00", "2024-01-03", "2024-01-04", "daily"),
        ("1w", "2024-01-01", "2024-01-15", "2024-01-01", "2024-01-20", "weekly"),
        ("1M", "2024-01-01", "2024-03-01", "2024-01-01", "2024-03-30", "monthly"),
    ],
)
def test_a_request_for_days_or_longer_has_the_documented_url(
    label: str, start: str, end: str, first: str, last: str, freq: str
) -> None:
    """Weeks and months are labelled with their last day, which may be after the span."""
    request = tiingo()[0].bars_request(query(label, start, end, AAPL), None)
    assert request.url == "https://api.tiingo.com/tiingo/daily/AAPL/prices"
    assert request.params == {
        "startDate": first, "endDate": last, "resampleFreq": freq, "format": "json",
    }  # fmt: skip
    assert request.secret_headers == {"Authorization": "Token c4nary-key"}
    assert request.secret_params == {}


@pytest.mark.parametrize("label, freq", [("5m", "5min"), ("15m", "15min"), ("30m", "30min")])
def test_a_request_for_minutes_covers_whole_dates(label: str, freq: str) -> None:
    asked = query(label, "2024-01-02T15:00", "2024-01-03T16:00", AAPL)
    request = tiingo()[0].bars_request(asked, None)
    assert request.url == "https://api.tiingo.com/iex/AAPL/prices"
    assert request.params == {
        "startDate": "2024-01-02", "endDate": "2024-01-03", "resampleFreq": freq,
        "format": "json", "columns": "open,high,low,close,volume",
    }  # fmt: skip


def test_a_request_for_crypto_has_the_documented_url() -> None:
    request = tiingo()[0].bars_request(query("1d", "2024-01-02", "2024-01-04", BTC), None)
    assert request.url == "https://api.tiingo.com/tiingo/crypto/prices"
    assert request.params == {
        "tickers": "btcusd", "startDate": "2024-01-02", "endDate": "2024-01-03",
        "resampleFreq": "1day", "format": "json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "who, label",
    [
        (BTC, "5m"), (BTC, "1w"), (AAPL, "1m"), (AAPL, "1h"),
        (Instrument("VOD.L", "stock", "XLON", "Europe/London"), "1d"),
    ],
)  # fmt: skip
def test_bars_that_tiingo_does_not_serve_are_refused_without_a_request(
    who: Instrument, label: str
) -> None:
    vendor, transport = tiingo()
    with pytest.raises(CapabilityError):
        vendor.fetch(query(label, "2024-01-01", "2024-02-01", who))
    assert transport.asked == []


@pytest.mark.parametrize(
    "who, spelled",
    [
        (Instrument("BRK-B", "stock", "XNYS", "America/New_York"), "BRK-B"),
        (Instrument("BRK.B", "stock"), "BRK-B"),
        (Instrument("BAC-PK", "stock", "XNYS", "America/New_York"), "BAC-P-K"),
        (Instrument("SOL.US", "stock", spellings={"tiingo": "SOL"}), "SOL"),
    ],
)
def test_symbols_are_sent_in_tiingos_spelling(who: Instrument, spelled: str) -> None:
    request = tiingo()[0].bars_request(query("1d", "2024-01-02", "2024-01-04", who), None)
    assert request.url.split("/")[5] == spelled


@pytest.mark.parametrize(
    "label, theirs, stamp",
    [
        ("1d", "2024-03-11T00:00:00.000Z", "2024-03-11"),  # the clocks have changed
        ("1d", "2024-03-08T00:00:00+00:00", "2024-03-08"),
        ("1w", "2024-03-28T00:00:00.000Z", "2024-03-25"),  # Good Friday is no session
        ("1w", "2024-03-29T00:00:00.000Z", "2024-03-25"),
        ("1M", "2024-03-29T00:00:00.000Z", "2024-03-01"),
        ("1M", "2024-03-31T00:00:00.000Z", "2024-03-01"),
        ("5m", "2024-03-08T14:30:00.000Z", "2024-03-08T14:30:00"),
        ("5m", "2024-03-11T13:30:00.000Z", "2024-03-11T13:30:00"),
    ],
)
def test_dates_of_rows_become_stamps(label: str, theirs: str, stamp: str) -> None:
    asked = query(label, "2024-01-01", "2024-06-03", AAPL)
    page = tiingo()[0].parse_bars(answer([{**ROW, "date": theirs}]), asked)
    assert [b.stamp_ms for b in page.bars] == [parse_iso(stamp)]


def test_bars_outside_of_the_span_on_its_dates_are_left_out() -> None:
    rows = [{**ROW, "date": f"2024-01-{n:02}T00:00:00Z"} for n in (12, 19, 26)]
    page = tiingo()[0].parse_bars(answer(rows), query("1w", "2024-01-08", "2024-01-15", AAPL))
    assert [b.stamp_ms for b in page.bars] == [parse_iso("2024-01-08"), parse_iso("2024-01-22")]
    strange = [{**ROW, "date": "1999-01-04T00:00:00Z"}]
    page = tiingo()[0].parse_bars(answer(strange), query("1d", "2024-01-08", "2024-01-15", AAPL))
    assert len(page.bars) == 1, "it shows that the answer is not what was asked"


@pytest.mark.parametrize("label, is_there", [("1d", True), ("1w", False), ("1M", False)])
def test_a_raw_week_or_month_across_a_split_is_missing_rather_than_wrong(
    label: str, is_there: bool
) -> None:
    asked = query(label, "2024-01-01", "2024-02-05", AAPL)
    (bar,) = tiingo()[0].parse_bars(answer([{**ROW, "splitFactor": 4.0}]), asked).bars
    assert math.isfinite(bar.close) is is_there


def test_a_missing_value_is_nan() -> None:
    asked = query("1d", "2024-01-01", "2024-02-05", AAPL)
    (bar,) = tiingo()[0].parse_bars(answer([{**ROW, "close": None, "volume": None}]), asked).bars
    assert math.isnan(bar.close)
    assert math.isnan(bar.volume)
    assert (bar.open, bar.adj_close) == (1.5, 0.5)


def test_an_empty_answer_for_a_pair_raises_no_data() -> None:
    with pytest.raises(NoDataError):
        tiingo(answer([]))[0].fetch(query("1d", "2024-01-02", "2024-01-04", BTC))


def test_minutes_and_days_are_of_different_venues() -> None:
    caps = tiingo()[0].capabilities
    day, minute = (caps.kind(AAPL, Timeframe.parse(t)) for t in ("1d", "5m"))
    assert (day.venue, day.feed, day.session) == ("consolidated", "sip", "regular")
    assert (minute.venue, minute.feed, minute.session) == ("iex", "iex", "regular")
    assert not minute.agrees(day), "the exchange's prices never stand among the tape's"
    assert caps.kind(BTC, Timeframe(1, "d")).venue == "aggregate"
    assert [tiingo()[0].is_dense(Timeframe.parse(t)) for t in ("1d", "5m")] == [True, False]


def test_limits_never_exceed_the_free_plan() -> None:
    limits = tiingo()[0].limits
    assert limits.burst + limits.per_second * 3600 <= 50


def test_the_constructor_needs_a_key_and_returns_a_working_vendor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    with pytest.raises(MissingCredentialsError, match="Tiingo needs a key"):
        TiingoDataDownloader()
    made = TiingoDataDownloader("mine", 0.5, sender=sender_over(ScriptedTransport(answer([ROW]))))
    frame = made.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-02")
    assert frame is not None
    assert (frame.index.name, frame["close"].tolist()) == ("timestamp", [1.25])
    request = made.bars_request(query("1d", 0, DAY_MS, AAPL), None)
    assert request.secret_headers == {"Authorization": "Token mine"}


# --- splits and dividends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "factor, ratio", [(4.0, (4, 1)), (1.5, (3, 2)), (0.125, (1, 8)), (0.333333, (1, 3))]
)
def test_actions_are_read_from_daily_rows(factor: float, ratio: tuple[int, int]) -> None:
    rows = [
        {**ROW, "divCash": 0.24}, {**ROW, "date": "2024-01-03T00:00:00Z", "splitFactor": factor},
        {**ROW, "date": "2024-01-04T00:00:00Z"}, {**ROW, "date": "2024-01-09T00:00:00Z", "divCash": 1},
    ]  # fmt: skip
    vendor, transport = tiingo(answer(rows))
    span = Span(day_ms(date(2024, 1, 2)), day_ms(date(2024, 1, 5)))
    paid, cut = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert (paid.type, paid.ex_date, paid.amount, paid.as_paid) == (
        "dividend", date(2024, 1, 2), 0.24, True,
    )  # fmt: skip
    assert (cut.type, cut.ex_date, cut.ratio) == ("split", date(2024, 1, 3), ratio[0] / ratio[1] if
                                                  ratio != (1, 3) else cut.ratio)  # fmt: skip
    assert (cut.numerator, cut.denominator) == ratio
    assert cut.ex_at == parse_iso("2024-01-03T05:00:00")
    assert {(a.source, a.fetched_at) for a in (paid, cut)} == {("tiingo", NOW_MS)}
    assert transport.asked[0].params["resampleFreq"] == "daily"


@pytest.mark.parametrize("body", [{}, [{"date": "2024-01-02"}], b"<html>"])
def test_actions_in_another_format_are_unreadable(body: Any) -> None:
    vendor, _ = tiingo(answer(body))
    with pytest.raises(ResponseFormatError):
        vendor.fetch_actions(AAPL, Span(0, DAY_MS), NOW_MS)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (401, {"detail": "Invalid token."}, AuthenticationError),
        (403, {"detail": "You do not have permission"}, EntitlementError),
        (404, {"detail": "Not found."}, SymbolNotFoundError),
        (400, ["Error: resampleFreq"], CapabilityError),
        (429, {"detail": "slow down"}, RateLimitedError),
        (200, b"You have run over your hourly request allocation.", RateLimitedError),
        (503, b"<html>", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(tiingo()[0].classify(answer(body, status))) is kind
    assert tiingo()[0].classify(answer([ROW])) is None


@pytest.mark.parametrize("limit, wait_s", [("hourly request", None), ("monthly bandwidth", 3600.0)])
def test_a_spent_monthly_allocation_pauses_requests_for_an_hour(
    limit: str, wait_s: float | None
) -> None:
    error = tiingo()[0].classify(answer(f"You have run over your {limit} allocation.".encode()))
    assert isinstance(error, RateLimitedError) and error.retry_after == wait_s


@pytest.mark.parametrize(
    "body", [b"<html>", b'[{"date": "2024', b"", {}, {"detail": "x"}, [{"date": "2024-01-02"}],
        [{**ROW, "date": "soon"}], [[1, 2]], [{**ROW, "close": "much"}]],
)  # fmt: skip
def test_a_response_in_another_format_is_unreadable(body: Any) -> None:
    with pytest.raises(ResponseFormatError):
        tiingo(answer(body))[0].fetch(query("1d", "2024-01-02", "2024-01-04", AAPL))


def test_no_text_form_shows_a_secret() -> None:
    vendor, transport = tiingo(answer(b"<html>"))
    with pytest.raises(DataError) as caught:
        vendor.fetch(query("1d", "2024-01-02", "2024-01-04", AAPL))
    request = transport.asked[0]
    reported = f"{vendor!r}{vars(vendor)!r}{request!r}{request.params}{request.url}{caught.value!r}"
    assert "c4nary" not in reported


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    recording, response = recorded("tiingo", name)
    timeframe, who, count, first, last = BARS[name]
    vendor, _ = tiingo(*[response] * 40)
    start, end = parse_iso(first), parse_iso(last) + (1 if timeframe == "30m" else DAY_MS)
    asked = query(timeframe, start, end, who)
    got = vendor.fetch(asked)
    stamps = got.table.stamps.tolist()
    assert (len(stamps), stamps[0], stamps[-1]) == (count, parse_iso(first), parse_iso(last))
    rows = recording["body"]
    rows = rows[0]["priceData"] if who is BTC else rows
    sent = [tuple(row[k] for k in ("open", "high", "low", "close")) for row in rows]
    assert list(zip(*(c.tolist() for c in got.table.values()[:4]), strict=True)) == sent
    if "adjClose" in rows[0]:
        assert got.table.adj_close is not None
        assert got.table.adj_close.tolist() == [row["adjClose"] for row in rows]
    checked = check(got.table, asked.span, timeframe=asked.timeframe, now_ms=NOW_MS)
    assert (len(checked.good), checked.bad) == (count, ())
    assert got.kind.unit == "USD"


@needs_reference
def test_a_recorded_dividend_becomes_an_action() -> None:
    _, response = recorded("tiingo", "daily-AAPL-2023-02-dividend")
    span = Span(day_ms(date(2023, 1, 1)), day_ms(date(2023, 6, 1)))
    (paid,) = tiingo(response)[0].fetch_actions(AAPL, span, NOW_MS)
    assert (paid.ex_date, paid.amount) == (date(2023, 2, 10), 0.23)


@needs_reference
@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_recorded_answers_in_another_format_are_unreadable(name: str) -> None:
    _, response = recorded("tiingo", name)
    with pytest.raises(ResponseFormatError):
        tiingo(response)[0].fetch(query("1d", "2018-01-05", "2018-01-20", GOOGL))


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("tiingo", name)
    assert type(tiingo()[0].classify(response)) is ERRORS[name]
