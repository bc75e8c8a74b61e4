from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Adjustment, Basis
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check
from src.data.core.vendors.factory import DataDownloaderFactory
from src.data.core.vendors.polygon.bars import PolygonDataDownloader
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

KEYS = {"POLYGON_API_KEY": "c4nary-key"}
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
BTC = Instrument("BTC-USD", "crypto", base="BTC", quote="USD")
EURUSD = Instrument("EURUSD=X", "forex", "FX", "America/New_York", base="EUR", quote="USD")
MINUTE = parse_iso("2024-01-02T14:30:00")
ROW = {"t": MINUTE, "o": 1.5, "h": 2, "l": 1, "c": 1.25, "v": 10, "vw": 1.1, "n": 3}
NEXT = "https://api.massive.com/v2/aggs/ticker/AAPL/range/1/minute/17/18?cursor=bGltaXQ9"

BARS: dict[str, tuple[Instrument, int, str, str]] = {
    # recording: instrument, rows, first and last stamp in the order sent; all of days
    "aggs-AAPL-1day-2005-04-01": (AAPL, 2, "2005-04-01", "2005-04-04"),
    "aggs-AAPL-1day-2023-01-sort-desc": (AAPL, 6, "2023-01-10", "2023-01-03"),
    # Another address, the same rows; its label is the close of the session: 16:00 in New York.
    "aggs-AAPL-prev": (AAPL, 1, "2022-04-26", "2022-04-26"),
    "aggs-grouped-2005-04-04": (Instrument("GIK", "stock"), 1, "2020-10-14", "2020-10-14"),
    "doc-aggs-crypto": (BTC, 2, "2020-06-01T04:00:00", "2020-06-02T04:00:00"),
    "doc-aggs-stocks-AAPL-next_url": (AAPL, 2, "2020-01-02", "2020-01-03"),
}
ERRORS: dict[str, Any] = {
    "error-403-not-entitled": EntitlementError,
    # How far back a plan reaches concerns the range: the vendor stays in use for all others.
    "error-403-plan-timeframe": CapabilityError,
    "error-429-max-requests-per-minute": RateLimitedError,
}


def polygon(*answers: Any) -> tuple[PolygonDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return PolygonDataDownloader(credentials=KEYS, sender=sender_over(transport)), transport


def aggs(*rows: Any, adjusted: bool = False, **more: Any) -> HttpResponse:
    body = {"status": "OK", "adjusted": adjusted, "resultsCount": len(rows)} | more
    return answer({**body, "results": list(rows)} if rows else body)


def adjusting(asked: FetchQuery, how: Adjustment) -> FetchQuery:
    return FetchQuery(asked.instrument, asked.timeframe, asked.span, asked.now_ms, adjustment=how)


@pytest.mark.parametrize(
    "label, theirs",
    [("1m", "1/minute"), ("5m", "5/minute"), ("15m", "15/minute"), ("30m", "30/minute"),
     ("1h", "1/hour")],
)  # fmt: skip
def test_a_request_for_minutes_covers_exactly_the_span(label: str, theirs: str) -> None:
    asked = query(label, MINUTE, MINUTE + 390 * MINUTE_MS, AAPL)
    request = polygon()[0].bars_request(asked, None)
    assert request.url == (
        f"https://api.polygon.io/v2/aggs/ticker/AAPL/range/{theirs}/1704205800000/1704229199999"
    )
    assert request.params == {"adjusted": "false", "sort": "asc", "limit": 50000}
    assert request.secret_headers == {"Authorization": "Bearer c4nary-key"}
    assert request.secret_params == {}


@pytest.mark.parametrize(
    "first, last, asked",
    [
        ("2024-01-02", "2024-01-04", "2024-01-02/2024-01-03"),
        ("2024-01-02T10:00", "2024-01-04T10:00", "2024-01-03/2024-01-04"),
    ],
)
def test_a_request_for_days_is_sent_in_dates(first: str, last: str, asked: str) -> None:
    request = polygon()[0].bars_request(query("1d", first, last, AAPL), None)
    assert request.url.endswith(f"/v2/aggs/ticker/AAPL/range/1/day/{asked}")
    with pytest.raises(NoDataError):
        polygon()[0].bars_request(query("1d", "2024-01-02T10", "2024-01-02T11", AAPL), None)


def test_the_next_page_is_requested_from_our_host_without_a_key_in_its_url() -> None:
    """``next_url`` is a whole address; another host must not get the key, nor a log its text."""
    evil = NEXT.replace("api.massive.com", "evil.example") + "&apiKey=c4nary-key"
    vendor, transport = polygon(aggs(ROW, next_url=evil), aggs({**ROW, "t": MINUTE + MINUTE_MS}))
    got = vendor.fetch(query("1m", MINUTE, MINUTE + DAY_MS, AAPL))
    assert len(got.table) == 2
    second = transport.asked[1]
    assert second.url == "https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/minute/17/18"
    assert second.params == {"cursor": "bGltaXQ9"}
    assert second.secret_headers == {"Authorization": "Bearer c4nary-key"}
    assert "c4nary" not in f"{second!r}{second.url}{second.params}"


@pytest.mark.parametrize(
    "following",
    ["x:@evil.example/steal?cursor=a", "@evil.example/x", "https:\\\\evil.example\\x", "ftp://a/b"],
)
def test_an_invalid_address_of_a_next_page_is_not_requested(following: str) -> None:
    """``https://api.polygon.io@evil.example`` is another host, and would get the key."""
    vendor, transport = polygon(
        aggs(ROW, next_url=following), answer({**SPLITS, "next_url": following})
    )
    with pytest.raises(ResponseFormatError, match="address"):
        vendor.fetch(query("1m", MINUTE, MINUTE + DAY_MS, AAPL))
    with pytest.raises(ResponseFormatError, match="address"):
        vendor.fetch_actions(AAPL, Span(MINUTE, MINUTE + DAY_MS), NOW_MS)
    assert len(transport.asked) == 2


def test_a_page_that_names_itself_as_the_next_is_an_error() -> None:
    vendor, _ = polygon(*[aggs(ROW, next_url=NEXT)] * 3)
    with pytest.raises(ResponseFormatError, match="do not advance"):
        vendor.fetch(query("1m", MINUTE, MINUTE + DAY_MS, AAPL))


@pytest.mark.parametrize(
    "who, spelled",
    [
        (Instrument("BRK-B", "stock", "XNYS", "America/New_York"), "BRK.B"),
        (Instrument("BAC-PK", "stock", "XNYS", "America/New_York"), "BACpK"),
        (Instrument("SOL.US", "stock", spellings={"polygon": "SOL"}), "SOL"),
        (BTC, "X:BTCUSD"), (EURUSD, "C:EURUSD"),
        (Instrument("Y", "crypto", base="A", quote="B", spellings={"polygon": "X:AB"}), "X:AB"),
    ],
)  # fmt: skip
def test_symbols_are_sent_in_polygons_spelling(who: Instrument, spelled: str) -> None:
    request = polygon()[0].bars_request(query("1h", MINUTE, MINUTE + DAY_MS, who), None)
    assert request.url.split("/")[6] == spelled


@pytest.mark.parametrize(
    "who, label",
    [(Instrument("VOD.L", "stock", "XLON", "Europe/London"), "1h"), (EURUSD, "1d")],
)
def test_markets_that_polygon_does_not_serve_are_refused_without_a_request(
    who: Instrument, label: str
) -> None:
    vendor, transport = polygon()
    with pytest.raises(CapabilityError):
        vendor.fetch(query(label, "2024-01-02", "2024-01-03", who))
    assert transport.asked == []


@pytest.mark.parametrize(
    "label, day",
    [
        ("2024-03-08T05:00:00", "2024-03-08"), ("2024-03-11T04:00:00", "2024-03-11"),
        ("2024-11-01T04:00:00", "2024-11-01"), ("2024-11-04T05:00:00", "2024-11-04"),
    ],
)  # fmt: skip
def test_days_are_stamped_with_their_date_across_daylight_saving_changes(
    label: str, day: str
) -> None:
    row, asked = {**ROW, "t": parse_iso(label)}, query("1d", day, day + "T01", AAPL)
    assert [b.stamp_ms for b in polygon()[0].parse_bars(aggs(row), asked).bars] == [parse_iso(day)]
    midnight = {**ROW, "t": parse_iso(day)}
    page = polygon()[0].parse_bars(aggs(midnight), query("1d", day, day + "T01", BTC))
    assert [b.stamp_ms for b in page.bars] == [parse_iso(day)]


def test_a_missing_value_is_nan() -> None:
    page = polygon()[0].parse_bars(aggs({**ROW, "c": None}), query("1m", MINUTE, NOW_MS, AAPL))
    assert math.isnan(page.bars[0].close)
    assert page.bars[0][1:4] == (1.5, 2.0, 1.0)


def test_an_answer_with_status_delayed_is_accepted() -> None:
    vendor, _ = polygon(aggs(ROW, status="DELAYED"))
    assert len(vendor.fetch(query("1m", MINUTE, NOW_MS, AAPL)).table) == 1
    assert vendor.capabilities.settle_ms > 15 * MINUTE_MS, "what has not come is not settled"


@pytest.mark.parametrize("status, behind_ms", [("OK", 0), ("DELAYED", 15 * MINUTE_MS)])
def test_a_bar_that_a_delayed_answer_cannot_hold_completely_counts_as_forming(
    status: str, behind_ms: int
) -> None:
    vendor, _ = polygon(aggs(ROW, status=status))
    fetched = vendor.fetch(query("1m", MINUTE, NOW_MS, AAPL))
    assert fetched.server_now_ms == NOW_MS - behind_ms


@pytest.mark.parametrize("more", [{}, {"results": []}, {"status": "DELAYED"}])
def test_an_answer_without_rows_raises_no_data_even_for_unknown_tickers(
    more: dict[str, Any],
) -> None:
    with pytest.raises(NoDataError):
        polygon(aggs(**more))[0].fetch(query("1m", MINUTE, NOW_MS, AAPL))


@pytest.mark.parametrize("how, said", [("raw", "false"), ("split", "true")])
def test_prices_have_the_requested_adjustment(how: Adjustment, said: str) -> None:
    asked = adjusting(query("1m", MINUTE, NOW_MS, AAPL), how)
    vendor, transport = polygon(aggs(ROW, adjusted=how == "split"))
    assert vendor.fetch(asked).basis == Basis(how)
    assert transport.asked[0].params["adjusted"] == said
    with pytest.raises(ResponseFormatError, match="not adjusted as requested"):
        polygon(aggs(ROW, adjusted=how != "split"))[0].fetch(asked)
    with pytest.raises(CapabilityError, match="only for splits"):
        polygon()[0].fetch(adjusting(asked, "all"))


def test_days_and_minutes_have_their_declared_kinds() -> None:
    caps = polygon()[0].capabilities
    day, minute = Timeframe(1, "d"), Timeframe(1, "m")
    assert (caps.kind(AAPL, day).session, caps.kind(AAPL, day).anchor) == ("regular", "session")
    assert (caps.kind(AAPL, minute).session, caps.kind(AAPL, minute).feed) == ("extended", "sip")
    assert caps.kind(BTC, minute).venue == caps.kind(EURUSD, minute).venue == "aggregate"
    assert (caps.adjustment, caps.actions, caps.tells_actions) == ("raw", False, True)
    assert [polygon()[0].is_dense(t) for t in (day, minute)] == [True, False]


def test_a_direct_call_recognises_pairs_by_their_prefix() -> None:
    vendor, transport = polygon(aggs({**ROW, "t": parse_iso("2024-01-02")}), aggs(ROW))
    frame = vendor.get_ohlcv("X:BTCUSD", "1d", "2024-01-02", "2024-01-02")
    assert frame is not None
    assert (next(iter(frame.columns)), len(frame)) == ("timestamp", 1)
    assert vendor.get_ohlcv("AAPL", "1m", "2024-01-02", "2024-01-02", adjustment="raw") is not None
    assert "/X:BTCUSD/" in transport.asked[0].url


def test_polygon_is_created_by_its_newer_name_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLYGON_API_KEY", "POLYGON_KEY", "MASSIVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingCredentialsError, match="Polygon needs a key"):
        PolygonDataDownloader()
    monkeypatch.setenv("MASSIVE_API_KEY", "c4nary-new")
    made = DataDownloaderFactory.create_downloader(
        "massive", sender=sender_over(ScriptedTransport())
    )
    assert isinstance(made, PolygonDataDownloader)
    request = made.bars_request(query("1m", MINUTE, NOW_MS, AAPL), None)
    assert request.secret_headers == {"Authorization": "Bearer c4nary-new"}
    mine = PolygonDataDownloader("mine", sender=sender_over(ScriptedTransport()))
    asked = mine.bars_request(query("1m", MINUTE, NOW_MS, AAPL), None)
    assert asked.secret_headers == {"Authorization": "Bearer mine"}


# --- splits and dividends ----------------------------------------------------------------------

SPLITS = {"status": "OK", "results": [
    {"execution_date": "2020-08-31", "split_from": 1, "split_to": 4, "ticker": "AAPL"},
    {"execution_date": "2020-08-31", "split_from": 1, "split_to": 9, "ticker": "AAPLW"},
]}  # fmt: skip
PAID = {"status": "OK", "results": [
    {"cash_amount": 0.205, "ex_dividend_date": "2020-11-06", "ticker": "AAPL",
     "pay_date": "2020-11-12", "currency": "USD"},
]}  # fmt: skip


def test_splits_and_dividends_are_requested_at_two_addresses() -> None:
    following = "https://api.massive.com/v3/reference/splits?cursor=abc"
    none = {"status": "OK", "results": []}
    vendor, transport = polygon(
        answer({**SPLITS, "next_url": following}), answer(none), answer(PAID)
    )
    span = Span(day_ms(date(2020, 1, 1)), day_ms(date(2021, 1, 1)))
    found = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert [(a.ex_date.isoformat(), a.type, a.ratio, a.amount, a.as_paid) for a in found] == [
        ("2020-08-31", "split", 4, 0.0, False), ("2020-11-06", "dividend", 1, 0.205, True),
    ]  # fmt: skip
    assert (found[1].pay_date, found[1].currency) == ("2020-11-12", "USD")
    assert {(a.source, a.fetched_at) for a in found} == {("polygon", NOW_MS)}
    assert [r.url.partition("/v3/")[2] for r in transport.asked] == [
        "reference/splits", "reference/splits", "reference/dividends",
    ]  # fmt: skip
    assert transport.asked[0].params == {
        "ticker": "AAPL", "execution_date.gte": "2020-01-01", "execution_date.lte": "2020-12-31",
        "limit": 1000,
    }  # fmt: skip
    assert transport.asked[1].params == {"cursor": "abc"}


def test_a_dividend_in_another_currency_is_not_taken_for_dollars() -> None:
    paid = {"results": [{**PAID["results"][0], "currency": "CAD"}]}  # type: ignore[dict-item]
    with pytest.raises(CapabilityError, match="CAD"):
        polygon(answer({"results": []}), answer(paid))[0].fetch_actions(
            AAPL, Span(0, NOW_MS), NOW_MS
        )


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"results": [{"ticker": "AAPL"}]}, b"<html>", {"status": "ERROR", "results": []},
        {"status": "NOT_AUTHORIZED", "results": [], "message": "no"},
    ],
)  # fmt: skip
def test_actions_in_another_format_are_unreadable(body: Any) -> None:
    with pytest.raises(ResponseFormatError):
        polygon(answer(body))[0].fetch_actions(AAPL, Span(0, DAY_MS), NOW_MS)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (401, {"status": "ERROR", "error": "Unknown API Key"}, AuthenticationError),
        (403, {"status": "NOT_AUTHORIZED", "message": "not entitled"}, EntitlementError),
        (404, {"status": "NOT_FOUND"}, SymbolNotFoundError),
        (400, {"status": "ERROR"}, CapabilityError),
        (429, {"status": "ERROR"}, RateLimitedError),
        (502, b"<html>", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(status: int, body: Any, kind: Any) -> None:
    assert type(polygon()[0].classify(answer(body, status))) is kind


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"status": "OK", "resul', b"", {}, [], {"status": "ERROR"},
        {"status": "OK", "results": [ROW]}, {"status": "OK", "results": 3, "adjusted": False},
        {"status": "OK", "results": [{"t": MINUTE}], "adjusted": False}],
)  # fmt: skip
def test_a_response_in_another_format_is_unreadable(body: Any) -> None:
    with pytest.raises(ResponseFormatError):
        polygon(answer(body))[0].fetch(query("1m", MINUTE, NOW_MS, AAPL))


def test_no_text_form_shows_a_secret() -> None:
    vendor, transport = polygon(answer(b"<html>"))
    with pytest.raises(DataError) as caught:
        vendor.fetch(query("1m", MINUTE, NOW_MS, AAPL))
    request = transport.asked[0]
    reported = f"{vendor!r}{vars(vendor)!r}{request!r}{request.params}{request.url}{caught.value!r}"
    assert "c4nary" not in reported


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    recording, response = recorded("polygon", name)
    who, count, first, last = BARS[name]
    asked = adjusting(query("1d", "2000-01-01", "2024-01-01", who), "split")
    page = polygon()[0].parse_bars(response, asked)
    stamps = [b.stamp_ms for b in page.bars]
    assert (len(stamps), stamps[0], stamps[-1]) == (count, parse_iso(first), parse_iso(last))
    rows = recording["body"]["results"]
    assert [b[1:6] for b in page.bars] == [tuple(r[k] for k in "ohlcv") for r in rows]
    got = polygon(response, aggs(adjusted=True))[0].fetch(asked)
    daily = Timeframe(1, "d") if who is not BTC else Timeframe(1, "h")  # an example's odd labels
    checked = check(got.table, asked.span, timeframe=daily, now_ms=NOW_MS)
    assert (len(checked.good), checked.bad) == (count, ())


@needs_reference
def test_recorded_adjusted_prices_are_not_taken_for_raw_ones() -> None:
    _, response = recorded("polygon", "aggs-AAPL-1day-2005-04-01")
    with pytest.raises(ResponseFormatError, match="not adjusted as requested"):
        polygon(response)[0].fetch(query("1d", "2005-04-01", "2005-04-05", AAPL))


@needs_reference
def test_the_recorded_next_page_is_followed() -> None:
    _, response = recorded("polygon", "doc-aggs-stocks-AAPL-next_url")
    asked = adjusting(query("1d", "2020-01-01", "2020-01-11", AAPL), "split")
    vendor, transport = polygon(response, aggs(adjusted=True))
    vendor.fetch(asked)
    assert transport.asked[1].url.endswith("/range/1/day/1578114000000/2020-01-10")
    assert transport.asked[1].params == {"cursor": "bGltaXQ9MiZzb3J0PWFzYw"}


@needs_reference
def test_recorded_splits_and_dividends_become_actions() -> None:
    _, splits = recorded("polygon", "reference-splits")
    _, paid = recorded("polygon", "reference-dividends")
    googl = Instrument("GOOGL", "stock")
    everything = Span(0, parse_iso("2030-01-01"))
    none = answer({"results": []})
    (only,) = polygon(splits, none)[0].fetch_actions(googl, everything, NOW_MS)
    assert (only.ex_date, only.ratio) == (date(2022, 7, 18), 20)
    with pytest.raises(ResponseFormatError, match="answered for 'CSSEN', not 'GOOGL'"):
        polygon(splits, paid)[0].fetch_actions(googl, everything, NOW_MS)
    found = polygon(none, paid)[0].fetch_actions(Instrument("AIRTP", "stock"), everything, NOW_MS)
    assert [(a.ex_date.isoformat(), a.amount) for a in found] == [
        ("2023-08-11", 0.5), ("2023-11-13", 0.5),
    ]  # fmt: skip


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("polygon", name)
    assert type(polygon()[0].classify(response)) is ERRORS[name]


@pytest.mark.parametrize(
    "message, kind",
    [
        ("Attempted to request today's data before end of day. Please upgrade your plan.", CapabilityError),
        ("Your plan doesn't include this data timeframe.", CapabilityError),
        ("You are not entitled to this data.", EntitlementError),
    ],
)  # fmt: skip
def test_a_plan_without_some_days_opens_no_circuit(message: str, kind: Any) -> None:
    body = {"status": "NOT_AUTHORIZED", "request_id": "1", "message": message}
    assert type(polygon()[0].classify(answer(body, 403))) is kind


@pytest.mark.parametrize(
    "body",
    [
        {"status": "OK"}, {"status": "OK", "results": None}, {"status": "OK", "results": {}},
        {"status": "OK", "results": [], "resultsCount": 3}, {"status": "OK", "resultsCount": True},
        {"status": "OK", "resultsCount": 0, "results": "x"},
    ],
)  # fmt: skip
def test_a_success_without_rows_and_count_is_unreadable(body: Any) -> None:
    vendor, _ = polygon(answer({"adjusted": False, **body}))
    with pytest.raises(ResponseFormatError):
        vendor.fetch(query("1d", "2024-06-03", "2024-06-05", AAPL))


def test_a_page_token_that_is_not_text_is_unreadable() -> None:
    for url in ([], ["https://api.polygon.io/x"], {}, 7, True):
        vendor, _ = polygon(aggs(ROW, next_url=url))
        if url:
            with pytest.raises(ResponseFormatError):
                vendor.fetch(query("1m", MINUTE, NOW_MS, AAPL))
